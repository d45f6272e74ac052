//! Models of parts working together.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use core_loom::shared::credit::{Closed, Credit};
use core_loom::shared::gate::{Gate, OwnedPass};
use core_loom::shared::session::{Current, SessionCell};
use core_loom::shared::streams::StreamState;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use super::streams::{Server, ensure};
use crate::support::{Model, bounded, models};

pub(crate) const MODELS: &[Model] = models![
    publish_against_close,
    publish_against_session_replacement,
    ensure_against_invalidate_against_ensure,
    credit_against_disconnect_against_close,
];

fn window<T>(slots: u16) -> Credit<T> {
    Credit::new(NonZeroU16::new(slots).unwrap())
}

/// What is in flight: the pass keeps the gate from being drained until settled.
struct Publish {
    pass: OwnedPass<()>,
    outcome: UnsafeCell<()>,
}

/// Invariants: nothing enters after closing began, and everything that entered is
/// settled, once, before the gate is drained.
/// Threads: one publishes and is answered, one times out whatever it finds, one
/// closes. Bounded by 3.
fn publish_against_close() {
    struct Bus {
        gate: Arc<Gate<()>>,
        credit: Credit<Publish>,
        published: AtomicUsize,
        settled: AtomicUsize,
    }
    impl Bus {
        fn settle(&self, token: core_loom::shared::credit::Token) {
            let Some((publish, permit)) = self.credit.settle(token) else {
                return;
            };
            publish.outcome.with_mut(|_| ());
            self.settled.fetch_add(1, Ordering::Relaxed);
            drop(permit);
            drop(publish.pass);
        }
    }
    bounded(3, || {
        let bus = Arc::new(Bus {
            gate: Arc::new(Gate::new()),
            credit: window(1),
            published: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
        });
        let publisher = thread::spawn({
            let bus = Arc::clone(&bus);
            move || {
                let Ok(pass) = Gate::enter_owned(&bus.gate) else {
                    return;
                };
                let permit = bus.credit.try_take().unwrap();
                bus.published.fetch_add(1, Ordering::Relaxed);
                let outcome = UnsafeCell::new(());
                let token = permit.fill(Publish { pass, outcome }, 0);
                bus.settle(token);
            }
        });
        let timer = thread::spawn({
            let bus = Arc::clone(&bus);
            move || {
                for (token, _) in bus.credit.in_flight() {
                    bus.settle(token);
                }
            }
        });
        assert!(bus.gate.close());
        block_on(bus.gate.drained());
        let settled = bus.settled.load(Ordering::Relaxed);
        assert_eq!(bus.published.load(Ordering::Relaxed), settled);
        assert_eq!(bus.credit.taken(), 0);
        publisher.join().unwrap();
        timer.join().unwrap();
        assert_eq!(bus.settled.load(Ordering::Relaxed), settled);
    });
}

/// Invariants: a publish uses one whole session; after a replacement all that is
/// in flight in the old session is found and settled, once: by the sweep, or by the
/// publisher that looks at the session again after filling.
/// Threads: one publishes, one replaces the session and sweeps. Bounded by 3.
///
/// The stand-in of arc-swap orders the publisher's second look before the
/// replacement, where arc-swap does not, so this model passes without the pairing
/// of `fill` and `sweep`; that is what `credit::a_sweep_or_a_look_finds_the_change`
/// is for, where nothing else orders the two.
fn publish_against_session_replacement() {
    bounded(3, || {
        let cell = Arc::new(SessionCell::new());
        cell.connected(1_u64).unwrap();
        let credit = Arc::new(window::<(u64, UnsafeCell<()>)>(1));
        let lost = Arc::new(AtomicUsize::new(0));
        let current = |cell: &SessionCell<u64>| {
            cell.with(|current| match current {
                Current::Up(session) => {
                    assert_eq!(session.generation, session.link, "half a session");
                    session.generation
                }
                Current::Down | Current::Closed => unreachable!("replaced, never down"),
            })
        };
        let settle = |credit: &Credit<(u64, UnsafeCell<()>)>, token, lost: &AtomicUsize| {
            if let Some(((_, outcome), _permit)) = credit.settle(token) {
                outcome.with_mut(|_| ());
                lost.fetch_add(1, Ordering::Relaxed);
            }
        };
        let publisher = thread::spawn({
            let (cell, credit, lost) = (Arc::clone(&cell), Arc::clone(&credit), Arc::clone(&lost));
            move || {
                let generation = current(&cell);
                let permit = credit.try_take().unwrap();
                let token = permit.fill((generation, UnsafeCell::new(())), generation);
                if current(&cell) != generation {
                    settle(&credit, token, &lost);
                }
                generation
            }
        });
        let new = cell.connected(2).unwrap();
        for (token, generation) in credit.sweep() {
            if generation < new {
                settle(&credit, token, &lost);
            }
        }
        let published_in = publisher.join().unwrap();
        let left = credit.in_flight().filter(|(_, mark)| *mark < new).count();
        assert_eq!(left, 0, "something of the old session was missed");
        let expected = usize::from(published_in < new);
        assert_eq!(lost.load(Ordering::Relaxed), expected, "not settled once");
    });
}

/// Invariants: whoever ensured finds the stream on the server unless it was deleted
/// since, and a deletion is never covered up, however many ensure.
/// Threads: two ensure, one deletes the stream and invalidates. Bounded by 2.
fn ensure_against_invalidate_against_ensure() {
    bounded(2, || {
        let shared = Arc::new((StreamState::<(), ()>::new(), Server::without_stream()));
        let deleter = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.1.delete();
                shared.0.invalidate_now();
            }
        });
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || ensure(&shared.0, || shared.1.create())
        });
        ensure(&shared.0, || shared.1.create());
        other.join().unwrap();
        deleter.join().unwrap();
        assert!(shared.0.ready().is_none() || shared.1.has_stream());
        // And it can be made ready again.
        ensure(&shared.0, || shared.1.create());
        assert!(shared.0.ready().is_some() && shared.1.has_stream());
    });
}

/// Invariants: each in flight is settled exactly once, whoever comes for it; all
/// who wait are woken, with a place or with the close.
/// Threads: a disconnect that settles all it finds, one that waits for a place, a
/// close that settles all it finds and waits for idle. Bounded by 3.
fn credit_against_disconnect_against_close() {
    bounded(3, || {
        let credit = Arc::new(window::<UnsafeCell<()>>(1));
        let settled = Arc::new(AtomicUsize::new(0));
        let token = credit.try_take().unwrap().fill(UnsafeCell::new(()), 0);
        let sweep = {
            let (credit, settled) = (Arc::clone(&credit), Arc::clone(&settled));
            move || {
                for (token, _) in credit.sweep() {
                    if let Some((item, _permit)) = credit.settle(token) {
                        item.with_mut(|_| ());
                        settled.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        let disconnect = thread::spawn(sweep.clone());
        let waiter = thread::spawn({
            let credit = Arc::clone(&credit);
            move || drop::<Result<_, Closed>>(block_on(credit.take()))
        });
        credit.close();
        sweep();
        block_on(credit.idle());
        assert!(credit.settle(token).is_none());
        assert_eq!(settled.load(Ordering::Relaxed), 1);
        disconnect.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(credit.taken(), 0);
    });
}
