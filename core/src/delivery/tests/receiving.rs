//! What is delivered in unusual ways: redriven, over a connection that broke, of
//! another stream.

use super::*;

/// What runs, one after the other, until nothing is held.
fn order(delivery: &mut Delivery<u64>, mut job: Job<u64>) -> Vec<u64> {
    let mut order = Vec::new();
    loop {
        order.push(job.item);
        let then = done(delivery, 1, job.id, Outcome::Ack);
        match then.jobs.into_iter().next() {
            Some(next) => job = next,
            None => return order,
        }
    }
}

#[test]
fn what_is_redriven_goes_behind_all_and_others_keep_their_order_around_it() {
    let mut delivery = Delivery::new(config(20));
    delivery.handle(at(0), message(50, Some(1), 1));
    delivery.handle(at(0), message(90, Some(1), 1));
    delivery.handle(at(0), redriven(3, 1));
    delivery.handle(at(0), redriven(2, 1));
    let job = out(&mut delivery).jobs.remove(0);
    // One that comes late, one that comes in order.
    delivery.handle(at(0), message(70, Some(1), 2));
    delivery.handle(at(0), message(99, Some(1), 1));
    delivery.handle(at(0), message(95, Some(1), 2));
    assert_eq!(order(&mut delivery, job), [50, 70, 90, 3, 2, 95, 99]);
}

#[test]
fn a_redriven_message_is_another_than_that_of_its_sequence() {
    let (mut delivery, jobs) = with(&[Some(1)]);
    delivery.handle(at(0), redriven(1, 1));
    assert_eq!(delivery.held(), 2);
    let then = done(&mut delivery, 0, jobs[0].id, Outcome::Ack);
    assert_eq!(then.ran(), [1]);
    assert_eq!(delivery.lowest_unsettled(), None);
    done(&mut delivery, 0, then.jobs[0].id, nak(0));
    assert_eq!(give(&mut delivery, 0, redriven(1, 1)).ran(), [1]);
}

#[test]
fn the_lowest_unsettled_is_that_of_all_that_is_held_or_waited_for() {
    let (mut delivery, jobs) = with(&[Some(1), Some(2), Some(1)]);
    assert_eq!(delivery.lowest_unsettled(), Some(1));
    done(&mut delivery, 0, jobs[0].id, nak(0));
    assert_eq!(delivery.lowest_unsettled(), Some(1));
    done(&mut delivery, 0, jobs[1].id, Outcome::Ack);
    tick(&mut delivery, 90_000);
    tick(&mut delivery, 180_000);
    assert_eq!(delivery.lowest_unsettled(), Some(3), "1 did not return");
}

#[test]
fn what_was_lost_with_a_connection_is_not_overtaken() {
    let mut delivery = Delivery::new(config(10));
    let lost = give(&mut delivery, 0, missing(2, Some(1), 1));
    assert_eq!(lost.sent, [(2, 1, "-NAK".to_owned())]);
    assert_eq!((delivery.held(), delivery.free()), (0, 10));
    assert_eq!(delivery.lowest_unsettled(), Some(2));
    assert!(give(&mut delivery, 1, message(3, Some(1), 1)).is_empty());
    assert_eq!(give(&mut delivery, 1, message(4, Some(2), 1)).ran(), [4]);
    // An earlier one does not wait for it.
    let first = give(&mut delivery, 1, message(1, Some(1), 2));
    assert_eq!(first.ran(), [1]);
    assert!(
        done(&mut delivery, 2, first.jobs[0].id, Outcome::Ack)
            .jobs
            .is_empty()
    );
    let then = give(&mut delivery, 30_000, message(2, Some(1), 2));
    assert_eq!((then.ran(), then.jobs[0].attempt), (vec![2], 1));
    assert_eq!(
        done(&mut delivery, 30_001, then.jobs[0].id, Outcome::Ack).ran(),
        [3]
    );
}

#[test]
fn what_was_lost_and_does_not_come_is_not_waited_for_for_ever() {
    let mut delivery = Delivery::new(config(10));
    delivery.handle(at(0), missing(1, Some(1), 1));
    delivery.handle(at(0), message(2, Some(1), 1));
    let until = ACK_WAIT + ACK_WAIT / 3;
    let mut then = Out::default();
    while then.jobs.is_empty() {
        let now = delivery.deadline().unwrap();
        assert!(now <= Time::ZERO + until);
        delivery.handle(now, Input::Tick);
        then = out(&mut delivery);
    }
    assert_eq!(then.ran(), [2]);
    assert_eq!(then.events, [DeliveryEvent::NotReturned { stream_seq: 1 }]);
}

#[test]
fn what_is_held_or_settled_or_has_no_key_is_not_missing() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    delivery.handle(at(0), missing(2, Some(1), 2));
    let then = done(&mut delivery, 0, jobs[0].id, Outcome::Ack);
    assert_eq!(then.ran(), [2]);
    delivery.handle(at(0), missing(1, Some(1), 2));
    delivery.handle(at(0), missing(3, None, 1));
    assert_eq!(delivery.held(), 1);
    done(&mut delivery, 0, then.jobs[0].id, Outcome::Ack);
    assert!(delivery.idle());
}

#[test]
fn what_is_missing_is_given_back_unless_it_is_here_or_settled() {
    let (mut delivery, jobs) = with(&[Some(1), Some(2)]);
    let said = |then: Out| then.sent;
    let nak = |seq, delivered| vec![(seq, delivered, "-NAK".to_owned())];
    assert_eq!(
        said(give(&mut delivery, 0, missing(3, Some(1), 1))),
        nak(3, 1)
    );
    assert_eq!(said(give(&mut delivery, 0, missing(4, None, 1))), nak(4, 1));
    // It runs here, and is acknowledged where it was delivered last.
    assert_eq!(said(give(&mut delivery, 0, missing(1, Some(1), 2))), []);
    let acked = |seq, delivered| vec![(seq, delivered, "+ACK".to_owned())];
    assert_eq!(
        said(done(&mut delivery, 0, jobs[0].id, Outcome::Ack)),
        acked(1, 2)
    );
    // Its acknowledgement was for the consumer before.
    assert_eq!(
        said(give(&mut delivery, 0, missing(1, Some(1), 3))),
        acked(1, 3)
    );
    let known: Vec<_> = (1..=5)
        .map(|seq| match message(seq, None, 1) {
            Input::Received { meta, .. } => delivery.has(&meta, false),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(known, [true, true, false, false, false]);
    // Of what is not to be repeated, the lease has to run out.
    let mut quiet = missing(5, Some(2), 1);
    if let Input::Missing { back, .. } = &mut quiet {
        *back = false;
    }
    assert_eq!(said(give(&mut delivery, 0, quiet)), []);
    // What was redriven is never waited for.
    let mut again = missing(9, Some(2), 1);
    if let Input::Missing { redriven, .. } = &mut again {
        *redriven = true;
    }
    assert_eq!(said(give(&mut delivery, 0, again)), nak(9, 1));
    assert_eq!(delivery.lowest_unsettled(), Some(2));
    let then = done(&mut delivery, 0, jobs[1].id, Outcome::Ack);
    assert_eq!(said(then), acked(2, 1));
    assert_eq!(delivery.lowest_unsettled(), Some(3));
}

#[test]
fn more_missing_messages_than_places_are_told() {
    let mut delivery = Delivery::new(config(2));
    let mut told = Vec::new();
    for seq in 1..=4 {
        told.extend(give(&mut delivery, 0, missing(seq, Some(1), 1)).events);
    }
    let expected = [3, 4].map(|stream_seq| DeliveryEvent::NotReturned { stream_seq });
    assert_eq!(told, expected);
}

#[test]
fn what_is_held_of_a_stream_that_is_gone_runs_first_and_is_never_acknowledged() {
    let mut delivery = Delivery::new(config(8));
    for (seq, key) in [(7, 1), (8, 1), (9, 2)] {
        delivery.handle(at(0), message(seq, Some(key), 1));
    }
    let mut jobs = out(&mut delivery).jobs;
    delivery.handle(at(1), Input::Replaced);
    // The new stream counts from one again.
    for (seq, key) in [(1, 1), (2, 1), (3, 2)] {
        delivery.handle(at(2), message(seq, Some(key), 1));
    }
    let (mut ran, mut sent) = (Vec::new(), Vec::new());
    while let Some(job) = jobs.pop() {
        ran.push(job.item);
        let then = done(&mut delivery, 3, job.id, Outcome::Ack);
        sent.extend(then.sent().iter().map(|(seq, _)| *seq));
        jobs.extend(then.jobs);
    }
    assert_eq!(ran, [9, 3, 7, 8, 1, 2]);
    assert_eq!(sent, [3, 1, 2]);
    assert!(delivery.idle());
}

#[test]
fn what_there_is_no_room_for_is_not_overtaken() {
    let mut delivery = Delivery::new(config(1));
    delivery.handle(at(0), message(1, Some(1), 1));
    delivery.handle(at(0), message(2, Some(1), 1));
    let first = out(&mut delivery).jobs.remove(0);
    let refused = give(&mut delivery, 0, message(3, Some(1), 1));
    assert_eq!(refused.sent(), [(3, "-NAK")]);
    let second = done(&mut delivery, 1, first.id, Outcome::Ack)
        .jobs
        .remove(0);
    delivery.handle(at(1), message(4, Some(1), 1));
    let then = done(&mut delivery, 1, second.id, Outcome::Ack);
    assert!(then.jobs.is_empty(), "4 waits for 3");
    let third = give(&mut delivery, 2, message(3, Some(1), 2))
        .jobs
        .remove(0);
    assert_eq!(third.item, 3);
    let fourth = done(&mut delivery, 3, third.id, Outcome::Ack)
        .jobs
        .remove(0);
    assert_eq!(fourth.item, 4);
}

#[test]
fn all_that_is_held_when_what_was_refused_comes_back_runs_at_once() {
    let mut delivery = Delivery::new(config(2));
    for n in 1..=6 {
        delivery.handle(at(0), message(n.into(), Some(n), 1));
    }
    let mut ran = out(&mut delivery).ran();
    for n in 5..=6 {
        ran.extend(give(&mut delivery, 1, message(n.into(), Some(n), 2)).ran());
    }
    assert_eq!(ran, [1, 2, 3, 4, 5, 6]);
    assert_eq!(delivery.running(), most_held(2));
    let more = give(&mut delivery, 1, message(7, Some(7), 1));
    assert_eq!(more.sent(), [(7, "-NAK")]);
    assert_eq!((more.ran(), delivery.running()), (vec![], most_held(2)));
}
