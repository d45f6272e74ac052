//! What is given back is waited for.

use super::*;

#[test]
fn nothing_of_a_key_overtakes_what_was_given_back() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1), Some(2)]);
    let then = done(&mut delivery, 0, jobs[0].id, nak(1000));
    assert_eq!(then.sent(), [(1, "-NAK {\"delay\": 1000000000}")]);
    assert!(then.jobs.is_empty());
    assert_eq!(delivery.held(), 3, "its place waits for it");
    delivery.handle(at(500), message(4, Some(1), 1));
    delivery.handle(at(1000), Input::Tick);
    assert!(out(&mut delivery).is_empty());
    assert_eq!(delivery.held(), 3, "its place is free to come back to");
    delivery.handle(at(1001), message(1, Some(1), 2));
    let back = out(&mut delivery);
    assert_eq!((back.ran(), back.jobs[0].attempt), (vec![1], 2));
    assert_eq!(delivery.held(), 4);
    assert_eq!(
        done(&mut delivery, 1002, back.jobs[0].id, Outcome::Ack).ran(),
        [2]
    );
}

#[test]
fn what_does_not_come_back_is_not_waited_for_for_ever() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    done(&mut delivery, 0, jobs[0].id, Outcome::Returned);
    let mut told = Vec::new();
    let mut ran = Vec::new();
    while ran.is_empty() {
        let now = delivery.deadline().unwrap();
        assert!(now <= Time::ZERO + ACK_WAIT + ACK_WAIT / 3);
        delivery.handle(now, Input::Tick);
        let then = out(&mut delivery);
        // A redelivery that was lost comes again after `ACK_WAIT` and its way.
        assert!(then.ran().is_empty() || now > Time::ZERO + ACK_WAIT + ACK_WAIT / 4);
        ran.extend(then.ran());
        told.extend(then.events);
    }
    assert_eq!(ran, [2]);
    assert_eq!(told, [DeliveryEvent::NotReturned { stream_seq: 1 }]);
    assert_eq!(delivery.held(), 1);
    // Should it come after all, it runs behind what runs.
    delivery.handle(at(60_000), message(1, Some(1), 2));
    assert!(out(&mut delivery).jobs.is_empty());
}

#[test]
fn waiting_for_what_was_given_back_takes_no_time_off_while_disconnected() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    done(&mut delivery, 0, jobs[0].id, nak(0));
    delivery.handle(at(1), Input::Disconnected);
    for _ in 0..10 {
        delivery.handle(delivery.deadline().unwrap(), Input::Tick);
        assert!(out(&mut delivery).is_empty());
    }
    let back = delivery.deadline().unwrap();
    delivery.handle(back, Input::Connected);
    assert_eq!(out(&mut delivery).sent(), [(2, "+WPI")]);
    delivery.handle(back, message(1, Some(1), 2));
    assert_eq!(out(&mut delivery).ran(), [1]);
}

#[test]
fn an_unsettled_handle_is_told() {
    let (mut delivery, jobs) = with(&[None]);
    let then = done(&mut delivery, 0, jobs[0].id, Outcome::Returned);
    assert_eq!(then.events, [DeliveryEvent::Returned { stream_seq: 1 }]);
    assert_eq!(then.sent(), [(1, "-NAK")]);
    assert!(delivery.idle(), "without a key there is no order to keep");
}
