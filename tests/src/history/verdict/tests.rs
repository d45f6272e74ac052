use std::time::Duration;

use super::super::record::{Handled, Published, Stored};
use super::*;

const fn which(key: u32, number: u32) -> Which {
    Which { key, number }
}

fn published(key: u32, number: u32, told: Told) -> Published {
    Published {
        which: which(key, number),
        begun: Duration::ZERO,
        ended: Duration::ZERO,
        told,
    }
}

fn stored(key: u32, number: u32, sequence: u64) -> Stored {
    Stored {
        which: which(key, number),
        sequence,
    }
}

fn handled(key: u32, number: u32, sequence: u64) -> Handled {
    Handled {
        which: which(key, number),
        sequence,
        at: Duration::ZERO,
    }
}

/// Two keys with two events each, all handled by the only process of a group.
fn sound() -> History {
    let events = [(0, 1, 1), (1, 1, 2), (0, 2, 3), (1, 2, 4)];
    History {
        published: events
            .map(|(k, n, at)| published(k, n, Told::At(at)))
            .into(),
        stored: events.map(|(k, n, at)| stored(k, n, at)).into(),
        groups: vec![Group {
            name: "all".into(),
            processes: vec![events.map(|(k, n, at)| handled(k, n, at)).into()],
        }],
    }
}

/// What is wrong once `spoil` has had a sound history.
fn after(spoil: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = sound();
    spoil(&mut history);
    judge(&history).violations
}

fn all() -> String {
    "all".into()
}

#[test]
fn a_sound_history_has_no_violation() {
    let verdict = judge(&sound());
    assert_eq!(verdict.violations, []);
    assert_eq!(
        (verdict.acknowledged, verdict.stored, verdict.handled),
        (4, 4, 4)
    );
    assert!(
        verdict
            .to_string()
            .starts_with("4 published: 4 acknowledged (0 lost")
    );
}

#[test]
fn an_acknowledged_event_that_is_gone_is_lost() {
    let found = after(|history| {
        history.stored.retain(|one| one.which != which(0, 2));
        history.groups.clear();
    });
    assert_eq!(found, [Violation::Lost(which(0, 2))]);
}

#[test]
fn an_event_elsewhere_than_acknowledged_is_misplaced() {
    let found = after(|history| history.published[3].told = Told::At(9));
    assert_eq!(found, [Violation::Misplaced(which(1, 2))]);
}

#[test]
fn a_refused_event_must_not_be_stored() {
    let found = after(|history| history.published[3].told = Told::Refused);
    assert_eq!(found, [Violation::StoredThoughRefused(which(1, 2))]);
}

#[test]
fn an_event_in_the_stream_twice_is_found() {
    let found = after(|history| {
        history.stored.insert(0, stored(1, 2, 4));
    });
    assert_eq!(found, [Violation::StoredTwice(which(1, 2))]);
}

#[test]
fn what_nobody_published_must_not_be_stored_or_handled() {
    let found = after(|history| {
        history.published.pop();
    });
    let wrong = [
        Violation::StoredUnpublished(which(1, 2)),
        Violation::HandledUnpublished(which(1, 2), all()),
    ];
    assert_eq!(found, wrong);
}

#[test]
fn a_key_stored_in_another_order_than_published_is_found() {
    let found = after(|history| {
        history.published[0].told = Told::At(3);
        history.published[2].told = Told::At(1);
        history.stored[0].which = which(0, 2);
        history.stored[2].which = which(0, 1);
        history.groups.clear();
    });
    assert_eq!(found, [Violation::StoredOutOfOrder(which(0, 2))]);
}

#[test]
fn an_unknown_event_may_be_missing_or_late_but_not_early() {
    let missing = after(|history| {
        history.published[3].told = Told::Unknown;
        history.stored.pop();
        history.groups[0].processes[0].pop();
    });
    assert_eq!(missing, []);
    // Its first event is stored behind its second.
    let late = |told| {
        after(move |history| {
            history.published[0].told = told;
            history.stored[0] = stored(0, 1, 5);
            history.groups[0].processes[0].remove(0);
            history.groups[0].processes[0].push(handled(0, 1, 5));
        })
    };
    assert_eq!(late(Told::Unknown), []);
    assert_eq!(
        late(Told::At(5)),
        [Violation::StoredOutOfOrder(which(0, 2))]
    );
    let early = after(|history| {
        history.published[2].told = Told::Unknown;
        history.published[0].told = Told::At(3);
        history.stored[0].which = which(0, 2);
        history.stored[2].which = which(0, 1);
        history.groups.clear();
    });
    assert_eq!(early, [Violation::StoredOutOfOrder(which(0, 2))]);
}

#[test]
fn what_is_not_stored_or_not_there_must_not_be_handled() {
    let unstored = after(|history| {
        history.published[3].told = Told::Unknown;
        history.stored.pop();
    });
    let wrong = Violation::HandledUnstored(which(1, 2), all());
    assert_eq!(unstored, std::slice::from_ref(&wrong));
    let elsewhere = after(|history| history.groups[0].processes[0][3].sequence = 7);
    assert_eq!(elsewhere, [wrong]);
}

#[test]
fn a_key_handled_in_another_order_than_stored_is_found() {
    let found = after(|history| history.groups[0].processes[0].swap(0, 2));
    assert_eq!(found, [Violation::HandledOutOfOrder(which(0, 1), all())]);
}

#[test]
fn a_repetition_is_counted_and_is_no_disorder() {
    let mut history = sound();
    history.groups[0].processes[0].push(handled(0, 1, 1));
    let verdict = judge(&history);
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.handled, verdict.repeated), (4, 1));
}

#[test]
fn processes_of_a_group_have_no_order_and_their_work_counts_together() {
    let mut history = sound();
    let process = &mut history.groups[0].processes[0];
    process.swap(0, 2);
    let other = vec![process.remove(1)];
    history.groups[0].processes.push(other);
    let verdict = judge(&history);
    assert_eq!(verdict.violations, []);
    assert_eq!((verdict.handled, verdict.overtaken), (4, 1));
}

#[test]
fn an_event_that_a_group_never_handled_is_found() {
    let found = after(|history| {
        history.groups.push(Group {
            name: "other".into(),
            processes: vec![history.groups[0].processes[0].clone()],
        });
        history.groups[1].processes[0].remove(1);
    });
    let wrong = Violation::NeverHandled(which(1, 1), "other".into());
    assert_eq!(found, std::slice::from_ref(&wrong));
    assert_eq!(
        wrong.to_string(),
        "key-1 1: stored and never handled by other"
    );
}
