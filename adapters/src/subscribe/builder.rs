//! What a subscription is told before it starts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::Timestamp;
use serde::de::DeserializeOwned;

use super::delivery::{self, Decode, Delivery};
use super::driver;
use super::handled::IntoHandled;
use super::stream::Deliveries;
use super::subscription::Subscription;
use super::worker;
use crate::bus::Bus;
use crate::error::{OptionError, SubscribeError};

/// Where a subscription starts. A group that exists goes on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first stored event.
    Beginning,
    /// At the next event to be stored.
    New,
    /// At this sequence of the stream, or the first after it.
    Sequence(u64),
    /// At the first event stored at this time or after it.
    Time(Timestamp),
}

/// A subscription to be: options, then one of [`handle`](Self::handle),
/// [`handle_raw`](Self::handle_raw), [`deliveries`](Self::deliveries),
/// [`deliveries_raw`](Self::deliveries_raw).
#[derive(Debug)]
#[must_use = "a subscription starts with `handle` or `deliveries`"]
pub struct Subscribe {
    bus: Bus,
    pub(super) options: Options,
}

/// What a subscription was told.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) topic: String,
    pub(super) group: Option<String>,
    pub(super) start: Option<Start>,
    pub(super) concurrency: usize,
    pub(super) window: usize,
    pub(super) ack_wait: Duration,
    /// Whether messages are events in envelopes.
    pub(super) events: bool,
    /// Whether events that are given up are kept.
    pub(super) dead_letters: bool,
}

impl Subscribe {
    pub(crate) fn new(bus: Bus, topic: &str) -> Self {
        Self {
            bus,
            options: Options {
                topic: topic.into(),
                group: None,
                start: None,
                concurrency: 64,
                window: 1_024,
                ack_wait: Duration::from_secs(30),
                events: true,
                dead_letters: true,
            },
        }
    }

    /// The group: the name that the replicas of a service share. Its place in the
    /// stream outlives them. Without one, the subscription gets every event itself
    /// and leaves nothing behind.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options.group = Some(group.into());
        self
    }

    /// Where a new group or a subscription without one starts. Default: a group at
    /// the beginning, a subscription without one at new events. Ephemeral topics
    /// have new events only.
    pub const fn start(mut self, start: Start) -> Self {
        self.options.start = Some(start);
        self
    }

    /// How many handlers run at once at most, 1 to 10 000. Default: 64.
    pub const fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = handlers;
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
    {
        self.workers(delivery::typed::<T>, handler).await
    }

    /// Handles messages of bytes and headers, with or without an envelope. Their
    /// key is the header `X-Aggregate-ID`.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn handle_raw<H, F>(mut self, handler: H) -> Result<Subscription, SubscribeError>
    where
        H: Fn(Delivery<Bytes>) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: IntoHandled + Send,
    {
        self.options.events = false;
        self.workers(delivery::raw, handler).await
    }

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

    async fn workers<T, H, F>(
        self,
        decode: Decode<T>,
        handler: H,
    ) -> Result<Subscription, SubscribeError>
    where
        T: Send + 'static,
        H: Fn(Delivery<T>) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: IntoHandled + Send,
    {
        self.check()?;
        let handler = Arc::new(handler);
        let hire: driver::Hire =
            Box::new(move |lanes| Box::pin(worker::work(lanes, decode, Arc::clone(&handler))));
        driver::start(&self.bus, self.options, Some(hire))
            .await
            .map(|(subscription, _)| subscription)
    }

    async fn stream<T>(self, decode: Decode<T>) -> Result<Deliveries<T>, SubscribeError> {
        self.check()?;
        let (subscription, lanes) = driver::start(&self.bus, self.options, None).await?;
        Ok(Deliveries::new(lanes, decode, subscription))
    }

    fn check(&self) -> Result<(), SubscribeError> {
        let refuse = |option, value: String, rule| {
            Err(SubscribeError::Option(OptionError {
                option,
                value,
                rule,
            }))
        };
        let Options {
            concurrency,
            window,
            ack_wait,
            ..
        } = self.options;
        if !(1..=10_000).contains(&concurrency) {
            return refuse(
                "concurrency",
                concurrency.to_string(),
                "it is 1 to 10000 handlers",
            );
        }
        if !(1..=65_536).contains(&window) {
            return refuse("window", window.to_string(), "it is 1 to 65536 events");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&ack_wait) {
            return refuse(
                "ack_wait",
                format!("{ack_wait:?}"),
                "it is one second to one hour",
            );
        }
        Ok(())
    }
}
