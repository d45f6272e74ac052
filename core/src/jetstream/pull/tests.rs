use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Headers, Status};

const SECOND: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = SECOND;
const EXPIRES: Duration = Duration::from_secs(5);

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn config() -> Config {
    Config {
        request: Subject::from_static("$JS.API.CONSUMER.MSG.NEXT.s.c"),
        inbox: Subject::from_static("_INBOX.x"),
        expires: EXPIRES,
        heartbeat: HEARTBEAT,
        max_batch: 1000,
    }
}

fn connected(free: usize) -> Pull {
    let mut pull = Pull::new(config(), 1);
    pull.handle(Time::ZERO, Input::Connected);
    pull.handle(Time::ZERO, Input::Free(free));
    pull
}

fn delivery(seq: u64) -> Message {
    Message {
        subject: Subject::from_static("orders"),
        reply: Some(Subject::from(format!("$JS.ACK.s.c.1.{seq}.{seq}.1.0"))),
        headers: Headers::new(),
        status: None,
        payload: bytes::Bytes::new(),
    }
}

fn status(pull: u64, code: u16, description: &str, pending: Option<usize>) -> Message {
    let mut headers = Headers::new();
    if let Some(pending) = pending {
        headers
            .append("Nats-Pending-Messages", &pending.to_string())
            .unwrap();
    }
    Message {
        subject: Subject::from(format!("_INBOX.x.{pull}")),
        reply: None,
        headers,
        status: Some(Status {
            code,
            description: description.into(),
        }),
        payload: bytes::Bytes::new(),
    }
}

/// Number and size of the pulls, and the events, put out since the last call.
fn out(pull: &mut Pull) -> (Vec<(u64, usize)>, Vec<PullEvent>) {
    let (mut asked, mut events) = (Vec::new(), Vec::new());
    while let Some(output) = pull.poll() {
        match output {
            Output::Publish(message) => {
                let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                let reply = message.reply.unwrap();
                let number = reply.as_str().rsplit('.').next().unwrap().parse().unwrap();
                asked.push((number, body["batch"].as_u64().unwrap() as usize));
            }
            Output::Event(event) => events.push(event),
        }
    }
    (asked, events)
}

fn asked(pull: &mut Pull) -> Vec<(u64, usize)> {
    out(pull).0
}

#[test]
fn a_request_is_what_the_server_reads() {
    let mut pull = connected(7);
    let Some(Output::Publish(request)) = pull.poll() else {
        panic!("no pull");
    };
    assert_eq!(request.subject, "$JS.API.CONSUMER.MSG.NEXT.s.c");
    assert_eq!(request.reply.unwrap(), "_INBOX.x.0");
    assert_eq!(
        request.payload,
        r#"{"batch":7,"expires":5000000000,"idle_heartbeat":1000000000}"#
    );
}

#[test]
fn it_pulls_again_when_half_of_the_free_places_are_not_owed() {
    let mut pull = connected(10);
    assert_eq!(asked(&mut pull), [(0, 10)]);
    // Handled at once: ten places stay free.
    for seq in 1..=6 {
        assert_eq!(asked(&mut pull), []);
        pull.receive(at(seq), &delivery(seq));
        pull.handle(at(seq), Input::Free(10));
    }
    // The sixth itself takes a place until its owner says that it is free again.
    assert_eq!(asked(&mut pull), [(1, 5)]);
    assert_eq!(pull.owed(), 9);
}

#[test]
fn full_means_no_pull_and_one_free_place_is_pulled_for() {
    let mut pull = connected(2);
    assert_eq!(asked(&mut pull), [(0, 2)]);
    pull.receive(at(1), &delivery(1));
    pull.receive(at(1), &delivery(2));
    assert_eq!(asked(&mut pull), []);
    assert_eq!(pull.deadline(), None);
    pull.handle(at(2), Input::Free(1));
    assert_eq!(asked(&mut pull), [(1, 1)]);
}

#[test]
fn large_demand_is_cut_into_batches() {
    let mut config = config();
    config.max_batch = 40;
    let mut pull = Pull::new(config, 1);
    pull.handle(at(0), Input::Free(100));
    assert_eq!(asked(&mut pull), [], "not connected yet");
    pull.handle(at(0), Input::Connected);
    assert_eq!(asked(&mut pull), [(0, 40), (1, 40)]);
}

#[test]
fn an_expired_pull_is_followed_at_once() {
    for pending in [Some(10), None] {
        let mut pull = connected(10);
        out(&mut pull);
        for beat in 1..5 {
            let message = status(0, 100, "Idle Heartbeat", None);
            assert_eq!(pull.receive(at(beat * 1000), &message), Received::Control);
        }
        pull.receive(at(5000), &status(0, 408, "Request Timeout", pending));
        assert_eq!(asked(&mut pull), [(1, 10)]);
    }
}

#[test]
fn two_silent_heartbeats_void_what_is_owed() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(900), &status(0, 100, "", None));
    assert_eq!(pull.deadline(), Some(at(2900)));
    pull.handle(at(2899), Input::Tick);
    assert_eq!(out(&mut pull), (vec![], vec![]));
    pull.handle(at(2900), Input::Tick);
    let silent = PullEvent::Silent {
        owed: 10,
        silence: 2 * SECOND,
    };
    assert_eq!(out(&mut pull), (vec![(1, 10)], vec![silent]));
    // A late word about the void pull changes nothing.
    pull.receive(at(2901), &status(0, 409, "Leadership Change", None));
    pull.receive(at(2901), &status(0, 408, "Request Timeout", Some(10)));
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.owed(), 10);
}

#[test]
fn a_reconnect_pulls_at_once() {
    let mut pull = connected(10);
    out(&mut pull);
    for failure in 0..10 {
        let message = status(failure, 503, "", None);
        pull.receive(pull.deadline().unwrap(), &message);
        let now = pull.deadline().unwrap();
        pull.handle(now, Input::Tick);
        assert_eq!(asked(&mut pull).len(), 1);
    }
    pull.handle(at(60_000), Input::Disconnected);
    assert_eq!(pull.owed(), 0);
    assert_eq!(pull.deadline(), None);
    pull.handle(at(60_001), Input::Connected);
    assert_eq!(asked(&mut pull).len(), 1);
}

fn lingering(pull: &Pull, now: Time) -> usize {
    pull.lingering(now).count()
}

#[test]
fn lost_pulls_linger_until_the_server_has_ended_them() {
    let mut pull = connected(10);
    out(&mut pull);
    assert_eq!(lingering(&pull, at(1)), 0);
    pull.handle(at(1), Input::Disconnected);
    // Its time and two heartbeats.
    assert_eq!(
        (lingering(&pull, at(6_999)), lingering(&pull, at(7_000))),
        (1, 0)
    );
    // An inbox that is given up over a link that holds is known to the server.
    pull.handle(at(2), Input::Connected);
    out(&mut pull);
    pull.handle(at(3), Input::Left);
    assert_eq!((pull.owed(), lingering(&pull, at(4))), (0, 1));
    // In silence nobody knows.
    pull.handle(at(5), Input::Connected);
    out(&mut pull);
    pull.handle(at(5) + HEARTBEAT * 2, Input::Tick);
    assert_eq!(lingering(&pull, at(5) + HEARTBEAT * 2), 2);
}

#[test]
fn a_missing_consumer_is_told_and_pulled_again_later() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 503, "", None));
    assert_eq!(out(&mut pull), (vec![], vec![PullEvent::ConsumerMissing]));
    let retry = pull.deadline().unwrap();
    assert!(retry >= at(51) && retry <= at(101));
    pull.handle(retry, Input::Tick);
    assert_eq!(asked(&mut pull), [(1, 10)]);
    // The driver knows better: it is there again.
    pull.receive(retry, &status(1, 503, "", None));
    pull.handle(retry, Input::Restart);
    assert_eq!(asked(&mut pull), [(2, 10)]);
}

#[test]
fn a_deleted_consumer_is_not_pulled_before_it_is_made_again() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 409, "Consumer Deleted", Some(10)));
    assert_eq!(out(&mut pull), (vec![], vec![PullEvent::ConsumerGone]));
    pull.handle(at(100_000), Input::Free(20));
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.deadline(), None);
    pull.handle(at(100_001), Input::Restart);
    assert_eq!(asked(&mut pull), [(1, 20)]);
}

#[test]
fn an_election_costs_one_immediate_pull_then_backoff() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 409, "Leadership Change", None));
    let told = vec![PullEvent::LeaderChanged];
    assert_eq!(out(&mut pull), (vec![(1, 10)], told.clone()));
    pull.receive(at(2), &status(1, 409, "Leadership Change", None));
    assert_eq!(out(&mut pull), (vec![], told));
    let retry = pull.deadline().unwrap();
    pull.handle(retry, Input::Tick);
    assert_eq!(asked(&mut pull), [(2, 10)]);
}

#[test]
fn an_election_is_told_once_however_many_pulls_it_ends() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.handle(at(1), Input::Free(30));
    assert_eq!(asked(&mut pull), [(1, 20)]);
    pull.receive(at(5_000), &status(0, 409, "Leadership Change", None));
    pull.receive(at(5_000), &status(1, 409, "Leadership Change", None));
    let (_, told) = out(&mut pull);
    assert_eq!(told, [PullEvent::LeaderChanged]);
}

#[test]
fn no_answer_makes_a_hot_loop() {
    for (code, description) in [
        (400, "Bad Request"),
        (404, "No Messages"),
        (408, "Interest Expired"),
        (409, "Exceeded MaxWaiting"),
        (409, "Exceeded MaxRequestBatch of 1"),
        (409, "Leadership Change"),
        (409, "Server Shutdown"),
        (409, "Consumer is push based"),
        (412, ""),
        (423, "Nats-Wrong-Pin-Id"),
        (503, ""),
    ] {
        let mut pull = connected(10);
        let (mut now, mut pulls, mut events) = (Time::ZERO, 0, 0);
        while now < at(60_000) {
            let (asked, told) = out(&mut pull);
            pulls += asked.len();
            events += told.len();
            for (number, _) in asked {
                // A heartbeat first: it makes no pull a good one.
                pull.receive(now, &status(number, 100, "", None));
                pull.receive(now, &status(number, code, description, None));
            }
            now = now.max(pull.deadline().unwrap());
            pull.handle(now, Input::Tick);
        }
        assert!((25..80).contains(&pulls), "{code} {description}: {pulls}");
        assert!(events <= pulls);
    }
}

#[test]
fn pausing_and_stopping_pull_nothing() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.handle(at(1), Input::Pause);
    pull.receive(at(1), &status(0, 408, "", Some(10)));
    pull.handle(at(1), Input::Free(50));
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.deadline(), None);
    pull.handle(at(2), Input::Resume);
    assert_eq!(asked(&mut pull), [(1, 50)]);
    pull.handle(at(3), Input::Stop);
    assert!(matches!(
        pull.receive(at(4), &delivery(1)),
        Received::Delivery(_)
    ));
    pull.handle(at(100_000), Input::Connected);
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.deadline(), None);
}

#[test]
fn a_status_corrects_which_pull_a_message_belonged_to() {
    let mut pull = connected(10);
    out(&mut pull);
    for seq in 1..=6 {
        pull.receive(at(1), &delivery(seq));
        pull.handle(at(1), Input::Free(10));
    }
    assert_eq!(asked(&mut pull), [(1, 5)]);
    // Four more are taken for the first pull's, but the server served in turns.
    for seq in 7..=10 {
        pull.receive(at(2), &delivery(seq));
        pull.handle(at(2), Input::Free(10));
    }
    assert_eq!(pull.owed(), 5);
    pull.receive(at(1500), &status(0, 408, "Request Timeout", Some(4)));
    assert_eq!(asked(&mut pull), [(2, 9)]);
    assert_eq!(pull.owed(), 1 + 9);
    // Said twice, counted once.
    let owed = pull.owed();
    pull.receive(at(5000), &status(0, 408, "Request Timeout", Some(4)));
    assert_eq!(pull.owed(), owed);
}

#[test]
fn strange_messages_are_no_deliveries_and_change_nothing() {
    let mut pull = connected(10);
    out(&mut pull);
    let mut junk = delivery(1);
    junk.reply = Some(Subject::from_static("$JS.ACK.nonsense"));
    assert_eq!(pull.receive(at(1), &junk), Received::Control);
    let end = Message {
        subject: pull.end(),
        ..junk.clone()
    };
    assert_eq!(pull.receive(at(1), &end), Received::Control);
    junk.reply = None;
    assert_eq!(pull.receive(at(1), &junk), Received::Control);
    for number in [1, 99, u64::MAX] {
        pull.receive(at(1), &status(number, 408, "", Some(usize::MAX)));
    }
    let mut other = status(0, 408, "", None);
    for subject in ["", "_INBOX.x", "_INBOX.x.", "_INBOX.x.0.0", "_INBOX.y.0"] {
        other.subject = Subject::from(subject);
        pull.receive(at(1), &other);
    }
    assert_eq!(pull.owed(), 10);
    assert_eq!(out(&mut pull), (vec![], vec![]));
}

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
