//! Models of `shared::directory`, over a stand-in for the ordered tree.
//!
//! The payload is an atomic written and read relaxed: values have to be `Sync`,
//! which loom's cell is not, and a reader not ordered after the writer would see
//! what was there before.

use std::ops::ControlFlow;
use std::sync::Arc;

use core_loom::shared::directory::{Directory, Full};
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use crate::support::{Model, bounded, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![
    one_registration_of_a_name_wins,
    three_registrations_of_a_name_agree,
    the_limit_holds_and_no_place_is_lost,
    one_removal_of_a_value_wins_and_spares_the_next,
    a_listing_has_what_was_registered_before,
];

fn directory(limit: usize) -> Arc<Directory<AtomicUsize>> {
    Arc::new(Directory::new(limit))
}

fn value(n: usize) -> AtomicUsize {
    let value = AtomicUsize::new(0);
    value.store(n, Relaxed);
    value
}

/// Invariant: of two registrations of one name one wins, and both get its value,
/// whole.
/// Threads: two register one name each. Exhaustive.
/// Seen to fail: `register` returning its own value, or keeping its place, when it lost.
fn one_registration_of_a_name_wins() {
    exhaustive(|| {
        let directory = directory(2);
        let register = |directory: &Directory<_>, n| directory.register("a", || value(n)).unwrap();
        let other = thread::spawn({
            let directory = Arc::clone(&directory);
            move || register(&directory, 1)
        });
        let mine = register(&directory, 2);
        let seen = mine.load(Relaxed);
        let theirs = other.join().unwrap();
        assert!(Arc::ptr_eq(&mine, &theirs));
        assert!(seen == 1 || seen == 2);
        assert_eq!(directory.len(), 1);
    });
}

/// Invariant: as above.
/// Threads: three register one name each. Bounded at 3 preemptions.
/// Seen to fail: as above.
fn three_registrations_of_a_name_agree() {
    bounded(3, || {
        let directory = directory(4);
        let others = [1, 2].map(|n| {
            let directory = Arc::clone(&directory);
            thread::spawn(move || directory.register("a", || value(n)).unwrap())
        });
        let mine = directory.register("a", || value(3)).unwrap();
        for other in others {
            assert!(Arc::ptr_eq(&mine, &other.join().unwrap()));
        }
        assert_eq!(directory.len(), 1);
    });
}

/// Invariant: never more than the limit, and a removal frees its place; of two for
/// the last place one gets it.
/// Threads: one registers, one removes and registers. Exhaustive.
/// Seen to fail: `reserve` as a load and an add, or as an add that is taken back;
/// a removal that keeps its place, or frees it before it is done.
fn the_limit_holds_and_no_place_is_lost() {
    exhaustive(|| {
        let directory = directory(1);
        let old = directory.register("old", || value(0)).unwrap();
        let other = thread::spawn({
            let directory = Arc::clone(&directory);
            move || {
                let registered = directory.register("a", || value(1)).is_ok();
                let mut names = 0;
                directory.scan("", None, |_, _| {
                    names += 1;
                    ControlFlow::Continue(())
                });
                assert!(names <= 1);
                registered
            }
        });
        assert!(directory.remove("old", &old));
        let mine = directory.register("b", || value(2));
        assert!(directory.len() <= 1);
        let theirs = other.join().unwrap();
        assert!(theirs != mine.is_ok());
        if let Err(full) = mine {
            assert_eq!(full, Full { limit: 1 });
        }
        assert_eq!(directory.len(), 1);
    });
}

/// Invariant: of two removals of one value one wins, and the value registered next
/// stays.
/// Threads: one removes, one removes and registers. Exhaustive.
/// Seen to fail: a removal of whatever is there.
fn one_removal_of_a_value_wins_and_spares_the_next() {
    exhaustive(|| {
        let directory = directory(2);
        let old = directory.register("a", || value(0)).unwrap();
        let other = thread::spawn({
            let (directory, old) = (Arc::clone(&directory), Arc::clone(&old));
            move || directory.remove("a", &old)
        });
        let mine = directory.remove("a", &old);
        let next = directory.register("a", || value(1)).unwrap();
        assert!(mine != other.join().unwrap());
        assert!(Arc::ptr_eq(&directory.get("a").unwrap(), &next));
        assert_eq!(directory.len(), 1);
    });
}

/// Invariant: what was registered before a listing began is in it, in order.
/// Threads: one registers and removes, one lists. Exhaustive.
/// It rests on the tree alone: there is no line of our own to weaken here.
fn a_listing_has_what_was_registered_before() {
    exhaustive(|| {
        let directory = directory(4);
        for name in ["x.1", "x.3", "y"] {
            directory.register(name, || value(1)).unwrap();
        }
        let other = thread::spawn({
            let directory = Arc::clone(&directory);
            move || {
                let two = directory.register("x.2", || value(1)).unwrap();
                assert!(directory.remove("x.2", &two));
            }
        });
        let mut names = Vec::new();
        directory.scan("x.", None, |name, value| {
            assert_eq!(value.load(Relaxed), 1);
            names.push(name.to_owned());
            ControlFlow::Continue(())
        });
        names.retain(|name| name != "x.2");
        assert_eq!(names, ["x.1", "x.3"]);
        other.join().unwrap();
    });
}
