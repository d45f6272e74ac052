//! Random histories against a plain model of the server and the workers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const KEYS: u64 = 4;

/// Keys by sequence; some messages have none.
fn key(seq: u64) -> Option<u8> {
    let key = seq.wrapping_mul(0x9e37_79b9) % (KEYS + 1);
    (key < KEYS).then_some(key as u8)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum There {
    /// Delivered and not settled, its lease renewed at this time.
    Pending(Time),
    /// Given back, to be delivered again from this time on.
    Back(Time),
    Settled,
}

struct World {
    delivery: Delivery<u64>,
    now: Time,
    last: u64,
    /// What the server knows of the messages that were delivered.
    there: BTreeMap<u64, There>,
    delivered: u64,
    running: Vec<Job<u64>>,
    /// How often a message was handled well.
    handled: BTreeMap<u64, usize>,
    /// Order is not promised past these.
    excused: BTreeSet<u64>,
    online: bool,
    window: usize,
}

impl World {
    fn new(window: usize, seed: u64) -> Self {
        Self {
            delivery: Delivery::new(Config {
                seed,
                ..config(window)
            }),
            now: Time::ZERO,
            last: 0,
            there: BTreeMap::new(),
            delivered: 0,
            running: Vec::new(),
            handled: BTreeMap::new(),
            excused: BTreeSet::new(),
            online: true,
            window,
        }
    }

    fn give(&mut self, input: Input<u64>) -> Result<(), TestCaseError> {
        self.delivery.handle(self.now, input);
        self.settle()
    }

    /// Carries outputs to the server and the workers, and checks every one.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let out = out(&mut self.delivery);
        prop_assert!(self.online || out.sent.is_empty());
        for (seq, _, payload) in out.sent {
            let there = match &*payload {
                "+ACK" => There::Settled,
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
            }
        }
        for event in out.events {
            if let DeliveryEvent::NotReturned { stream_seq } = event {
                self.excused.insert(stream_seq);
            }
        }
        for job in out.jobs {
            let seq = job.item;
            prop_assert!(!self.handled.contains_key(&seq), "{seq} ran again");
            if let Some(of) = key(seq) {
                for other in &self.running {
                    prop_assert!(key(other.item) != Some(of), "two of a key at once");
                }
                for earlier in (1..seq).filter(|seq| key(*seq) == Some(of)) {
                    prop_assert!(
                        self.handled.contains_key(&earlier) || self.excused.contains(&earlier),
                        "{seq} ran before {earlier}"
                    );
                }
            }
            self.running.push(job);
        }
        prop_assert_eq!(self.delivery.running(), self.running.len());
        let free = self.window.saturating_sub(self.delivery.held());
        prop_assert_eq!(self.delivery.free(), free);
        Ok(())
    }

    /// Delivers what is due again, then what is new, as the server does.
    fn deliver(&mut self) -> Result<bool, TestCaseError> {
        if self.delivery.free() == 0 || !self.online {
            return Ok(false);
        }
        let seq = self.due_again().unwrap_or(self.last + 1);
        self.last = self.last.max(seq);
        self.send(seq)?;
        Ok(true)
    }

    fn due_again(&self) -> Option<u64> {
        let due = |there: &There| matches!(there, There::Back(at) if *at <= self.now);
        let mut there = self.there.iter();
        there.find(|(_, there)| due(there)).map(|(seq, _)| *seq)
    }

    fn send(&mut self, seq: u64) -> Result<(), TestCaseError> {
        self.delivered += 1;
        if self.there.get(&seq) != Some(&There::Settled) {
            self.there.insert(seq, There::Pending(self.now));
        }
        self.give(message(seq, key(seq), self.delivered))
    }

    /// Takes a running job by number.
    fn pick(&mut self, number: usize) -> Option<Job<u64>> {
        let len = self.running.len();
        (len > 0).then(|| self.running.swap_remove(number % len))
    }

    fn finish(&mut self, number: usize, outcome: Outcome) -> Result<(), TestCaseError> {
        let Some(job) = self.pick(number) else {
            return Ok(());
        };
        if outcome == Outcome::Ack {
            *self.handled.entry(job.item).or_default() += 1;
        }
        let id = job.id;
        self.give(Input::Done { id, outcome })
    }

    /// Lets time pass from deadline to deadline, watching the leases.
    fn wait(&mut self, millis: u64) -> Result<(), TestCaseError> {
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

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Deliver(count) => {
                for _ in 0..count {
                    self.deliver()?;
                }
            }
            Op::Ack(number) => self.finish(number, Outcome::Ack)?,
            Op::Fail(number, after) => {
                let retry_after = after.map(Duration::from_millis);
                self.finish(number, failed(retry_after))?;
            }
            Op::Nak(number, after) => self.finish(number, nak(after))?,
            Op::Return(number) => self.finish(number, Outcome::Returned)?,
            Op::Progress(number) => {
                if let Some(job) = self.pick(number) {
                    let id = job.id;
                    self.running.push(job);
                    self.give(Input::Progress { id })?;
                }
            }
            Op::TakeBack(number) => {
                if let Some(job) = self.pick(number) {
                    prop_assert!(self.delivery.take_back(job.id));
                    prop_assert!(!self.delivery.take_back(job.id));
                    self.settle()?;
                }
            }
            Op::Repeat(number) => {
                // Of the last few, so that those settled are still remembered.
                let recent = self.there.iter().rev().take(self.window / 2);
                let candidates: Vec<_> = recent
                    .filter(|(_, there)| !matches!(there, There::Back(_)))
                    .map(|(seq, _)| *seq)
                    .collect();
                if self.online && !candidates.is_empty() {
                    self.send(candidates[number % candidates.len()])?;
                }
            }
            Op::Wait(millis) => self.wait(millis)?,
            Op::Link(up) => self.link(up)?,
        }
        Ok(())
    }

    fn link(&mut self, up: bool) -> Result<(), TestCaseError> {
        self.online = up;
        self.give(if up {
            Input::Connected
        } else {
            Input::Disconnected
        })
    }
}

#[derive(Clone, Debug)]
enum Op {
    Deliver(usize),
    Ack(usize),
    Fail(usize, Option<u64>),
    Nak(usize, u64),
    Return(usize),
    Progress(usize),
    TakeBack(usize),
    /// A message is delivered once more although it is held, or was just settled.
    Repeat(usize),
    Wait(u64),
    Link(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let number = || 0..100_usize;
    prop_oneof![
        8 => (1..20_usize).prop_map(Op::Deliver),
        10 => number().prop_map(Op::Ack),
        3 => (number(), prop::option::of(0..2000_u64)).prop_map(|(n, t)| Op::Fail(n, t)),
        2 => (number(), 0..3000_u64).prop_map(|(n, t)| Op::Nak(n, t)),
        1 => number().prop_map(Op::Return),
        1 => number().prop_map(Op::Progress),
        1 => number().prop_map(Op::TakeBack),
        2 => number().prop_map(Op::Repeat),
        4 => (0..5000_u64).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn everything_is_handled_once_and_in_order(
        ops in prop::collection::vec(op(), 1..120),
        window in 1..40_usize,
        seed in any::<u64>(),
    ) {
        let mut world = World::new(window, seed);
        for op in &ops {
            world.run(op)?;
        }
        // From here on all goes well, and nothing new is stored.
        world.link(true)?;
        for _ in 0..10_000 {
            while !world.running.is_empty() {
                world.finish(0, Outcome::Ack)?;
            }
            if world.due_again().is_some() && world.deliver()? {
                continue;
            }
            if world.there.values().all(|there| *there == There::Settled) && world.delivery.idle() {
                break;
            }
            world.wait(500)?;
        }
        for seq in 1..=world.last {
            prop_assert_eq!(world.there.get(&seq), Some(&There::Settled), "{}", seq);
            prop_assert_eq!(world.handled.get(&seq), Some(&1), "{}", seq);
        }
        prop_assert!(world.delivery.idle());
        prop_assert!(world.delivery.table.is_empty());
        prop_assert_eq!(world.delivery.vacant, 0);
        prop_assert_eq!(world.delivery.free(), window);
    }

    #[test]
    fn stopping_leaves_nothing_and_gives_back_in_order(
        ops in prop::collection::vec(op(), 1..60),
        window in 1..40_usize,
        seed in any::<u64>(),
        take_back in any::<bool>(),
    ) {
        let mut world = World::new(window, seed);
        for op in &ops {
            world.run(op)?;
        }
        world.link(true)?;
        world.delivery.handle(world.now, Input::Stop);
        let mut given = BTreeMap::<u8, u64>::new();
        loop {
            let out = out(&mut world.delivery);
            prop_assert!(out.jobs.is_empty(), "ran while stopping");
            for (seq, _, payload) in out.sent {
                let Some(of) = key(seq).filter(|_| payload.starts_with("-NAK")) else {
                    continue;
                };
                for job in &world.running {
                    prop_assert!(key(job.item) != Some(of), "past a running head");
                }
                let before = given.insert(of, seq);
                prop_assert!(before.is_none_or(|before| before < seq), "out of order");
            }
            let Some(Job { id, .. }) = world.running.pop() else {
                break;
            };
            if take_back {
                prop_assert!(world.delivery.take_back(id));
            } else {
                let outcome = Outcome::Ack;
                world.delivery.handle(world.now, Input::Done { id, outcome });
            }
        }
        prop_assert!(world.delivery.stopped());
        prop_assert_eq!(world.delivery.held(), 0);
        prop_assert_eq!(world.delivery.deadline(), None);
    }

    #[test]
    fn no_input_breaks_it(
        inputs in prop::collection::vec((0..12_u8, 0..20_u64, any::<u64>(), 0..4_u8), 0..200),
        window in 0..5_usize,
        millis in 0..200_u64,
    ) {
        let ack_wait = Duration::from_millis(millis);
        let mut delivery = Delivery::new(Config { ack_wait, ..config(window) });
        let mut jobs = Vec::new();
        for (what, seq, time, key) in inputs {
            // Time jumps, stands still and goes back.
            let now = Time::from_nanos(if time % 50 == 0 { time } else { time % 1_000_000_000 });
            let id = jobs.get(seq as usize % jobs.len().max(1)).copied();
            let after = Some(Duration::from_nanos(time));
            let ended = |outcome| id.map(|id| Input::Done { id, outcome });
            let input = match what {
                0..=3 => Some(message(seq, key.checked_sub(1), time % 5)),
                4 => ended(Outcome::Ack),
                5 => ended(failed(after)),
                6 => ended(Outcome::Nak { after }),
                7 => ended(Outcome::Returned),
                8 => id.map(|id| Input::Progress { id }),
                9 => Some(Input::Disconnected),
                10 => Some(Input::Connected),
                _ if time % 9 == 0 => Some(Input::Stop),
                _ => Some(Input::Tick),
            };
            if let Some(input) = input {
                delivery.handle(now, input);
            }
            while let Some(output) = delivery.poll() {
                if let Output::Run(job) = output {
                    jobs.push(job.id);
                }
            }
            let window = window.max(1);
            prop_assert!(delivery.keyed.len() <= 3 * window);
            prop_assert!(delivery.publishes.len() <= 2 * window);
            prop_assert_eq!(delivery.table.len(), delivery.keyed.len());
            prop_assert!(delivery.held() <= delivery.keyed.len());
            prop_assert_eq!(delivery.free(), window.saturating_sub(delivery.held()));
        }
    }
}
