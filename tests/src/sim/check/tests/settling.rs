//! Acknowledgements, leases, giving back, and what works when the storm is over.

use super::*;
use crate::sim::history::{Grave, Held};

/// The good history with these before its last run, which is of the second event.
fn before_last_run(entries: &[Entry]) -> History {
    changed(|all| {
        all.splice(14..14, entries.iter().cloned());
    })
}

/// The good history with these before it ends.
fn before_end(entries: &[Entry]) -> History {
    changed(|all| {
        all.splice(16..16, entries.iter().cloned());
    })
}

fn grave() -> Grave {
    Grave {
        bus: 0,
        group: "g".into(),
        stream: STREAM.into(),
        sequence: 2,
        redrives: 0,
    }
}

fn burying(id: &str) -> Entry {
    let (grave, id) = (grave(), id.into());
    Entry::Burying { grave, id }
}

#[test]
fn an_event_that_is_acknowledged_before_it_is_handled_is_found() {
    let settled = Entry::Settled(passage(2));
    assert_eq!(check(&before_end(from_ref(&settled))), []);
    let early = Violation::SettledEarly {
        bus: 0,
        group: "g".into(),
        at: (STREAM.into(), 2),
    };
    let unhandled = before_last_run(from_ref(&settled));
    assert_eq!(check(&unhandled), from_ref(&early));
    // That its dead letter is on its way is not enough.
    let unanswered = before_last_run(&[burying("id"), settled.clone()]);
    assert_eq!(check(&unanswered), [early]);
    let buried = [burying("id"), Entry::Buried(grave()), settled];
    assert_eq!(check(&before_last_run(&buried)), []);
}

#[test]
fn a_dead_letter_under_two_ids_is_found() {
    assert_eq!(check(&before_end(&[burying("a"), burying("a")])), []);
    let renamed = Violation::Renamed {
        group: "g".into(),
        at: (STREAM.into(), 2),
    };
    let twice = before_end(&[burying("a"), burying("b")]);
    assert_eq!(check(&twice), [renamed]);
}

#[test]
fn an_event_that_is_handled_again_is_found() {
    let mut again = before_end(&[started(13, 2), ended(13, true)]);
    let held = |places| Held { most: 0, places };
    again.held.insert(7, held(1));
    assert_eq!(check(&again), [Violation::HandledAgain { runs: (12, 13) }]);
    // It may have been forgotten.
    again.held.insert(7, held(0));
    assert_eq!(check(&again), []);
}

#[test]
fn a_lease_that_lapsed_is_found() {
    let arrived = Entry::Arrived(passage(2));
    let mut again = before_last_run(from_ref(&arrived));
    assert_eq!(check(&again), []);
    // Only where there is no other reason.
    again.calm = true;
    let lapsed = Violation::Lapsed {
        bus: 0,
        group: "g".into(),
        at: (STREAM.into(), 2),
    };
    assert_eq!(check(&again), [lapsed]);
    let mut given_back = before_last_run(&[Entry::GivenBack(passage(2)), arrived]);
    given_back.calm = true;
    assert_eq!(check(&given_back), []);
}

#[test]
fn a_drain_that_gives_the_later_back_first_is_found() {
    let drain = |first, second| {
        let mut entries = vec![Entry::Subscribing {
            subscription: 7,
            bus: 0,
            group: "g".into(),
            topic: "t".into(),
        }];
        entries.push(Entry::Draining {
            bus: 0,
            subscription: 7,
            deadline: Duration::from_secs(9),
        });
        entries.extend([first, second].map(|event| Entry::GivenBack(passage(event))));
        entries.push(Entry::Drained {
            bus: 0,
            subscription: 7,
            finished: 0,
            returned: 2,
            abandoned: 0,
            confirmed: true,
        });
        before_end(&entries)
    };
    assert_eq!(check(&drain(1, 2)), []);
    let reversed = Violation::GivenBackOutOfOrder {
        bus: 0,
        group: "g".into(),
        earlier: 1,
        later: 2,
    };
    assert_eq!(check(&drain(2, 1)), [reversed]);
}

#[test]
fn a_bus_that_does_not_recover_is_found() {
    let what = String::from("fill its window");
    let entry = Entry::NotRecovered {
        bus: 0,
        what: what.clone(),
    };
    let expected = Violation::NotRecovered { bus: 0, what };
    assert_eq!(check(&before_end(&[entry])), [expected]);
}
