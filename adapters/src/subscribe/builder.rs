//! A subscription before it starts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::delivery::{AtShare, Batch};
use jetbus_core::retry::Retry;
use serde::de::DeserializeOwned;

use super::batch::Batches;
use super::delivery::{self, Decode, Delivery};
use super::driver;
use super::failure::Classes;
use super::handled::{IntoHandled, IntoHandledBatch};
use super::lanes::Lanes;
use super::options::{Options, Start};
use super::service::{Bare, Handler, Layer, Service, Within};
use super::stream::Deliveries;
use super::subscription::Subscription;
use super::worker::{self, Craft, Singly};
use crate::bus::Bus;
use crate::error::{Class, OptionError, SubscribeError};

/// A subscription to be: options, then one of [`handle`](Self::handle),
/// [`handle_raw`](Self::handle_raw), [`handle_batch`](Self::handle_batch),
/// [`deliveries`](Self::deliveries), [`deliveries_raw`](Self::deliveries_raw).
///
/// # What happens to an event, in this order
///
/// 1. **Decode**: the envelope is read, and before each attempt the payload. What cannot
///    be decoded goes to the dead letters at once; no handler sees it.
/// 2. **Trace**: a `tracing` span around each attempt.
/// 3. **In-flight dedupe**: what is delivered again while it is still held here does not
///    run a second time.
/// 4. **Retry**: an attempt that failed parks the event and its key until the next one.
/// 5. **Timeout**: an attempt that takes too long is dropped and has failed.
/// 6. **Layers**, the first added outermost: each attempt passes through them.
/// 7. **The handler**.
/// 8. **Settle**: the event is acknowledged, parked, stored as a dead letter or discarded,
///    and only then the next one of its key runs.
#[derive(Debug)]
#[must_use = "a subscription starts with `handle` or `deliveries`"]
pub struct Subscribe<L = Bare> {
    bus: Bus,
    options: Options,
    classes: Classes,
    layers: L,
}

impl Subscribe {
    pub(crate) fn new(bus: Bus, topic: &str) -> Self {
        Self {
            bus,
            options: Options::new(topic),
            classes: Classes::default(),
            layers: Bare::default(),
        }
    }
}

impl<L> Subscribe<L> {
    /// The group: the name that the replicas of a service share. Its place in the
    /// stream outlives them. Without one, the subscription gets every event itself
    /// and leaves nothing behind.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options.group = Some(group.into());
        self
    }

    /// Where a new group or a subscription without one starts. Default: a group at
    /// the beginning, a subscription without one at new events. Ephemeral topics
    /// have new events only, and anything else is refused there.
    pub const fn start(mut self, start: Start) -> Self {
        self.options.start = Some(start);
        self
    }

    /// How many handlers run at once at most, 1 to 10 000. Default: 64. A stream of
    /// deliveries has none.
    pub const fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = Some(handlers);
        self
    }

    /// How many events are held at once at most, waiting ones included, 1 to
    /// 65 536. Default: 1 024.
    pub const fn window(mut self, events: usize) -> Self {
        self.options.window = events;
        self
    }

    /// How long the server waits for a sign of life before it delivers an event
    /// again, 1 s to 1 h. Leases are renewed well before. Default: 30 s.
    pub const fn ack_wait(mut self, wait: Duration) -> Self {
        self.options.ack_wait = wait;
        self
    }

    /// Events run as soon as there is a handler for them, as if they had no key.
    /// Default: in order per key.
    pub const fn unordered(mut self) -> Self {
        self.options.unordered = true;
        self
    }

    /// How long an event that failed waits for its next attempt, unless its handler says
    /// so: `retry.first` (1 ms to 1 h) after the first failure, doubled with each further
    /// one up to `retry.max` (1 day at most); each wait is between half of that and all
    /// of it. Default: from 100 ms to 30 s.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }

    /// After how many failed attempts in this process an event goes to the dead letters,
    /// at least 1. Default: 20, which take five to six minutes with the usual delays.
    /// `u32::MAX` is as good as never.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts;
        self
    }

    /// How long one attempt may take, its layers included, 1 ms to 1 day. Default:
    /// 5 minutes.
    ///
    /// Then its future is dropped, and after that the attempt counts as failed. Tasks
    /// that the handler has spawned are its own: they go on. A future that does not
    /// yield cannot be dropped: [`News::HandlerStuck`](crate::News::HandlerStuck) tells of
    /// it, and it ends in its own time, for what it then says. While no other
    /// thread of the runtime is awake to look after its timers, so always on a single
    /// thread, that is told only afterwards.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// From how many deliveries on an event runs alone, for its handler may be what
    /// brings the process down: at least 2. [`News::Suspect`](crate::News::Suspect) tells
    /// so. Deliveries are not attempts: an event that fails is not delivered again.
    /// Default: 5.
    pub const fn suspect_after(mut self, deliveries: u64) -> Self {
        self.options.suspect_after = deliveries;
        self
    }

    /// From how many deliveries on an event goes to the dead letters before it runs: more
    /// than [`suspect_after`](Self::suspect_after). Default: 10.
    pub const fn crash_limit(mut self, deliveries: u64) -> Self {
        self.options.crash_limit = deliveries;
        self
    }

    /// How many events of one key are held at most, 1 to the [window](Self::window), and
    /// what happens when a key holds as many: with [`AtShare::Stall`] nothing more is
    /// asked for until it holds fewer; with [`AtShare::DeadLetter`] its event goes to the
    /// dead letters when it fails, without further attempts.
    /// [`News::KeyBacklogged`](crate::News::KeyBacklogged) tells of it. Default: half of
    /// the window, stall.
    pub const fn key_share(mut self, events: usize, at: AtShare) -> Self {
        self.options.key_share = Some((events, at));
        self
    }

    /// Whether events that are given up are stored as dead letters. Otherwise the server
    /// is told to forget them, and [`News::Discarded`](crate::News::Discarded) tells of
    /// each; so it is without a group, and of ephemeral topics, which keep none. Default:
    /// they are stored.
    pub const fn dead_letters(mut self, stored: bool) -> Self {
        self.options.dead_letters = stored;
        self
    }

    /// Events are handled at most once instead of at least once: each is acknowledged
    /// before its handler runs, and handled only when the server has confirmed that. A
    /// handler that fails is told by [`News::HandlerFailed`](crate::News::HandlerFailed)
    /// and not run again. What was not started when the subscription stops is given back
    /// unacknowledged. Default: at least once.
    ///
    /// It takes a round trip to the server for each event. It holds for as long as a
    /// process keeps its leases: one that stands still or loses its connection for longer
    /// than [`ack_wait`](Self::ack_wait) between receiving an event and having it
    /// confirmed may handle what another one handles, for the server confirms to both.
    pub const fn at_most_once(mut self) -> Self {
        self.options.at_most_once = true;
        self
    }

    /// What class errors of type `E` have, when a handler returns them: with
    /// [`Class::Terminal`] the event goes to the dead letters at once, with the others it
    /// is tried again. Say it for each type of error; of one type the last word counts.
    /// Default: they are tried again. See also [`Failure`](crate::Failure).
    ///
    /// ```no_run
    /// # use jetbus::{Bus, Delivery, Event, PublishError};
    /// # async fn example(bus: Bus) -> Result<(), jetbus::SubscribeError> {
    /// let bills = bus.topic("bills.sent").expect("it is a name");
    /// let billing = bus.subscribe("orders.placed").group("billing")
    ///     .classify(PublishError::class)
    ///     .handle(move |order: Delivery<u32>| {
    ///         let bills = bills.clone();
    ///         async move {
    ///             bills.publish(&Event::new("bill-1", "BillSent", order.payload)).await?;
    ///             Ok::<_, PublishError>(())
    ///         }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn classify<E: 'static>(
        mut self,
        class: impl Fn(&E) -> Class + Send + Sync + 'static,
    ) -> Self {
        self.classes.add(class);
        self
    }

    /// Puts a layer around the handler, within those that were added before. See
    /// [`Layer`], and with feature `tower` `jetbus::tower` for layers of that kind.
    pub fn layer<New>(self, layer: New) -> Subscribe<Within<L, New>> {
        Subscribe {
            bus: self.bus,
            options: self.options,
            classes: self.classes,
            layers: Within {
                outer: self.layers,
                inner: layer,
            },
        }
    }

    /// Handles typed events: payloads that serde reads as `T`.
    ///
    /// `handler` runs for many events at once, but for one event of a key at a
    /// time, in the order in which they were stored. What it returns says how it
    /// went: nothing, a [`Handled`](crate::Handled), or a `Result` of these. A
    /// panic counts as an error.
    ///
    /// # Errors
    /// When a name or option cannot be used, or the stream or consumer cannot be
    /// made ready.
    pub async fn handle<T, H, F>(self, handler: H) -> Result<Subscription, SubscribeError>
    where
        T: DeserializeOwned + Send + 'static,
        H: Fn(Delivery<T>) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: IntoHandled + Send,
        L: Layer<Handler<H>>,
        L::Service: Service<Delivery<T>>,
    {
        self.singly(delivery::typed::<T>, handler).await
    }

    /// Handles messages of bytes and headers, with or without an envelope. Their
    /// key is the header `X-Aggregate-ID`; messages without it, or all with
    /// [`unordered`](Self::unordered), run freely.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn handle_raw<H, F>(mut self, handler: H) -> Result<Subscription, SubscribeError>
    where
        H: Fn(Delivery<Bytes>) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: IntoHandled + Send,
        L: Layer<Handler<H>>,
        L::Service: Service<Delivery<Bytes>>,
    {
        self.options.events = false;
        self.singly(delivery::raw, handler).await
    }

    /// Handles typed events many at a time: up to `batch.max` (at most the
    /// [window](Self::window)), waiting `batch.linger` (up to an hour) for more since the
    /// first of them could run.
    ///
    /// Several events of a key may be in one batch, in order, and none of that key in
    /// another one at that time. What `handler` returns is a word for each event in order,
    /// as a `Vec`, or one for all; see [`IntoHandledBatch`]. When an event is not done,
    /// the later ones of its key run again after it, whatever was said of them. A timeout
    /// or panic fails all. Where all of several failed, one of them may be why: they run
    /// again in batches of half as many, and alone before they are given up, unless they
    /// have but one [attempt](Self::attempts). A batch passes through the layers as one.
    /// [`at_most_once`](Self::at_most_once) is for handlers of single events.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn handle_batch<T, H, F>(
        mut self,
        batch: Batch,
        handler: H,
    ) -> Result<Subscription, SubscribeError>
    where
        T: DeserializeOwned + Send + 'static,
        H: Fn(Vec<Delivery<T>>) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: IntoHandledBatch + Send,
        L: Layer<Handler<H>>,
        L::Service: Service<Vec<Delivery<T>>>,
    {
        self.options.batch = Some(batch);
        let decode = delivery::typed::<T>;
        let classes = self.classes;
        let service = self.layers.layer(Handler { handler, classes });
        workers(self.bus, self.options, Batches { decode, service }).await
    }

    async fn singly<T, H>(
        self,
        decode: Decode<T>,
        handler: H,
    ) -> Result<Subscription, SubscribeError>
    where
        T: Send + 'static,
        L: Layer<Handler<H>>,
        L::Service: Service<Delivery<T>>,
    {
        let classes = self.classes;
        let service = self.layers.layer(Handler { handler, classes });
        workers(self.bus, self.options, Singly { decode, service }).await
    }
}

impl Subscribe {
    /// Gives typed events as a stream, each with a handle to settle it.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn deliveries<T>(self) -> Result<Deliveries<T>, SubscribeError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.stream(delivery::typed::<T>).await
    }

    /// Gives messages of bytes and headers as a stream, each with a handle to
    /// settle it.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn deliveries_raw(mut self) -> Result<Deliveries<Bytes>, SubscribeError> {
        self.options.events = false;
        self.stream(delivery::raw).await
    }

    async fn stream<T>(self, decode: Decode<T>) -> Result<Deliveries<T>, SubscribeError> {
        self.options.check(false).map_err(SubscribeError::Option)?;
        if !self.classes.is_empty() {
            return Err(SubscribeError::Option(OptionError {
                option: "classify",
                value: format!("{:?}", self.classes),
                rule: "a stream of deliveries has no handlers",
            }));
        }
        let (subscription, lanes) = driver::start(&self.bus, self.options, None).await?;
        Ok(Deliveries::new(lanes, decode, subscription))
    }
}

/// Starts a subscription whose events are handled by workers.
async fn workers<C: Craft>(
    bus: Bus,
    options: Options,
    craft: C,
) -> Result<Subscription, SubscribeError> {
    options.check(true).map_err(SubscribeError::Option)?;
    let craft = Arc::new(craft);
    let hire: driver::Hire = Box::new(move |lanes| {
        let hired = Lanes::hire(lanes);
        Box::pin(worker::work(hired, Arc::clone(&craft)))
    });
    driver::start(&bus, options, Some(hire))
        .await
        .map(|(subscription, _)| subscription)
}
