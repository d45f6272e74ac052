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
//! # Identity
//!
//! Stream sequence and time of storing name a message; the time tells a message
//! of a stream that was deleted and made again from an older one with its sequence.
//! A redriven message comes from another stream: it is never one of the ordinary.

mod seen;
mod settled;
mod words;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use self::seen::Seen;
use self::settled::{Settled, Verdict};
pub use self::words::{
    AtShare, Batch, Config, DeliveryEvent, Highest, Input, Job, JobId, Key, Letter, Outcome,
    Output, Report, Task,
};
use crate::dead_letter::Reason;
use crate::jetstream::ack::{self, Meta};
use crate::keyed::{Id, Keyed};
use crate::random::Random;
use crate::{Outbound, Subject, Time, Timestamp};

type Identity = (u64, Timestamp, bool);

#[derive(Debug)]
struct Held<T> {
    meta: Meta,
    /// It comes from another stream.
    redriven: bool,
    reply: Subject,
    /// When its lease began anew.
    renewed: Time,
    attempt: u32,
    /// How often it was handed out; unlike attempts, never taken back.
    runs: u32,
    /// Of what failed here: when first, when last, and why.
    failures: Option<Box<Failures>>,
    /// Set when it is to be stored as a dead letter.
    letter: Option<Reason>,
    /// How often that failed.
    unburied: u32,
    state: State<T>,
}

#[derive(Debug)]
struct Failures {
    first: Time,
    last: Time,
    error: Box<str>,
}

#[derive(Debug)]
enum State<T> {
    Here(T),
    /// Given back, and waited for. When `due`, its place counts as free.
    Away {
        due: bool,
    },
}

impl<T> Held<T> {
    const fn new(now: Time, meta: Meta, redriven: bool, reply: Subject, state: State<T>) -> Self {
        Self {
            meta,
            redriven,
            reply,
            renewed: now,
            attempt: 0,
            runs: 0,
            failures: None,
            letter: None,
            unburied: 0,
            state,
        }
    }

    const fn identity(&self) -> Identity {
        (self.meta.stream_seq, self.meta.timestamp, self.redriven)
    }

    /// What is to be done with it.
    fn task(&self) -> Task {
        let Some(reason) = self.letter else {
            return Task::Handle;
        };
        let failures = self.failures.as_ref();
        Task::Bury(Box::new(Letter {
            reason,
            error: failures.map_or_else(Box::default, |failures| failures.error.clone()),
            attempts: self.attempt,
            first_failed: failures.map(|failures| failures.first),
            last_failed: failures.map(|failures| failures.last),
        }))
    }

    fn note_failure(&mut self, now: Time, error: Box<str>) {
        let first = self
            .failures
            .as_ref()
            .map_or(now, |failures| failures.first);
        self.failures = Some(Box::new(Failures {
            first,
            last: now,
            error,
        }));
    }
}

/// The messages of one consumer that are here. See the [module](self).
#[derive(Debug)]
pub struct Delivery<T> {
    config: Config,
    random: Random,
    keyed: Keyed<Key, Held<T>>,
    table: HashMap<Identity, Id, FixedState>,
    settled: Settled,
    seen: Seen,
    /// Empty places that count as free.
    vacant: usize,
    running: usize,
    connected: bool,
    stopping: bool,
    report: Report,
    /// When leases are looked at next.
    lease_at: Time,
    publishes: VecDeque<Outbound>,
    events: VecDeque<DeliveryEvent>,
}

impl<T: Clone> Delivery<T> {
    /// Holds nothing.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.window = config.window.max(1);
        config.ack_wait = config.ack_wait.max(Duration::from_millis(100));
        let mut random = Random::new(config.seed);
        Self {
            config,
            keyed: Keyed::new(random.next()),
            table: HashMap::with_hasher(FixedState::with_seed(random.next())),
            settled: Settled::new(config.window, random.next()),
            seen: Seen::default(),
            random,
            vacant: 0,
            running: 0,
            connected: true,
            stopping: false,
            report: Report::default(),
            lease_at: Time::NEVER,
            publishes: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes in what happened.
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
            Input::Missing { meta, key } => self.missing(now, meta, key),
            Input::Done { id, outcome } => self.done(now, id, outcome),
            Input::BatchDone(outcomes) => {
                for (id, outcome) in outcomes {
                    self.done(now, id, outcome);
                }
            }
            Input::Progress { id } => {
                if self.is_running(id) {
                    self.renew(now, id.id);
                }
            }
            Input::Connected => self.reconnected(now),
            Input::Disconnected => self.connected = false,
            Input::Renewed => self.seen.renewed(),
            Input::Stop => self.stop(),
            Input::Abandon => self.abandon(),
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// Takes back a job that was handed out and that nobody started: it does not
    /// count as an attempt, and runs later; when stopping it is given back.
    /// `false` when there is no such job.
    pub fn take_back(&mut self, id: JobId) -> bool {
        if !self.is_running(id) {
            return false;
        }
        self.running -= 1;
        if let Some(held) = self.keyed.item_mut(id.id)
            && held.letter.is_none()
        {
            held.attempt = held.attempt.saturating_sub(1);
        }
        self.keyed.release(id.id);
        if self.stopping {
            self.give_back_ready();
        }
        true
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
        let id = self.keyed.next_ready()?;
        let held = self.keyed.item_mut(id)?;
        let State::Here(item) = &held.state else {
            return None;
        };
        let item = item.clone();
        let task = held.task();
        if task == Task::Handle {
            held.attempt = held.attempt.saturating_add(1);
        }
        held.runs = held.runs.wrapping_add(1);
        self.running += 1;
        Some(Output::Run(Job {
            id: JobId { id, run: held.runs },
            item,
            meta: held.meta.clone(),
            attempt: held.attempt,
            task,
        }))
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let leased = self.connected && !self.keyed.is_empty() && self.lease_at < Time::NEVER;
        let lease = leased.then_some(self.lease_at);
        lease.into_iter().chain(self.keyed.deadline()).min()
    }

    /// Free places.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.config.window.saturating_sub(self.held())
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

    /// The lowest stream sequence held or waited for; of what is redriven, nothing.
    /// Looks at all that is held.
    #[must_use]
    pub fn lowest_unsettled(&self) -> Option<u64> {
        let ordinary = self.keyed.iter().filter(|(_, held)| !held.redriven);
        ordinary.map(|(_, held)| held.meta.stream_seq).min()
    }

    /// How far deliveries of the consumer have come, since it was made.
    #[must_use]
    pub const fn highest_received(&self) -> Option<Highest> {
        self.seen.highest()
    }

    /// Whether somebody else was seen to get deliveries of the consumer.
    #[must_use]
    pub const fn shared(&self) -> bool {
        self.seen.shared()
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

    fn received(&mut self, now: Time, key: Option<Key>, held: Held<T>) {
        if !held.redriven && self.seen.received(now, &held.meta) {
            self.events.push_back(DeliveryEvent::SharedConsumer);
        }
        if let Some(&id) = self.table.get(&held.identity()) {
            self.received_again(now, id, held);
            return;
        }
        if let Some(verdict) = self.settled.verdict(held.identity()) {
            // Its acknowledgement was lost, or crossed this delivery.
            let payload = match verdict {
                Verdict::Acked => ack::ack(),
                Verdict::Termed => ack::term(None),
            };
            self.publish(held.reply, payload);
            return;
        }
        let window = self.config.window;
        // What was waited for and comes back is never refused: up to a third window.
        if self.held() >= window.saturating_mul(2) || self.keyed.len() >= window.saturating_mul(3) {
            let stream_seq = held.meta.stream_seq;
            self.publish(held.reply, ack::nak(None));
            self.events
                .push_back(DeliveryEvent::Overflow { stream_seq });
            return;
        }
        self.insert(key, held);
        self.lease_at = self.lease_at.min(now + self.lease());
        if self.stopping {
            self.give_back_ready();
        }
    }

    /// Something held or waited for was delivered again: only the newest reply counts.
    fn received_again(&mut self, now: Time, id: Id, new: Held<T>) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        held.meta = new.meta;
        held.reply = new.reply;
        held.renewed = now;
        if let State::Away { due } = held.state {
            held.state = new.state;
            self.vacant -= usize::from(due);
            self.keyed.release(id);
            self.lease_at = self.lease_at.min(now + self.lease());
        }
    }

    /// An empty place for something that was on a connection that broke.
    fn missing(&mut self, now: Time, meta: Meta, key: Option<Key>) {
        self.seen.delivered(&meta);
        let stream_seq = meta.stream_seq;
        let reply = Subject::from_static("");
        let held = Held::new(now, meta, false, reply, State::Away { due: true });
        let known = self.table.contains_key(&held.identity())
            || self.settled.verdict(held.identity()).is_some();
        if known || key.is_none() || self.stopping {
            return;
        }
        if self.vacant >= self.config.window {
            self.events
                .push_back(DeliveryEvent::NotReturned { stream_seq });
            return;
        }
        let id = self.insert(key, held);
        self.vacant += 1;
        self.keyed.park(id, now + self.absence());
    }

    /// Puts it in its key's queue: in stream order, but what is redriven is behind all
    /// and stays where it is.
    fn insert(&mut self, key: Option<Key>, held: Held<T>) -> Id {
        let (redriven, stream_seq) = (held.redriven, held.meta.stream_seq);
        let identity = held.identity();
        let id = self.keyed.insert(key, held, |other: &Held<T>| {
            let ordinary = !redriven && !other.redriven;
            ordinary.then(|| stream_seq.cmp(&other.meta.stream_seq))
        });
        self.table.insert(identity, id);
        id
    }

    fn done(&mut self, now: Time, job: JobId, outcome: Outcome) {
        if !self.is_running(job) {
            return;
        }
        let id = job.id;
        self.running -= 1;
        match outcome {
            Outcome::Ack => self.settle(id, Some(ack::ack()), Verdict::Acked),
            Outcome::Settled => self.settle(id, None, Verdict::Acked),
            Outcome::Term { reason } => {
                self.settle(id, Some(ack::term(reason.as_deref())), Verdict::Termed);
            }
            Outcome::Failed { retry_after, error } => self.failed(now, id, retry_after, error),
            Outcome::DeadLetter { reason, error } => {
                if let Some(held) = self.keyed.item_mut(id) {
                    held.note_failure(now, error);
                    held.letter = Some(reason);
                    self.keyed.release(id);
                }
            }
            Outcome::Buried => self.settle(id, Some(ack::ack()), Verdict::Acked),
            Outcome::NotBuried { error } => self.not_buried(now, id, error),
            Outcome::Nak { after } => self.give_back(now, id, after),
            Outcome::Returned => {
                if let Some(held) = self.keyed.item(id) {
                    let stream_seq = held.meta.stream_seq;
                    self.events
                        .push_back(DeliveryEvent::Returned { stream_seq });
                }
                self.give_back(now, id, None);
            }
        }
        if self.stopping {
            self.give_back_ready();
        }
    }

    fn settle(&mut self, id: Id, payload: Option<Bytes>, verdict: Verdict) {
        let Some(held) = self.remove(id) else {
            return;
        };
        self.settled.remember(held.identity(), verdict);
        if let Some(payload) = payload {
            self.publish(held.reply, payload);
        }
    }

    /// Everything that decides about a failure belongs here.
    fn failed(&mut self, now: Time, id: Id, retry_after: Option<Duration>, error: Box<str>) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        held.note_failure(now, error);
        let (stream_seq, attempt) = (held.meta.stream_seq, held.attempt);
        if self.config.attempts.is_some_and(|most| attempt >= most) {
            held.letter = Some(Reason::Exhausted);
            self.keyed.release(id);
            return;
        }
        let random = self.random.next();
        let delay = retry_after.unwrap_or_else(|| self.config.retry.delay(attempt, random));
        if self.stopping {
            self.give_back(now, id, Some(delay));
            return;
        }
        self.keyed.park(id, now + delay);
        self.events.push_back(DeliveryEvent::Retrying {
            stream_seq,
            attempt,
            delay,
        });
    }

    /// A dead letter that could not be stored is tried again; its key waits.
    fn not_buried(&mut self, now: Time, id: Id, error: Box<str>) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        held.unburied = held.unburied.saturating_add(1);
        let (stream_seq, failures) = (held.meta.stream_seq, held.unburied);
        let delay = self.config.retry.delay(failures, self.random.next());
        if self.stopping {
            self.give_back(now, id, Some(delay));
            return;
        }
        self.keyed.park(id, now + delay);
        self.events.push_back(DeliveryEvent::NotBuried {
            stream_seq,
            error,
            delay,
        });
    }

    /// Gives back a message that ran.
    fn give_back(&mut self, now: Time, id: Id, after: Option<Duration>) {
        if self.stopping {
            let mut next = Some(id);
            while let Some(id) = next {
                next = self.keyed.behind(id);
                if let Some(held) = self.remove(id) {
                    self.publish(held.reply, ack::nak(after));
                }
            }
            return;
        }
        let keyless = !self.keyed.has_key(id);
        let crowded = self.keyed.len() - self.held() >= self.config.window;
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        let (reply, stream_seq) = (held.reply.clone(), held.meta.stream_seq);
        held.state = State::Away { due: false };
        self.publish(reply, ack::nak(after));
        if keyless || crowded {
            self.remove(id);
            if crowded && !keyless {
                self.events
                    .push_back(DeliveryEvent::NotReturned { stream_seq });
            }
            return;
        }
        self.keyed.park(id, now + after.unwrap_or_default());
    }

    /// When stopping: gives back what could run, and what can when that has gone, in
    /// stream order.
    fn give_back_ready(&mut self) {
        let mut given = Vec::new();
        while let Some(id) = self.keyed.next_ready() {
            given.extend(self.remove(id));
        }
        given.sort_by_key(|held| held.meta.stream_seq);
        for held in given {
            self.publish(held.reply, ack::nak(None));
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        for id in all {
            let away = |held: &Held<T>| matches!(held.state, State::Away { .. });
            if self.keyed.item(id).is_some_and(away) {
                self.remove(id);
            } else if !self.keyed.is_out(id) {
                self.keyed.release(id);
            }
        }
        self.give_back_ready();
    }

    /// Gives up what runs. What waits behind it is given back, but not to come before
    /// the leases of what ran are over.
    fn abandon(&mut self) {
        self.stop();
        let delay = Some(self.absence());
        let mut given = Vec::new();
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        for id in all {
            let out = self.keyed.is_out(id);
            match self.remove(id) {
                Some(_) if out => self.report.abandoned += 1,
                held => given.extend(held),
            }
        }
        self.running = 0;
        given.sort_by_key(|held| held.meta.stream_seq);
        self.report.returned += given.len();
        for held in given {
            self.publish(held.reply, ack::nak(delay));
        }
    }

    fn reconnected(&mut self, now: Time) {
        if !self.connected {
            self.seen.reconnected(now + self.absence());
        }
        self.connected = true;
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        for id in all {
            match self.keyed.item(id).map(|held| &held.state) {
                Some(State::Here(_)) => self.renew(now, id),
                // It could not come back while the link was lost.
                Some(State::Away { due: true }) => {
                    self.keyed.park(id, now + self.absence());
                }
                Some(State::Away { due: false }) | None => {}
            }
        }
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
            let stream_seq = held.meta.stream_seq;
            match &mut held.state {
                State::Here(_) => {}
                State::Away { due } if !*due || !self.connected => {
                    self.vacant += usize::from(!*due);
                    *due = true;
                    self.keyed.park(id, now + self.absence());
                }
                State::Away { .. } => {
                    self.remove(id);
                    self.events
                        .push_back(DeliveryEvent::NotReturned { stream_seq });
                }
            }
        }
        if self.connected && now >= self.lease_at {
            self.renew_leases(now);
        }
    }

    /// Renews all leases that are about half as old as they may get, so that they are
    /// renewed together, and looks at the others when the oldest is due.
    fn renew_leases(&mut self, now: Time) {
        let mut oldest = Time::NEVER;
        let mut due = Vec::new();
        for (id, held) in self.keyed.iter() {
            if matches!(held.state, State::Away { .. }) {
                continue;
            }
            if now.since(held.renewed) >= self.lease() / 2 {
                due.push(id);
                oldest = oldest.min(now);
            } else {
                oldest = oldest.min(held.renewed);
            }
        }
        for id in due {
            self.renew(now, id);
        }
        self.lease_at = oldest + self.lease();
    }

    fn renew(&mut self, now: Time, id: Id) {
        if !self.connected {
            return;
        }
        if let Some(held) = self.keyed.item_mut(id) {
            held.renewed = now;
            let reply = held.reply.clone();
            self.publish(reply, ack::progress());
        }
    }

    fn lease(&self) -> Duration {
        self.config.ack_wait / 3
    }

    /// How long a message that was given back is awaited once it is due. A redelivery
    /// that was lost is repeated after `ack_wait`: it must not come a moment late.
    fn absence(&self) -> Duration {
        self.config.ack_wait + self.lease()
    }

    fn is_running(&self, job: JobId) -> bool {
        self.keyed.is_out(job.id)
            && self
                .keyed
                .item(job.id)
                .is_some_and(|held| held.runs == job.run)
    }

    fn remove(&mut self, id: Id) -> Option<Held<T>> {
        let held = self.keyed.finish(id)?;
        self.table.remove(&held.identity());
        self.vacant -= usize::from(matches!(held.state, State::Away { due: true }));
        Some(held)
    }

    fn publish(&mut self, reply: Subject, payload: Bytes) {
        if !self.connected && self.publishes.len() >= self.config.window.saturating_mul(2) {
            self.publishes.pop_front();
            self.events.push_back(DeliveryEvent::AckDropped);
        }
        self.publishes.push_back(Outbound::new(reply, payload));
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
