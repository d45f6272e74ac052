//! Failures, batches, at most once, draining and what is held.

use super::*;
use crate::sim::history::Held;

#[test]
fn an_event_that_was_discarded_is_accounted_for() {
    let discarded = replaced(&ended(12, true), &[said(12, Said::Discard)]);
    assert_eq!(check(&discarded), []);
}

#[test]
fn a_later_event_before_the_next_attempt_is_found() {
    // Its success is in order; that it started between the attempts is not.
    let between = changed(|entries| {
        let attempts = [started(13, 2), ended(13, false)];
        entries.splice(12..12, attempts);
    });
    assert!(matches!(
        check(&between)[..],
        [Violation::OutOfOrder {
            earlier: 1,
            later: 2,
            ..
        }]
    ));
    // After the last attempt nothing waits any longer.
    let mut over = between;
    over.groups[0].rules.attempts = 1;
    assert_eq!(check(&over), []);
    // Without order nothing waits at all.
    over.groups[0].rules = Rules {
        ordered: false,
        ..RULES
    };
    assert_eq!(check(&over), []);
}

fn in_batch(mut entry: Entry) -> Entry {
    if let Entry::Started { batch, .. } = &mut entry {
        *batch = Some(1);
    }
    entry
}

#[test]
fn events_of_a_batch_run_together_and_those_that_are_called_back_again() {
    let batch = |second: Said, again: bool| {
        changed(|entries| {
            let together = [
                in_batch(started(10, 1)),
                in_batch(started(13, 2)),
                ended(10, false),
                said(13, second),
            ];
            entries.splice(10..12, together);
            if !again {
                entries.drain(16..18);
            }
        })
    };
    assert_eq!(check(&batch(Said::CalledBack, true)), []);
    // It was called back and nobody handled it.
    assert!(matches!(
        check(&batch(Said::CalledBack, false))[..],
        [Violation::NotHandled { event: 2, .. }]
    ));
}

#[test]
fn an_event_that_runs_again_at_most_once_is_found() {
    let mut twice = confirmed(history(good()));
    twice.groups[0].rules.at_most_once = true;
    assert_eq!(check(&twice), [Violation::RanAgain { runs: (10, 11) }]);
    // Two processes, and nobody heard that one of them was alive.
    twice.groups[0].shared = true;
    assert_eq!(check(&twice).len(), 1);
    twice.lossy = true;
    assert_eq!(check(&twice), []);
    twice.groups[0].shared = false;
    let redriven = changed(|entries| {
        if let Entry::Started { redrives, .. } = &mut entries[12] {
            *redrives = 1;
        }
    });
    let groups = twice.groups;
    let redriven = confirmed(redriven);
    assert_eq!(check(&History { groups, ..redriven }), []);
}

/// All that comes is acknowledged, and that is confirmed, before it is handled.
pub(super) fn confirmed(mut history: History) -> History {
    let entries = [1, 2].map(|event| (Time::ZERO, Entry::Confirmed(passage(event))));
    history.entries.splice(0..0, entries);
    history
}

#[test]
fn an_event_that_is_handled_at_most_once_and_not_confirmed_is_found() {
    let mut unconfirmed = changed(|entries| {
        entries.drain(10..12);
    });
    unconfirmed.groups[0].rules.at_most_once = true;
    let expected = [11, 12].map(|run| Violation::NotConfirmed { run });
    assert_eq!(check(&unconfirmed), expected);
    assert_eq!(check(&confirmed(unconfirmed)), []);
}

/// The second event ran once more, on bus `other`, which received it before its
/// connection was gone for so many milliseconds, and then once more for as long after it
/// had been `back` for so many.
fn ran_elsewhere(other: usize, gone: u64, back: Option<u64>) -> Vec<Violation> {
    let arrived = Passage {
        bus: other,
        ..passage(2)
    };
    let mut started = started(13, 2);
    if let Entry::Started { bus, .. } = &mut started {
        *bus = other;
    }
    let break_of = |length| {
        [
            (0, Entry::Down { bus: other }),
            (length, Entry::Up { bus: other }),
        ]
    };
    let mut steps = vec![(0, Entry::Arrived(arrived.clone()))];
    steps.extend(break_of(gone));
    if let Some(back) = back {
        let [(_, down), up] = break_of(gone);
        steps.extend([(back, down), up]);
    }
    steps.extend([(0, started), (0, ended(13, true))]);
    let mut history = changed(|entries| {
        entries.drain(10..12);
        entries.splice(14..14, steps.iter().map(|(_, entry)| entry.clone()));
    });
    let mut now = history.entries[13].0;
    for (n, (time, _)) in history.entries[14..].iter_mut().enumerate() {
        let wait = steps.get(n).map_or(1, |(wait, _)| *wait);
        now = now + Duration::from_millis(wait);
        *time = now;
    }
    history.groups[0].rules.at_most_once = true;
    let confirmed_there = (Time::ZERO, Entry::Confirmed(arrived));
    history.entries.insert(0, confirmed_there);
    check(&confirmed(history))
}

#[test]
fn a_connection_that_was_gone_for_long_excuses_a_second_run_elsewhere() {
    // Leases of 8 seconds: 6 are too long, 5 are not.
    assert_eq!(ran_elsewhere(1, 6_000, None), []);
    let again = Violation::RanAgain { runs: (12, 13) };
    assert_eq!(ran_elsewhere(1, 5_000, None), from_ref(&again));
    assert_eq!(ran_elsewhere(0, 6_000, None), from_ref(&again));
    // In a moment no lease is renewed.
    assert_eq!(ran_elsewhere(1, 3_000, Some(50)), []);
    assert_eq!(ran_elsewhere(1, 3_000, Some(100)), [again]);
}

#[test]
fn an_event_that_was_acknowledged_before_may_never_run() {
    let mut never = confirmed(changed(|entries| {
        entries.drain(14..16);
        entries.drain(10..12);
    }));
    never.groups[0].rules.at_most_once = true;
    assert!(matches!(
        check(&never)[..],
        [Violation::NotHandled { event: 2, .. }]
    ));
    let at = Time::from_millis(60_000);
    never.entries.push((at, Entry::Acknowledged(passage(2))));
    assert_eq!(check(&never), []);
    // Only where that was wanted.
    never.groups[0].rules.at_most_once = false;
    assert_eq!(check(&never).len(), 1);
}

#[test]
fn an_acknowledgement_that_was_not_confirmed_leaves_the_event_to_run_again() {
    let again = changed(|entries| {
        let again = [
            Entry::Unconfirmed { run: 12 },
            started(13, 2),
            ended(13, true),
        ];
        entries.splice(16..16, again);
    });
    assert_eq!(check(&again), []);
}

const DEADLINE: Duration = Duration::from_secs(2);

const fn draining() -> Entry {
    Entry::Draining {
        bus: 0,
        subscription: 7,
        deadline: DEADLINE,
    }
}

const fn drained(abandoned: usize) -> Entry {
    Entry::Drained {
        bus: 0,
        subscription: 7,
        finished: 0,
        returned: 0,
        abandoned,
        confirmed: true,
    }
}

/// Drained after all was handled.
fn drains(entries: &[Entry]) -> History {
    changed(|all| {
        all.splice(16..16, entries.iter().cloned());
    })
}

#[test]
fn a_drain_that_is_late_is_found() {
    assert_eq!(check(&drains(&[draining(), drained(0)])), []);
    let late = Violation::DrainLate { subscription: 7 };
    assert_eq!(check(&drains(&[draining()])), from_ref(&late));
    let filler = || Entry::Up { bus: 0 };
    let slow = [
        draining(),
        filler(),
        filler(),
        filler(),
        filler(),
        drained(0),
    ];
    assert_eq!(check(&drains(&slow)), [late]);
}

#[test]
fn a_drain_that_hides_or_makes_up_a_handler_is_found() {
    let report = |abandoned, running| Violation::DrainReport {
        subscription: 7,
        abandoned,
        running,
    };
    // One had failed before: it may have been on its way to the dead letters.
    let made_up = drains(&[draining(), drained(2)]);
    assert_eq!(check(&made_up), [report(2, (0, 1))]);
    let hidden = drains(&[draining(), started(13, 2), drained(0), ended(13, true)]);
    assert_eq!(check(&hidden), [report(0, (1, 2))]);
    let told = drains(&[draining(), started(13, 2), drained(1), ended(13, true)]);
    assert_eq!(check(&told), []);
}

#[test]
fn a_drain_gives_up_what_waits_for_its_confirmation() {
    let found = |acknowledged: &[u64], abandoned| {
        let mut history = history(vec![Entry::Subscribing {
            subscription: 7,
            bus: 0,
            group: "g".into(),
            topic: "t".into(),
        }]);
        history.groups[0].rules.at_most_once = true;
        let acknowledged = acknowledged.iter().map(|sequence| passage(*sequence));
        let mut entries: Vec<_> = acknowledged.map(Entry::Acknowledged).collect();
        entries.extend([started(13, 1), ended(13, true)]);
        entries.extend([draining(), drained(abandoned)]);
        let timed = entries.into_iter().zip(1..);
        let timed = timed.map(|(entry, at)| (Time::from_millis(at * 1_000), entry));
        history.entries.extend(timed);
        let mut found = Vec::new();
        let runs = runs::read(&history.entries);
        ending::drains(&history, &runs, &mut found);
        found
    };
    let report = |abandoned, most| Violation::DrainReport {
        subscription: 7,
        abandoned,
        running: (0, most),
    };
    assert_eq!(found(&[1, 2], 1), []);
    assert_eq!(found(&[1, 2], 0), [], "its confirmation came");
    assert_eq!(found(&[1, 2], 2), [report(2, 1)]);
    assert_eq!(found(&[1], 1), [report(1, 0)]);
}

#[test]
fn a_handler_that_starts_after_the_drain_is_found() {
    let after = drains(&[draining(), drained(0), started(13, 2), ended(13, true)]);
    assert_eq!(check(&after), [Violation::RanAfterDrain { run: 13 }]);
}

#[test]
fn the_word_of_a_handler_that_was_given_up_does_not_count() {
    let late = changed(|entries| {
        entries.splice(15..16, [draining(), drained(1), ended(12, true)]);
    });
    assert!(matches!(
        check(&late)[..],
        [Violation::NotHandled { event: 2, .. }]
    ));
}

#[test]
fn a_subscription_that_holds_too_much_is_found() {
    let mut history = history(good());
    let held = |most| Held { most, places: 5 };
    history.held.insert(7, held(15));
    assert_eq!(check(&history), []);
    history.held.insert(7, held(16));
    let expected = Violation::HeldTooMuch {
        subscription: 7,
        held: 16,
    };
    assert_eq!(check(&history), [expected]);
}
