//! From received to settled: what happens to the messages of one consumer while
//! they are here.
//!
//! Received -> queued -> running -> settled. Messages of one key run one at a time
//! in stream order; a failed one runs again in place after a delay and holds its
//! successors; other keys go on. The lease of everything that is held, queued or
//! running or waiting to run again, is renewed until it is settled.
//!
//! # Given back
//!
//! A message given back to the server ([`Outcome::Nak`]) will come again, and must
//! not be overtaken by its key's successors. They are not given back with it, for
//! whatever arrived meanwhile could still overtake them all. Instead an empty place
//! stays at the head of the key: the successors stay held behind it, leases renewed,
//! until the message is delivered again and takes its place. So the order of a key
//! holds within this process whatever the delay, and when one redelivery is lost,
//! which the server repeats after `ack_wait`. If it does not come back within a third
//! more than `ack_wait` of being due (another process got it), the key goes on and
//! [`DeliveryEvent::NotReturned`] says so. The empty place counts as held until the
//! delay is over, then as free, so that there is room for it to come back.
//! When stopping nothing is awaited: a message given back takes its successors
//! along, in stream order and with the same delay, which makes the server deliver
//! them again in that order.
//!
//! What was on its way over a connection that broke ([`Input::Missing`]) is waited
//! for in the same way.
//!
//! # Failures
//!
//! A failed message is tried again in place. One that is given up is first stored as
//! a dead letter ([`Task::Bury`]) and only then settled; until then its key waits.
//! A key that holds its share of the places is told and, as configured, stalls the
//! subscription or gives up its failing head ([`AtShare`]).
//!
//! # Crashes
//!
//! Deliveries are not attempts: a message that is delivered again and again may be
//! what brings the process down with its handler. From some deliveries on it runs
//! alone, so that no other message is taken for guilty; from some more on it does not
//! run any more. Deliveries with another cause that is known here do not count.
//! Which of several suspects runs first is left to chance: those that are innocent
//! get their turn before the guilty one has brought the process down for them all.
//!
//! # Batches
//!
//! With [`Config::batch`] messages are handed out many at a time, those of one key in
//! order and only with all before them. One that is not settled calls back what
//! follows in its key: that runs again after it. Dead letters and suspects are never
//! among others.
//!
//! One message can be why a whole batch fails, and nobody says which. When several failed
//! and nothing went well, each of them goes with half as many the next time, and alone in
//! what may be its last attempt: what is given up failed by itself, and what is not to
//! blame goes on.
//!
//! # Identity
//!
//! Stream sequence and time of storing name a message; the time tells a message
//! of a stream that was deleted and made again from an older one with its sequence.
//! A redriven message comes from another stream: it is never one of the ordinary.

mod batches;
mod demand;
mod failures;
mod giving_back;
mod held;
mod index;
mod leases;
mod receiving;
mod recent;
mod running;
mod share;
mod words;

use std::collections::VecDeque;
use std::time::Duration;

use self::batches::Batches;
use self::held::{Held, Identity, State};
use self::index::Index;
use self::recent::{Recent, Verdict};
use self::share::Shares;
pub use self::words::{
    AtShare, Batch, Config, DeliveryEvent, Input, Job, JobId, Key, Letter, Outcome, Output, Report,
    Task,
};
use crate::jetstream::ack::{self, Meta};
use crate::keyed::{Id, Keyed};
use crate::random::Random;
use crate::{Outbound, Subject, Time};
use bytes::Bytes;

/// How many windows of settled messages are remembered. A server of one replica that is
/// killed forgets the acknowledgements of its last tenth of a second, and a consumer that is
/// made again begins at the lowest message that is not settled: behind one that waits for
/// its next attempt, many windows of other keys pass.
const REMEMBERED: usize = 16;

/// How many are remembered at least, however few places there are: what comes again after
/// its lease comes behind whatever was settled meanwhile, which the places do not bound.
const REMEMBERED_LEAST: usize = 1_000;

/// The most messages that are held with this window, those handed out included: two
/// windows of what the server sends, and one of what was waited for and comes back.
#[must_use]
pub const fn most_held(window: usize) -> usize {
    let window = if window == 0 { 1 } else { window };
    window.saturating_mul(3)
}

/// The messages of one consumer that are here. See the [module](self).
#[derive(Debug)]
pub struct Delivery<T> {
    config: Config,
    random: Random,
    keyed: Keyed<Key, Held<T>>,
    table: Index<Id>,
    settled: Recent<Verdict>,
    /// Of messages given back that no place waits for: deliveries that are no sign of
    /// a crash.
    pardoned: Recent<u64>,
    /// The highest stream sequence ever heard of, of what is not redriven: nothing is
    /// known of what is beyond, also when the consumer was made again.
    newest: u64,
    shares: Shares,
    batches: Batches,
    /// Empty places that count as free.
    vacant: usize,
    /// What could not be acknowledged, and has not come again since.
    unconfirmed: usize,
    running: usize,
    /// What runs is a suspect: nothing else does.
    alone: bool,
    connected: bool,
    stopping: bool,
    report: Report,
    /// When leases are looked at next.
    lease_at: Time,
    /// Something was refused: asks for nothing until then if there is no room.
    rests_until: Option<Time>,
    publishes: VecDeque<Outbound>,
    events: VecDeque<DeliveryEvent>,
}

impl<T: Clone> Delivery<T> {
    /// Holds nothing.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.window = config.window.max(1);
        config.ack_wait = config.ack_wait.max(Duration::from_millis(100));
        config.key_share = config.key_share.max(1);
        config.suspect_after = config.suspect_after.max(2);
        config.crash_limit = config.crash_limit.max(2);
        let mut random = Random::new(config.seed);
        let remembered = config.window.saturating_mul(REMEMBERED);
        let remembered = remembered.max(REMEMBERED_LEAST);
        Self {
            config,
            keyed: Keyed::new(random.next()),
            table: Index::new(most_held(config.window), random.next()),
            settled: Recent::new(remembered, random.next()),
            pardoned: Recent::new(config.window, random.next()),
            newest: 0,
            shares: Shares::new(config.key_share, random.next()),
            batches: Batches::new(config.batch),
            random,
            vacant: 0,
            unconfirmed: 0,
            running: 0,
            alone: false,
            connected: true,
            stopping: false,
            report: Report::default(),
            lease_at: Time::NEVER,
            rests_until: None,
            publishes: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes in what happened. [`Input::Received`] may say so later than it came, with the
    /// time at which it did.
    pub fn handle(&mut self, now: Time, input: Input<T>) {
        match input {
            Input::Received {
                meta,
                key,
                item,
                reply,
                redriven,
            } => {
                let held = Held::new(now, meta, redriven, reply, State::Here(item));
                self.received(now, key, held);
            }
            Input::Missing {
                meta,
                key,
                reply,
                redriven,
                back,
            } => {
                let held = Held::new(now, meta, redriven, reply, State::Away { due: true });
                self.missing(now, key, held, back);
            }
            Input::Done { id, outcome } => self.done(now, id, outcome),
            Input::BatchDone(outcomes) => self.batch_done(now, outcomes),
            Input::Progress { id } => {
                if self.is_running(id) {
                    self.renew(now, id.id);
                }
            }
            Input::Connected => self.reconnected(now),
            Input::Disconnected => self.connected = false,
            Input::Replaced => self.replaced(),
            Input::Stop => self.stop(),
            Input::Abandon => self.abandon(),
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// What is to be done; to be called until there is nothing after every input.
    pub fn poll(&mut self) -> Option<Output<T>> {
        if self.connected
            && let Some(publish) = self.publishes.pop_front()
        {
            return Some(Output::Publish(publish));
        }
        if let Some(event) = self.events.pop_front() {
            return Some(Output::Event(event));
        }
        // When stopping, whatever becomes ready was given back already.
        self.next_run()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let leased = self.connected && !self.keyed.is_empty() && self.lease_at < Time::NEVER;
        let lease = leased.then_some(self.lease_at);
        let others = [self.keyed.deadline(), self.batches.deadline(), self.rests()];
        lease.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Messages held: queued, running, waiting to run again, and those given back
    /// until their delay is over.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.keyed.len() - self.vacant
    }

    /// Messages handed out as jobs.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Messages that wait for a time: to run again, or to come again after they were
    /// given back or lost.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.keyed.parked()
    }

    /// The lowest stream sequence held or waited for; of what is redriven, nothing.
    /// Looks at all that is held.
    #[must_use]
    pub fn lowest_unsettled(&self) -> Option<u64> {
        let ordinary = self.keyed.iter().filter(|(_, held)| !held.redriven);
        ordinary.map(|(_, held)| held.meta.stream_seq).min()
    }

    /// Whether a message is here or settled, as far as is remembered.
    pub fn has(&mut self, meta: &Meta, redriven: bool) -> bool {
        let identity = (meta.stream_seq, meta.timestamp, redriven);
        let here = self.here(&identity).is_some();
        here || self.settled.get(identity).is_some()
    }

    /// What became of messages since it was told to stop.
    #[must_use]
    pub const fn report(&self) -> Report {
        self.report
    }

    /// Whether nothing is held or waited for.
    #[must_use]
    pub const fn idle(&self) -> bool {
        self.keyed.is_empty()
    }

    /// Whether it was stopped and nothing is held any more.
    #[must_use]
    pub const fn stopped(&self) -> bool {
        self.stopping && self.idle()
    }

    fn advance(&mut self, now: Time) {
        // What is parked again meanwhile has its turn at another time.
        for _ in 0..self.keyed.len() {
            let Some(id) = self.keyed.release_due(now) else {
                break;
            };
            let Some(held) = self.keyed.item_mut(id) else {
                continue;
            };
            match &mut held.state {
                State::Here(_) => {}
                State::Away { due } if !*due || !self.connected => {
                    self.vacant += usize::from(!*due);
                    *due = true;
                    self.keyed.park(id, now + self.absence());
                }
                State::Away { .. } => self.not_returned(id),
            }
        }
        if self.connected && now >= self.lease_at {
            self.renew_leases(now);
        }
        self.rests_until = self.rests_until.filter(|until| now < *until);
        let ready = self.keyed.first_ready().is_some();
        self.batches.advance(now, ready);
    }

    /// What is held or waited for by this name.
    fn known(&mut self, identity: &Identity) -> Option<Id> {
        let all = self.keyed.iter().map(|(id, held)| (held.identity(), id));
        self.table.get(identity, all)
    }

    /// What is held by this name, and not only waited for.
    fn here(&mut self, identity: &Identity) -> Option<&mut Held<T>> {
        let id = self.known(identity)?;
        self.keyed.item_mut(id).filter(|held| !held.is_away())
    }

    /// Takes it out; its key goes on.
    fn remove(&mut self, id: Id) -> Option<Held<T>> {
        self.shares.leaves(&self.keyed, id);
        let held = self.keyed.finish(id)?;
        self.table.remove(&held.identity());
        self.vacant -= usize::from(matches!(held.state, State::Away { due: true }));
        self.unconfirmed -= usize::from(held.unconfirmed);
        self.batches.leaves(held.is_odd());
        Some(held)
    }

    fn tell(&mut self, event: DeliveryEvent) {
        self.events.push_back(event);
    }

    fn publish(&mut self, reply: Subject, payload: Bytes) {
        // Of a stream that is gone.
        if reply.as_str().is_empty() {
            return;
        }
        if !self.connected && self.publishes.len() >= self.config.window.saturating_mul(2) {
            self.publishes.pop_front();
            self.tell(DeliveryEvent::AckDropped);
        }
        self.publishes.push_back(Outbound::new(reply, payload));
    }

    fn nak(&mut self, reply: Subject, after: Option<Duration>) {
        self.report.returned += usize::from(self.stopping);
        self.publish(reply, ack::nak(after));
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
