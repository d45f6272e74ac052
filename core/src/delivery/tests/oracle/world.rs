//! A server and workers, as plain as they can be, around the machine.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const KEYS: u64 = 4;

/// Ordinary messages have greater sequences; those up to it are redriven.
pub(super) const REDRIVEN: u64 = 1_000;

/// Keys by sequence; some messages have none.
pub(super) fn key(seq: u64) -> Option<u8> {
    let key = seq.wrapping_mul(0x9e37_79b9) % (KEYS + 1);
    (key < KEYS).then_some(key as u8)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum There {
    /// Delivered and not settled, its lease renewed at this time.
    Pending(Time),
    /// Given back or lost, to be delivered again from this time on.
    Back(Time),
    Settled,
}

/// What was handed out at once: one message, or a batch.
pub(super) struct Run {
    pub(super) jobs: Vec<Job<u64>>,
    batch: bool,
}

impl Run {
    fn has_key(&self, of: u8) -> bool {
        self.jobs.iter().any(|job| key(job.item) == Some(of))
    }
}

pub(super) struct World {
    pub(super) delivery: Delivery<u64>,
    pub(super) now: Time,
    config: Config,
    pub(super) last: u64,
    last_redriven: u64,
    /// What the server knows of the messages that were delivered.
    pub(super) there: BTreeMap<u64, There>,
    /// In the order of settling.
    settled: Vec<u64>,
    delivered: BTreeMap<u64, u64>,
    /// How often before it came here first.
    crashes: BTreeMap<u64, u64>,
    pub(super) running: Vec<Run>,
    /// How often a message was handled well, or stored as a dead letter.
    pub(super) handled: BTreeMap<u64, usize>,
    /// How often a message failed while it was held.
    failures: BTreeMap<u64, u32>,
    /// Order is not promised past these.
    excused: BTreeSet<u64>,
    /// What was in hand of its key when a redriven message came.
    behind: BTreeMap<u64, Vec<u64>>,
    online: bool,
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        Self {
            delivery: Delivery::new(config),
            now: Time::ZERO,
            config,
            last: REDRIVEN,
            last_redriven: 0,
            there: BTreeMap::new(),
            settled: Vec::new(),
            delivered: BTreeMap::new(),
            crashes: BTreeMap::new(),
            running: Vec::new(),
            handled: BTreeMap::new(),
            failures: BTreeMap::new(),
            excused: BTreeSet::new(),
            behind: BTreeMap::new(),
            online: true,
        }
    }

    fn give(&mut self, input: Input<u64>) -> Result<(), TestCaseError> {
        self.delivery.handle(self.now, input);
        self.settle()
    }

    /// Carries outputs to the server and the workers, and checks every one.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let mut out = out(&mut self.delivery);
        prop_assert!(self.online || out.sent.is_empty());
        for (seq, _, payload) in out.sent {
            let there = match &*payload {
                "+ACK" | "+TERM" => There::Settled,
                "+WPI" => There::Pending(self.now),
                "-NAK" => There::Back(self.now),
                delayed => {
                    let digits = delayed.trim_matches(|c: char| !c.is_ascii_digit());
                    let delay = Duration::from_nanos(digits.parse().unwrap());
                    There::Back(self.now + delay)
                }
            };
            // What the server has settled stays settled.
            if self.there[&seq] != There::Settled {
                self.there.insert(seq, there);
                if there == There::Settled {
                    self.settled.push(seq);
                }
            }
        }
        for event in out.events {
            if let DeliveryEvent::NotReturned { stream_seq }
            | DeliveryEvent::Overflow { stream_seq } = event
            {
                self.excused.insert(stream_seq);
                self.failures.remove(&stream_seq);
            }
        }
        while !out.jobs.is_empty() {
            let first = out.jobs[0].item;
            let batch = out.batches.iter().find(|batch| batch[0] == first);
            let len = batch.map_or(1, Vec::len);
            let batch = batch.is_some();
            let jobs = out.jobs.drain(..len).collect();
            self.start(Run { jobs, batch })?;
        }
        let running: usize = self.running.iter().map(|run| run.jobs.len()).sum();
        prop_assert_eq!(self.delivery.running(), running);
        sound(&self.delivery)
    }

    fn is_suspect(&self, run: &Run) -> bool {
        let after = self.config.suspect_after;
        let handles = run.jobs.iter().filter(|job| job.task == Task::Handle);
        handles
            .map(|job| self.crashes[&job.item])
            .any(|n| n >= after)
    }

    /// Checks what begins to run.
    fn start(&mut self, run: Run) -> Result<(), TestCaseError> {
        prop_assert!(
            !self.running.iter().any(|other| self.is_suspect(other)),
            "beside a suspect"
        );
        if self.is_suspect(&run) {
            prop_assert!(self.running.is_empty() && run.jobs.len() == 1, "not alone");
        }
        let batches = self.config.batch.map(|batch| batch.max);
        prop_assert!(run.jobs.len() <= batches.unwrap_or(1));
        for (place, job) in run.jobs.iter().enumerate() {
            let seq = job.item;
            prop_assert!(!self.handled.contains_key(&seq), "{seq} ran again");
            match &job.task {
                Task::Handle => {
                    prop_assert_eq!(run.batch, batches.is_some());
                    prop_assert!(self.crashes[&seq] < self.config.crash_limit);
                    let failures = self.failures.get(&seq).copied().unwrap_or_default();
                    prop_assert!(self.config.attempts.is_none_or(|most| failures < most));
                }
                Task::Bury(letter) => {
                    prop_assert!(!run.batch);
                    let exhausted = letter.reason == Reason::Exhausted;
                    let failures = self.failures.get(&seq).copied();
                    prop_assert!(!exhausted || self.config.attempts == failures);
                    let backlogged = letter.reason == Reason::Backlogged;
                    let gives_up = self.config.at_share == AtShare::DeadLetter;
                    prop_assert!(!backlogged || gives_up);
                }
            }
            let Some(of) = key(seq) else {
                continue;
            };
            prop_assert!(
                !self.running.iter().any(|run| run.has_key(of)),
                "two of a key"
            );
            let before: Vec<_> = match self.behind.get(&seq) {
                Some(before) => before.clone(),
                None => (REDRIVEN + 1..seq)
                    .filter(|seq| key(*seq) == Some(of))
                    .collect(),
            };
            for earlier in before {
                prop_assert!(
                    self.handled.contains_key(&earlier)
                        || self.excused.contains(&earlier)
                        || run.jobs[..place].iter().any(|job| job.item == earlier),
                    "{seq} ran before {earlier}"
                );
            }
        }
        self.running.push(run);
        Ok(())
    }

    /// Delivers what is due again, then what is new, as the server does. Others have
    /// been given a new one `crashes` times.
    pub(super) fn deliver(&mut self, crashes: u64) -> Result<bool, TestCaseError> {
        if self.delivery.free() == 0 || !self.online {
            return Ok(false);
        }
        let seq = self.next(crashes);
        self.send(seq)?;
        Ok(true)
    }

    fn next(&mut self, crashes: u64) -> u64 {
        let seq = self.due_again().unwrap_or(self.last + 1);
        if seq > self.last {
            self.last = seq;
            self.delivered.insert(seq, crashes);
            self.crashes.insert(seq, crashes + 1);
        }
        seq
    }

    pub(super) fn due_again(&self) -> Option<u64> {
        let due = |there: &There| matches!(there, There::Back(at) if *at <= self.now);
        let mut there = self.there.iter();
        there.find(|(_, there)| due(there)).map(|(seq, _)| *seq)
    }

    fn send(&mut self, seq: u64) -> Result<(), TestCaseError> {
        let delivered = self.delivered.entry(seq).or_default();
        *delivered += 1;
        let mut input = message(seq, key(seq), *delivered);
        if let Input::Received { redriven, .. } = &mut input {
            *redriven = seq <= REDRIVEN;
        }
        if self.there.get(&seq) != Some(&There::Settled) {
            self.there.insert(seq, There::Pending(self.now));
        }
        self.give(input)
    }

    fn redrive(&mut self) -> Result<(), TestCaseError> {
        if self.delivery.free() == 0 || !self.online || self.last_redriven == REDRIVEN {
            return Ok(());
        }
        self.last_redriven += 1;
        let seq = self.last_redriven;
        self.crashes.insert(seq, 1);
        let unsettled = |there: &There| *there != There::Settled;
        let mut there: Vec<_> = self.there.clone().into_iter().collect();
        there.retain(|(seq, there)| unsettled(there) && !self.excused.contains(seq));
        let before = there.iter().map(|(seq, _)| *seq);
        let before = before.filter(|other| key(*other) == key(seq)).collect();
        self.behind.insert(seq, before);
        self.send(seq)
    }

    /// The connection breaks, and with it some deliveries are lost.
    fn lose(&mut self, count: usize) -> Result<(), TestCaseError> {
        if !self.online {
            return Ok(());
        }
        let mut lost = Vec::new();
        for _ in 0..count.min(self.delivery.free()) {
            if self.due_again().is_some_and(|seq| seq <= REDRIVEN) {
                break;
            }
            let seq = self.next(0);
            let delivered = self.delivered.entry(seq).or_default();
            *delivered += 1;
            lost.push(missing(seq, key(seq), *delivered));
            self.there.insert(seq, There::Back(self.now + ACK_WAIT));
        }
        self.link(false)?;
        self.link(true)?;
        for lost in lost {
            self.give(lost)?;
        }
        Ok(())
    }

    /// Takes a run by number.
    fn pick(&mut self, number: usize) -> Option<Run> {
        let len = self.running.len();
        (len > 0).then(|| self.running.swap_remove(number % len))
    }

    pub(super) fn finish(&mut self, number: usize, outcome: &Outcome) -> Result<(), TestCaseError> {
        match self.pick(number) {
            None => Ok(()),
            Some(run) if run.batch => self.finish_batch(number, &run, outcome),
            Some(run) => self.finish_one(&run.jobs[0], outcome.clone()),
        }
    }

    fn finish_one(&mut self, job: &Job<u64>, outcome: Outcome) -> Result<(), TestCaseError> {
        let (id, seq) = (job.id, job.item);
        let outcome = match (&job.task, outcome) {
            (Task::Bury(_), Outcome::Ack) => Outcome::Buried,
            (Task::Bury(_), Outcome::Failed { error, .. }) => Outcome::NotBuried { error },
            (_, outcome) => outcome,
        };
        self.note(seq, &outcome);
        self.give(Input::Done { id, outcome })
    }

    fn note(&mut self, seq: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Ack | Outcome::Buried => *self.handled.entry(seq).or_default() += 1,
            Outcome::Failed { .. } => *self.failures.entry(seq).or_default() += 1,
            // Nothing is kept of it.
            Outcome::Nak { .. } | Outcome::Returned if key(seq).is_none() => {
                self.failures.remove(&seq);
            }
            _ => {}
        }
    }

    /// Every third of them ends so, the others well.
    fn finish_batch(
        &mut self,
        number: usize,
        run: &Run,
        outcome: &Outcome,
    ) -> Result<(), TestCaseError> {
        let mut waiting = BTreeSet::new();
        let mut outcomes = Vec::new();
        for (place, job) in run.jobs.iter().enumerate() {
            let outcome = match (place + number).is_multiple_of(3) {
                true => outcome.clone(),
                false => Outcome::Ack,
            };
            if key(job.item).is_none_or(|key| !waiting.contains(&key)) {
                self.note(job.item, &outcome);
            }
            if outcome != Outcome::Ack {
                waiting.extend(key(job.item));
            }
            outcomes.push((job.id, outcome));
        }
        self.give(Input::BatchDone(outcomes))
    }

    /// Lets time pass from deadline to deadline, watching the leases.
    pub(super) fn wait(&mut self, millis: u64) -> Result<(), TestCaseError> {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            let deadline = self.delivery.deadline().unwrap_or(Time::NEVER);
            self.now = deadline.max(self.now).min(end);
            self.give(Input::Tick)?;
            let next = self.delivery.deadline();
            prop_assert!(next.is_none_or(|next| next > self.now), "spins");
            for (seq, there) in self.there.iter().filter(|_| self.online) {
                if let There::Pending(renewed) = there {
                    let age = self.now.since(*renewed);
                    prop_assert!(age <= ACK_WAIT / 2, "the lease of {seq} is {age:?} old");
                }
            }
        }
        Ok(())
    }

    pub(super) fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Deliver(count) => {
                for _ in 0..count {
                    self.deliver(0)?;
                }
            }
            Op::Crashed(crashes) => _ = self.deliver(crashes)?,
            Op::Redrive => self.redrive()?,
            Op::Lose(count) => self.lose(count)?,
            Op::Ack(number) => self.finish(number, &Outcome::Ack)?,
            Op::Fail(number, after) => {
                let retry_after = after.map(Duration::from_millis);
                self.finish(number, &failed(retry_after))?;
            }
            Op::GiveUp(number) => {
                let outcome = Outcome::DeadLetter {
                    reason: Reason::Terminal,
                    error: "never".into(),
                };
                self.finish(number, &outcome)?;
            }
            Op::Nak(number, after) => self.finish(number, &nak(after))?,
            Op::Return(number) => self.finish(number, &Outcome::Returned)?,
            Op::Progress(number) => {
                if let Some(run) = self.pick(number) {
                    let id = run.jobs[0].id;
                    self.running.push(run);
                    self.give(Input::Progress { id })?;
                }
            }
            Op::TakeBack(number) => {
                if let Some(run) = self.pick(number) {
                    let id = run.jobs[number % run.jobs.len()].id;
                    prop_assert!(self.delivery.take_back(id));
                    prop_assert!(!self.delivery.take_back(id));
                    self.settle()?;
                }
            }
            Op::Repeat(number) => {
                // Of those settled the last few, which are still remembered.
                let pending = |there: &There| matches!(there, There::Pending(_));
                let pending = self.there.iter().filter(|(_, there)| pending(there));
                let settled = self.settled.iter().rev().take(self.config.window / 2);
                let candidates: Vec<_> = pending.map(|(seq, _)| seq).chain(settled).collect();
                if self.online && !candidates.is_empty() {
                    self.send(*candidates[number % candidates.len()])?;
                }
            }
            Op::Wait(millis) => self.wait(millis)?,
            Op::Link(up) => self.link(up)?,
        }
        Ok(())
    }

    pub(super) fn link(&mut self, up: bool) -> Result<(), TestCaseError> {
        self.online = up;
        self.give(if up {
            Input::Connected
        } else {
            Input::Disconnected
        })
    }
}
