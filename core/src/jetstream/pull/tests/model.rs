//! Demand beside a model of the server, whatever happens in whichever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A consumer as nats-server has it: waiting pulls served in turns, expiring with
/// what is left; always a message to deliver when told to.
#[derive(Default)]
struct Server {
    waiting: BTreeMap<u64, (usize, Time)>,
    turn: u64,
    seq: u64,
}

impl Server {
    fn serve(&mut self) -> Option<Message> {
        let next = self.waiting.range(self.turn..).next();
        let number = *next.or_else(|| self.waiting.iter().next())?.0;
        self.turn = number + 1;
        let left = self.waiting.get_mut(&number).map(|(left, _)| {
            *left -= 1;
            *left
        });
        if left == Some(0) {
            self.waiting.remove(&number);
        }
        self.seq += 1;
        Some(delivery(self.seq))
    }

    fn owes(&self) -> usize {
        self.waiting.values().map(|(left, _)| left).sum()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Deliver(usize),
    Finish(usize),
    Wait(u64),
    Elect,
    Refuse,
    Freeze,
    Reconnect,
    Pause(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..40_usize).prop_map(Op::Deliver),
        6 => (1..40_usize).prop_map(Op::Finish),
        4 => (0..4000_u64).prop_map(Op::Wait),
        1 => Just(Op::Elect),
        1 => Just(Op::Refuse),
        1 => Just(Op::Freeze),
        1 => Just(Op::Reconnect),
        1 => any::<bool>().prop_map(Op::Pause),
    ]
}

struct World {
    pull: Pull,
    server: Server,
    now: Time,
    window: usize,
    held: usize,
    refuses: bool,
    frozen: bool,
    /// When the server looks at its waiting pulls next.
    beat: Time,
    pulls: usize,
}

impl World {
    /// Brings requests to the server and its answers back, until both are quiet.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.pull.poll() {
                quiet = false;
                let Output::Publish(request) = output else {
                    continue;
                };
                self.pulls += 1;
                let body: serde_json::Value = serde_json::from_slice(&request.payload).unwrap();
                let batch = body["batch"].as_u64().unwrap() as usize;
                let reply = request.reply.unwrap();
                let number = reply.as_str().rsplit('.').next().unwrap().parse().unwrap();
                if self.refuses {
                    let refusal = status(number, 409, "Exceeded MaxWaiting", Some(batch));
                    self.pull.receive(self.now, &refusal);
                } else if !self.frozen {
                    self.server
                        .waiting
                        .insert(number, (batch, self.now + EXPIRES));
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Time passes in steps: heartbeats, expiries, and the machine's deadlines.
    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            let deadline = self.pull.deadline().unwrap_or(Time::NEVER).max(self.now);
            self.now = self.beat.min(end).min(deadline);
            self.pull.handle(self.now, Input::Tick);
            self.settle();
            if self.now < self.beat {
                continue;
            }
            self.beat = self.now + Duration::from_millis(250);
            if self.frozen {
                continue;
            }
            for number in self.server.waiting.keys().copied().collect::<Vec<_>>() {
                let (left, expires) = self.server.waiting[&number];
                if expires <= self.now {
                    self.server.waiting.remove(&number);
                    let over = status(number, 408, "Request Timeout", Some(left));
                    self.pull.receive(self.now, &over);
                } else {
                    self.pull
                        .receive(self.now, &status(number, 100, "Idle Heartbeat", None));
                }
            }
            self.settle();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn demand_is_exact_bounded_and_never_ends(
        ops in prop::collection::vec(op(), 1..60),
        window in 1..100_usize,
        max_batch in 1..100_usize,
        seed in any::<u64>(),
    ) {
        let mut config = config();
        config.max_batch = max_batch;
        let mut w = World {
            pull: Pull::new(config, seed),
            server: Server::default(),
            now: Time::ZERO,
            window,
            held: 0,
            refuses: false,
            frozen: false,
            beat: Time::ZERO,
            pulls: 0,
        };
        w.pull.handle(w.now, Input::Connected);
        w.pull.handle(w.now, Input::Free(window));
        w.settle();
        // Losing pulls on the way makes the count a bound only.
        let mut exact = true;
        for op in ops {
            match op {
                Op::Deliver(count) => for _ in 0..count {
                    if w.frozen { break; }
                    let Some(message) = w.server.serve() else { break };
                    prop_assert!(matches!(w.pull.receive(w.now, &message), Received::Delivery(_)));
                    w.held += 1;
                    w.pull.handle(w.now, Input::Free(w.window.saturating_sub(w.held)));
                    w.settle();
                },
                Op::Finish(count) => {
                    w.held = w.held.saturating_sub(count);
                    w.pull.handle(w.now, Input::Free(w.window.saturating_sub(w.held)));
                    w.settle();
                }
                Op::Wait(millis) => w.wait(millis),
                Op::Elect => if !w.frozen {
                    for number in std::mem::take(&mut w.server.waiting).into_keys() {
                        w.pull.receive(w.now, &status(number, 409, "Leadership Change", None));
                    }
                    w.settle();
                    // Without a count in the statuses, the last one settles it only
                    // when no pull followed before.
                    exact = false;
                },
                Op::Refuse => w.refuses = !w.refuses,
                Op::Freeze => {
                    w.frozen = !w.frozen;
                    exact = false;
                }
                Op::Reconnect => {
                    w.pull.handle(w.now, Input::Disconnected);
                    w.server.waiting.clear();
                    w.pull.handle(w.now, Input::Connected);
                    w.settle();
                    exact = !w.frozen;
                }
                Op::Pause(pause) => {
                    w.pull.handle(w.now, if pause { Input::Pause } else { Input::Resume });
                    w.settle();
                }
            }
            prop_assert!(w.pull.owed() <= w.window);
            if exact {
                prop_assert_eq!(w.pull.owed(), w.server.owes());
                // More than the window may be held, of pulls that were believed lost:
                // then nothing is asked for.
                prop_assert!(w.pull.owed() <= w.window.saturating_sub(w.held));
            }
        }
        // Whatever happened: on a good link with free places, messages flow soon.
        w.refuses = false;
        w.frozen = false;
        w.held = 0;
        w.pull.handle(w.now, Input::Resume);
        w.pull.handle(w.now, Input::Free(w.window));
        w.settle();
        let before = w.pulls;
        w.wait(10_000);
        prop_assert!(w.server.owes() > 0, "stalled");
        prop_assert!(w.pulls - before <= 8 * MAX_PULLS, "{} pulls in idle 10 s", w.pulls - before);
    }

    #[test]
    fn no_message_breaks_the_count(
        messages in prop::collection::vec((0..12_u64, prop::sample::select(vec![0, 100, 404, 408, 409, 423, 503]), prop::option::of(any::<usize>()), 0..3000_u64), 0..200),
        free in 0..50_usize,
        max_batch in 0..20_usize,
    ) {
        let mut config = config();
        config.max_batch = max_batch;
        let mut pull = Pull::new(config, 1);
        pull.handle(Time::ZERO, Input::Connected);
        let mut now = Time::ZERO;
        for (number, code, pending, wait) in messages {
            now = now + Duration::from_millis(wait);
            pull.handle(now, Input::Free(free));
            if code == 0 {
                pull.receive(now, &delivery(number));
            } else {
                pull.receive(now, &status(number, code, "", pending));
            }
            prop_assert!(pull.owed() <= free);
            if let Some(deadline) = pull.deadline() {
                pull.handle(deadline, Input::Tick);
                prop_assert!(pull.deadline().is_none_or(|next| next > deadline), "spins");
            }
            out(&mut pull);
        }
    }
}
