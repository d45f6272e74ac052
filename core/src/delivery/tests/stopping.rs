//! Stopping: what was not handled goes back in order, and what still runs may be
//! given up.

use super::*;

#[test]
fn stopping_gives_back_in_stream_order_and_never_past_a_running_head() {
    let (mut delivery, jobs) = with(&[Some(1), Some(2), Some(1), Some(2), Some(1), Some(2)]);
    // Key 2 waits to run again, key 1 runs.
    done(&mut delivery, 0, jobs[1].id, failed(Some(ACK_WAIT)));
    delivery.handle(at(1), Input::Stop);
    let then = out(&mut delivery);
    assert_eq!(then.sent(), [(2, "-NAK"), (4, "-NAK"), (6, "-NAK")]);
    assert!(!delivery.stopped());
    // What comes now of a key that is running waits for its head, too.
    delivery.handle(at(2), message(7, Some(1), 1));
    delivery.handle(at(2), message(8, Some(3), 1));
    assert_eq!(out(&mut delivery).sent(), [(8, "-NAK")]);
    let then = done(&mut delivery, 3, jobs[0].id, Outcome::Ack);
    assert_eq!(
        then.sent(),
        [(1, "+ACK"), (3, "-NAK"), (5, "-NAK"), (7, "-NAK")]
    );
    assert!(then.jobs.is_empty());
    assert!(delivery.stopped());
    assert_eq!(delivery.deadline(), None);
}

#[test]
fn what_never_ran_is_given_back_in_stream_order_over_all_keys() {
    let mut delivery = Delivery::new(config(10));
    for (seq, key) in [
        (1, Some(1)),
        (2, Some(1)),
        (3, Some(2)),
        (4, Some(1)),
        (5, None),
    ] {
        delivery.handle(at(0), message(seq, key, 1));
    }
    delivery.handle(at(0), Input::Stop);
    let given: Vec<_> = out(&mut delivery).sent.iter().map(|sent| sent.0).collect();
    assert_eq!(given, [1, 2, 3, 4, 5]);
}

#[test]
fn a_failure_while_stopping_takes_its_successors_along_with_its_delay() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    delivery.handle(at(1), Input::Stop);
    let retry_after = Some(Duration::from_nanos(7));
    let then = done(&mut delivery, 2, jobs[0].id, failed(retry_after));
    let delayed = "-NAK {\"delay\": 7}";
    assert_eq!(then.sent(), [(1, delayed), (2, delayed)]);
    assert!(delivery.stopped());
}

#[test]
fn what_came_late_is_given_back_before_what_ran_already() {
    let mut delivery = Delivery::new(config(10));
    let first = give(&mut delivery, 0, message(5, Some(1), 1));
    for seq in [3, 7] {
        delivery.handle(at(0), message(seq, Some(1), 2));
    }
    delivery.handle(at(1), Input::Stop);
    let then = done(&mut delivery, 2, first.jobs[0].id, failed(None));
    let given: Vec<_> = then.sent.iter().map(|sent| sent.0).collect();
    assert_eq!(given, [3, 5, 7]);
}

#[test]
fn a_job_that_nobody_started_can_be_taken_back() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1), None]);
    assert!(delivery.take_back(jobs[0].id));
    let again = out(&mut delivery);
    assert_eq!((again.ran(), again.jobs[0].attempt), (vec![1], 1));
    assert_ne!(again.jobs[0].id, jobs[0].id);
    assert!(!delivery.take_back(jobs[0].id));
    delivery.handle(at(1), Input::Stop);
    assert!(out(&mut delivery).is_empty());
    assert!(delivery.take_back(again.jobs[0].id));
    assert_eq!(out(&mut delivery).sent(), [(1, "-NAK"), (2, "-NAK")]);
    done(&mut delivery, 2, jobs[1].id, Outcome::Ack);
    assert!(delivery.stopped());
}

#[test]
fn what_still_runs_can_be_given_up_and_nothing_more_is_said_of_it() {
    let keys = [Some(1), Some(2), Some(3), Some(1), Some(4)];
    let (mut delivery, jobs) = with(&keys);
    done(&mut delivery, 0, jobs[3].id, Outcome::Ack);
    delivery.handle(at(1), Input::Stop);
    done(&mut delivery, 2, jobs[1].id, Outcome::Ack);
    done(&mut delivery, 2, jobs[2].id, failed(None));
    let then = give(&mut delivery, 3, Input::Abandon);
    // What waited behind must not come before it: its lease is over by then.
    let delay = ACK_WAIT + ACK_WAIT / 3;
    let nak = format!("-NAK {{\"delay\": {}}}", delay.as_nanos());
    assert_eq!(then.sent(), [(4, &*nak)]);
    assert!(delivery.stopped());
    assert_eq!((delivery.running(), delivery.deadline()), (0, None));
    let report = Report {
        finished: 1,
        returned: 2,
        abandoned: 1,
    };
    assert_eq!(delivery.report(), report);
    for outcome in [Outcome::Ack, nak_now(), failed(None)] {
        assert!(done(&mut delivery, 4, jobs[0].id, outcome).is_empty());
    }
    assert!(give(&mut delivery, 4, Input::Progress { id: jobs[0].id }).is_empty());
    assert!(!delivery.take_back(jobs[0].id));
    assert_eq!(delivery.report(), report);
}

#[test]
fn giving_up_without_having_stopped_stops() {
    let (mut delivery, _jobs) = with(&[Some(1), Some(1), Some(2)]);
    let then = give(&mut delivery, 0, Input::Abandon);
    assert_eq!(then.sent.len(), 1);
    assert_eq!(delivery.report().abandoned, 2);
    assert!(delivery.stopped());
    // What comes late goes back at once.
    let late = give(&mut delivery, 1, message(9, Some(1), 1));
    assert_eq!(late.sent(), [(9, "-NAK")]);
    assert!(delivery.stopped());
}

#[test]
fn a_running_batch_can_be_given_up() {
    let linger = Duration::ZERO;
    let batched = Config {
        batch: Some(Batch { max: 3, linger }),
        ..config(10)
    };
    let (mut delivery, jobs) = with_config(batched, &[Some(1), Some(1), Some(2)]);
    assert!(give(&mut delivery, 1, Input::Abandon).is_empty());
    assert_eq!(delivery.report().abandoned, jobs.len());
    let ids = jobs.iter().map(|job| (job.id, Outcome::Ack)).collect();
    assert!(give(&mut delivery, 2, Input::BatchDone(ids)).is_empty());
}

fn nak_now() -> Outcome {
    Outcome::Nak { after: None }
}
