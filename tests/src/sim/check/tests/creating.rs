//! One wait for the creation of a stream at a time.

use super::*;

#[test]
fn two_creations_of_a_stream_at_once_are_found() {
    let expected = [Violation::CreatedAtOnce {
        bus: 0,
        stream: STREAM.into(),
    }];
    assert_eq!(check(&changed(|entries| entries.swap(1, 2))), expected);
    // Another attempt of the same wait: the first cannot be answered.
    let refused = Entry::NotTaken {
        bus: 0,
        reply: "r1".into(),
    };
    assert_eq!(check(&changed(|entries| entries[1] = refused)), []);
    let broken = changed(|entries| entries[1] = Entry::Down { bus: 0 });
    assert_eq!(check(&broken), []);
    // After the request's time nobody waits.
    let late = changed(|entries| {
        let second: Vec<_> = entries.splice(1..4, []).collect();
        entries.splice(7..7, second[1..].to_vec());
    });
    assert_eq!(check(&late), []);
}

#[test]
fn a_publish_that_fails_waits_for_no_creation_any_more() {
    let failed = Entry::Answered {
        call: 3,
        answer: Answer::Failed("late".into()),
    };
    let entries = [published(3, 3), create("r0"), failed.clone(), create("r1")];
    assert_eq!(check(&replaced(&create("r1"), &entries)), []);
    // One that began later did not wait for it.
    let entries = [create("r0"), published(3, 3), failed, create("r1")];
    let expected = Violation::CreatedAtOnce {
        bus: 0,
        stream: STREAM.into(),
    };
    assert_eq!(check(&replaced(&create("r1"), &entries)), [expected]);
}

#[test]
fn a_wait_for_a_creation_goes_on_when_a_publish_fails_that_did_not_need_it() {
    let failed = Entry::Answered {
        call: 3,
        answer: Answer::Failed("late".into()),
    };
    let found = |second, third| {
        let entries = [
            (1_000, published(3, 3)),
            (1_000, create("r0")),
            (2_000, failed.clone()),
            (second, Entry::Down { bus: 0 }),
            (second, create("r1")),
            (third, create("r2")),
        ];
        let mut history = history(Vec::new());
        let timed = entries.map(|(at, entry)| (Time::from_millis(at), entry));
        history.entries.extend(timed);
        let mut found = Vec::new();
        publishing::creation(&history, &mut found);
        found
    };
    // The second attempt was of the first wait, whose time is over.
    assert_eq!(found(3_000, 6_000), []);
    // Whosever it was, somebody waited.
    let expected = Violation::CreatedAtOnce {
        bus: 0,
        stream: STREAM.into(),
    };
    assert_eq!(found(3_000, 5_999), from_ref(&expected));
    assert_eq!(found(6_000, 10_999), [expected]);
}
