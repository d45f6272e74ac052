//! Messages that may be what brings the process down.

use super::*;

fn wary() -> Config {
    Config {
        suspect_after: 5,
        crash_limit: 10,
        ..config(100)
    }
}

#[test]
fn a_suspect_waits_for_all_that_runs_and_then_nothing_runs_beside_it() {
    let (mut delivery, jobs) = with_config(wary(), &[Some(1)]);
    let told = give(&mut delivery, 0, message(2, Some(2), 5));
    let suspect = DeliveryEvent::Suspect {
        stream_seq: 2,
        deliveries: 5,
    };
    assert_eq!(told.events, [suspect]);
    assert!(told.jobs.is_empty());
    assert!(give(&mut delivery, 0, message(3, Some(3), 1)).is_empty());
    let alone = done(&mut delivery, 1, jobs[0].id, Outcome::Ack);
    assert_eq!(alone.ran(), [2]);
    assert!(give(&mut delivery, 1, message(4, None, 1)).is_empty());
    // Failed, it waits for its next turn as any other, and has it alone as well.
    let retry_after = Some(Duration::from_millis(5));
    let others = done(&mut delivery, 2, alone.jobs[0].id, failed(retry_after));
    assert_eq!(others.ran(), [3, 4]);
    assert!(tick(&mut delivery, 7).is_empty());
    assert!(
        done(&mut delivery, 8, others.jobs[0].id, Outcome::Ack)
            .jobs
            .is_empty()
    );
    let again = done(&mut delivery, 8, others.jobs[1].id, Outcome::Ack);
    assert_eq!((again.ran(), again.jobs[0].attempt), (vec![2], 2));
    assert!(give(&mut delivery, 9, message(5, None, 1)).is_empty());
    assert!(delivery.take_back(again.jobs[0].id));
    let both = out(&mut delivery);
    assert_eq!(both.ran(), [5], "its turn was taken back");
    let last = done(&mut delivery, 10, both.jobs[0].id, Outcome::Ack);
    assert_eq!(last.ran(), [2]);
}

#[test]
fn from_the_crash_limit_on_a_message_is_a_dead_letter_before_it_runs() {
    let (mut delivery, _running) = with_config(wary(), &[Some(1)]);
    let then = give(&mut delivery, 0, message(2, Some(2), 10));
    assert_eq!(then.letters(), [(2, Reason::CrashLoop)]);
    assert_eq!(then.jobs[0].attempt, 0);
    assert!(then.events.is_empty());
    // Storing it needs no solitude.
    assert_eq!(give(&mut delivery, 0, message(3, None, 1)).ran(), [3]);
    let buried = done(&mut delivery, 1, then.jobs[0].id, Outcome::Buried);
    assert_eq!(buried.sent(), [(2, "+ACK")]);
    let told = DeliveryEvent::DeadLettered {
        stream_seq: 2,
        reason: Reason::CrashLoop,
    };
    assert_eq!(buried.events, [told]);
}

#[test]
fn deliveries_with_another_cause_are_no_crashes() {
    for key in [Some(1), None] {
        let mut delivery = Delivery::new(wary());
        let mut delivered = 1;
        let mut then = give(&mut delivery, 0, message(1, key, delivered));
        for _ in 0..10 {
            // Given back, lost with a connection, delivered again while it runs.
            done(&mut delivery, 0, then.jobs[0].id, nak(0));
            give(&mut delivery, 0, missing(1, key, delivered + 1));
            then = give(&mut delivery, 0, message(1, key, delivered + 2));
            assert_eq!((then.ran(), then.letters()), (vec![1], vec![]));
            assert!(then.events.is_empty(), "{:?}", then.events);
            assert!(give(&mut delivery, 0, message(1, key, delivered + 3)).is_empty());
            delivered += 3;
        }
        assert_eq!(give(&mut delivery, 0, message(2, None, 1)).ran(), [2]);
    }
}

#[test]
fn what_is_not_waited_for_any_more_is_no_suspect_for_that() {
    let mut delivery = Delivery::new(wary());
    for delivered in 1..20 {
        let now = delivered * 100_000;
        let then = give(&mut delivery, now, message(1, Some(1), delivered));
        assert!(then.events.is_empty() && then.letters().is_empty());
        done(&mut delivery, now, then.jobs[0].id, Outcome::Returned);
        tick(&mut delivery, now);
        let gone = tick(&mut delivery, now + 90_000);
        assert_eq!(gone.events, [DeliveryEvent::NotReturned { stream_seq: 1 }]);
    }
}

#[test]
fn crashes_of_others_meanwhile_do_count() {
    let (mut delivery, jobs) = with_config(wary(), &[Some(1)]);
    done(&mut delivery, 0, jobs[0].id, nak(0));
    let then = give(&mut delivery, 1, message(1, Some(1), 6));
    let suspect = DeliveryEvent::Suspect {
        stream_seq: 1,
        deliveries: 5,
    };
    assert_eq!(then.events, [suspect]);
    done(&mut delivery, 2, then.jobs[0].id, nak(0));
    let then = give(&mut delivery, 3, message(1, Some(1), 12));
    assert_eq!(then.letters(), [(1, Reason::CrashLoop)]);
}

/// Twenty messages of which one brings every process down. Each process is given all
/// that is left. How many end as dead letters?
fn dead_after_a_crash_loop(seed: u64) -> usize {
    const GUILTY: u64 = 1;
    let mut left: Vec<u64> = (1..=20).collect();
    let mut dead = Vec::new();
    for delivered in 1..=10 {
        let seed = seed.wrapping_mul(100) + delivered;
        let mut delivery = Delivery::new(Config { seed, ..wary() });
        for seq in left.clone() {
            delivery.handle(at(0), message(seq, Some(seq as u8), delivered));
        }
        let mut running = out(&mut delivery).jobs;
        while let Some(job) = running.pop() {
            if job.task != Task::Handle {
                dead.push(job.item);
                running.extend(done(&mut delivery, 0, job.id, Outcome::Buried).jobs);
            } else if job.item == GUILTY || delivered < 5 {
                break;
            } else {
                left.retain(|seq| *seq != job.item);
                running.extend(done(&mut delivery, 0, job.id, Outcome::Ack).jobs);
            }
        }
    }
    assert!(dead.contains(&GUILTY));
    dead.len()
}

#[test]
fn the_innocent_have_their_turn_before_they_are_taken_for_guilty() {
    let dead: usize = (0..50).map(dead_after_a_crash_loop).sum();
    assert!(dead < 3 * 50, "{dead} of 1000, 50 of them guilty");
}
