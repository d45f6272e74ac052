use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::random::Random;

const WINDOW: Duration = Duration::from_secs(80);

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn config(count: usize) -> Config {
    Config {
        count,
        deadline: at(300_000),
        dedupe_window: WINDOW,
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

/// What it sends now: places, and the attempt of the last.
fn sent(batch: &mut Atomic) -> (Vec<u64>, u32) {
    let mut seqs = Vec::new();
    let mut last = 0;
    while let Some(output) = batch.poll() {
        let Output::Send(part) = output else {
            panic!("{output:?}");
        };
        seqs.push(part.seq);
        last = part.attempt;
    }
    (seqs, last)
}

fn sent_at(batch: &mut Atomic, now: Time) -> (Vec<u64>, u32) {
    batch.handle(now, Input::Tick);
    sent(batch)
}

fn ends(batch: &mut Atomic) -> Vec<End> {
    let mut ends = Vec::new();
    while let Some(output) = batch.poll() {
        let Output::End { index, end } = output else {
            panic!("{output:?}");
        };
        assert_eq!(index, ends.len());
        ends.push(end);
    }
    assert!(batch.is_over());
    assert_eq!(batch.deadline(), None);
    ends
}

fn answer(batch: &mut Atomic, now: Time, attempt: u32, seq: u64, answer: Answer) {
    batch.handle(
        now,
        Input::Answered {
            attempt,
            seq,
            answer,
        },
    );
}

const fn stored(seq: u64, count: u64) -> Answer {
    Answer::Stored {
        seq,
        count,
        duplicate: false,
    }
}

const fn known(seq: u64) -> Answer {
    Answer::Stored {
        seq,
        count: 0,
        duplicate: true,
    }
}

#[test]
fn a_denied_batch_ends_at_once_and_doubts_stay() {
    let mut batch = Atomic::new(config(2));
    assert_eq!(sent(&mut batch), (vec![1, 2], 1));
    batch.handle(at(0), Input::Denied);
    assert_eq!(ends(&mut batch), [End::Unsendable, End::Unsendable]);
    // What an earlier connection took may be stored.
    let mut batch = Atomic::new(config(2));
    assert_eq!(sent(&mut batch), (vec![1, 2], 1));
    batch.handle(at(0), Input::Lost);
    batch.handle(at(1), Input::Connected);
    let _ = sent_at(&mut batch, at(1));
    batch.handle(at(1), Input::Denied);
    assert_eq!(ends(&mut batch), [End::Unknown, End::Unknown]);
}

#[test]
fn each_message_of_a_stored_batch_has_its_sequence() {
    let mut batch = Atomic::new(config(3));
    assert_eq!(sent(&mut batch), (vec![1, 2, 3], 1));
    answer(&mut batch, at(1), 1, 1, Answer::Taken);
    answer(&mut batch, at(1), 1, 3, stored(12, 3));
    let all = [10, 11, 12].map(End::Stored);
    assert_eq!(ends(&mut batch), all);
}

#[test]
fn the_last_message_alone_commits() {
    let mut batch = Atomic::new(config(2));
    let mut commits = Vec::new();
    while let Some(Output::Send(part)) = batch.poll() {
        commits.push(part.role);
    }
    let [first, last] = [false, true].map(|commit| Role::Atomic { commit });
    assert_eq!(commits, [first, last]);
}

#[test]
fn a_refusal_is_that_of_all() {
    for (seq, code) in [(1, 10_174), (2, 10_054), (3, 10_071), (3, 10_077)] {
        let mut batch = Atomic::new(config(3));
        let _ = sent(&mut batch);
        answer(&mut batch, at(1), 1, seq, Answer::Refused(error(code)));
        assert_eq!(ends(&mut batch), vec![End::Refused(error(code)); 3]);
    }
}

#[test]
fn what_passes_is_waited_out_and_all_is_sent_again() {
    let answers =
        [10_008, 10_158, 10_167, 10_176, 10_210, 10_059].map(|code| Answer::Refused(error(code)));
    for refusal in answers.into_iter().chain([Answer::NoResponders]) {
        let mut batch = Atomic::new(config(2));
        assert_eq!(sent(&mut batch).1, 1);
        answer(&mut batch, at(1), 1, 1, refusal);
        assert_eq!(sent(&mut batch), (vec![], 0));
        let due = batch.deadline().unwrap();
        assert!(due > at(1) && due <= at(51), "{due:?}");
        batch.handle(due, Input::Tick);
        assert_eq!(sent(&mut batch), (vec![1, 2], 2));
        // What is said of the attempt before changes nothing.
        answer(&mut batch, due, 1, 2, Answer::Refused(error(10_176)));
        answer(&mut batch, due, 2, 2, stored(2, 2));
        assert_eq!(ends(&mut batch), [1, 2].map(End::Stored));
    }
}

#[test]
fn without_its_last_message_nothing_of_it_is_in_doubt() {
    let mut batch = Atomic::new(config(2));
    assert!(matches!(batch.poll(), Some(Output::Send(_))));
    batch.handle(at(0), Input::Lost);
    assert!(!batch.is_doubtful());
    batch.handle(at(300_000), Input::Tick);
    assert_eq!(ends(&mut batch), [End::NotSent, End::NotSent]);
}

#[test]
fn with_its_last_message_sent_it_is_in_doubt() {
    let mut batch = Atomic::new(Config {
        wait_for_link: false,
        ..config(2)
    });
    let _ = sent(&mut batch);
    batch.handle(at(1), Input::Lost);
    assert_eq!(ends(&mut batch), [End::Unknown, End::Unknown]);
}

#[test]
fn a_batch_that_was_stored_without_an_answer_is_found() {
    let mut batch = Atomic::new(config(3));
    let _ = sent(&mut batch);
    batch.handle(at(1), Input::Lost);
    assert_eq!(sent(&mut batch), (vec![], 0));
    batch.handle(at(2), Input::Connected);
    assert_eq!(sent(&mut batch), (vec![1, 2, 3], 2));
    answer(&mut batch, at(3), 2, 3, Answer::Refused(error(10_201)));
    assert_eq!(sent(&mut batch), (vec![FIRST, LAST], 3));
    answer(&mut batch, at(4), 3, LAST, known(9));
    answer(&mut batch, at(4), 3, FIRST, known(7));
    assert_eq!(ends(&mut batch), [7, 8, 9].map(End::Duplicate));
}

#[test]
fn a_batch_that_was_stored_before_is_found() {
    let mut batch = Atomic::new(config(2));
    let _ = sent(&mut batch);
    answer(&mut batch, at(1), 1, 2, Answer::Refused(error(10_201)));
    assert_eq!(sent(&mut batch), (vec![FIRST, LAST], 2));
    answer(&mut batch, at(2), 2, FIRST, known(3));
    answer(&mut batch, at(2), 2, LAST, known(4));
    assert_eq!(ends(&mut batch), [3, 4].map(End::Duplicate));
}

#[test]
fn a_last_message_that_came_twice_does_not_say_that_nothing_is_stored() {
    let mut batch = Atomic::new(config(3));
    let (_, attempt) = sent(&mut batch);
    let incomplete = Answer::Refused(error(codes::BATCH_INCOMPLETE));
    answer(&mut batch, at(1), attempt, 3, incomplete);
    assert!(batch.is_doubtful());
    // Sent again, its ids are known: it is asked for.
    let (_, attempt) = sent_at(&mut batch, at(10_000));
    let known = Answer::Refused(error(codes::BATCH_DUPLICATE));
    answer(&mut batch, at(10_001), attempt, 3, known);
    let (questions, _) = sent(&mut batch);
    assert_eq!(questions, [FIRST, LAST]);
}

#[test]
fn what_is_not_said_of_a_known_id_is_unknown() {
    let mut batch = Atomic::new(config(2));
    let _ = sent(&mut batch);
    answer(&mut batch, at(1), 1, 2, Answer::Refused(error(10_201)));
    let _ = sent(&mut batch);
    batch.handle(at(300_000), Input::Tick);
    assert_eq!(ends(&mut batch), [End::Unknown, End::Unknown]);
}

#[test]
fn a_late_answer_is_as_good() {
    let mut batch = Atomic::new(config(2));
    let _ = sent(&mut batch);
    batch.handle(at(5_000), Input::Tick);
    assert_eq!(sent(&mut batch), (vec![1, 2], 2));
    answer(&mut batch, at(5_001), 1, 2, stored(2, 2));
    assert_eq!(ends(&mut batch), [1, 2].map(End::Stored));
}

#[test]
fn ids_that_were_stored_one_by_one_are_no_batch() {
    for (first, last) in [
        (known(7), known(9)),
        (known(7), known(3)),
        (Answer::Refused(error(10_070)), known(3)),
    ] {
        let mut batch = Atomic::new(config(2));
        let _ = sent(&mut batch);
        batch.handle(at(5_000), Input::Tick);
        let _ = sent(&mut batch);
        answer(&mut batch, at(5_001), 2, 2, Answer::Refused(error(10_201)));
        let _ = sent(&mut batch);
        answer(&mut batch, at(5_002), 3, FIRST, first);
        answer(&mut batch, at(5_002), 3, LAST, last);
        assert_eq!(ends(&mut batch), vec![End::Refused(error(10_201)); 2]);
    }
}

#[test]
fn what_may_still_arrive_is_unknown_until_it_cannot_be_stored() {
    let mut batch = Atomic::new(config(2));
    let _ = sent(&mut batch);
    batch.handle(at(5_000), Input::Tick);
    let _ = sent(&mut batch);
    answer(&mut batch, at(5_001), 2, 2, Answer::Refused(error(10_077)));
    assert_eq!(sent(&mut batch), (vec![FIRST, LAST], 3));
    answer(
        &mut batch,
        at(5_002),
        3,
        FIRST,
        Answer::Refused(error(10_070)),
    );
    assert_eq!(ends(&mut batch), [End::Unknown, End::Unknown]);
}

#[test]
fn nothing_is_sent_again_once_its_ids_may_be_forgotten() {
    let mut batch = Atomic::new(config(1));
    let _ = sent(&mut batch);
    batch.handle(at(1), Input::Lost);
    // An eighth of the window is kept.
    assert_eq!(batch.deadline(), Some(at(70_000)));
    batch.handle(at(69_999), Input::Tick);
    assert!(!batch.is_over());
    batch.handle(at(70_000), Input::Connected);
    assert_eq!(ends(&mut batch), [End::Unknown]);
}

#[test]
fn what_the_link_does_not_take_stays() {
    let mut batch = Atomic::new(config(2));
    for seq in [1, 2] {
        for input in [Input::Busy, Input::Free] {
            let Some(Output::Send(part)) = batch.poll() else {
                panic!("nothing to send");
            };
            assert_eq!(part.seq, seq);
            if input == Input::Busy {
                batch.handle(at(0), Input::Back);
                batch.handle(at(0), Input::Busy);
                assert_eq!(batch.poll(), None);
                assert!(!batch.is_doubtful());
                batch.handle(at(0), Input::Free);
            }
        }
    }
    assert!(batch.is_doubtful());
    let mut batch = Atomic::new(config(2));
    let _ = batch.poll();
    batch.handle(at(0), Input::Unsendable);
    assert_eq!(ends(&mut batch), [End::Unsendable, End::Unsendable]);
}

/// A stream that takes atomic batches.
#[derive(Debug, Default)]
struct Server {
    stored: Vec<Option<usize>>,
    ids: BTreeMap<usize, u64>,
    /// Messages of attempts so far.
    groups: BTreeMap<u32, u64>,
}

impl Server {
    fn hear(&mut self, part: &Part, refuses: bool) -> Answer {
        match part.role {
            Role::Question => match self.ids.get(&part.index) {
                Some(seq) => known(*seq),
                None => Answer::Refused(error(10_070)),
            },
            Role::Atomic { commit } => {
                let so_far = self.groups.entry(part.attempt).or_default();
                if refuses || *so_far + 1 != part.seq {
                    *so_far = u64::MAX - 1;
                    return Answer::Refused(error(if refuses { 10_008 } else { 10_176 }));
                }
                *so_far += 1;
                if !commit {
                    return Answer::Taken;
                }
                let count = *so_far;
                *so_far = u64::MAX - 1;
                let ids = 0..usize::try_from(count).unwrap();
                if ids.clone().any(|id| self.ids.contains_key(&id)) {
                    return Answer::Refused(error(10_201));
                }
                for id in ids {
                    self.stored.push(Some(id));
                    self.ids.insert(id, self.stored.len() as u64);
                }
                stored(self.stored.len() as u64, count)
            }
            Role::Ingest { .. } => panic!("no atomic batch"),
        }
    }
}

proptest! {
    /// Whatever is lost, late or refused: all are stored or none, and what is said is
    /// so.
    #[test]
    fn a_batch_is_stored_whole_or_not_at_all(
        seed in any::<u64>(),
        count in 1_usize..6,
        trouble in 0_u64..60,
        foreign in proptest::option::weighted(0.2, 0_usize..6),
        waits in proptest::bool::weighted(0.8),
    ) {
        let mut random = Random::new(seed);
        let mut chance = |percent| random.next() % 100 < percent;
        let mut server = Server::default();
        if let Some(id) = foreign.filter(|id| *id < count) {
            // Somebody stored one of them before.
            server.stored.push(Some(id));
            server.ids.insert(id, 1);
        }
        let before = server.stored.len();
        let mut batch = Atomic::new(Config {
            deadline: at(100_000),
            wait_for_link: waits,
            ..config(count)
        });
        let mut now = at(0);
        let mut ends = BTreeMap::new();
        let mut late: Vec<Input> = Vec::new();
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
                    // Lost on its way.
                    Output::Send(_) if chance(trouble / 4) => {}
                    Output::Send(part) => {
                        if chance(20) {
                            server.stored.push(None);
                        }
                        let answer = server.hear(&part, chance(trouble / 4));
                        let answered = Input::Answered {
                            attempt: part.attempt,
                            seq: part.seq,
                            answer,
                        };
                        if chance(trouble / 3) {
                            // Never comes, or late.
                            if chance(50) {
                                late.push(answered);
                            }
                        } else {
                            batch.handle(now, answered);
                        }
                    }
                }
                if chance(trouble / 6) && up {
                    batch.handle(now, Input::Lost);
                    up = false;
                }
            }
            if chance(30) && let Some(input) = late.pop() {
                batch.handle(now, input);
                idle = false;
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
        let held = server.stored.iter().skip(before).flatten().count();
        prop_assert!(held == 0 || held == count, "{held} of {count}");
        for (index, end) in &ends {
            match end {
                End::Stored(seq) | End::Duplicate(seq) => {
                    let place = usize::try_from(seq - 1).unwrap();
                    prop_assert_eq!(server.stored.get(place), Some(&Some(*index)));
                }
                End::Unknown => prop_assert!(trouble > 0),
                End::Refused(_) | End::NotSent => prop_assert_eq!(held, 0),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        if trouble < 4 && foreign.is_none_or(|id| id >= count) {
            prop_assert_eq!(held, count);
        }
    }
}
