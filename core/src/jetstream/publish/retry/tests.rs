use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(120);

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn flight(token: u64, deadline: u64) -> Flight {
    Flight::new(token, token, Time::ZERO, at(deadline), WINDOW)
}

fn publisher() -> Publisher {
    Publisher::new(Config {
        capacity: 100,
        wait_for_link: true,
        seed: 7,
    })
}

fn outputs(publisher: &mut Publisher) -> Vec<Output> {
    std::iter::from_fn(|| publisher.poll()).collect()
}

fn resent(outputs: &[Output]) -> Vec<u64> {
    let token = |output: &Output| match output {
        Output::Resend(flight) => Some(flight.token),
        Output::Settle { .. } => None,
    };
    outputs.iter().filter_map(token).collect()
}

#[test]
fn a_busy_link_is_sent_nothing_and_deadlines_hold() {
    let mut publisher = publisher();
    publisher.handle(at(0), Input::Busy);
    for (token, deadline) in [(1, 20), (2, 1_000), (3, 1_000)] {
        let refused = Input::Failed(flight(token, deadline), Failure::Refused);
        publisher.handle(at(0), refused);
    }
    assert_eq!(outputs(&mut publisher), []);
    assert_eq!(publisher.deadline(), Some(at(20)));
    publisher.handle(at(20), Input::Tick);
    let verdict = Verdict::Rejected;
    assert_eq!(
        outputs(&mut publisher),
        [Output::Settle { token: 1, verdict }]
    );
    // Having waited for the link is delay enough.
    publisher.handle(at(30), Input::Free);
    assert_eq!(resent(&outputs(&mut publisher)), [2, 3]);
}

#[test]
fn told_not_to_wait_for_the_link_all_is_settled_when_it_breaks() {
    let mut publisher = Publisher::new(Config {
        capacity: 100,
        wait_for_link: false,
        seed: 7,
    });
    publisher.handle(at(0), Input::Failed(flight(1, 1_000), Failure::Refused));
    assert_eq!(outputs(&mut publisher), []);
    publisher.handle(at(1), Input::Disconnected);
    publisher.handle(at(1), Input::Failed(flight(2, 1_000), Failure::Lost));
    assert_eq!(
        outputs(&mut publisher),
        [
            Output::Settle {
                token: 1,
                verdict: Verdict::Rejected
            },
            Output::Settle {
                token: 2,
                verdict: Verdict::Unknown
            },
        ]
    );
    assert!(publisher.is_empty());
    publisher.handle(at(2), Input::Connected);
    publisher.handle(at(2), Input::Failed(flight(3, 1_000), Failure::Lost));
    assert_eq!(resent(&outputs(&mut publisher)), [3]);
}

#[test]
fn the_dedupe_window_begins_with_the_first_sending() {
    let mut publisher = publisher();
    let mut late = Flight::new(1, 1, Time::ZERO, at(1_000_000), Duration::from_secs(8));
    late.begin(at(100_000));
    publisher.handle(at(106_999), Input::Failed(late, Failure::Unanswered));
    assert_eq!(resent(&outputs(&mut publisher)), [1]);
    publisher.handle(at(107_000), Input::Failed(late, Failure::Unanswered));
    let verdict = Verdict::Unknown;
    assert_eq!(
        outputs(&mut publisher),
        [Output::Settle { token: 1, verdict }]
    );
}

#[test]
fn a_refusal_is_tried_again_ever_later_until_the_deadline() {
    let mut publisher = publisher();
    let mut flight = flight(1, 20_000);
    let mut now = Time::ZERO;
    let mut delays = Vec::new();
    let verdict = loop {
        publisher.handle(now, Input::Failed(flight, Failure::Refused));
        if let Some(Output::Settle { verdict, .. }) = publisher.poll() {
            break verdict;
        }
        let due = publisher.deadline().unwrap();
        publisher.handle(Time::from_nanos(due.as_nanos() - 1), Input::Tick);
        assert_eq!(publisher.poll(), None, "early calls are harmless");
        delays.push(due.since(now));
        now = due;
        publisher.handle(now, Input::Tick);
        let Some(Output::Resend(again)) = publisher.poll() else {
            panic!("nothing is sent at {now:?}");
        };
        flight = again;
        assert!(publisher.is_empty());
    };
    assert_eq!(verdict, Verdict::Rejected);
    assert_eq!(flight.attempts() as usize, delays.len() + 1);
    for (n, delay) in delays.iter().enumerate() {
        let full = Duration::from_millis(50 << n.min(6)).min(BACKOFF.max);
        assert!(*delay <= full && *delay > full / 2, "{n}: {delay:?}");
    }
    assert!(now < at(20_000) && now > at(17_000));
}

#[test]
fn no_answer_is_sent_again_at_once_and_stays_unknown() {
    let mut publisher = publisher();
    publisher.handle(
        at(500),
        Input::Failed(flight(1, 1_000), Failure::Unanswered),
    );
    let Some(Output::Resend(again)) = publisher.poll() else {
        panic!("not sent again");
    };
    assert_eq!(again.verdict(), Verdict::Unknown);
    // A later refusal does not say that the first attempt was not stored.
    publisher.handle(at(990), Input::Failed(again, Failure::Refused));
    assert_eq!(
        outputs(&mut publisher),
        [Output::Settle {
            token: 1,
            verdict: Verdict::Unknown
        }]
    );
    assert_eq!(publisher.deadline(), None);
}

#[test]
fn what_a_broken_link_lost_is_sent_in_order_when_it_works_again() {
    let mut publisher = publisher();
    publisher.handle(at(10), Input::Failed(flight(9, 60_000), Failure::Refused));
    publisher.handle(at(10), Input::Disconnected);
    for (time, token) in [(11, 4), (12, 2), (13, 7), (14, 1)] {
        publisher.handle(
            at(time),
            Input::Failed(flight(token, 60_000), Failure::Lost),
        );
    }
    publisher.handle(at(15), Input::Failed(flight(3, 60_000), Failure::Refused));
    publisher.handle(at(1_000), Input::Tick);
    assert_eq!(publisher.poll(), None);
    assert_eq!(publisher.deadline(), Some(at(60_000)));
    publisher.handle(at(1_000), Input::Connected);
    assert_eq!(resent(&outputs(&mut publisher)), [1, 2, 3, 4, 7, 9]);
}

#[test]
fn a_deadline_passes_while_the_link_is_broken() {
    let mut publisher = publisher();
    publisher.handle(at(10), Input::Disconnected);
    publisher.handle(at(10), Input::Failed(flight(1, 100), Failure::Lost));
    publisher.handle(at(10), Input::Failed(flight(2, 90), Failure::Refused));
    assert_eq!(publisher.deadline(), Some(at(90)));
    publisher.handle(at(100), Input::Connected);
    let told = |token, verdict| Output::Settle { token, verdict };
    assert_eq!(
        outputs(&mut publisher),
        [told(2, Verdict::Rejected), told(1, Verdict::Unknown)]
    );
}

#[test]
fn a_copy_is_sent_only_while_the_server_knows_the_id() {
    let mut publisher = publisher();
    let short = |token| {
        Flight::new(
            token,
            token,
            Time::ZERO,
            at(60_000),
            Duration::from_millis(800),
        )
    };
    publisher.handle(at(10), Input::Disconnected);
    publisher.handle(at(10), Input::Failed(short(1), Failure::Lost));
    publisher.handle(at(10), Input::Failed(short(2), Failure::Refused));
    assert_eq!(publisher.deadline(), Some(at(700)));
    publisher.handle(at(750), Input::Connected);
    let outputs = outputs(&mut publisher);
    assert_eq!(
        outputs[0],
        Output::Settle {
            token: 1,
            verdict: Verdict::Unknown
        }
    );
    assert_eq!(resent(&outputs), [2], "what was only refused is no copy");
}

#[test]
fn an_answer_after_all_ends_the_waiting() {
    let mut publisher = publisher();
    publisher.handle(at(1), Input::Failed(flight(1, 1_000), Failure::Refused));
    publisher.handle(at(2), Input::Settled { token: 1 });
    publisher.handle(at(2), Input::Settled { token: 1 });
    publisher.handle(at(2), Input::Settled { token: 8 });
    assert_eq!((publisher.deadline(), publisher.len()), (None, 0));
    publisher.handle(at(2_000), Input::Tick);
    assert_eq!(publisher.poll(), None);
}

#[test]
fn failing_twice_is_one_retry_and_keeps_the_doubt() {
    let mut publisher = publisher();
    publisher.handle(at(1), Input::Failed(flight(1, 1_000), Failure::Refused));
    let due = publisher.deadline();
    publisher.handle(at(2), Input::Failed(flight(1, 1_000), Failure::Lost));
    assert_eq!((publisher.deadline(), publisher.len()), (due, 1));
    publisher.handle(at(900), Input::Tick);
    let outputs = outputs(&mut publisher);
    let [Output::Resend(again)] = outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!((again.attempts(), again.verdict()), (2, Verdict::Unknown));
}

#[test]
fn a_full_machine_tells_at_once() {
    let mut publisher = Publisher::new(Config {
        capacity: 1,
        wait_for_link: true,
        seed: 0,
    });
    for token in [1, 2] {
        publisher.handle(at(1), Input::Failed(flight(token, 1_000), Failure::Refused));
    }
    assert_eq!(
        outputs(&mut publisher),
        [Output::Settle {
            token: 2,
            verdict: Verdict::Rejected
        }]
    );
    assert_eq!(publisher.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Fail(u8, u8),
    Settle(u8),
    Link(bool),
    Wait(u16),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12_u8, 0..3_u8).prop_map(|(token, how)| Step::Fail(token, how)),
        (0..12_u8).prop_map(Step::Settle),
        any::<bool>().prop_map(Step::Link),
        (0..3_000_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Every publish that fails is resent or settled, once per failure, never after
    /// its deadline, never while the link is broken.
    #[test]
    fn every_failure_has_one_consequence(steps in proptest::collection::vec(any_step(), 0..80)) {
        let mut publisher = Publisher::new(Config { capacity: 8, wait_for_link: true, seed: 3 });
        let mut now = 0;
        let mut connected = true;
        // In flight (with its record), waiting, or gone.
        let mut in_flight: BTreeMap<u64, Flight> =
            (0..12).map(|t| (t, flight(t, 2_000 * (t + 1)))).collect();
        let mut waiting = BTreeSet::new();
        for step in steps.into_iter().chain([Step::Wait(30_000)]) {
            match step {
                Step::Fail(token, how) => {
                    let token = u64::from(token);
                    let Some(flight) = in_flight.remove(&token) else { continue };
                    waiting.insert(token);
                    let how = [Failure::Refused, Failure::Unanswered, Failure::Lost][usize::from(how)];
                    publisher.handle(at(now), Input::Failed(flight, how));
                }
                Step::Settle(token) => {
                    let token = u64::from(token);
                    in_flight.remove(&token);
                    waiting.remove(&token);
                    publisher.handle(at(now), Input::Settled { token });
                }
                Step::Link(up) => {
                    connected = up;
                    let input = if up { Input::Connected } else { Input::Disconnected };
                    publisher.handle(at(now), input);
                }
                Step::Wait(by) => {
                    now += u64::from(by);
                    publisher.handle(at(now), Input::Tick);
                }
            }
            for output in outputs(&mut publisher) {
                match output {
                    Output::Resend(flight) => {
                        prop_assert!(connected && at(now) < flight.deadline);
                        prop_assert!(waiting.remove(&flight.token));
                        in_flight.insert(flight.token, flight);
                    }
                    Output::Settle { token, .. } => prop_assert!(waiting.remove(&token)),
                }
            }
            prop_assert_eq!(publisher.len(), waiting.len());
            prop_assert!(publisher.deadline().is_none_or(|due| due > at(now)));
        }
        prop_assert!(publisher.is_empty(), "no deadline is forgotten");
    }
}
