//! A history without fault, and each rule broken in it once.

use std::collections::BTreeMap;
use std::slice::from_ref;
use std::time::Duration;

use jetbus_core::Time;

use super::*;
use crate::sim::history::{Answer, Entry, Group, Passage, Rules, Said, Stored};

mod creating;
mod giving_up;
mod handling;
mod settling;

const STREAM: &str = "S";

/// By a publisher of its own.
fn published(call: u64, event: u64) -> Entry {
    Entry::Published {
        call,
        publisher: call,
        bus: 0,
        tenant: 0,
        event,
        topic: "t".into(),
        key: Some("k".into()),
    }
}

fn answered(call: u64, sequence: u64) -> Entry {
    Entry::Answered {
        call,
        answer: Answer::Stored {
            stream: STREAM.into(),
            sequence,
            duplicate: false,
        },
    }
}

fn passage(sequence: u64) -> Passage {
    Passage {
        bus: 0,
        consumer: "c".into(),
        stream: STREAM.into(),
        sequence,
    }
}

fn started(run: u64, event: u64) -> Entry {
    Entry::Started {
        run,
        subscription: 7,
        bus: 0,
        group: "g".into(),
        event,
        topic: "t".into(),
        key: Some("k".into()),
        stream: STREAM.into(),
        sequence: event,
        redrives: 0,
        batch: None,
    }
}

const fn ended(run: u64, done: bool) -> Entry {
    said(run, if done { Said::Done } else { Said::Failed })
}

const fn said(run: u64, said: Said) -> Entry {
    Entry::Ended { run, said }
}

const RULES: Rules = Rules {
    ordered: true,
    at_most_once: false,
    attempts: 3,
    dead_letters: true,
    gives_up_at_share: false,
    crash_limit: 10,
};

fn create(reply: &str) -> Entry {
    Entry::Create {
        bus: 0,
        stream: STREAM.into(),
        reply: reply.into(),
    }
}

fn created(reply: &str) -> Entry {
    Entry::Created {
        bus: 0,
        reply: reply.into(),
    }
}

fn closed(closer: u64, report: &str) -> Entry {
    Entry::Closed {
        bus: 0,
        closer,
        report: report.into(),
    }
}

/// Entry `n` happens after `n` seconds.
fn history(entries: Vec<Entry>) -> History {
    let stored = |event| {
        (
            (STREAM.into(), event),
            Stored {
                topic: "t".into(),
                event,
            },
        )
    };
    let timed = entries.into_iter().zip(0..);
    History {
        entries: timed
            .map(|(entry, second)| (Time::from_millis(second * 1_000), entry))
            .collect(),
        stored: [stored(1), stored(2)].into(),
        letters: Vec::new(),
        redriving: Vec::new(),
        held: BTreeMap::new(),
        groups: vec![Group {
            name: "g".into(),
            topic: "t".into(),
            consumer: "c".into(),
            shared: false,
            rules: RULES,
        }],
        request_timeout: Duration::from_secs(5),
        close_limit: Duration::from_secs(3),
        calm: false,
        lossy: false,
        ack_wait: Duration::from_secs(8),
        windows: BTreeMap::new(),
        left: Vec::new(),
    }
}

fn good() -> Vec<Entry> {
    vec![
        create("r1"),
        created("r1"),
        create("r2"),
        created("r2"),
        published(1, 1),
        answered(1, 1),
        published(2, 2),
        answered(2, 2),
        Entry::Arrived(passage(1)),
        Entry::Arrived(passage(2)),
        started(10, 1),
        ended(10, false),
        started(11, 1),
        ended(11, true),
        started(12, 2),
        ended(12, true),
        Entry::Closing { bus: 0, closer: 1 },
        Entry::Closing { bus: 0, closer: 2 },
        closed(1, "fine"),
        closed(2, "fine"),
    ]
}

/// The good history, changed.
fn changed(change: impl FnOnce(&mut Vec<Entry>)) -> History {
    let mut entries = good();
    change(&mut entries);
    history(entries)
}

fn replaced(from: &Entry, to: &[Entry]) -> History {
    changed(|entries| {
        let place = entries.iter().position(|entry| entry == from).unwrap();
        entries.splice(place..=place, to.iter().cloned());
    })
}

#[test]
fn nothing_is_wrong_with_a_good_history() {
    assert_eq!(check(&history(good())), []);
}

#[test]
fn an_event_that_nobody_handled_is_found() {
    let history = replaced(&ended(12, true), &[ended(12, false)]);
    let at = (STREAM.into(), 2);
    let expected = Violation::NotHandled {
        group: "g".into(),
        event: 2,
        at,
    };
    assert_eq!(check(&history), [expected]);
}

#[test]
fn handling_what_nobody_published_is_found() {
    let mut history = replaced(&published(2, 2), &[]);
    assert_eq!(check(&history), [Violation::NotPublished { run: 12 }]);
    // Published, but to another topic or later.
    history = changed(|entries| entries.rotate_left(8));
    assert!(check(&history).contains(&Violation::NotPublished { run: 10 }));
}

#[test]
fn handling_what_is_not_stored_is_found() {
    let mut history = history(good());
    history.stored.remove(&(STREAM.into(), 2));
    let at = (STREAM.into(), 2);
    let expected = [
        Violation::NotStored { run: 12, at },
        Violation::FalselyStored { call: 2 },
    ];
    assert_eq!(check(&history), expected);
}

fn swapped(entries: &mut Vec<Entry>) {
    let late: Vec<_> = entries.splice(10..14, []).collect();
    entries.splice(12..12, late);
}

#[test]
fn a_key_out_of_order_is_found() {
    let expected = Violation::OutOfOrder {
        bus: 0,
        group: "g".into(),
        key: "k".into(),
        earlier: 1,
        later: 2,
    };
    assert_eq!(check(&changed(swapped)), from_ref(&expected));
    // That a delivery was lost does not help when another had come in time.
    let early = changed(|entries| {
        swapped(entries);
        entries.insert(8, Entry::Lost(passage(1)));
    });
    assert_eq!(check(&early), from_ref(&expected));
    // Nor does it when nobody shares the group: it was to be asked for again.
    assert_eq!(check(&lost_first()), [expected]);
}

/// The first delivery of the earlier event was lost, and it came after the later one.
fn lost_first() -> History {
    changed(|entries| {
        swapped(entries);
        entries[8] = Entry::Lost(passage(1));
        entries.insert(12, Entry::Arrived(passage(1)));
    })
}

#[test]
fn an_event_that_another_process_may_have_is_excused() {
    let mut shared = lost_first();
    shared.groups[0].shared = true;
    assert_eq!(check(&shared), []);
    // Not when it had come here in time.
    let mut early = changed(swapped);
    early.groups[0].shared = true;
    assert_eq!(check(&early).len(), 1);
    // What waited when its consumer was deleted may go elsewhere, and comes again then.
    let deleted = || Entry::Deleted {
        consumer: "c".into(),
    };
    for (place, again, found) in [(8, 13, 1), (9, 13, 0), (10, 13, 1), (9, 20, 1)] {
        let mut gone = changed(|entries| {
            swapped(entries);
            entries.insert(place, deleted());
            entries.insert(again, Entry::Arrived(passage(1)));
        });
        gone.groups[0].shared = true;
        assert_eq!(check(&gone).len(), found, "{place}, {again}");
    }
    let mut handled = changed(|entries| {
        swapped(entries);
        let started = entries.remove(12);
        entries.insert(9, started);
        entries.insert(10, deleted());
    });
    handled.groups[0].shared = true;
    let found = check(&handled);
    let is_order = |one: &Violation| matches!(one, Violation::OutOfOrder { .. });
    assert!(found.iter().any(is_order), "{found:?}");
}

#[test]
fn an_event_that_was_given_back_and_given_up_is_excused() {
    let overtaken = |sequence| Entry::Overtaken {
        bus: 0,
        topic: "t".into(),
        sequence,
    };
    let told = changed(|entries| {
        swapped(entries);
        entries.insert(10, overtaken(1));
    });
    assert_eq!(check(&told), []);
    let another = changed(|entries| {
        swapped(entries);
        entries.insert(10, overtaken(2));
    });
    assert_eq!(check(&another).len(), 1);
}

#[test]
fn two_handlers_of_a_key_at_once_are_found() {
    let overlapping = changed(|entries| entries.swap(13, 14));
    assert!(check(&overlapping).contains(&Violation::Overlap { runs: (11, 12) }));
    let endless = replaced(&ended(10, false), &[]);
    assert_eq!(check(&endless), [Violation::Overlap { runs: (10, 11) }]);
}

#[test]
fn a_publish_without_an_answer_or_with_two_is_found() {
    let none = replaced(&answered(1, 1), &[]);
    assert_eq!(check(&none), [Violation::Answers { call: 1, count: 0 }]);
    let two = replaced(&answered(1, 1), &[answered(1, 1), answered(1, 1)]);
    assert_eq!(check(&two), [Violation::Answers { call: 1, count: 2 }]);
}

#[test]
fn a_batch_in_parts_is_found() {
    let batch = |first, last| Entry::Batch {
        calls: vec![first, last],
    };
    let with = |entries: &[Entry]| {
        let mut all = vec![answered(1, 1)];
        all.extend_from_slice(entries);
        check(&replaced(&answered(1, 1), &all))
    };
    let in_parts = |call| [Violation::BatchInParts { call }];
    assert_eq!(with(&[batch(1, 2)]), []);
    assert_eq!(with(&[batch(2, 1)]), in_parts(2));
    // The third of its kind is not stored.
    let unknown = Entry::Answered {
        call: 3,
        answer: Answer::Unknown,
    };
    let third = [published(3, 3), unknown];
    assert_eq!(with(&third), []);
    let parts = [third.to_vec(), vec![batch(2, 3)]].concat();
    assert_eq!(with(&parts), in_parts(2));
    assert_eq!(with(&[third.to_vec(), vec![batch(3, 3)]].concat()), []);
    // All are stored, and that was said of one alone.
    let unsaid = Entry::Answered {
        call: 1,
        answer: Answer::Unknown,
    };
    let differs = replaced(&answered(1, 1), &[unsaid, batch(1, 2)]);
    assert_eq!(check(&differs), in_parts(1));
}

#[test]
fn untrue_answers_are_found() {
    let elsewhere = replaced(&answered(1, 1), &[answered(1, 2)]);
    assert_eq!(check(&elsewhere), [Violation::FalselyStored { call: 1 }]);
    let failed = Entry::Answered {
        call: 1,
        answer: Answer::Failed("refused".into()),
    };
    let stored = replaced(&answered(1, 1), from_ref(&failed));
    assert_eq!(check(&stored), [Violation::FalselyFailed { call: 1 }]);
    // True when a second call of the same event stored it.
    let again = replaced(&answered(1, 1), &[failed, published(3, 1), answered(3, 1)]);
    assert_eq!(check(&again), []);
    let unknown = Entry::Answered {
        call: 1,
        answer: Answer::Unknown,
    };
    assert_eq!(check(&replaced(&answered(1, 1), &[unknown])), []);
}

fn result(event: u64, answer: Answer) -> Entry {
    Entry::Result {
        bus: 0,
        tenant: 0,
        event,
        topic: "t".into(),
        answer,
    }
}

#[test]
fn results_that_are_not_the_answers_are_found() {
    let stored = |sequence| {
        let Entry::Answered { answer, .. } = answered(sequence, sequence) else {
            unreachable!("it is an answer")
        };
        answer
    };
    let read = |results: Vec<Entry>, ends: bool| {
        changed(|entries| {
            let (bus, tenant) = (0, 0);
            entries.insert(0, Entry::Reading { bus, tenant });
            entries.extend(results);
            entries.extend(ends.then_some(Entry::ReadAll { bus, tenant }));
        })
    };
    let [one, two] = [1, 2].map(|n| result(n, stored(n)));
    let wrong = |event| Violation::Results {
        bus: 0,
        tenant: 0,
        event,
    };
    let good = vec![two.clone(), one.clone()];
    assert_eq!(check(&read(good.clone(), true)), []);
    let endless = Violation::ResultsEndless { bus: 0, tenant: 0 };
    assert_eq!(check(&read(good, false)), [endless]);
    let missing = vec![one.clone()];
    assert_eq!(check(&read(missing, true)), [wrong(2)]);
    let twice = vec![one.clone(), two.clone(), two.clone()];
    assert_eq!(check(&read(twice, true)), [wrong(2)]);
    let another = vec![one.clone(), result(2, Answer::Unknown)];
    assert_eq!(check(&read(another, true)), [wrong(2)]);
    let made_up = vec![one.clone(), two.clone(), result(3, stored(2))];
    assert_eq!(check(&read(made_up, true)), [wrong(3)]);
    // Told that the bus is closed, a call may have had a place, or not; told that there
    // was no room it had none.
    let closed = Answer::Failed(jetbus::PublishError::Closed.to_string());
    let ending = |answer: &Answer, results: Vec<Entry>| {
        let mut history = read(results, true);
        let called = |entry| (Time::ZERO, entry);
        let last = history.entries.len() - 1;
        let answered = Entry::Answered {
            call: 9,
            answer: answer.clone(),
        };
        let calls = [called(published(9, 9)), called(answered)];
        history.entries.splice(last..last, calls);
        check(&history)
    };
    let both = vec![one, two];
    let three = |answer: &Answer| [both.clone(), vec![result(9, answer.clone())]].concat();
    assert_eq!(ending(&closed, both.clone()), []);
    assert_eq!(ending(&closed, three(&closed)), []);
    assert_eq!(ending(&Answer::Unread, both.clone()), []);
    assert_eq!(ending(&Answer::Unread, three(&Answer::Unread)), [wrong(9)]);
}

#[test]
fn a_publish_that_is_not_stored_in_a_calm_is_found() {
    let unknown = Entry::Answered {
        call: 1,
        answer: Answer::Unknown,
    };
    let mut history = replaced(&answered(1, 1), &[unknown]);
    history.calm = true;
    assert_eq!(check(&history), [Violation::FailedInCalm { call: 1 }]);
}

#[test]
fn publishes_stored_in_another_order_are_found() {
    let by_one = |call, event| {
        let Entry::Published { topic, key, .. } = published(call, event) else {
            unreachable!()
        };
        Entry::Published {
            call,
            bus: 0,
            tenant: 0,
            publisher: 1,
            event,
            topic,
            key,
        }
    };
    let calls = |first: u64, second: u64| {
        changed(|entries| {
            entries
                .retain(|entry| !matches!(entry, Entry::Published { .. } | Entry::Answered { .. }));
            let of_one = [
                by_one(1, first),
                by_one(2, second),
                answered(2, second),
                answered(1, first),
            ];
            entries.splice(0..0, of_one);
        })
    };
    assert_eq!(check(&calls(1, 2)), []);
    assert_eq!(
        check(&calls(2, 1)),
        [Violation::StoredOutOfOrder { calls: (1, 2) }]
    );
    // What is published again keeps its place.
    let mut again = calls(1, 2);
    let end = Time::from_millis(60_000);
    let entries = [by_one(3, 1), answered(3, 1)];
    again.entries.extend(entries.map(|entry| (end, entry)));
    assert_eq!(check(&again), []);
}

#[test]
fn an_event_that_is_stored_twice_is_found() {
    let mut history = changed(|entries| entries.extend([started(13, 3), ended(13, true)]));
    let again = Stored {
        topic: "t".into(),
        event: 2,
    };
    history.stored.insert((STREAM.into(), 3), again);
    assert!(check(&history).contains(&Violation::StoredTwice { event: 2 }));
}

#[test]
fn a_close_that_is_late_or_differs_is_found() {
    let missing = replaced(&closed(2, "fine"), &[]);
    assert_eq!(
        check(&missing),
        [Violation::CloseLate { bus: 0, closer: 2 }]
    );
    let mut late = history(good());
    late.close_limit = Duration::from_millis(1_500);
    let both = [1, 2].map(|closer| Violation::CloseLate { bus: 0, closer });
    assert_eq!(check(&late), both);
    let different = replaced(&closed(2, "fine"), &[closed(2, "bad")]);
    assert_eq!(check(&different), [Violation::CloseReports { bus: 0 }]);
}

#[test]
fn what_is_left_is_found() {
    let mut history = history(good());
    history.left.push("#7".into());
    assert_eq!(check(&history), [Violation::Left { what: "#7".into() }]);
}

#[test]
fn a_place_of_a_window_that_is_not_free_at_the_end_is_found() {
    let mut history = history(good());
    history.windows = [(0, (8, 8)), (1, (7, 8))].into();
    let taken = Violation::WindowTaken {
        bus: 1,
        free: 7,
        places: 8,
    };
    assert_eq!(check(&history), [taken]);
}
