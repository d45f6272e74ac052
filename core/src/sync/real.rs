//! The roles of [`super`] as they run in production.
#![expect(
    clippy::disallowed_types,
    reason = "the facade names what it stands for"
)]

use std::sync::Arc;
use std::task::Waker;

// Aliases, not re-exports: a re-export would trip the lint at every user.
pub(crate) type AtomicU32 = std::sync::atomic::AtomicU32;
pub(crate) type AtomicU64 = std::sync::atomic::AtomicU64;
pub(crate) type AtomicUsize = std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::atomic::{Ordering, fence};

/// A short lock for cold paths: lists of wakers and the like.
///
/// A panic while it is held does not poison it: every holder leaves the data
/// whole between two statements.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One immutable value, replaced as a whole.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(arc_swap::ArcSwap<T>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    /// Runs `read` on the current value: no reference count is touched.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.0.load())
    }

    /// The current value, kept alive by its own reference.
    pub(crate) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value and returns the old one.
    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        self.0.swap(value)
    }

    /// Replaces the value with `change(current)`, again and again until no other
    /// writer came between; returns the value that was replaced. `None` leaves
    /// everything as it is.
    pub(crate) fn update(&self, mut change: impl FnMut(&T) -> Option<T>) -> Option<Arc<T>> {
        let mut current = self.0.load();
        loop {
            let next = Arc::new(change(&current)?);
            let before = self.0.compare_and_swap(&*current, next);
            if Arc::ptr_eq(&before, &current) {
                return Some(arc_swap::Guard::into_inner(before));
            }
            current = before;
        }
    }
}

/// A bounded queue of many producers and many consumers.
#[derive(Debug)]
pub(crate) struct Queue<T>(crossbeam_queue::ArrayQueue<T>);

impl<T> Queue<T> {
    /// # Panics
    /// If `capacity` is zero; callers validate it.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(crossbeam_queue::ArrayQueue::new(capacity))
    }

    /// Appends `value`, or gives it back when the queue is full.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        self.0.push(value)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
}

/// Room for one boxed value that a single owner at a time fills or empties.
///
/// Whose turn it is must be settled by other means, and the turns ordered by
/// them: the model's arm orders nothing and fails on any overlap.
pub(crate) struct Slot<T>(crossbeam_utils::atomic::AtomicCell<Option<Box<T>>>);

impl<T> Slot<T> {
    /// A box is as wide as an atomic word, so that no lock is behind this.
    const LOCK_FREE: () =
        assert!(crossbeam_utils::atomic::AtomicCell::<Option<Box<T>>>::is_lock_free());

    pub(crate) fn new() -> Self {
        let () = Self::LOCK_FREE;
        Self(crossbeam_utils::atomic::AtomicCell::new(None))
    }

    pub(crate) fn put(&self, value: Box<T>) {
        self.0.store(Some(value));
    }

    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.0.take()
    }
}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// The waker of one waiting task.
#[derive(Debug, Default)]
pub(crate) struct WakerCell(atomic_waker::AtomicWaker);

impl WakerCell {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Remembers `waker` in place of the one before. Whoever registers looks at
    /// its condition again afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        self.0.register(waker);
    }

    /// Wakes and forgets the waiting task, if there is one.
    pub(crate) fn wake(&self) {
        self.0.wake();
    }
}
