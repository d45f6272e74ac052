//! The driver of a subscription: one task that owns its machines.
//!
//! It decides nothing. It moves messages from its [feeds](feed) to the machine that
//! orders and settles, work from there to the lanes, words from the lanes to the
//! machine, and what the machines want published to the link; then it sleeps until
//! the earliest deadline.

mod controls;
mod feed;
mod outbox;
mod start;
mod stopping;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::{mpsc, oneshot};
use futures_core::future::BoxFuture;
use jetbus_core::dead_letter::{Origin, Redriven};
use jetbus_core::delivery::{self, Delivery, JobId, Outcome, Task};
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::shared::counters::Handle;
use jetbus_core::{Message, Time};

use self::feed::{Feed, Missing};
use self::outbox::Outbox;
pub(super) use self::start::start;
use self::stopping::End;
pub(crate) use self::stopping::LAST_WORDS;
use super::delivery::Item;
use super::lanes::{Done, FAILED, HANDLED, Lanes, RECEIVED, Work};
use super::options::Options;
use super::subscription::Control;
use crate::bus::{Claim, Inner};
use crate::dead_letters::Burials;

/// Makes a worker: the task that handles events of these lanes.
pub(super) type Hire = Box<dyn Fn(&Arc<Lanes>) -> BoxFuture<'static, ()> + Send>;

/// How many messages and words are taken in before the task lets others run.
const BUDGET: usize = 256;

/// Makes a redriven message what it was, and says where that was. One that somebody
/// else published stays what it is.
fn restore(message: &mut Message) -> Option<Box<Origin>> {
    let Redriven { origin, headers } = Redriven::read(&message.headers).ok()?;
    message.subject = origin.subject.clone();
    message.headers = headers;
    Some(Box::new(origin))
}

struct Driver {
    bus: Arc<Inner>,
    lanes: Arc<Lanes>,
    counts: Handle<3, 1>,
    controls: mpsc::Receiver<Control>,
    /// Where messages come from.
    feeds: Vec<Feed>,
    outbox: Outbox,
    burials: Burials,
    delivery: Delivery<Arc<Item>>,
    hire: Option<Hire>,
    /// Ends the watch over handlers that block their threads.
    _watch: Option<oneshot::Sender<Infallible>>,
    options: Options,
    /// The session that the machines know of; 0 for none.
    generation: u64,
    sleep: Option<(Time, BoxFuture<'static, ()>)>,
    stopping: bool,
    paused: bool,
    /// Whether handles wish leases to be renewed.
    renews: bool,
    /// Jobs that the lanes would not take any more.
    refused: Vec<JobId>,
    /// How it ends.
    end: End,
    _claim: Claim,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.bus.runtime.now();
        let mut again = self.controls(cx);
        self.renewals(now);
        again |= self.session(now);
        again |= self.words(now, cx);
        again |= self.messages(now, cx);
        again |= self.recalls(now, cx);
        for feed in &mut self.feeds {
            let unsettled = || self.delivery.lowest_unsettled();
            again |= feed.repair(now, unsettled, &self.lanes, cx);
            if feed.was_replaced() && !feed.redriven() {
                self.delivery.handle(now, delivery::Input::Replaced);
            }
            again |= feed.forgetting(cx);
            again |= feed.watch(now, &self.lanes, cx);
            again |= feed.answer(cx);
            // Those of the redriven are of the same group.
            if feed.turned_shared() && !feed.redriven() {
                self.lanes.tell_shared();
            }
        }
        self.delivery.handle(now, delivery::Input::Tick);
        again |= self.outputs(now);
        again |= self.outbox.publish(&mut self.feeds, cx);
        again |= self.renews && self.outbox.is_empty();
        again |= self.give_up(now);
        if self.has_ended(now) {
            return Poll::Ready(());
        }
        self.lanes.gauges.holds(
            self.delivery.held(),
            self.delivery.running(),
            self.delivery.parked(),
        );
        if again || self.slept(now, cx) {
            // Others run first; then on from here.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
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

    /// What handlers said, and whoever stores dead letters.
    fn words(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        // As many as are stored at once.
        while let Poll::Ready((id, outcome)) = self.burials.poll_done(cx) {
            self.delivery
                .handle(now, delivery::Input::Done { id, outcome });
        }
        for _ in 0..BUDGET {
            let Poll::Ready(done) = self.lanes.handoff().poll_done(cx) else {
                return false;
            };
            if !self.stopping && self.lanes.handoff().is_closed() {
                // It may have ended after it was told to stop, and is counted there.
                self.controls(cx);
            }
            let input = match done {
                Done::One(id, outcome) => {
                    self.count(&outcome);
                    delivery::Input::Done { id, outcome }
                }
                Done::Many(outcomes) => delivery::Input::BatchDone(outcomes),
            };
            self.delivery.handle(now, input);
            // There is one worker less if it was dropped.
            self.hire();
        }
        true
    }

    /// Workers count for themselves, the readers of streams do not.
    fn count(&self, outcome: &Outcome) {
        match outcome {
            _ if self.hire.is_some() => {}
            Outcome::Ack | Outcome::Settled => self.counts.add::<HANDLED>(1),
            Outcome::Failed { .. } => self.counts.add::<FAILED>(1),
            _ => {}
        }
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
            if !feed.acknowledged() && (self.paused || self.delivery.free() == 0) {
                return false;
            }
            match feed.poll_next(now, cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(message)) => {
                    let redriven = feed.redriven();
                    if let Some((meta, message)) = feed.read(now, message) {
                        self.receive(now, meta, message, redriven);
                    }
                }
                Poll::Ready(None) => {
                    self.stop();
                    // What is given back in this very round counts too.
                    self.outputs(now);
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

    /// What feeds found out about messages that were lost on their way.
    fn recalls(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for place in 0..self.feeds.len() {
            let Some(feed) = self.feeds.get_mut(place) else {
                break;
            };
            let redriven = feed.redriven();
            let Poll::Ready(found) = feed.recalling(now, &self.lanes, cx) else {
                continue;
            };
            any = true;
            let Some(found) = found else {
                self.stop();
                continue;
            };
            // Another process whose connection is down too looks as if it were not there.
            // What it holds must not be handled here: its lease has to run out first.
            let back = !self.options.at_most_once;
            for Missing { meta, key, reply } in found.missing {
                if !self.delivery.has(&meta, redriven) {
                    feed.awaits(&meta);
                }
                let missing = delivery::Input::Missing {
                    meta,
                    key: key.filter(|_| !self.options.unordered),
                    reply,
                    redriven,
                    back,
                };
                self.delivery.handle(now, missing);
            }
            // As if it had been taken in when its lease began, which is to be renewed.
            for (began, meta, message) in found.held {
                self.receive(began, meta, message, redriven);
            }
        }
        any
    }

    fn receive(&mut self, now: Time, meta: Meta, mut message: Message, redriven: bool) {
        self.counts.add::<RECEIVED>(1);
        if !redriven {
            self.lanes.gauges.lags(meta.pending);
        }
        let reply = message
            .reply
            .clone()
            .unwrap_or_else(|| message.subject.clone());
        let origin = redriven.then(|| restore(&mut message)).flatten();
        let item = Arc::new(Item::new(message, self.options.events, origin));
        let key = item.key_bytes().filter(|_| !self.options.unordered);
        self.delivery.handle(
            now,
            delivery::Input::Received {
                meta,
                key,
                item,
                reply,
                redriven,
            },
        );
    }

    /// What the machines want. Says whether there is something new to wait for.
    fn outputs(&mut self, now: Time) -> bool {
        let acknowledged = self.feeds.iter().any(Feed::acknowledged);
        while let Some(output) = self.delivery.poll() {
            match output {
                delivery::Output::Run(job) => self.hand_out(Work::One(job)),
                delivery::Output::RunBatch(jobs) => self.hand_out(Work::Many(jobs)),
                delivery::Output::Publish(message) => {
                    // Core NATS has nothing to acknowledge.
                    if acknowledged {
                        for feed in &mut self.feeds {
                            feed.said(&message);
                        }
                        self.outbox.push(message);
                    }
                }
                delivery::Output::Event(event) => self.lanes.tell_delivery(&event),
            }
        }
        for feed in &mut self.feeds {
            for renewal in feed.renewals(now) {
                self.outbox.push(renewal);
            }
        }
        let free = self.delivery.free();
        let mut repairs = false;
        for feed in &mut self.feeds {
            let unsettled = || self.delivery.lowest_unsettled();
            repairs |= feed.demand(now, free, unsettled, &self.lanes);
        }
        repairs
    }

    fn hand_out(&mut self, work: Work) {
        let work = match work {
            Work::One(job) if job.task != Task::Handle => {
                self.burials.start(job);
                return;
            }
            work => work,
        };
        if let Err(work) = self.lanes.handoff().push(work) {
            // The bus is closing: told to stop in a moment. (The lanes have room for
            // all that is held, or what is refused would never run.)
            debug_assert!(self.lanes.handoff().is_closed(), "the lanes are full");
            self.refused.extend(work.ids());
            return;
        }
        self.hire();
    }

    /// One more worker, if there is work for it.
    fn hire(&self) {
        let waiting = self.lanes.handoff().waiting();
        if let Some(hire) = &self.hire
            && waiting.jobs > waiting.idle
            && self.lanes.hired() < self.options.concurrency()
        {
            self.bus.runtime.spawn(hire(&self.lanes));
        }
    }

    /// Whether the machines' next deadline has come; else wakes the task then.
    fn slept(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let feeds = self.feeds.iter().filter_map(Feed::deadline);
        let Some(deadline) = (self.delivery.deadline().into_iter())
            .chain(feeds)
            .chain(self.end.deadline())
            .min()
        else {
            self.sleep = None;
            return false;
        };
        if deadline <= now {
            return true;
        }
        if let Some((at, sleep)) = &mut self.sleep
            && *at == deadline
            && sleep.as_mut().poll(cx).is_pending()
        {
            return false;
        }
        let mut sleep = self.bus.runtime.sleep_until(deadline);
        let over = sleep.as_mut().poll(cx).is_ready();
        // What is over is never polled again.
        self.sleep = (!over).then_some((deadline, sleep));
        over
    }
}
