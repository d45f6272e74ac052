use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::random::Random;

/// How many messages are on their way before the server has said how far it is.
const OPEN: usize = 2 * FLOW as usize;

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn config(count: usize) -> Config {
    Config {
        count,
        deadline: at(300_000),
        dedupe_window: Duration::from_secs(80),
        wait_for_link: true,
        seed: 1,
    }
}

fn error(code: u32) -> ApiError {
    ApiError {
        code: 400,
        err_code: code,
        description: "why".into(),
    }
}

/// What it sends now: messages and what they do.
fn sent(batch: &mut Ingest) -> Vec<(usize, u64, Op)> {
    let mut parts = Vec::new();
    while let Some(output) = batch.poll() {
        match output {
            Output::Send(Part {
                index,
                seq,
                role: Role::Ingest { op, .. },
                ..
            }) => parts.push((index, seq, op)),
            other => panic!("{other:?}"),
        }
    }
    parts
}

/// The ends told before it sends more.
fn ends(batch: &mut Ingest) -> Vec<(usize, End)> {
    let ended = |output| match output {
        Output::End { index, end } => (index, end),
        Output::Send(_) => panic!("not an end"),
    };
    std::mem::take(&mut batch.out)
        .into_iter()
        .map(ended)
        .collect()
}

fn answer(batch: &mut Ingest, seq: u64, answer: Answer) {
    let attempt = batch.attempt;
    batch.handle(
        at(1),
        Input::Answered {
            attempt,
            seq,
            answer,
        },
    );
}

const fn reached(seq: u64, every: u64) -> Answer {
    Answer::Reached { seq, every }
}

const fn over(count: u64) -> Answer {
    Answer::Stored {
        seq: 1_000,
        count,
        duplicate: false,
    }
}

fn ingested(indices: impl IntoIterator<Item = usize>) -> Vec<(usize, End)> {
    let indices = indices.into_iter();
    indices.map(|index| (index, End::Ingested)).collect()
}

#[test]
fn a_batch_begins_goes_on_and_ends() {
    let mut batch = Ingest::new(config(3));
    let parts = [(0, 1, Op::Start), (1, 2, Op::Add), (2, 3, Op::Commit)];
    assert_eq!(sent(&mut batch), parts);
    answer(&mut batch, 1, reached(0, 2));
    answer(&mut batch, 2, reached(2, 2));
    assert_eq!(ends(&mut batch), ingested([0, 1]));
    answer(&mut batch, 3, over(3));
    assert_eq!(ends(&mut batch), ingested([2]));
    assert!(batch.is_over());
    assert_eq!(batch.deadline(), None);
    // One alone begins and ends at once.
    assert_eq!(sent(&mut Ingest::new(config(1))), [(0, 1, Op::Commit)]);
}

#[test]
fn no_more_is_on_its_way_than_the_server_wants() {
    let mut batch = Ingest::new(config(1_000));
    assert_eq!(sent(&mut batch).len(), OPEN);
    answer(&mut batch, 1, reached(0, 10));
    assert_eq!(sent(&mut batch).len(), 0);
    let most = OPEN as u64 - 8;
    answer(&mut batch, most, reached(most, 10));
    assert_eq!(ends(&mut batch).len(), OPEN - 8);
    assert_eq!(sent(&mut batch).len(), 12);
}

#[test]
fn behind_a_gap_all_goes_on_in_a_new_batch() {
    let mut batch = Ingest::new(config(5));
    let _ = sent(&mut batch);
    answer(&mut batch, 4, Answer::Gap);
    answer(&mut batch, 4, over(2));
    assert_eq!(ends(&mut batch), ingested([0, 1]));
    let parts = [(2, 1, Op::Start), (3, 2, Op::Add), (4, 3, Op::Commit)];
    assert_eq!(sent(&mut batch), parts);
    // What the server still says of the attempt before is not of this one.
    batch.handle(
        at(1),
        Input::Answered {
            attempt: 1,
            seq: 5,
            answer: Answer::Refused(error(10_208)),
        },
    );
    answer(&mut batch, 3, over(3));
    assert_eq!(ends(&mut batch), ingested([2, 3, 4]));
}

#[test]
fn a_refused_message_lets_the_others_go() {
    let mut batch = Ingest::new(config(4));
    let _ = sent(&mut batch);
    let why = error(10_071);
    answer(
        &mut batch,
        2,
        Answer::Failed {
            seq: 2,
            error: why.clone(),
        },
    );
    answer(&mut batch, 2, over(1));
    let mut told = ingested([0]);
    told.push((1, End::Refused(why.clone())));
    assert_eq!(ends(&mut batch), told);
    assert_eq!(sent(&mut batch), [(2, 1, Op::Start), (3, 2, Op::Commit)]);
    // The first one is refused without a word of the batch.
    answer(&mut batch, 1, Answer::Refused(why.clone()));
    assert_eq!(ends(&mut batch), [(2, End::Refused(why))]);
    assert_eq!(sent(&mut batch), [(3, 1, Op::Commit)]);
    answer(&mut batch, 1, over(1));
    assert_eq!(ends(&mut batch), ingested([3]));
    assert!(batch.is_over());
}

#[test]
fn a_refusal_that_passes_is_waited_out() {
    for (seq, refusal) in [
        (1, Answer::Refused(error(10_008))),
        (1, Answer::Refused(error(10_211))),
        (2, Answer::Refused(error(10_208))),
        (1, Answer::NoResponders),
    ] {
        let mut batch = Ingest::new(config(2));
        let _ = sent(&mut batch);
        answer(&mut batch, seq, refusal);
        assert_eq!(sent(&mut batch), []);
        let due = batch.deadline().unwrap();
        assert!(due > at(1) && due <= at(51), "{due:?}");
        batch.handle(due, Input::Tick);
        assert_eq!(sent(&mut batch), [(0, 1, Op::Start), (1, 2, Op::Commit)]);
    }
}

#[test]
fn where_batches_are_not_taken_all_are_refused() {
    let mut batch = Ingest::new(config(2));
    let _ = sent(&mut batch);
    answer(&mut batch, 1, Answer::Refused(error(10_205)));
    let refused = [0, 1].map(|index| (index, End::Refused(error(10_205))));
    assert_eq!(ends(&mut batch), refused);
    assert!(batch.is_over());
}

#[test]
fn what_was_not_answered_is_sent_again_and_then_unknown() {
    let mut batch = Ingest::new(config(3));
    let _ = sent(&mut batch);
    answer(&mut batch, 1, reached(1, 1));
    assert_eq!(ends(&mut batch), ingested([0]));
    batch.handle(at(2), Input::Lost);
    batch.handle(at(3), Input::Connected);
    assert_eq!(sent(&mut batch), [(1, 1, Op::Start), (2, 2, Op::Commit)]);
    // An answer that does not come is as one that was lost.
    batch.handle(at(5_003), Input::Tick);
    assert_eq!(sent(&mut batch).len(), 2);
    batch.handle(at(5_004), Input::Lost);
    batch.handle(at(70_000), Input::Tick);
    let unknown = [1, 2].map(|index| (index, End::Unknown));
    assert_eq!(ends(&mut batch), unknown);
}

#[test]
fn what_was_not_sent_is_not_in_doubt() {
    let mut batch = Ingest::new(Config {
        wait_for_link: false,
        ..config(OPEN + 72)
    });
    assert_eq!(sent(&mut batch).len(), OPEN);
    batch.handle(at(1), Input::Lost);
    let ends = ends(&mut batch);
    let unknown = ends.iter().filter(|(_, end)| *end == End::Unknown);
    assert_eq!(unknown.count(), OPEN);
    assert_eq!(ends.last(), Some(&(OPEN + 71, End::NotSent)));
}

#[test]
fn behind_one_that_is_unknown_nothing_is_sent() {
    let mut batch = Ingest::new(config(OPEN + 72));
    let _ = sent(&mut batch);
    batch.handle(at(1), Input::Lost);
    batch.handle(at(1), Input::Connected);
    let _ = sent(&mut batch);
    answer(&mut batch, 1, Answer::Refused(error(10_077)));
    let ends = ends(&mut batch);
    assert_eq!(ends.len(), OPEN + 72);
    assert_eq!(ends[0], (0, End::Unknown));
    assert_eq!(ends[OPEN + 71], (OPEN + 71, End::Behind));
}

#[test]
fn what_the_link_never_takes_lets_the_others_go() {
    let mut batch = Ingest::new(config(3));
    let _ = batch.poll();
    let _ = batch.poll();
    batch.handle(at(0), Input::Unsendable);
    assert_eq!(ends(&mut batch), [(1, End::Unsendable)]);
    assert_eq!(sent(&mut batch), [(0, 1, Op::Start), (2, 2, Op::Commit)]);
}

#[test]
fn a_denied_batch_ends_at_once_and_doubts_stay() {
    let mut batch = Ingest::new(config(2));
    assert_eq!(sent(&mut batch).len(), 2);
    batch.handle(at(0), Input::Denied);
    let all = [(0, End::Unsendable), (1, End::Unsendable)];
    assert_eq!(ends(&mut batch), all);
    assert!(batch.is_over());
    // What an earlier connection took may be stored.
    let mut batch = Ingest::new(config(2));
    assert_eq!(sent(&mut batch).len(), 2);
    batch.handle(at(0), Input::Lost);
    batch.handle(at(1), Input::Connected);
    assert_eq!(sent(&mut batch).len(), 2);
    batch.handle(at(1), Input::Denied);
    assert_eq!(ends(&mut batch), [(0, End::Unknown), (1, End::Unknown)]);
    assert!(batch.is_over());
}

/// A stream that takes fast-ingest batches.
#[derive(Debug, Default)]
struct Server {
    stored: Vec<usize>,
    ids: BTreeSet<usize>,
    /// The next message of the attempts that run.
    open: BTreeMap<u32, u64>,
    refuses: BTreeSet<usize>,
}

impl Server {
    fn hear(&mut self, part: &Part) -> Vec<Answer> {
        let Role::Ingest { op, .. } = part.role else {
            panic!("no fast-ingest batch");
        };
        let mut answers = Vec::new();
        let is_first = part.seq == 1 && !self.open.contains_key(&part.attempt);
        if is_first && op != Op::Commit {
            answers.push(reached(0, 2));
        }
        if is_first {
            self.open.insert(part.attempt, 1);
        }
        let Some(next) = self.open.get_mut(&part.attempt) else {
            return vec![Answer::Refused(error(10_208))];
        };
        let last = over(*next - 1);
        if *next != part.seq {
            answers.extend([Answer::Gap, last]);
            self.open.remove(&part.attempt);
        } else if self.refuses.contains(&part.index) && !self.ids.contains(&part.index) {
            let (seq, error) = (part.seq, error(10_071));
            match seq {
                1 => answers.push(Answer::Refused(error)),
                _ => answers.extend([Answer::Failed { seq, error }, last]),
            }
            self.open.remove(&part.attempt);
        } else {
            *next += 1;
            if self.ids.insert(part.index) {
                self.stored.push(part.index);
            }
            if op == Op::Commit {
                answers.push(over(part.seq));
                self.open.remove(&part.attempt);
            } else if part.seq.is_multiple_of(2) {
                answers.push(reached(part.seq, 2));
            }
        }
        answers
    }
}

proptest! {
    /// Whatever is lost, late or refused: in order, each once, and what is said is so.
    #[test]
    fn messages_are_stored_in_order_and_once(
        seed in any::<u64>(),
        count in 1_usize..12,
        trouble in 0_u64..60,
        refuses in proptest::collection::btree_set(0_usize..12, 0..3),
        waits in proptest::bool::weighted(0.8),
    ) {
        let mut random = Random::new(seed);
        let mut chance = |percent| random.next() % 100 < percent;
        let mut server = Server { refuses, ..Server::default() };
        let mut batch = Ingest::new(Config {
            deadline: at(100_000),
            wait_for_link: waits,
            ..config(count)
        });
        let mut now = at(0);
        let mut ends = BTreeMap::new();
        let mut up = true;
        while !(batch.is_over() && ends.len() == count) {
            let mut idle = true;
            while let Some(output) = batch.poll() {
                idle = false;
                match output {
                    Output::End { index, end } => {
                        prop_assert!(ends.insert(index, end).is_none());
                    }
                    Output::Send(_) if chance(trouble / 4) => {
                        batch.handle(now, Input::Back);
                        batch.handle(now, Input::Busy);
                        batch.handle(now, Input::Free);
                    }
                    Output::Send(_) if chance(trouble / 4) => {}
                    Output::Send(part) => {
                        if chance(trouble / 8) {
                            // It forgets all batches.
                            server.open.clear();
                        }
                        for answer in server.hear(&part) {
                            if chance(trouble / 3) {
                                continue;
                            }
                            batch.handle(now, Input::Answered {
                                attempt: part.attempt,
                                seq: part.seq,
                                answer,
                            });
                        }
                    }
                }
                if chance(trouble / 6) && up {
                    batch.handle(now, Input::Lost);
                    up = false;
                }
            }
            if !up && chance(50) {
                batch.handle(now, Input::Connected);
                up = true;
                idle = false;
            }
            if idle && let Some(due) = batch.deadline() {
                now = now.max(due);
                batch.handle(now, Input::Tick);
            }
        }
        prop_assert!(server.stored.is_sorted(), "{:?}", server.stored);
        for (index, end) in &ends {
            let held = server.ids.contains(index);
            match end {
                End::Ingested => prop_assert!(held),
                End::Refused(_) | End::NotSent | End::Behind => prop_assert!(!held),
                End::Unknown => prop_assert!(trouble > 0),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        if trouble < 3 {
            let wanted = (0..count).filter(|index| !server.refuses.contains(index));
            prop_assert_eq!(&server.stored, &wanted.collect::<Vec<_>>());
        }
    }
}
