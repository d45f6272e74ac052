//! Memory follows the places, not what has passed through them.

use super::*;

/// Message `seq` with a key of its own; nothing is formatted or parsed.
fn own_key(seq: u64) -> Input<u64> {
    let name = || Subject::from_static("x");
    Input::Received {
        meta: Meta {
            delivered: 1,
            stream_seq: seq,
            consumer_seq: seq,
            timestamp: crate::Timestamp::from_unix_nanos(0),
            pending: 0,
        },
        key: Some(Bytes::copy_from_slice(&seq.to_le_bytes())),
        item: seq,
        reply: name(),
        redriven: false,
    }
}

#[test]
fn a_million_keys_through_the_window_leave_nothing_behind() {
    const WINDOW: usize = 10_000;
    let mut delivery = Delivery::new(Config {
        key_share: 2,
        attempts: Some(1),
        ..config(WINDOW)
    });
    let mut running = VecDeque::new();
    let end = |delivery: &mut Delivery<u64>, job: Job<u64>| {
        let outcome = match job.item % 4 {
            _ if job.task != Task::Handle => Outcome::Buried,
            0 => failed(None),
            1 => Outcome::Settled,
            _ => Outcome::Ack,
        };
        let id = job.id;
        delivery.handle(Time::ZERO, Input::Done { id, outcome });
    };
    for seq in 0..1_000_000 {
        delivery.handle(Time::ZERO, own_key(seq));
        while let Some(output) = delivery.poll() {
            if let Output::Run(job) = output {
                running.push_back(job);
            }
        }
        while delivery.held() >= WINDOW {
            end(&mut delivery, running.pop_front().unwrap());
        }
    }
    while let Some(job) = running.pop_front() {
        end(&mut delivery, job);
        running.extend(out_of(&mut delivery));
    }
    assert!(delivery.idle());
    let index = delivery.table.known();
    assert!(index.is_none_or(|index| index.is_empty() && index.capacity() < 8 * WINDOW));
    assert!(delivery.settled.len() <= REMEMBERED * WINDOW);
    assert!(delivery.settled.capacity() < 4 * REMEMBERED * WINDOW);
    assert_eq!(delivery.pardoned.len(), 0);
    assert!(delivery.publishes.capacity() < WINDOW);
    assert!(delivery.events.capacity() < WINDOW);
}

fn out_of(delivery: &mut Delivery<u64>) -> Vec<Job<u64>> {
    std::iter::from_fn(|| delivery.poll())
        .filter_map(|output| match output {
            Output::Run(job) => Some(job),
            _ => None,
        })
        .collect()
}
