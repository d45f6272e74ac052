//! Messages that are handed out together.

use super::*;

const LINGER: u64 = 20;

fn batched(max: usize) -> Config {
    Config {
        batch: Some(Batch {
            max,
            linger: Duration::from_millis(LINGER),
        }),
        ..config(100)
    }
}

fn said(jobs: &[Job<u64>], outcomes: impl IntoIterator<Item = Outcome>) -> Input<u64> {
    let ids = jobs.iter().map(|job| job.id);
    Input::BatchDone(ids.zip(outcomes).collect())
}

fn all_well(jobs: &[Job<u64>]) -> Input<u64> {
    said(jobs, std::iter::repeat(Outcome::Ack))
}

#[test]
fn a_full_batch_goes_at_once_and_keeps_the_order_of_its_keys() {
    let keys = [Some(1), Some(2), Some(1), None, Some(2)];
    let mut delivery = Delivery::new(batched(5));
    for (seq, key) in (1..).zip(keys) {
        assert!(out(&mut delivery).is_empty());
        delivery.handle(at(0), message(seq, key, 1));
    }
    let then = out(&mut delivery);
    assert_eq!(then.batches, [[1, 3, 2, 5, 4]]);
    assert_eq!(delivery.running(), 5);
    let settled = give(&mut delivery, 1, all_well(&then.jobs));
    assert_eq!(settled.sent.len(), 5);
    assert!(delivery.idle());
    assert_eq!((delivery.running(), delivery.deadline()), (0, None));
}

#[test]
fn a_batch_that_is_not_full_waits_since_its_first_message() {
    let mut delivery = Delivery::new(batched(5));
    assert!(give(&mut delivery, 7, message(1, Some(1), 1)).is_empty());
    assert!(give(&mut delivery, 20, message(2, Some(2), 1)).is_empty());
    assert_eq!(delivery.deadline(), Some(at(7 + LINGER)));
    assert!(tick(&mut delivery, 6 + LINGER).is_empty());
    assert_eq!(tick(&mut delivery, 7 + LINGER).batches, [[1, 2]]);
    assert_eq!(delivery.deadline(), Some(at(10_007)), "that of a lease");
    // The next one waits as long.
    assert!(give(&mut delivery, 50, message(3, Some(3), 1)).is_empty());
    assert_eq!(delivery.deadline(), Some(at(50 + LINGER)));
}

#[test]
fn many_that_become_free_at_once_go_in_full_batches() {
    let mut delivery = Delivery::new(batched(3));
    for seq in 1..=3 {
        delivery.handle(at(0), message(seq, Some(1), 1));
    }
    let first = out(&mut delivery);
    assert_eq!(first.batches, [[1, 2, 3]]);
    for seq in 4..=10 {
        // The key runs: nothing of it is in another batch.
        assert!(give(&mut delivery, 1, message(seq, Some(1), 1)).is_empty());
    }
    assert!(tick(&mut delivery, 500).is_empty());
    let then = give(&mut delivery, 501, all_well(&first.jobs));
    assert_eq!(then.batches, [[4, 5, 6]]);
    let then = give(&mut delivery, 502, all_well(&then.jobs));
    assert_eq!(then.batches, [[7, 8, 9]]);
    let then = give(&mut delivery, 503, all_well(&then.jobs));
    assert!(then.batches.is_empty());
    assert_eq!(tick(&mut delivery, 503 + LINGER).batches, [[10]]);
}

#[test]
fn what_follows_a_failure_in_its_key_runs_again_after_it_whatever_was_said() {
    let keys = [Some(1), Some(1), Some(1), Some(2), Some(2), None, None];
    let (mut delivery, jobs) = with_config(batched(7), &keys);
    let after = Some(Duration::from_millis(1));
    let outcomes = [
        Outcome::Ack,
        failed(after),
        Outcome::Ack,
        Outcome::Ack,
        Outcome::Term { reason: None },
        failed(after),
        Outcome::Ack,
    ];
    let then = give(&mut delivery, 0, said(&jobs, outcomes));
    let settled = [(1, "+ACK"), (4, "+ACK"), (5, "+TERM"), (7, "+ACK")];
    assert_eq!(then.sent(), settled);
    assert!(tick(&mut delivery, 1).is_empty());
    let again = tick(&mut delivery, 1 + LINGER);
    assert_eq!(again.batches, [[2, 3, 6]]);
    let attempts: Vec<_> = again.jobs.iter().map(|job| job.attempt).collect();
    assert_eq!(attempts, [2, 2, 2]);
}

#[test]
fn what_is_given_back_or_given_up_holds_what_follows_in_its_key() {
    let keys = [Some(1), Some(1), Some(2), Some(2)];
    let (mut delivery, jobs) = with_config(batched(4), &keys);
    let terminal = Outcome::DeadLetter {
        reason: Reason::Terminal,
        error: "".into(),
    };
    let outcomes = [nak(0), Outcome::Ack, terminal, Outcome::Ack];
    let then = give(&mut delivery, 0, said(&jobs, outcomes));
    assert_eq!(then.sent(), [(1, "-NAK")]);
    assert_eq!(then.letters(), [(3, Reason::Terminal)]);
    assert!(then.batches.is_empty(), "a dead letter goes alone");
    let buried = done(&mut delivery, 1, then.jobs[0].id, Outcome::Buried);
    assert_eq!(buried.sent(), [(3, "+ACK")]);
    delivery.handle(at(1), message(1, Some(1), 2));
    assert_eq!(tick(&mut delivery, 1 + LINGER).batches, [[4, 1, 2]]);
}

#[test]
fn what_was_settled_by_its_handler_does_not_run_again() {
    let (mut delivery, jobs) = with_config(batched(2), &[Some(1), Some(1)]);
    let outcomes = [failed(Some(Duration::ZERO)), Outcome::Settled];
    give(&mut delivery, 0, said(&jobs, outcomes));
    assert_eq!(tick(&mut delivery, LINGER).batches, [[1]]);
}

#[test]
fn one_of_which_nothing_is_said_has_failed() {
    let (mut delivery, jobs) = with_config(batched(2), &[Some(1), Some(2)]);
    let then = give(&mut delivery, 0, all_well(&jobs[..1]));
    assert_eq!(then.sent(), [(1, "+ACK")]);
    assert!(matches!(
        then.events[..],
        [DeliveryEvent::Retrying { stream_seq: 2, .. }]
    ));
    assert_eq!(delivery.running(), 0);
    // Late words mean nothing.
    assert!(give(&mut delivery, 0, all_well(&jobs)).is_empty());
}

#[test]
fn a_batch_is_taken_back_as_a_whole_and_goes_again() {
    let (mut delivery, jobs) = with_config(batched(2), &[Some(1), Some(1)]);
    assert!(delivery.take_back(jobs[1].id));
    assert!(!delivery.take_back(jobs[0].id));
    let again = out(&mut delivery);
    assert_eq!(again.batches, [[1, 2]]);
    assert!(again.jobs.iter().all(|job| job.attempt == 1));
    give(&mut delivery, 1, Input::Stop);
    assert!(delivery.take_back(again.jobs[0].id));
    assert_eq!(out(&mut delivery).sent(), [(1, "-NAK"), (2, "-NAK")]);
    assert!(delivery.stopped());
}

#[test]
fn one_taken_back_from_a_batch_that_was_not_full_waits_and_goes_again() {
    let mut delivery = Delivery::new(batched(9));
    delivery.handle(at(0), message(1, Some(1), 1));
    let then = tick(&mut delivery, LINGER);
    assert!(delivery.take_back(then.jobs[0].id));
    assert_eq!(delivery.deadline(), Some(at(2 * LINGER)));
    assert_eq!(tick(&mut delivery, 2 * LINGER).batches, [[1]]);
}

#[test]
fn a_suspect_is_a_batch_of_its_own() {
    let wary = Config {
        suspect_after: 5,
        ..batched(3)
    };
    let mut delivery = Delivery::new(wary);
    delivery.handle(at(0), message(1, Some(1), 1));
    delivery.handle(at(0), message(2, Some(1), 5));
    delivery.handle(at(0), message(3, Some(2), 1));
    out(&mut delivery);
    let then = tick(&mut delivery, LINGER);
    assert_eq!(then.batches, [[1, 3]], "nobody's batch is the suspect's");
    let alone = give(&mut delivery, LINGER, all_well(&then.jobs));
    assert_eq!(alone.batches, [[2]]);
    for seq in 4..=6 {
        assert!(give(&mut delivery, LINGER, message(seq, Some(3), 1)).is_empty());
    }
    let then = give(&mut delivery, LINGER, all_well(&alone.jobs));
    assert_eq!(then.batches, [[4, 5, 6]]);
}

/// Says of each batch that all of it failed when this one is among it, else that all went
/// well, until nothing is held any more: what was given up.
fn given_up_for(bad: u64, delivery: &mut Delivery<u64>, first: Vec<Job<u64>>) -> Vec<u64> {
    let (mut running, mut given_up) = (vec![first], Vec::new());
    for millis in 1..5_000 {
        for jobs in std::mem::take(&mut running) {
            let fails = jobs.iter().any(|job| job.item == bad);
            let outcomes = jobs.iter().map(|job| match job.task {
                Task::Bury(_) => Outcome::Buried,
                Task::Handle if fails => failed(Some(Duration::from_millis(1))),
                Task::Handle => Outcome::Ack,
            });
            let words = said(&jobs, outcomes.collect::<Vec<_>>());
            delivery.handle(at(millis), words);
        }
        let then = tick(delivery, millis);
        given_up.extend(then.letters().iter().map(|(seq, _)| *seq));
        let mut jobs = then.jobs.into_iter().peekable();
        let mut batches = then.batches.iter().map(Vec::len);
        while let Some(next) = jobs.peek() {
            let count = match next.task {
                Task::Bury(_) => 1,
                Task::Handle => batches.next().unwrap(),
            };
            running.push(jobs.by_ref().take(count).collect());
        }
    }
    given_up
}

#[test]
fn one_that_fails_a_whole_batch_ends_up_alone_and_only_it_is_given_up() {
    // Of one key, of several, and of none.
    let keys = [
        [Some(1); 8].to_vec(),
        [
            Some(1),
            Some(2),
            Some(1),
            Some(2),
            Some(1),
            Some(2),
            Some(3),
            Some(3),
        ]
        .to_vec(),
        [None; 8].to_vec(),
    ];
    for keys in keys {
        for attempts in [Some(2), Some(5), Some(20)] {
            let config = Config {
                attempts,
                ..batched(8)
            };
            let (mut delivery, jobs) = with_config(config, &keys);
            assert_eq!(jobs.len(), 8);
            let given_up = given_up_for(6, &mut delivery, jobs);
            assert_eq!(given_up, [6], "{keys:?}, {attempts:?}");
            assert!(delivery.idle() && delivery.batches.is_empty());
        }
    }
}

#[test]
fn what_failed_together_goes_in_halves_and_what_came_later_in_full_batches() {
    let (mut delivery, jobs) = with_config(batched(4), &[Some(1); 4]);
    let all = std::iter::repeat(failed(Some(Duration::from_millis(1))));
    give(&mut delivery, 0, said(&jobs, all));
    for seq in 5..=8 {
        assert!(give(&mut delivery, 0, message(seq, Some(1), 1)).is_empty());
    }
    let then = tick(&mut delivery, 1);
    assert_eq!(then.batches, [[1, 2]], "it is full");
    let then = give(&mut delivery, 1, all_well(&then.jobs));
    assert_eq!(then.batches, [[3, 4]]);
    let then = give(&mut delivery, 1, all_well(&then.jobs));
    assert_eq!(then.batches, [[5, 6, 7, 8]]);
}

#[test]
fn a_batch_of_which_something_went_well_is_not_made_smaller() {
    let (mut delivery, jobs) = with_config(batched(4), &[None, None, Some(1), Some(1)]);
    let after = Some(Duration::from_millis(1));
    let outcomes = [Outcome::Ack, failed(after), failed(after), failed(after)];
    give(&mut delivery, 0, said(&jobs, outcomes));
    delivery.handle(at(1), message(5, Some(1), 1));
    assert_eq!(tick(&mut delivery, 1).batches, [[2, 3, 4, 5]]);
}

#[test]
fn stopping_gives_back_what_follows_a_failure_of_a_running_batch() {
    let keys = [Some(1), Some(1), Some(2)];
    let (mut delivery, jobs) = with_config(batched(3), &keys);
    delivery.handle(at(0), message(4, Some(1), 1));
    assert!(give(&mut delivery, 1, Input::Stop).is_empty());
    let after = Some(Duration::from_nanos(7));
    let outcomes = [failed(after), Outcome::Ack, Outcome::Ack];
    let then = give(&mut delivery, 2, said(&jobs, outcomes));
    let delayed = "-NAK {\"delay\": 7}";
    assert_eq!(
        then.sent(),
        [(1, delayed), (2, delayed), (4, delayed), (3, "+ACK")]
    );
    assert!(delivery.stopped());
    assert_eq!(delivery.running(), 0);
}
