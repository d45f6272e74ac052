//! Models of `shared::session`.
//!
//! Replacing goes under a lock and reading through the stand-in of arc-swap, so
//! there is no ordering of ours to weaken here: the mutants are of the logic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use core_loom::shared::session::{Closed, Current, SessionCell};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![
    a_reader_sees_a_whole_session,
    generations_only_grow,
    closing_is_final,
    a_late_disconnect_spares_the_next_session,
    whoever_waits_learns_of_the_session,
    whoever_waits_learns_of_the_close,
    an_old_session_dies_after_its_last_user,
];

/// A link that was built (its cell written) before it was handed in.
struct Link {
    number: u64,
    built: UnsafeCell<()>,
}

fn link(number: u64) -> Link {
    let built = UnsafeCell::new(());
    built.with_mut(|_| ());
    Link { number, built }
}

fn generation(cell: &SessionCell<Link>) -> u64 {
    cell.with(|current| match current {
        Current::Up(session) => {
            session.link.built.with(|_| ());
            assert_eq!(session.generation, session.link.number, "half a session");
            session.generation
        }
        Current::Down | Current::Closed => 0,
    })
}

/// Invariant: a reader sees a whole session.
/// Threads: one connects twice, one reads twice. Exhaustive.
fn a_reader_sees_a_whole_session() {
    exhaustive(|| {
        let cell = Arc::new(SessionCell::new());
        let writer = thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                assert_eq!(cell.connected(link(1)), Ok(1));
                assert_eq!(cell.connected(link(2)), Ok(2));
            }
        });
        let (first, second) = (generation(&cell), generation(&cell));
        assert!(first <= second, "generations went back");
        writer.join().unwrap();
    });
}

/// Invariant: generations only grow, whoever connects.
/// Threads: two connect, one reads twice. Exhaustive.
fn generations_only_grow() {
    exhaustive(|| {
        let cell = Arc::new(SessionCell::new());
        let writers = [(), ()].map(|()| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.connected(()).unwrap())
        });
        let (first, second) = (cell.generation(), cell.generation());
        assert!(first <= second, "generations went back");
        let [one, two] = writers.map(|writer| writer.join().unwrap());
        assert_ne!(one, two);
        assert_eq!(cell.generation(), Some(2));
    });
}

/// Invariant: replacing races closing safely: nothing comes after the close.
/// Threads: one connects, one disconnects, one closes. Exhaustive.
/// Seen to fail: the look for `Closed` in `connected` taken before the lock.
fn closing_is_final() {
    exhaustive(|| {
        let cell = Arc::new(SessionCell::new());
        cell.connected(link(1)).unwrap();
        let connecting = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.connected(link(2))
        });
        let disconnecting = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.disconnected(1)
        });
        assert!(cell.close());
        assert!(matches!(*cell.load(), Current::Closed));
        let connected = connecting.join().unwrap();
        assert!(matches!(connected, Ok(2) | Err(Closed)));
        disconnecting.join().unwrap();
        assert!(matches!(*cell.load(), Current::Closed), "resurrected");
    });
}

/// Invariant: the end of one session is never taken for that of the next.
/// Threads: one disconnects the first session, one connects the second.
/// Exhaustive.
/// Seen to fail: the comparison in `disconnected` made before the lock.
fn a_late_disconnect_spares_the_next_session() {
    exhaustive(|| {
        let cell = Arc::new(SessionCell::new());
        cell.connected(link(1)).unwrap();
        let disconnecting = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.disconnected(1)
        });
        cell.connected(link(2)).unwrap();
        disconnecting.join().unwrap();
        assert_eq!(generation(&cell), 2);
    });
}

/// Invariant: no wake-up is lost.
/// Threads: one connects, two wait. Bounded by 2.
/// Seen to fail: the second look in `Up::poll` left out.
fn whoever_waits_learns_of_the_session() {
    bounded(2, || {
        let cell = Arc::new(SessionCell::new());
        let waiter = thread::spawn({
            let cell = Arc::clone(&cell);
            move || block_on(cell.up())
        });
        let connecting = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.connected(link(1))
        });
        assert_eq!(block_on(cell.up()), Ok(1));
        assert_eq!(generation(&cell), 1);
        assert_eq!(waiter.join().unwrap(), Ok(1));
        connecting.join().unwrap().unwrap();
    });
}

/// Invariant: no wake-up is lost at the close.
/// Threads: one closes, one waits. Exhaustive.
/// Seen to fail: the second look in `Up::poll` left out.
fn whoever_waits_learns_of_the_close() {
    exhaustive(|| {
        let cell = Arc::new(SessionCell::<Link>::new());
        let closing = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.close()
        });
        assert_eq!(block_on(cell.up()), Err(Closed));
        assert!(closing.join().unwrap());
    });
}

/// Invariant: an old session lives as long as it is used and no longer.
/// Threads: one uses what it loaded, one replaces it. Exhaustive. That arc-swap
/// counts right is its authors' to prove.
fn an_old_session_dies_after_its_last_user() {
    struct Mortal(Arc<AtomicUsize>);
    impl Drop for Mortal {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    exhaustive(|| {
        let deaths = Arc::new(AtomicUsize::new(0));
        let cell = Arc::new(SessionCell::new());
        cell.connected(Mortal(Arc::clone(&deaths))).unwrap();
        let user = thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                let held = cell.load();
                thread::yield_now();
                if let Current::Up(session) = &*held {
                    assert_eq!(session.link.0.load(Ordering::Relaxed), 0, "died in use");
                }
            }
        });
        cell.disconnected(1);
        user.join().unwrap();
        assert_eq!(deaths.load(Ordering::Relaxed), 1, "outlived its last user");
    });
}
