//! The driver of a subscription: one task that owns its machines.
//!
//! It decides nothing. It moves messages from its [feeds](feed) to the machine that
//! orders and settles, work from there to the lanes, words from the lanes to the
//! machine, and what the machines want published to the link; then it sleeps until
//! the earliest deadline.

mod feed;
mod outbox;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::{mpsc, oneshot};
use futures_core::Stream as _;
use futures_core::future::BoxFuture;
use jetbus_core::delivery::{self, Delivery, JobId, Outcome};
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::retry::Retry;
use jetbus_core::shared::counters::Handle;
use jetbus_core::{Message, Time, envelope};

use self::feed::Feed;
use self::outbox::Outbox;
use super::builder::Options;
use super::consumer;
use super::delivery::Item;
use super::lanes::{FAILED, HANDLED, Lanes, RECEIVED, Work};
use super::subscription::{Control, Subscription};
use crate::bus::{Bus, Claim, Inner};
use crate::error::SubscribeError;

/// Makes a worker: the task that handles events of these lanes.
pub(super) type Hire = Box<dyn Fn(Arc<Lanes>) -> BoxFuture<'static, ()> + Send>;

/// How many messages and words are taken in before the task lets others run.
const BUDGET: usize = 256;

/// Starts a subscription: its stream and consumer are ready and its driver runs
/// when this returns.
pub(super) async fn start(
    bus: &Bus,
    options: Options,
    hire: Option<Hire>,
) -> Result<(Subscription, Arc<Lanes>), SubscribeError> {
    let inner = bus.inner();
    let _open = inner.life.enter().map_err(|_| SubscribeError::Closed)?;
    let topic: Arc<str> = options.topic.as_str().into();
    let claim = inner
        .subscriptions
        .claim(&options.topic, options.group.as_deref())?;
    let source = consumer::prepare(inner, &options).await?;
    let feed = Feed::open(inner, source, options.window).await?;

    let (control, controls) = mpsc::channel(8);
    // The machine holds up to twice its window.
    let held = options.window.saturating_mul(2);
    let lanes = Arc::new(Lanes::new(Arc::clone(inner), topic, held, control));
    claim.run(lanes.running());
    let delivery = Delivery::new(delivery::Config {
        window: options.window,
        ack_wait: options.ack_wait,
        retry: Retry::default(),
        attempts: None,
        key_share: usize::MAX,
        at_share: delivery::AtShare::Stall,
        suspect_after: 5,
        crash_limit: 10,
        batch: None,
        seed: inner.random(),
    });
    let driver = Driver {
        bus: Arc::clone(inner),
        counts: lanes.counts(),
        lanes: Arc::clone(&lanes),
        controls,
        feeds: vec![feed],
        outbox: Outbox::new(Arc::clone(&inner.link)),
        delivery,
        hire,
        hired: 0,
        options,
        generation: 0,
        sleep: None,
        stopping: false,
        refused: Vec::new(),
        waiting: Vec::new(),
        _claim: claim,
    };
    inner.runtime.spawn(Box::pin(driver.run()));
    Ok((Subscription::new(Arc::clone(&lanes), bus.clone()), lanes))
}

struct Driver {
    bus: Arc<Inner>,
    lanes: Arc<Lanes>,
    counts: Handle<3, 1>,
    controls: mpsc::Receiver<Control>,
    /// Where messages come from.
    feeds: Vec<Feed>,
    outbox: Outbox,
    delivery: Delivery<Arc<Item>>,
    hire: Option<Hire>,
    hired: usize,
    options: Options,
    /// The session that the machines know of; 0 for none.
    generation: u64,
    sleep: Option<(Time, BoxFuture<'static, ()>)>,
    stopping: bool,
    /// Jobs that the lanes would not take any more.
    refused: Vec<JobId>,
    waiting: Vec<oneshot::Sender<()>>,
    _claim: Claim,
}

impl Driver {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        // What was settled leaves the process before anybody hears of the end.
        let _ = self.bus.link.flush().await;
        // Who waits may subscribe again at once.
        drop(self._claim);
        for waiting in self.waiting {
            // Nobody waits any more: nothing to tell.
            let _ = waiting.send(());
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.bus.runtime.now();
        let mut again = self.controls(cx);
        again |= self.session(now);
        again |= self.words(now, cx);
        again |= self.messages(now, cx);
        for feed in &mut self.feeds {
            again |= feed.repair(now, &self.lanes, cx);
            again |= feed.forgetting(cx);
        }
        self.delivery.handle(now, delivery::Input::Tick);
        again |= self.outputs(now);
        again |= self.outbox.publish(&mut self.feeds, cx);
        let draining = self.feeds.iter().any(Feed::is_draining);
        if self.stopping && !draining && self.settled() {
            return Poll::Ready(());
        }
        if again || self.slept(now, cx) {
            // Others run first; then on from here.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether nothing is held, and nothing said of it is still to be sent.
    fn settled(&self) -> bool {
        self.delivery.idle() && self.outbox.is_empty()
    }

    /// What handles and the bus want.
    fn controls(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(control) = Pin::new(&mut self.controls).poll_next(cx) {
            any = true;
            match control {
                Some(Control::Link) => {}
                Some(Control::Progress(id)) => {
                    let now = self.bus.runtime.now();
                    self.delivery.handle(now, delivery::Input::Progress { id });
                }
                Some(Control::Stop(waiting)) => {
                    self.waiting.extend(waiting);
                    self.stop();
                }
                // The bus and all handles are gone.
                None => {
                    self.stop();
                    return false;
                }
            }
        }
        any
    }

    fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        let now = self.bus.runtime.now();
        for feed in &mut self.feeds {
            feed.stop(now);
        }
        // What no worker took is as good as never handed out.
        self.lanes.handoff().close();
        while let Some(job) = self.lanes.handoff().take_back() {
            self.delivery.take_back(job.id);
        }
        for id in self.refused.drain(..) {
            self.delivery.take_back(id);
        }
        self.delivery.handle(now, delivery::Input::Stop);
    }

    /// Tells the machines when the link came or went.
    fn session(&mut self, now: Time) -> bool {
        let generation = self.bus.session.generation().unwrap_or(0);
        if generation == self.generation {
            return false;
        }
        if self.generation != 0 {
            self.delivery.handle(now, delivery::Input::Disconnected);
            for feed in &mut self.feeds {
                feed.disconnected(now, self.stopping);
            }
        }
        if generation != 0 {
            self.delivery.handle(now, delivery::Input::Connected);
            for feed in &mut self.feeds {
                feed.connected(now);
            }
        }
        self.generation = generation;
        true
    }

    /// What handlers said.
    fn words(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUDGET {
            let Poll::Ready(done) = self.lanes.handoff().poll_done(cx) else {
                return false;
            };
            let (id, outcome) = done;
            match outcome {
                Outcome::Ack | Outcome::Settled => self.counts.add::<HANDLED>(1),
                Outcome::Failed { .. } => self.counts.add::<FAILED>(1),
                _ => {}
            }
            self.delivery
                .handle(now, delivery::Input::Done { id, outcome });
        }
        true
    }

    /// What the server sent, from every feed.
    fn messages(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let mut again = false;
        for feed in 0..self.feeds.len() {
            again |= self.messages_of(feed, now, cx);
        }
        again
    }

    fn messages_of(&mut self, place: usize, now: Time, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUDGET {
            let Some(feed) = self.feeds.get_mut(place) else {
                return false;
            };
            // Core NATS has no demand: what does not fit waits in the link's inbox,
            // which tells when it overflows.
            if !feed.acknowledged() && self.delivery.free() == 0 {
                return false;
            }
            match feed.poll_next(now, cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(message)) => {
                    if let Some(meta) = feed.read(now, &message) {
                        self.receive(now, meta, message);
                    }
                }
                Poll::Ready(None) => {
                    self.stop();
                    let settled = self.settled();
                    if let Some(feed) = self.feeds.get_mut(place) {
                        feed.drained(settled);
                    }
                    return true;
                }
            }
        }
        true
    }

    fn receive(&mut self, now: Time, meta: Meta, message: Message) {
        self.counts.add::<RECEIVED>(1);
        let event = self
            .options
            .events
            .then(|| envelope::decode_owned(&message.payload).map_err(|error| error.to_string()));
        let reply = message
            .reply
            .clone()
            .unwrap_or_else(|| message.subject.clone());
        let item = Arc::new(Item { message, event });
        let key = item.key_bytes();
        self.delivery.handle(
            now,
            delivery::Input::Received {
                meta,
                key,
                item,
                reply,
                redriven: false,
            },
        );
    }

    /// What the machines want. Says whether there is something new to wait for.
    fn outputs(&mut self, now: Time) -> bool {
        let acknowledged = self.feeds.iter().any(Feed::acknowledged);
        while let Some(output) = self.delivery.poll() {
            match output {
                delivery::Output::Run(job) => self.run_job(job),
                delivery::Output::RunBatch(jobs) => {
                    for job in jobs {
                        self.run_job(job);
                    }
                }
                delivery::Output::Publish(message) => {
                    // Core NATS has nothing to acknowledge.
                    if acknowledged {
                        self.outbox.push(message);
                    }
                }
                delivery::Output::Event(event) => self.lanes.tell_delivery(&event),
            }
        }
        let free = self.delivery.free();
        let mut repairs = false;
        for feed in &mut self.feeds {
            repairs |= feed.demand(now, free, &self.lanes);
        }
        repairs
    }

    fn run_job(&mut self, job: Work) {
        let handoff = self.lanes.handoff();
        if let Err(job) = handoff.push(job) {
            // The bus is closing: told to stop in a moment. (The lanes have room for
            // all that is held.)
            self.refused.push(job.id);
            return;
        }
        if let Some(hire) = &self.hire
            && self.hired < self.options.concurrency
            && handoff.waiting().jobs > handoff.waiting().idle
        {
            self.hired += 1;
            self.bus.runtime.spawn(hire(Arc::clone(&self.lanes)));
        }
    }

    /// Whether the machines' next deadline has come; else wakes the task then.
    fn slept(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let feeds = self.feeds.iter().filter_map(Feed::deadline);
        let Some(deadline) = self.delivery.deadline().into_iter().chain(feeds).min() else {
            self.sleep = None;
            return false;
        };
        if deadline <= now {
            return true;
        }
        if self.sleep.as_ref().is_none_or(|(at, _)| *at != deadline) {
            self.sleep = Some((deadline, self.bus.runtime.sleep_until(deadline)));
        }
        self.sleep
            .as_mut()
            .is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready())
    }
}
