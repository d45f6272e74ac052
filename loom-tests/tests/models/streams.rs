//! Models of `shared::streams`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use core_loom::Time;
use core_loom::shared::streams::{Ensure, Ensured, Ensuring, Epoch, StreamState, Streams};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::support::{Model, bounded, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![
    ready_shows_what_was_done,
    what_is_read_belongs_to_its_epoch,
    an_invalidation_during_an_ensure_is_not_forgotten,
    a_late_invalidation_spares_a_newer_ready,
    a_cancelled_ensure_is_taken_over,
    everybody_gets_the_same_entry,
];

const NOW: Time = Time::ZERO;

/// The stream as the server has it.
pub(crate) struct Server(AtomicU64);

impl Server {
    pub(crate) fn without_stream() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn delete(&self) {
        self.0.swap(0, Ordering::Relaxed);
    }

    pub(crate) fn create(&self) {
        self.0.swap(1, Ordering::Relaxed);
    }

    pub(crate) fn has_stream(&self) -> bool {
        self.0.fetch_add(0, Ordering::Relaxed) == 1
    }
}

type State<V> = StreamState<V, ()>;

/// Makes the stream ready, again for as long as it is invalidated meanwhile.
pub(crate) fn lead<V>(mut ensuring: Ensuring<'_, V, ()>, mut look: impl FnMut() -> V) -> Epoch {
    loop {
        match ensuring.ready(look()) {
            Ok(epoch) => return epoch,
            Err(again) => ensuring = again,
        }
    }
}

pub(crate) fn ensure<V>(state: &State<V>, mut look: impl FnMut() -> V) -> Epoch {
    loop {
        match state.ensure(NOW) {
            Ensure::Ready(epoch) => return epoch,
            Ensure::Lead(ensuring) => return lead(ensuring, look),
            Ensure::Follow(following) => match block_on(following) {
                Ensured::Done => {}
                Ensured::Lead(ensuring) => return lead(ensuring, &mut look),
                Ensured::Failed(..) => unreachable!("nobody fails"),
            },
            Ensure::Failed(..) => unreachable!("nobody fails"),
        }
    }
}

/// Invariant: who sees ready in its one load sees what the ensuring did, and what
/// it learned.
/// Threads: one ensures, one looks. Exhaustive.
/// Seen to fail: Acquire in `StreamState::ready` or Release in `Ensuring::ready`
/// made Relaxed.
fn ready_shows_what_was_done() {
    exhaustive(|| {
        let shared = Arc::new((State::new(), UnsafeCell::new(())));
        let ensurer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                ensure(&shared.0, || {
                    shared.1.with_mut(|_| ());
                    "learned"
                })
            }
        });
        if let Some(epoch) = shared.0.ready() {
            shared.1.with(|_| ());
            let read = shared.0.with(|epoch, learned| (epoch, *learned));
            assert_eq!(read, Some((epoch, "learned")));
        }
        ensurer.join().unwrap();
    });
}

/// Invariant: what is read belongs to the epoch it is read with.
/// Threads: one makes ready, invalidates and makes ready, one reads. Exhaustive.
/// Seen to fail: the epochs not compared in `with`.
fn what_is_read_belongs_to_its_epoch() {
    exhaustive(|| {
        let state = Arc::new(State::new());
        let first = ensure(&state, || 1);
        let ensurer = thread::spawn({
            let state = Arc::clone(&state);
            move || {
                state.invalidate(first);
                ensure(&state, || 2)
            }
        });
        if let Some((epoch, value)) = state.with(|epoch, value| (epoch, *value)) {
            assert_eq!(value == 1, epoch == first);
        }
        let second = ensurer.join().unwrap();
        assert!(first < second);
    });
}

/// Invariant: an invalidation during a running ensure is never forgotten.
/// Threads: one ensures, one deletes the stream and invalidates. Exhaustive.
/// Seen to fail: an invalidation that comes while not ready ignored; the word in
/// `Ensuring::ready` swapped instead of compared.
fn an_invalidation_during_an_ensure_is_not_forgotten() {
    exhaustive(|| {
        let shared = Arc::new((State::new(), Server::without_stream()));
        let deleter = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.1.delete();
                shared.0.invalidate_now();
            }
        });
        ensure(&shared.0, || shared.1.create());
        deleter.join().unwrap();
        assert!(shared.0.ready().is_none() || shared.1.has_stream());
    });
}

/// Invariant: an invalidation based on an old epoch leaves a newer ready alone;
/// and one that comes during the ensure makes it begin again, no more.
/// Threads: two that were told the stream is gone; one of them ensures. Exhaustive.
/// Seen to fail: the epoch not compared in `invalidate`.
fn a_late_invalidation_spares_a_newer_ready() {
    exhaustive(|| {
        let state = Arc::new(State::new());
        let old = ensure(&state, || ());
        let other = thread::spawn({
            let state = Arc::clone(&state);
            move || state.invalidate(old)
        });
        state.invalidate(old);
        let new = ensure(&state, || ());
        assert_eq!(state.ready(), Some(new));
        other.join().unwrap();
        assert_eq!(state.ready(), Some(new));
    });
}

/// Invariant: a cancelled ensure goes to one who waits for it; two never ensure at
/// once.
/// Threads: one begins and goes, two ensure. Bounded by 2.
/// Seen to fail: `begin` not looking at the word again.
fn a_cancelled_ensure_is_taken_over() {
    bounded(2, || {
        let shared = Arc::new((State::new(), UnsafeCell::new(()), AtomicUsize::new(0)));
        let look = |shared: &(State<()>, UnsafeCell<()>, AtomicUsize)| {
            shared.1.with_mut(|_| ());
            shared.2.fetch_add(1, Relaxed);
        };
        let cancelled = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                if let Ensure::Lead(ensuring) = shared.0.ensure(NOW) {
                    shared.1.with_mut(|_| ());
                    drop(ensuring);
                }
            }
        });
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || ensure(&shared.0, || look(&shared))
        });
        let mine = ensure(&shared.0, || look(&shared));
        cancelled.join().unwrap();
        assert_eq!(other.join().unwrap(), mine);
        assert_eq!(shared.2.load(Relaxed), 1, "ensured twice");
    });
}

/// Invariant: everybody who asks for one stream and configuration gets one entry;
/// different ones both survive; the limit holds.
/// Threads: two ask for the same, one for another. Bounded by 2.
fn everybody_gets_the_same_entry() {
    bounded(2, || {
        let streams = Arc::new(Streams::<u8, (), ()>::new(2));
        let [same, different] = [1, 2].map(|wanted| {
            let streams = Arc::clone(&streams);
            thread::spawn(move || streams.entry("ORDERS", &wanted).unwrap())
        });
        let mine = streams.entry("ORDERS", &1).unwrap();
        assert!(Arc::ptr_eq(&mine, &same.join().unwrap()));
        let different = different.join().unwrap();
        assert!(!Arc::ptr_eq(&mine, &different));
        let found = streams.find("ORDERS", &2);
        assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &different)));
        assert!(streams.entry("ORDERS", &3).is_err());
    });
}
