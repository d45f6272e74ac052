//! Models of `shared::router`.

use std::future::poll_fn;
use std::sync::Arc;

use core_loom::shared::router::Router;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![
    a_lookup_sees_a_handler_whole_or_not_at_all,
    a_lookup_sees_the_table_before_or_after_a_change,
    changes_at_once_both_survive,
    no_run_starts_after_a_removal_resolved,
    a_removal_waits_for_runs_on_two_threads,
    a_handler_replaced_while_routing,
];

type Cell = UnsafeCell<()>;

fn router() -> Arc<Router<Cell>> {
    Arc::new(Router::new(1, 8))
}

fn new_handler() -> Cell {
    let cell = Cell::new(());
    cell.with_mut(|_| ());
    cell
}

/// Invariant: a lookup sees a handler with all that was done to it before it was
/// added, or does not see it.
/// Threads: one adds, one routes. Exhaustive.
/// It rests on the snapshot alone: the router has no line of its own to weaken here.
fn a_lookup_sees_a_handler_whole_or_not_at_all() {
    exhaustive(|| {
        let router = router();
        let adder = thread::spawn({
            let router = Arc::clone(&router);
            move || drop(router.add("a.*", new_handler()).unwrap())
        });
        let seen = router.route("a.b", |cell| cell.with(|_| ()));
        assert!(seen <= 1);
        adder.join().unwrap();
        assert_eq!(router.route("a.b", |_| ()), 1);
    });
}

/// Invariant: a lookup sees the table before or after each change, never between:
/// with `a.b` added before `a.*`, and removed after it, `a.*` is never seen alone,
/// and the lookups of one reader agree on the order.
/// Threads: one adds and adds, one routes twice. Exhaustive.
/// Seen to fail: a lookup that loads the table once for exact subjects and once for
/// patterns.
fn a_lookup_sees_the_table_before_or_after_a_change() {
    exhaustive(|| {
        let router = Arc::new(Router::<u8>::new(1, 8));
        let changer = thread::spawn({
            let router = Arc::clone(&router);
            move || {
                let _first = router.add("a.b", 1).unwrap();
                let _second = router.add("a.*", 2).unwrap();
            }
        });
        let look = || {
            let mut seen = 0;
            router.route("a.b", |handler| seen = seen * 10 + u32::from(*handler));
            seen
        };
        let (first, second) = (look(), look());
        assert!([0, 1, 12].contains(&first), "{first}");
        assert!([0, 1, 12].contains(&second), "{second}");
        assert!(first <= second);
        changer.join().unwrap();
    });
}

/// Invariant: of two changes at once none is lost.
/// Threads: one adds, one removes and adds. Exhaustive.
/// Seen to fail: `load` and `swap` in place of `update`, in `add` or in `remove`; a
/// removal that leaves the table as it is.
fn changes_at_once_both_survive() {
    exhaustive(|| {
        let router = Arc::new(Router::<u8>::new(1, 8));
        let old = router.add("x", 0).unwrap();
        let other = thread::spawn({
            let router = Arc::clone(&router);
            move || drop(router.add("a", 1).unwrap())
        });
        drop(router.remove(old));
        let _new = router.add(">", 2).unwrap();
        other.join().unwrap();
        assert_eq!(router.len(), 2);
        assert_eq!(router.route("a", |_| ()), 2);
        assert_eq!(router.route("x", |_| ()), 1);
    });
}

/// Invariant: once a removal resolved, no run goes on and none starts, what the
/// runs did is seen, and the wake-up is not lost.
/// Threads: one routes twice, one removes and waits. Exhaustive.
/// Seen to fail: Release in `Inside::drop` or Acquire in `is_left` made Relaxed; the
/// second look in `poll_removed` removed; the wake in `Inside::drop` removed, or before
/// the word changes; REMOVED not set, or not looked at in `enter`; an entry refused but
/// counted out.
fn no_run_starts_after_a_removal_resolved() {
    exhaustive(|| {
        let router = router();
        let registration = router.add("a", new_handler()).unwrap();
        let runner = thread::spawn({
            let router = Arc::clone(&router);
            move || {
                // The cell tells a run at the same time as, or not ordered before, what the
                // remover does to it.
                router.route("a", |cell| cell.with_mut(|_| ()));
                router.route("a", |cell| cell.with_mut(|_| ()));
            }
        });
        let mut removal = router.remove(registration);
        block_on(poll_fn(|cx| removal.poll_removed(cx)));
        removal.handler().with_mut(|_| ());
        assert_eq!(router.route("a", |_| unreachable!()), 0);
        runner.join().unwrap();
    });
}

/// Invariant: as above; each of several runs inside is waited for and seen.
/// Threads: two route once, one removes and waits. Bounded at 3 preemptions.
/// Seen to fail: as above.
fn a_removal_waits_for_runs_on_two_threads() {
    bounded(3, || {
        let router = router();
        let registration = router.add("a", new_handler()).unwrap();
        let runners = [(); 2].map(|()| {
            let router = Arc::clone(&router);
            // Runs on two threads may overlap, so they only read.
            thread::spawn(move || router.route("a", |cell| cell.with(|_| ())))
        });
        let mut removal = router.remove(registration);
        block_on(poll_fn(|cx| removal.poll_removed(cx)));
        removal.handler().with_mut(|_| ());
        for runner in runners {
            runner.join().unwrap();
        }
    });
}

/// Unsubscribe x subscribe x routing: while one handler is replaced by another,
/// runs of the old one end with its removal, and the new one is not disturbed.
/// Threads: two route, one removes, waits and adds. Bounded at 3 preemptions.
/// Seen to fail: as above, and a lookup that loads the table twice.
fn a_handler_replaced_while_routing() {
    bounded(3, || {
        let router = router();
        let old = router.add("a.>", new_handler()).unwrap();
        let runners = [(); 2].map(|()| {
            let router = Arc::clone(&router);
            thread::spawn(move || {
                let count = router.route("a.b", |cell| cell.with(|_| ()));
                // Either, or none between, never both.
                assert!(count <= 1);
            })
        });
        let mut removal = router.remove(old);
        block_on(poll_fn(|cx| removal.poll_removed(cx)));
        removal.handler().with_mut(|_| ());
        let _new = router.add("a.*", new_handler()).unwrap();
        assert_eq!(router.route("a.b", |cell| cell.with(|_| ())), 1);
        for runner in runners {
            runner.join().unwrap();
        }
    });
}
