use std::cell::{Cell, RefCell};
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::subject::covers;
use crate::sync::Ordering::Relaxed;

fn visited(table: &Table<u32>, subject: &str) -> Vec<u32> {
    let mut values = Vec::new();
    table.visit(subject, |value| values.push(*value));
    values
}

#[test]
fn a_router_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Router<String>>();
    shared::<Registration<String>>();
    shared::<Removal<String>>();
}

#[test]
fn exact_subjects_come_first_in_the_order_they_came() {
    let mut table = Table::new(1, 16);
    for (pattern, value) in [(">", 9), ("a.b", 1), ("a.*", 3), ("a.b", 2), ("b", 7)] {
        table.insert(pattern, value).unwrap();
    }
    assert_eq!(visited(&table, "a.b"), [1, 2, 9, 3]);
    assert_eq!(visited(&table, "b"), [7, 9]);
}

#[test]
fn what_is_no_pattern_is_refused_with_the_rule() {
    let mut table = Table::new(1, 16);
    let long = vec!["a"; 129].join(".");
    for bad in ["", "a.", ".a", "a..b", ">.a", "a.>.*", &long] {
        let error = table.insert(bad, 0).unwrap_err();
        assert!(matches!(error, InsertError::Pattern(_)), "{bad}");
    }
    assert!(table.insert(&long[2..], 0).is_ok());
}

#[test]
fn a_full_table_refuses_and_takes_again_after_a_removal() {
    let router = Router::new(1, 1);
    let first = router.add("a", ()).unwrap();
    assert_eq!(
        router.add("b.*", ()).unwrap_err(),
        InsertError::Full { limit: 1 }
    );
    drop(router.remove(first));
    assert!(router.is_empty());
    assert!(router.add("b.*", ()).is_ok());
}

#[test]
fn a_copy_of_a_table_does_not_see_later_changes() {
    let mut table = Table::new(1, 16);
    let id = table.insert("a.*.c", 1).unwrap();
    let before = table.clone();
    table.insert("a.*.c", 2).unwrap();
    table.remove("a.*.c", id);
    assert_eq!(visited(&before, "a.b.c"), [1]);
    assert_eq!(visited(&table, "a.b.c"), [2]);
}

#[test]
fn a_removal_waits_for_the_runs_inside() {
    let router = Router::new(1, 16);
    let registration = Cell::new(Some(router.add("a.>", "handler").unwrap()));
    let removal = RefCell::new(None);
    let mut cx = Context::from_waker(Waker::noop());
    let count = router.route("a.b", |handler| {
        assert_eq!(*handler, "handler");
        let mut waiting = router.remove(registration.take().unwrap());
        assert!(waiting.poll_removed(&mut cx).is_pending());
        assert_eq!(router.route("a.b", |_| unreachable!()), 0);
        removal.replace(Some(waiting));
    });
    assert_eq!(count, 1);
    let mut waiting = removal.take().unwrap();
    assert!(waiting.poll_removed(&mut cx).is_ready());
}

#[test]
fn a_panicking_run_leaves() {
    let router = Router::new(1, 16);
    let registration = router.add("a", ()).unwrap();
    let run = std::panic::AssertUnwindSafe(|| router.route("a", |()| panic!("on purpose")));
    assert!(std::panic::catch_unwind(run).is_err());
    let mut removal = router.remove(registration);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(removal.poll_removed(&mut cx).is_ready());
}

#[test]
fn handlers_that_come_and_go_never_run_after_their_removal() {
    let router = Router::new(7, 16);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    router.route("a.b.c", |live: &AtomicUsize| {
                        assert_eq!(live.load(Relaxed), 1);
                    });
                }
            });
        }
        for pattern in ["a.b.c", "a.*.c"] {
            let router = &router;
            scope.spawn(move || {
                let mut cx = Context::from_waker(Waker::noop());
                for _ in 0..500 {
                    let live = AtomicUsize::new(1);
                    let mut removal = router.remove(router.add(pattern, live).unwrap());
                    let tries = (0..10_000_000).find(|_| removal.poll_removed(&mut cx).is_ready());
                    assert!(tries.is_some());
                    removal.handler().store(0, Relaxed);
                }
            });
        }
    });
    assert!(router.is_empty());
}

/// Patterns and subjects over few tokens, so that they meet.
fn dotted(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(tokens), 1..5).prop_map(|tokens| tokens.join("."))
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String),
    Remove(prop::sample::Index),
    Visit(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => dotted(&["a", "b", "a*", "*", "*", ">"]).prop_map(Step::Insert),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => dotted(&["a", "b", "a*", "", "*", ">"]).prop_map(Step::Visit),
    ]
}

proptest! {
    /// The oracle: a list of patterns, each asked whether it covers the subject.
    #[test]
    fn a_table_finds_what_covers_the_subject(steps in prop::collection::vec(step(), 1..80)) {
        let mut table = Table::new(3, 1_000);
        let mut oracle: Vec<(String, u64, u32)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            let n = u32::try_from(n).unwrap();
            match step {
                Step::Insert(pattern) => if let Ok(id) = table.insert(&pattern, n) {
                    oracle.push((pattern, id, n));
                }
                Step::Remove(index) => if !oracle.is_empty() {
                    let (pattern, id, value) = oracle.remove(index.index(oracle.len()));
                    prop_assert_eq!(table.remove(&pattern, id), Some(value));
                    prop_assert_eq!(table.remove(&pattern, id), None);
                }
                Step::Visit(subject) => {
                    let mut found = visited(&table, &subject);
                    found.sort_unstable();
                    let expected: Vec<u32> = oracle
                        .iter()
                        .filter(|(pattern, ..)| covers(pattern, &subject))
                        .map(|(.., value)| *value)
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(table.len(), oracle.len());
        }
        for (pattern, id, _) in oracle {
            table.remove(&pattern, id);
        }
        prop_assert!(table.is_empty());
    }
}
