//! Messages that are given up: stored first, settled then.

use super::*;

fn twice() -> Config {
    Config {
        attempts: Some(2),
        ..config(100)
    }
}

fn not_buried() -> Outcome {
    Outcome::NotBuried {
        error: "no stream".into(),
    }
}

#[test]
fn after_the_last_attempt_a_message_is_stored_as_a_dead_letter_and_settled_then() {
    let (mut delivery, jobs) = with_config(twice(), &[Some(1), Some(1)]);
    let second = done(&mut delivery, 10, jobs[0].id, failed(Some(Duration::ZERO)));
    let then = done(&mut delivery, 30, second.jobs[0].id, failed(None));
    assert!(then.sent.is_empty() && then.events.is_empty());
    let Task::Bury(letter) = &then.jobs[0].task else {
        panic!("it is to be stored");
    };
    let expected = Letter {
        reason: Reason::Exhausted,
        error: "no luck".into(),
        attempts: 2,
        first_failed: Some(at(10)),
        last_failed: Some(at(30)),
    };
    assert_eq!((then.jobs[0].item, &**letter), (1, &expected));
    let buried = done(&mut delivery, 40, then.jobs[0].id, Outcome::Buried);
    assert_eq!((buried.sent(), buried.ran()), (vec![(1, "+ACK")], vec![2]));
    let told = DeliveryEvent::DeadLettered {
        stream_seq: 1,
        reason: Reason::Exhausted,
    };
    assert_eq!(buried.events, [told]);
    // Should the acknowledgement be lost, it does not run again.
    assert_eq!(
        give(&mut delivery, 41, message(1, Some(1), 2)).sent(),
        [(1, "+ACK")]
    );
}

#[test]
fn a_terminal_error_needs_no_further_attempt() {
    let (mut delivery, jobs) = with(&[Some(1)]);
    let terminal = Outcome::DeadLetter {
        reason: Reason::Terminal,
        error: "never".into(),
    };
    let then = done(&mut delivery, 1, jobs[0].id, terminal);
    assert_eq!(then.letters(), [(1, Reason::Terminal)]);
}

#[test]
fn a_dead_letter_that_cannot_be_stored_holds_its_key_and_is_tried_for_ever() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    let asked = Outcome::DeadLetter {
        reason: Reason::Asked,
        error: "".into(),
    };
    let mut then = done(&mut delivery, 0, jobs[0].id, asked);
    let mut now = 0;
    for _ in 0..50 {
        assert_eq!(then.letters(), [(1, Reason::Asked)]);
        let waits = done(&mut delivery, now, then.jobs[0].id, not_buried());
        let [DeliveryEvent::NotBuried { delay, .. }] = waits.events[..] else {
            panic!("{:?}", waits.events);
        };
        assert!(delay <= Retry::default().max && waits.jobs.is_empty());
        assert!(waits.sent.is_empty(), "nothing is settled");
        then = Out::default();
        while then.jobs.is_empty() {
            let next = delivery.deadline().unwrap();
            delivery.handle(next, Input::Tick);
            then = out(&mut delivery);
            now = next.as_nanos() / 1_000_000 + 1;
        }
    }
    let buried = done(&mut delivery, now, then.jobs[0].id, Outcome::Buried);
    assert_eq!((buried.sent(), buried.ran()), (vec![(1, "+ACK")], vec![2]));
}

#[test]
fn only_the_word_that_it_is_stored_settles_a_dead_letter() {
    let (mut delivery, jobs) = with_config(twice(), &[Some(1), Some(1)]);
    let now = Some(Duration::ZERO);
    let second = done(&mut delivery, 0, jobs[0].id, failed(now));
    let letter = done(&mut delivery, 0, second.jobs[0].id, failed(now));
    for (outcome, millis) in [(Outcome::Ack, 0), (failed(now), 40_000)] {
        let id = match millis {
            0 => letter.jobs[0].id,
            _ => tick(&mut delivery, millis).jobs[0].id,
        };
        let then = done(&mut delivery, millis, id, outcome);
        assert!(matches!(then.events[..], [DeliveryEvent::NotBuried { .. }]));
        assert!(then.sent.iter().all(|(_, _, payload)| payload == "+WPI"));
        assert_eq!(delivery.held(), 2);
    }
}

#[test]
fn while_stopping_a_dead_letter_that_cannot_be_stored_is_given_back() {
    let (mut delivery, jobs) = with_config(twice(), &[Some(1), Some(1)]);
    let now = Some(Duration::ZERO);
    let second = done(&mut delivery, 0, jobs[0].id, failed(now));
    let letter = done(&mut delivery, 0, second.jobs[0].id, failed(now));
    delivery.handle(at(1), Input::Stop);
    let then = done(&mut delivery, 2, letter.jobs[0].id, not_buried());
    let given: Vec<_> = then.sent.iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(given, [1, 2]);
    assert!(matches!(then.events[..], [DeliveryEvent::NotBuried { .. }]));
    assert!(delivery.stopped());
}

#[test]
fn a_discarded_message_is_told() {
    let (mut delivery, jobs) = with(&[Some(1)]);
    let reason = Some("old".into());
    let then = done(&mut delivery, 1, jobs[0].id, Outcome::Term { reason });
    let told = DeliveryEvent::Discarded {
        stream_seq: 1,
        reason: Some("old".into()),
    };
    assert_eq!(then.events, [told]);
    assert_eq!(then.sent(), [(1, "+TERM old")]);
}

#[test]
fn leases_are_renewed_whatever_a_message_waits_for() {
    let keys = [Some(1), Some(1), Some(2), None, Some(3)];
    let wary = Config {
        suspect_after: 3,
        key_share: 2,
        ..twice()
    };
    let (mut delivery, jobs) = with_config(wary, &keys);
    // Held behind a head that waits to run again, being stored, running, suspect.
    done(&mut delivery, 0, jobs[0].id, failed(Some(ACK_WAIT * 9)));
    let asked = Outcome::DeadLetter {
        reason: Reason::Asked,
        error: "".into(),
    };
    done(&mut delivery, 0, jobs[1].id, asked);
    give(&mut delivery, 0, message(6, Some(4), 3));
    give(&mut delivery, 0, redriven(7, 4));
    for round in 1..20 {
        let now = delivery.deadline().unwrap();
        assert!(now <= at(round * 10_000));
        delivery.handle(now, Input::Tick);
        let then = out(&mut delivery);
        let mut renewed = then.sent();
        renewed.sort_unstable();
        let expected: Vec<_> = (1..=7).map(|seq| (seq, "+WPI")).collect();
        assert_eq!(renewed, expected);
    }
}
