//! Dead letters: what they account for, and what has to be behind them.

use jetbus_core::dead_letter::Reason;

use super::*;
use crate::sim::history::Held;
use crate::sim::history::Letter;

fn letter(sequence: u64, reason: Reason) -> Letter {
    Letter {
        group: "g".into(),
        topic: "t".into(),
        stream: STREAM.into(),
        sequence,
        reason,
    }
}

const fn given_up(sequence: u64, reason: Reason) -> Violation {
    Violation::GivenUp {
        group: String::new(),
        topic: String::new(),
        sequence,
        reason,
    }
}

/// Names are not what differs.
fn nameless(found: Vec<Violation>) -> Vec<Violation> {
    let nameless = |violation| match violation {
        Violation::GivenUp {
            sequence, reason, ..
        } => given_up(sequence, reason),
        other => other,
    };
    found.into_iter().map(nameless).collect()
}

/// Event 2 ended so, and is a dead letter for this reason.
fn ended_so(said_last: Said, reason: Reason) -> History {
    let mut history = replaced(&ended(12, true), &[said(12, said_last)]);
    history.letters.push(letter(2, reason));
    history
}

#[test]
fn a_dead_letter_that_was_asked_for_accounts_for_its_event() {
    for reason in [Reason::Asked, Reason::Terminal] {
        assert_eq!(check(&ended_so(Said::DeadLetter, reason)), []);
    }
    let mut lost = ended_so(Said::DeadLetter, Reason::Asked);
    lost.letters.clear();
    assert!(matches!(
        check(&lost)[..],
        [Violation::NotHandled { event: 2, .. }]
    ));
    // Unless nobody wants them.
    lost.groups[0].rules.dead_letters = false;
    assert_eq!(check(&lost), []);
}

#[test]
fn a_dead_letter_that_nobody_asked_for_is_found() {
    let history = ended_so(Said::Failed, Reason::Asked);
    assert_eq!(nameless(check(&history)), [given_up(2, Reason::Asked)]);
    let never = ended_so(Said::DeadLetter, Reason::Undecodable);
    assert_eq!(nameless(check(&never)), [given_up(2, Reason::Undecodable)]);
}

#[test]
fn a_dead_letter_before_its_attempts_ran_out_is_found() {
    let early = ended_so(Said::Panicked, Reason::Exhausted);
    assert_eq!(nameless(check(&early)), [given_up(2, Reason::Exhausted)]);
    let mut last = ended_so(Said::Dropped, Reason::Exhausted);
    last.groups[0].rules.attempts = 1;
    // Now the first failure of the other event was its last, too.
    last.entries.retain(|(_, entry)| {
        !matches!(
            entry,
            Entry::Started { run: 10, .. } | Entry::Ended { run: 10, .. }
        )
    });
    assert_eq!(check(&last), []);
}

#[test]
fn a_letter_for_a_share_or_for_crashes_needs_one_or_the_other() {
    let mut backlogged = ended_so(Said::Failed, Reason::Backlogged);
    assert_eq!(
        nameless(check(&backlogged)),
        [given_up(2, Reason::Backlogged)]
    );
    backlogged.groups[0].rules.gives_up_at_share = true;
    assert_eq!(check(&backlogged), []);
    let mut crashed = ended_so(Said::Failed, Reason::CrashLoop);
    assert_eq!(nameless(check(&crashed)), [given_up(2, Reason::CrashLoop)]);
    for _ in 1..RULES.crash_limit {
        let at = Time::from_millis(60_000);
        crashed.entries.push((at, Entry::Lost(passage(2))));
    }
    assert_eq!(check(&crashed), []);
}

#[test]
fn an_acknowledgement_that_was_not_confirmed_is_a_failure() {
    for reason in [Reason::Exhausted, Reason::Backlogged] {
        // Acknowledged ahead, event 2 never ran.
        let mut never = changed(|entries| {
            entries.drain(14..16);
            entries.drain(10..12);
        });
        never.groups[0].rules.at_most_once = true;
        never.groups[0].rules.gives_up_at_share = true;
        never.letters.push(letter(2, reason));
        let mut never = handling::confirmed(never);
        assert_eq!(nameless(check(&never)), [given_up(2, reason)]);
        let spent = (Time::from_millis(60_000), Entry::Acknowledged(passage(2)));
        never.entries.push(spent.clone());
        assert_eq!(check(&never), []);
        // It ran after that one: it was confirmed.
        let ran = [started(12, 2), ended(12, false)];
        let ran = ran.map(|entry| (Time::from_millis(61_000), entry));
        never.entries.extend(ran);
        assert_eq!(nameless(check(&never)), [given_up(2, reason)]);
    }
}

#[test]
fn what_a_bus_tells_of_dead_letters_has_to_be_true_too() {
    let told = changed(|entries| {
        entries.push(Entry::DeadLettered {
            group: "g".into(),
            topic: "t".into(),
            sequence: 2,
            reason: Reason::Exhausted,
        });
    });
    assert_eq!(nameless(check(&told)), [given_up(2, Reason::Exhausted)]);
}

#[test]
fn an_event_that_is_done_and_given_up_is_found() {
    let both = |gone: &[Entry]| {
        let mut history = changed(|entries| {
            entries.splice(16..16, gone.iter().cloned());
            entries.extend([started(13, 2), said(13, Said::DeadLetter)]);
        });
        history.letters.push(letter(2, Reason::Asked));
        history
            .entries
            .retain(|(_, entry)| !matches!(entry, Entry::Closing { .. } | Entry::Closed { .. }));
        history
    };
    let expected = Violation::DoneAndGivenUp {
        group: "g".into(),
        topic: "t".into(),
        sequence: 2,
    };
    assert_eq!(check(&both(&[])), [expected]);
    // The broker may have forgotten that it was done.
    let forgotten = Duration::from_millis(100);
    assert_eq!(check(&both(&[Entry::Restarted { forgotten }])), []);
}

#[test]
fn what_comes_again_after_it_may_be_forgotten_begins_anew() {
    let again = |others: u64, places: usize| {
        let mut history = changed(|entries| {
            entries.drain(16..);
            let others = (20..20 + others).flat_map(|run| {
                let mut other = started(run, 1);
                if let Entry::Started { redrives, .. } = &mut other {
                    *redrives = u32::try_from(run).unwrap();
                }
                [other, ended(run, true)]
            });
            entries.extend(others);
            let twice = (13..15).flat_map(|run| [started(run, 2), ended(run, false)]);
            entries.extend(twice.chain([started(15, 2), ended(15, true)]));
        });
        history.held.insert(7, Held { most: 0, places });
        history.groups[0].rules.attempts = 2;
        let found = check(&history).into_iter();
        let given_up = |one: &_| matches!(one, Violation::DoneAndGivenUp { .. });
        found.filter(given_up).count()
    };
    // A subscription remembers sixteen times its places.
    assert_eq!(again(14, 1), 1);
    assert_eq!(again(16, 1), 0);
    assert_eq!(again(16, 2), 1);
}

#[test]
fn what_is_still_to_be_redriven_at_the_end_is_found() {
    let mut history = history(good());
    let at = (STREAM.to_owned(), 1);
    history.redriving.push(("g".into(), at.clone()));
    let group = "g".into();
    assert_eq!(check(&history), [Violation::NotRedriven { group, at }]);
}

#[test]
fn redriven_events_are_in_no_order_with_others() {
    let again = changed(|entries| {
        let mut first = started(13, 1);
        if let Entry::Started { redrives, .. } = &mut first {
            *redrives = 1;
        }
        entries.splice(16..16, [first, ended(13, true)]);
    });
    assert_eq!(check(&again), []);
}
