//! Keys that hold their share of the places.

use super::*;

fn shared(at_share: AtShare) -> Config {
    Config {
        key_share: 4,
        at_share,
        ..config(10)
    }
}

const KEY: Option<u8> = Some(1);

fn backlogged(stream_seq: u64, held: usize) -> DeliveryEvent {
    DeliveryEvent::KeyBacklogged { stream_seq, held }
}

#[test]
fn nothing_is_asked_for_while_a_key_holds_its_share() {
    let (mut delivery, jobs) = with_config(shared(AtShare::Stall), &[KEY, KEY, KEY]);
    assert_eq!(delivery.free(), 7);
    let then = give(&mut delivery, 0, message(4, KEY, 1));
    assert_eq!(then.events, [backlogged(1, 4)]);
    assert_eq!(delivery.free(), 0);
    // What was asked for before still comes.
    assert!(give(&mut delivery, 0, message(5, KEY, 1)).is_empty());
    assert_eq!(give(&mut delivery, 0, message(6, Some(2), 1)).ran(), [6]);
    let next = done(&mut delivery, 1, jobs[0].id, Outcome::Ack);
    assert_eq!((next.ran(), delivery.free()), (vec![2], 0));
    let next = done(&mut delivery, 2, next.jobs[0].id, Outcome::Ack);
    assert_eq!((next.ran(), delivery.free()), (vec![3], 6));
}

#[test]
fn a_key_is_told_of_again_only_after_it_held_half_its_share() {
    let keys = [KEY, KEY, KEY, KEY];
    let (mut delivery, mut jobs) = with_config(shared(AtShare::Stall), &keys);
    jobs = done(&mut delivery, 1, jobs[0].id, Outcome::Ack).jobs;
    assert!(give(&mut delivery, 2, message(5, KEY, 1)).is_empty());
    assert_eq!(delivery.free(), 0, "it is at its share again all the same");
    for _ in 0..2 {
        jobs = done(&mut delivery, 3, jobs[0].id, Outcome::Ack).jobs;
    }
    assert_eq!(delivery.held(), 2);
    assert!(give(&mut delivery, 4, message(6, KEY, 1)).is_empty());
    let then = give(&mut delivery, 4, message(7, KEY, 1));
    assert_eq!(then.events, [backlogged(4, 4)]);
}

#[test]
fn what_a_stalled_key_waits_for_is_asked_for() {
    let keys = [KEY, KEY, KEY, KEY, Some(2)];
    let (mut delivery, jobs) = with_config(shared(AtShare::Stall), &keys);
    done(&mut delivery, 0, jobs[0].id, nak(50));
    assert_eq!(delivery.free(), 0);
    tick(&mut delivery, 50);
    assert_eq!(delivery.free(), 1);
    let back = give(&mut delivery, 51, message(1, KEY, 2));
    assert_eq!((back.ran(), delivery.free()), (vec![1], 0));
}

#[test]
fn what_is_waited_for_can_come_when_others_took_its_place() {
    let (mut delivery, jobs) = with_config(config(2), &[KEY, KEY]);
    done(&mut delivery, 0, jobs[0].id, nak(0));
    assert_eq!(delivery.free(), 1);
    for seq in 3..=5 {
        give(&mut delivery, 0, message(seq, KEY, 1));
    }
    assert_eq!(
        (delivery.held(), delivery.free()),
        (4, 0),
        "twice the window"
    );
    assert_eq!(give(&mut delivery, 0, message(1, KEY, 2)).ran(), [1]);
}

#[test]
fn what_could_not_be_acknowledged_is_asked_for_though_there_is_no_room() {
    let unconfirmed = || Outcome::Unconfirmed {
        error: "no answer".into(),
    };
    let keys = [KEY, KEY, KEY, KEY, KEY];
    for (config, room) in [(shared(AtShare::Stall), 0), (config(5), 1)] {
        let (mut delivery, jobs) = with_config(config, &keys);
        let then = done(&mut delivery, 0, jobs[0].id, unconfirmed());
        assert!(matches!(then.events[..], [DeliveryEvent::Retrying { .. }]));
        assert_eq!((delivery.held(), delivery.free()), (5, 1));
        // From the next consumer.
        assert!(give(&mut delivery, 1, message(1, KEY, 1)).is_empty());
        assert_eq!((delivery.held(), delivery.free()), (5, 0));
        // Its attempt comes as that of any other.
        let jobs = tick(&mut delivery, 60_000).jobs;
        assert_eq!(jobs.len(), 1);
        for _ in 0..2 {
            done(&mut delivery, 60_000, jobs[0].id, unconfirmed());
        }
        assert_eq!(delivery.free(), 1);
        let jobs = tick(&mut delivery, 120_000).jobs;
        let then = done(&mut delivery, 120_000, jobs[0].id, Outcome::Settled);
        assert_eq!((then.ran(), delivery.free()), (vec![2], room));
    }
}

#[test]
fn at_its_share_a_key_gives_up_its_failing_head_again_and_again() {
    let (mut delivery, jobs) = with_config(shared(AtShare::DeadLetter), &[KEY, KEY, KEY]);
    let then = done(&mut delivery, 0, jobs[0].id, failed(None));
    assert!(matches!(then.events[..], [DeliveryEvent::Retrying { .. }]));
    let then = give(&mut delivery, 1, message(4, KEY, 1));
    assert_eq!(then.events, [backlogged(1, 4)]);
    assert_eq!(then.letters(), [(1, Reason::Backlogged)]);
    assert_eq!(delivery.free(), 6, "others are asked for");
    give(&mut delivery, 1, message(5, KEY, 1));
    let next = done(&mut delivery, 2, then.jobs[0].id, Outcome::Buried);
    assert_eq!((next.ran(), next.letters()), (vec![2], vec![]));
    // Still at its share: the next head has one attempt as well.
    let then = done(&mut delivery, 3, next.jobs[0].id, failed(None));
    assert_eq!(then.letters(), [(2, Reason::Backlogged)]);
    let next = done(&mut delivery, 4, then.jobs[0].id, Outcome::Buried);
    // Below it, a failure is an ordinary one.
    let then = done(&mut delivery, 5, next.jobs[0].id, failed(None));
    assert!(matches!(then.events[..], [DeliveryEvent::Retrying { .. }]));
    assert!(then.jobs.is_empty());
}

#[test]
fn at_its_share_a_key_whose_head_runs_well_gives_up_nothing() {
    let keys = [KEY, KEY, KEY, KEY, KEY];
    let (mut delivery, mut jobs) = with_config(shared(AtShare::DeadLetter), &keys);
    for seq in 2..=5 {
        let then = done(&mut delivery, 1, jobs[0].id, Outcome::Ack);
        assert_eq!((then.ran(), then.letters()), (vec![seq], vec![]));
        jobs = then.jobs;
    }
}

#[test]
fn messages_without_a_key_have_no_share() {
    let (delivery, jobs) = with_config(shared(AtShare::Stall), &[None; 8]);
    assert_eq!((jobs.len(), delivery.free()), (8, 2));
}
