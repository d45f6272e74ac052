use super::demand::REST;
use super::*;
use crate::dead_letter::Reason;
use crate::jetstream::ack::Meta;
use crate::retry::Retry;

mod batches;
mod dead_letters;
mod giving_back;
mod memory;
mod oracle;
mod receiving;
mod shares;
mod stopping;
mod suspects;

const ACK_WAIT: Duration = Duration::from_secs(30);

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn config(window: usize) -> Config {
    Config {
        window,
        ack_wait: ACK_WAIT,
        retry: Retry::default(),
        attempts: None,
        key_share: usize::MAX,
        at_share: AtShare::Stall,
        suspect_after: u64::MAX,
        crash_limit: u64::MAX,
        batch: None,
        seed: 1,
    }
}

fn failed(retry_after: Option<Duration>) -> Outcome {
    Outcome::Failed {
        retry_after,
        error: "no luck".into(),
    }
}

fn reply(seq: u64, delivered: u64) -> Subject {
    Subject::from(format!("$JS.ACK.s.c.{delivered}.{seq}.1.{seq}.0"))
}

/// A delivery of stream sequence `seq`, which is also the item.
fn message(seq: u64, key: Option<u8>, delivered: u64) -> Input<u64> {
    let reply = reply(seq, delivered);
    Input::Received {
        meta: Meta::parse(&reply).unwrap(),
        key: key.map(|key| Bytes::copy_from_slice(&[key])),
        item: seq,
        reply,
        redriven: false,
    }
}

/// The same as a dead letter that is tried again.
fn redriven(seq: u64, key: u8) -> Input<u64> {
    let mut input = message(seq, Some(key), 1);
    if let Input::Received { redriven, .. } = &mut input {
        *redriven = true;
    }
    input
}

/// Delivered over a connection that broke.
fn missing(seq: u64, key: Option<u8>, delivered: u64) -> Input<u64> {
    let reply = reply(seq, delivered);
    Input::Missing {
        meta: Meta::parse(&reply).unwrap(),
        key: key.map(|key| Bytes::copy_from_slice(&[key])),
        reply,
        redriven: false,
        back: true,
    }
}

#[derive(Default)]
struct Out {
    jobs: Vec<Job<u64>>,
    /// Those of them that were handed out together.
    batches: Vec<Vec<u64>>,
    /// Stream sequence, how often delivered, payload.
    sent: Vec<(u64, u64, String)>,
    events: Vec<DeliveryEvent>,
}

impl Out {
    fn ran(&self) -> Vec<u64> {
        self.jobs.iter().map(|job| job.item).collect()
    }

    fn sent(&self) -> Vec<(u64, &str)> {
        let sent = self.sent.iter();
        sent.map(|(seq, _, payload)| (*seq, &**payload)).collect()
    }

    fn letters(&self) -> Vec<(u64, Reason)> {
        let jobs = self.jobs.iter();
        jobs.filter_map(|job| match &job.task {
            Task::Bury(letter) => Some((job.item, letter.reason)),
            Task::Handle => None,
        })
        .collect()
    }

    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.sent.is_empty() && self.events.is_empty()
    }
}

fn out(delivery: &mut Delivery<u64>) -> Out {
    let mut all = Out::default();
    while let Some(output) = delivery.poll() {
        match output {
            Output::Run(job) => all.jobs.push(job),
            Output::RunBatch(jobs) => {
                all.batches.push(jobs.iter().map(|job| job.item).collect());
                all.jobs.extend(jobs);
            }
            Output::Event(event) => all.events.push(event),
            Output::Publish(message) => {
                let meta = Meta::parse(&message.subject).unwrap();
                let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                all.sent.push((meta.stream_seq, meta.delivered, payload));
            }
        }
    }
    all
}

fn done(delivery: &mut Delivery<u64>, millis: u64, id: JobId, outcome: Outcome) -> Out {
    delivery.handle(at(millis), Input::Done { id, outcome });
    out(delivery)
}

fn tick(delivery: &mut Delivery<u64>, millis: u64) -> Out {
    give(delivery, millis, Input::Tick)
}

fn give(delivery: &mut Delivery<u64>, millis: u64, input: Input<u64>) -> Out {
    delivery.handle(at(millis), input);
    out(delivery)
}

fn nak(after: u64) -> Outcome {
    Outcome::Nak {
        after: Some(Duration::from_millis(after)),
    }
}

/// Messages 1, 2, ... with these keys, received at the start.
fn with(keys: &[Option<u8>]) -> (Delivery<u64>, Vec<Job<u64>>) {
    with_config(config(100), keys)
}

fn with_config(config: Config, keys: &[Option<u8>]) -> (Delivery<u64>, Vec<Job<u64>>) {
    let mut delivery = Delivery::new(config);
    for (seq, key) in (1..).zip(keys) {
        delivery.handle(Time::ZERO, message(seq, *key, 1));
    }
    let jobs = out(&mut delivery).jobs;
    (delivery, jobs)
}

#[test]
fn keys_run_side_by_side_and_each_in_order() {
    let (mut delivery, jobs) = with(&[Some(1), Some(2), Some(1), None, None, Some(1)]);
    assert_eq!(
        jobs.iter().map(|job| job.item).collect::<Vec<_>>(),
        [1, 2, 4, 5]
    );
    assert_eq!(
        (delivery.held(), delivery.free(), delivery.running()),
        (6, 94, 4)
    );
    let then = done(&mut delivery, 1, jobs[0].id, Outcome::Ack);
    assert_eq!(then.sent(), [(1, "+ACK")]);
    assert_eq!(then.ran(), [3]);
    let then = done(&mut delivery, 2, then.jobs[0].id, Outcome::Settled);
    assert_eq!(then.sent(), []);
    assert_eq!(then.ran(), [6]);
    let reason = Some("bad".into());
    let then = done(&mut delivery, 3, then.jobs[0].id, Outcome::Term { reason });
    assert_eq!(then.sent(), [(6, "+TERM bad")]);
    for job in &jobs[1..] {
        done(&mut delivery, 4, job.id, Outcome::Ack);
    }
    assert!(delivery.idle());
    assert_eq!((delivery.free(), delivery.running()), (100, 0));
}

#[test]
fn a_failed_message_runs_again_and_holds_its_key_only() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    let retry_after = Some(Duration::from_millis(50));
    let then = done(&mut delivery, 10, jobs[0].id, failed(retry_after));
    assert_eq!(
        then.events,
        [DeliveryEvent::Retrying {
            stream_seq: 1,
            attempt: 1,
            delay: Duration::from_millis(50)
        }]
    );
    assert!(then.sent.is_empty() && then.jobs.is_empty());
    delivery.handle(at(20), message(3, Some(2), 1));
    assert_eq!(out(&mut delivery).ran(), [3]);
    assert_eq!(delivery.deadline(), Some(at(60)));
    delivery.handle(at(60), Input::Tick);
    let again = out(&mut delivery);
    assert_eq!((again.ran(), again.jobs[0].attempt), (vec![1], 2));
    assert_eq!(
        done(&mut delivery, 61, again.jobs[0].id, Outcome::Ack).ran(),
        [2]
    );
}

#[test]
fn waits_grow_with_the_attempts() {
    let (mut delivery, mut jobs) = with(&[Some(1)]);
    let mut delays = Vec::new();
    for attempt in 1..=5 {
        let now = delivery.deadline().unwrap().as_nanos() / 1_000_000;
        let then = done(&mut delivery, now, jobs[0].id, failed(None));
        let Some(DeliveryEvent::Retrying {
            attempt: n, delay, ..
        }) = then.events.first()
        else {
            panic!("no event");
        };
        assert_eq!(*n, attempt);
        delays.push(*delay);
        while jobs[0].attempt == attempt {
            delivery.handle(delivery.deadline().unwrap(), Input::Tick);
            jobs.splice(.., out(&mut delivery).jobs).for_each(drop);
            if jobs.is_empty() {
                panic!("did not run again");
            }
        }
    }
    assert!(delays[4] > delays[0] * 4, "{delays:?}");
}

#[test]
fn late_and_doubled_words_about_a_job_change_nothing() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    let first = jobs[0].id;
    let retry_after = Some(Duration::ZERO);
    let again = done(&mut delivery, 1, first, failed(retry_after));
    assert_eq!(again.ran(), [1]);
    for outcome in [Outcome::Ack, Outcome::Settled, nak(5), Outcome::Returned] {
        assert!(done(&mut delivery, 2, first, outcome).is_empty());
    }
    assert!(!delivery.take_back(first));
    delivery.handle(at(2), Input::Progress { id: first });
    assert!(out(&mut delivery).is_empty());
    assert_eq!(
        done(&mut delivery, 3, again.jobs[0].id, Outcome::Ack).ran(),
        [2]
    );
}

#[test]
fn a_redelivery_of_something_held_only_replaces_its_reply() {
    let (mut delivery, jobs) = with(&[Some(1), Some(1)]);
    delivery.handle(at(1), message(1, Some(1), 2));
    delivery.handle(at(1), message(2, Some(1), 7));
    assert!(out(&mut delivery).is_empty());
    assert_eq!(delivery.held(), 2);
    let then = done(&mut delivery, 2, jobs[0].id, Outcome::Ack);
    assert_eq!(then.sent, [(1, 2, "+ACK".into())]);
    let then = done(&mut delivery, 3, then.jobs[0].id, Outcome::Ack);
    assert_eq!(then.sent, [(2, 7, "+ACK".into())]);
}

#[test]
fn what_was_settled_is_acknowledged_again_and_does_not_run_again() {
    let (mut delivery, jobs) = with(&[None, None, None, None]);
    done(&mut delivery, 1, jobs[0].id, Outcome::Ack);
    done(&mut delivery, 1, jobs[1].id, Outcome::Settled);
    done(&mut delivery, 1, jobs[2].id, Outcome::Term { reason: None });
    done(&mut delivery, 1, jobs[3].id, nak(0));
    for (seq, answer) in [(1, "+ACK"), (2, "+ACK"), (3, "+TERM")] {
        delivery.handle(at(2), message(seq, None, 2));
        assert_eq!(out(&mut delivery).sent, [(seq, 2, answer.into())]);
    }
    delivery.handle(at(2), message(4, None, 2));
    assert_eq!(out(&mut delivery).ran(), [4]);
}

#[test]
fn a_message_of_a_stream_made_again_is_another_message() {
    let (mut delivery, jobs) = with(&[None]);
    done(&mut delivery, 1, jobs[0].id, Outcome::Ack);
    // The same sequence, stored at another time.
    let reply = Subject::from_static("$JS.ACK.s.c.1.1.1.777.0");
    let meta = Meta::parse(&reply).unwrap();
    delivery.handle(
        at(2),
        Input::Received {
            meta,
            key: None,
            item: 1,
            reply,
            redriven: false,
        },
    );
    assert_eq!(out(&mut delivery).ran(), [1]);
}

#[test]
fn settled_messages_are_forgotten_beyond_sixteen_windows_and_a_thousand() {
    for (window, remembered) in [(1, 1_000), (100, 1_600)] {
        let mut delivery = Delivery::new(config(window));
        let last = remembered + 2;
        for seq in 1..=last {
            delivery.handle(at(0), message(seq, None, 1));
            let job = out(&mut delivery).jobs.remove(0);
            done(&mut delivery, 0, job.id, Outcome::Ack);
        }
        for (seq, runs) in [(last, false), (3, false), (2, true)] {
            delivery.handle(at(1), message(seq, None, 2));
            assert_eq!(out(&mut delivery).jobs.len(), usize::from(runs), "{seq}");
        }
    }
}

#[test]
fn what_passed_one_that_waits_for_its_next_attempt_does_not_run_again() {
    let (window, last) = (100, 1_500);
    let (mut delivery, jobs) = with_config(config(window), &[Some(1)]);
    done(&mut delivery, 0, jobs[0].id, failed(None));
    for seq in 2..=last {
        delivery.handle(at(1), message(seq, Some(2), 1));
        let job = out(&mut delivery).jobs.remove(0);
        done(&mut delivery, 1, job.id, Outcome::Ack);
    }
    // Their consumer is made again, and begins at the one that waits.
    for seq in 1..=last {
        delivery.handle(at(2), message(seq, Some(2 - u8::from(seq == 1)), 1));
        assert!(out(&mut delivery).jobs.is_empty(), "{seq}");
    }
    assert_eq!(delivery.held(), 1);
}

#[test]
fn an_earlier_message_that_comes_late_goes_before_those_queued() {
    let mut delivery = Delivery::new(config(10));
    for seq in [5, 7, 9] {
        delivery.handle(at(0), message(seq, Some(1), 1));
    }
    let mut job = out(&mut delivery).jobs.remove(0);
    delivery.handle(at(0), message(6, Some(1), 2));
    delivery.handle(at(0), message(2, Some(1), 2));
    let mut order = vec![job.item];
    while !delivery.idle() {
        let then = done(&mut delivery, 1, job.id, Outcome::Ack);
        let Some(next) = then.jobs.into_iter().next() else {
            break;
        };
        order.push(next.item);
        job = next;
    }
    assert_eq!(order, [5, 2, 6, 7, 9]);
}

#[test]
fn leases_of_all_that_is_held_are_renewed_together() {
    let (mut delivery, _jobs) = with(&[Some(1), Some(1), None]);
    delivery.handle(at(4_000), message(4, None, 1));
    delivery.handle(at(6_000), message(5, None, 1));
    out(&mut delivery);
    assert_eq!(delivery.deadline(), Some(at(10_000)));
    delivery.handle(at(10_000), Input::Tick);
    let mut renewed = out(&mut delivery).sent;
    renewed.sort();
    assert!(renewed.iter().all(|(_, _, payload)| payload == "+WPI"));
    let renewed: Vec<_> = renewed.into_iter().map(|(seq, ..)| seq).collect();
    assert_eq!(renewed, [1, 2, 3, 4]);
    assert_eq!(delivery.deadline(), Some(at(16_000)));
}

#[test]
fn the_lease_of_what_came_a_while_ago_is_renewed_at_once() {
    let (mut delivery, _jobs) = with(&[None]);
    delivery.handle(at(9_000), Input::Tick);
    // Held back elsewhere since then.
    delivery.handle(at(500), message(2, None, 1));
    out(&mut delivery);
    assert_eq!(delivery.deadline(), Some(at(10_000)));
    delivery.handle(at(12_000), message(3, None, 1));
    let then = out(&mut delivery);
    let mut renewed = then.sent();
    renewed.sort_unstable();
    assert_eq!(renewed, [(1, "+WPI"), (2, "+WPI")]);
}

#[test]
fn progress_renews_at_once() {
    let (mut delivery, jobs) = with(&[None]);
    delivery.handle(at(9_000), Input::Progress { id: jobs[0].id });
    assert_eq!(out(&mut delivery).sent(), [(1, "+WPI")]);
    delivery.handle(at(10_000), Input::Tick);
    assert!(out(&mut delivery).is_empty());
    assert_eq!(delivery.deadline(), Some(at(19_000)));
}

#[test]
fn acknowledgements_wait_for_the_link_and_leases_are_renewed_when_it_is_back() {
    let (mut delivery, jobs) = with(&[None, None]);
    delivery.handle(at(1), Input::Disconnected);
    assert!(done(&mut delivery, 2, jobs[0].id, Outcome::Ack).is_empty());
    delivery.handle(at(20_000), Input::Tick);
    assert!(out(&mut delivery).is_empty());
    delivery.handle(at(21_000), Input::Connected);
    assert_eq!(out(&mut delivery).sent(), [(1, "+ACK"), (2, "+WPI")]);
}

#[test]
fn what_waits_for_the_link_is_bounded_and_its_loss_told() {
    let mut delivery = Delivery::new(config(4));
    delivery.handle(at(0), Input::Disconnected);
    let mut told = 0;
    for seq in 0..20 {
        delivery.handle(at(0), message(seq, None, 1));
        let then = out(&mut delivery);
        let then = done(&mut delivery, 0, then.jobs[0].id, Outcome::Ack);
        told += then.events.len();
    }
    delivery.handle(at(1), Input::Connected);
    assert_eq!(out(&mut delivery).sent.len(), 8);
    assert_eq!(told, 12);
}

#[test]
fn more_than_twice_the_window_is_given_back_and_told() {
    let mut delivery = Delivery::new(config(2));
    for seq in 1..=5 {
        delivery.handle(at(0), message(seq, None, 1));
    }
    let then = out(&mut delivery);
    assert_eq!(then.ran(), [1, 2, 3, 4]);
    assert_eq!(then.sent(), [(5, "-NAK")]);
    assert_eq!(then.events, [DeliveryEvent::Overflow { stream_seq: 5 }]);
    assert_eq!(delivery.free(), 0);
}

#[test]
fn a_key_whose_event_is_refused_without_a_place_for_it_is_told_once() {
    let mut delivery = Delivery::new(config(1));
    for seq in 1..=3 {
        // There is no room for the third, but a place.
        delivery.handle(at(0), message(seq, Some(1), 1));
    }
    assert!(out(&mut delivery).events.is_empty());
    let then = give(&mut delivery, 0, message(4, Some(2), 1));
    assert_eq!(then.sent(), [(4, "-NAK")]);
    assert_eq!(then.events, [DeliveryEvent::NotReturned { stream_seq: 4 }]);
    let again = give(&mut delivery, 1, message(4, Some(2), 2));
    assert_eq!(again.sent(), [(4, "-NAK")]);
    assert!(again.events.is_empty());
}

#[test]
fn a_dead_letter_that_is_refused_takes_no_place_from_what_has_an_order() {
    let mut delivery = Delivery::new(config(1));
    let mut ordinary = |seq, millis| give(&mut delivery, millis, message(seq, Some(1), 1));
    let first = ordinary(1, 0);
    ordinary(2, 0);
    give(&mut delivery, 0, redriven(1, 2));
    assert!(
        give(&mut delivery, 0, message(3, Some(1), 1))
            .events
            .is_empty()
    );
    let second = done(&mut delivery, 1, first.jobs[0].id, Outcome::Ack);
    done(&mut delivery, 1, second.jobs[0].id, Outcome::Ack);
    assert!(
        give(&mut delivery, 2, message(4, Some(1), 1))
            .jobs
            .is_empty()
    );
    let third = give(&mut delivery, 2, message(3, Some(1), 2));
    assert_eq!(third.ran(), [3]);
    let fourth = done(&mut delivery, 3, third.jobs[0].id, Outcome::Ack);
    assert_eq!(fourth.ran(), [4]);
}

#[test]
fn what_there_is_no_room_for_is_not_asked_for_again_and_again() {
    let mut delivery = Delivery::new(config(1));
    for (seq, key) in [(1, 1), (2, 2)] {
        let then = give(&mut delivery, 0, message(seq, Some(key), 1));
        done(&mut delivery, 0, then.jobs[0].id, nak(10));
    }
    // Both are waited for, and something waits for one of them.
    tick(&mut delivery, 10);
    give(&mut delivery, 10, message(3, Some(1), 1));
    assert_eq!((delivery.held(), delivery.free()), (1, 1));
    let other = give(&mut delivery, 10, message(4, Some(3), 1));
    assert_eq!(other.sent(), [(4, "-NAK")]);
    assert_eq!(delivery.free(), 0);
    let again = delivery.deadline().unwrap();
    assert!(again <= at(10) + REST);
    tick(&mut delivery, 109);
    assert_eq!(delivery.free(), 0);
    tick(&mut delivery, 110);
    assert_eq!(delivery.free(), 1);
    assert_eq!(give(&mut delivery, 111, message(1, Some(1), 2)).ran(), [1]);
}
