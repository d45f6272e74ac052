use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn enter(line: &mut Line<u8>, key: u8, token: u64) {
    let deadline = at(1_000);
    line.handle(
        Time::ZERO,
        Input::Enter {
            key,
            order: token,
            token,
            deadline,
        },
    );
}

fn outputs(line: &mut Line<u8>) -> Vec<Output> {
    std::iter::from_fn(|| line.poll()).collect()
}

/// What is sent now, and the place of each.
fn sent(line: &mut Line<u8>) -> Vec<(u64, Place)> {
    let read = |output| match output {
        Output::Send { token, place } => (token, place),
        Output::Fail { .. } => panic!("{output:?}"),
    };
    outputs(line).into_iter().map(read).collect()
}

#[test]
fn one_of_a_key_is_on_its_way_and_other_keys_do_not_wait() {
    let mut line = Line::new(1);
    for (key, token) in [(1, 11), (1, 12), (2, 21), (1, 13)] {
        enter(&mut line, key, token);
    }
    let first = sent(&mut line);
    assert_eq!(
        first.iter().map(|(token, _)| *token).collect::<Vec<_>>(),
        [11, 21]
    );
    let mut place = first[0].1;
    for next in [12, 13] {
        let ending = Ending::Known;
        line.handle(at(1), Input::Ended { place, ending });
        let now = sent(&mut line);
        assert_eq!((now.len(), now[0].0), (1, next));
        // An ending that is told again frees nobody else.
        line.handle(at(1), Input::Ended { place, ending });
        assert_eq!(outputs(&mut line), []);
        place = now[0].1;
    }
    assert_eq!(line.len(), 2);
    assert_eq!(line.deadline(), None, "what was sent is not late here");
}

#[test]
fn behind_an_unknown_ending_nothing_is_sent() {
    let mut line = Line::new(1);
    for (key, token) in [(1, 11), (1, 12), (1, 13), (2, 21)] {
        enter(&mut line, key, token);
    }
    let place = sent(&mut line)[0].1;
    let ending = Ending::Unknown;
    line.handle(at(1), Input::Ended { place, ending });
    let why = Why::PredecessorUnknown;
    assert_eq!(
        outputs(&mut line),
        [
            Output::Fail { token: 12, why },
            Output::Fail { token: 13, why }
        ]
    );
    // Whoever comes later knows, and goes.
    enter(&mut line, 1, 14);
    assert_eq!(sent(&mut line)[0].0, 14);
    assert_eq!(line.len(), 2);
}

#[test]
fn who_waits_too_long_leaves_the_line() {
    let mut line = Line::new(1);
    for (token, deadline) in [(11, 50), (12, 10), (13, 90)] {
        line.handle(
            Time::ZERO,
            Input::Enter {
                key: 1,
                order: token,
                token,
                deadline: at(deadline),
            },
        );
    }
    let place = sent(&mut line)[0].1;
    assert_eq!(line.deadline(), Some(at(10)));
    line.handle(at(9), Input::Tick);
    assert_eq!(outputs(&mut line), []);
    line.handle(at(60), Input::Tick);
    let why = Why::Late;
    assert_eq!(outputs(&mut line), [Output::Fail { token: 12, why }]);
    let ending = Ending::Known;
    line.handle(at(60), Input::Ended { place, ending });
    assert_eq!(sent(&mut line)[0].0, 13);
}

#[test]
fn a_busy_link_is_sent_nothing_but_deadlines_hold() {
    let mut line = Line::new(1);
    line.handle(Time::ZERO, Input::Busy);
    enter(&mut line, 1, 11);
    assert_eq!(outputs(&mut line), []);
    line.handle(at(1), Input::Free);
    assert_eq!(sent(&mut line)[0].0, 11);
    line.handle(at(1), Input::Busy);
    enter(&mut line, 2, 21);
    line.handle(at(1_000), Input::Tick);
    let why = Why::Late;
    assert_eq!(outputs(&mut line), [Output::Fail { token: 21, why }]);
}

#[test]
fn who_leaves_is_not_sent_and_who_was_sent_goes_on() {
    let mut line = Line::new(1);
    for token in [11, 12, 13] {
        enter(&mut line, 1, token);
    }
    let place = sent(&mut line)[0].1;
    for order in [11, 12, 12] {
        line.handle(at(1), Input::Left { order });
    }
    let why = Why::Left;
    assert_eq!(outputs(&mut line), [Output::Fail { token: 12, why }]);
    let ending = Ending::Known;
    line.handle(at(1), Input::Ended { place, ending });
    assert_eq!(sent(&mut line)[0].0, 13);
}

#[test]
fn what_the_link_did_not_take_is_first_of_its_key_again() {
    let mut line = Line::new(1);
    enter(&mut line, 1, 11);
    enter(&mut line, 1, 12);
    let place = sent(&mut line)[0].1;
    line.handle(at(1), Input::Busy);
    line.handle(at(1), Input::Back { place, token: 21 });
    assert_eq!(outputs(&mut line), []);
    assert_eq!(line.deadline(), Some(at(1_000)));
    line.handle(at(2), Input::Free);
    let again = sent(&mut line);
    assert_eq!((again.len(), again[0].0), (1, 21));
    // And it may be late, or left, as before.
    line.handle(at(3), Input::Busy);
    let place = again[0].1;
    line.handle(at(3), Input::Back { place, token: 31 });
    line.handle(at(3), Input::Left { order: 11 });
    let why = Why::Left;
    assert_eq!(outputs(&mut line), [Output::Fail { token: 31, why }]);
    line.handle(at(4), Input::Free);
    assert_eq!(sent(&mut line)[0].0, 12);
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8, u64),
    End(usize, bool),
    Wait(u64),
    Busy(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 1..60_u64).prop_map(|(key, patience)| Step::Enter(key, patience)),
        3 => (0..8_usize, prop::bool::weighted(0.8)).prop_map(|(which, known)| Step::End(which, known)),
        1 => (0..30_u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Busy),
    ]
}

/// The same with a queue per key: the first of a queue may be on its way.
#[derive(Default)]
struct Oracle {
    keys: BTreeMap<u8, VecDeque<(u64, Time)>>,
    out: BTreeMap<u8, u64>,
}

impl Oracle {
    fn late(&mut self, now: Time) -> Vec<u64> {
        let mut late = Vec::new();
        for (key, queue) in &mut self.keys {
            let out = self.out.get(key);
            queue.retain(|(token, deadline)| {
                let goes = *deadline <= now && out != Some(token);
                if goes {
                    late.push(*token);
                }
                !goes
            });
        }
        late
    }

    fn heads(&mut self) -> Vec<u64> {
        let mut heads = Vec::new();
        for (key, queue) in &self.keys {
            if let Some((token, _)) = queue.front()
                && !self.out.contains_key(key)
            {
                self.out.insert(*key, *token);
                heads.push(*token);
            }
        }
        heads
    }

    fn end(&mut self, token: u64, known: bool) -> Vec<u64> {
        let Some(key) = self.out.iter().find(|(_, t)| **t == token).map(|(k, _)| *k) else {
            return Vec::new();
        };
        self.out.remove(&key);
        let queue = self.keys.get_mut(&key).unwrap();
        queue.pop_front();
        if known {
            return Vec::new();
        }
        queue.drain(..).map(|(token, _)| token).collect()
    }
}

proptest! {
    #[test]
    fn lines_are_a_queue_per_key(steps in prop::collection::vec(step(), 1..120)) {
        let (mut line, mut oracle) = (Line::new(7), Oracle::default());
        let (mut now, mut busy, mut next) = (Time::ZERO, false, 0);
        let mut places: Vec<(u64, Place)> = Vec::new();
        for step in steps {
            let mut failed = Vec::new();
            match step {
                Step::Enter(key, patience) => {
                    next += 1;
                    let deadline = now + std::time::Duration::from_millis(patience);
                    line.handle(now, Input::Enter { key, order: next, token: next, deadline });
                    oracle.keys.entry(key).or_default().push_back((next, deadline));
                }
                Step::End(which, known) if !places.is_empty() => {
                    let (token, place) = places.remove(which % places.len());
                    let ending = if known { Ending::Known } else { Ending::Unknown };
                    line.handle(now, Input::Ended { place, ending });
                    failed.extend(oracle.end(token, known));
                }
                Step::End(..) => {}
                Step::Wait(millis) => {
                    now = now + std::time::Duration::from_millis(millis);
                    line.handle(now, Input::Tick);
                }
                Step::Busy(yes) => {
                    busy = yes;
                    line.handle(now, if yes { Input::Busy } else { Input::Free });
                }
            }
            failed.extend(oracle.late(now));
            let mut heads = if busy { Vec::new() } else { oracle.heads() };
            let (mut told, mut sent) = (Vec::new(), Vec::new());
            for output in outputs(&mut line) {
                match output {
                    Output::Send { token, place } => {
                        sent.push(token);
                        places.push((token, place));
                    }
                    Output::Fail { token, .. } => told.push(token),
                }
            }
            for list in [&mut failed, &mut heads, &mut told, &mut sent] {
                list.sort_unstable();
            }
            prop_assert_eq!(told, failed);
            prop_assert_eq!(sent, heads);
            let waiting: usize = oracle.keys.values().map(VecDeque::len).sum();
            prop_assert_eq!(line.len(), waiting);
            let deadline = oracle.keys.iter().flat_map(|(key, queue)| {
                let out = oracle.out.get(key).copied();
                queue.iter().filter(move |(token, _)| out != Some(*token)).map(|(_, at)| *at)
            });
            prop_assert_eq!(line.deadline(), deadline.min());
        }
    }
}
