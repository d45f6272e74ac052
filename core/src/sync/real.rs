//! The roles of [`super`] as they run in production.
#![expect(
    clippy::disallowed_types,
    reason = "the facade names what it stands for"
)]

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::task::Waker;

use super::Minimum;

// Aliases, not re-exports: a re-export would trip the lint at every user.
pub(crate) type AtomicU32 = std::sync::atomic::AtomicU32;
pub(crate) type AtomicU64 = std::sync::atomic::AtomicU64;
pub(crate) type AtomicUsize = std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::atomic::Ordering;

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

/// An ordered map that many threads grow at once, of keys that are cheap to
/// clone to values behind an [`Arc`].
///
/// concurrent-map is `Send` but not `Sync`: each clone reclaims memory for one
/// thread at a time. Clones wait in a small pool; an operation takes one, has it
/// for itself, and puts it back. When the pool is empty the operation makes one
/// more from the original, under a short lock; when it is full the spare clone is
/// dropped.
pub(crate) struct Directory<K, V>
where
    K: 'static + Clone + Minimum + Ord + Send + Sync,
    V: 'static + Send + Sync,
{
    /// Never operated on, only cloned. It also keeps a second reference to the
    /// tree alive: with one reference concurrent-map changes nodes in place.
    original: Mutex<Tree<K, V>>,
    clones: Queue<Tree<K, V>>,
}

/// How many entries a node holds. A read goes through fewer nodes when they are
/// large. But a change copies a leaf, and copying an entry touches its reference
/// count, a cache miss in a large tree: among a million names in no order, a
/// registration costs twice as much as with leaves of 16, and a read a third less.
const NODE: usize = 64;

type Tree<K, V> = concurrent_map::ConcurrentMap<K, Shared<V>, NODE>;

/// An `Arc` that is equal to itself only.
struct Shared<V>(Arc<V>);

impl<V> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> PartialEq for Shared<V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// As many operations at once find a clone ready.
const CLONES: usize = 16;

impl<K, V> Directory<K, V>
where
    K: 'static + Clone + Minimum + Ord + Send + Sync,
    V: 'static + Send + Sync,
{
    pub(crate) fn new() -> Self {
        Self {
            original: Mutex::new(Tree::new()),
            clones: Queue::new(CLONES),
        }
    }

    fn with_tree<R>(&self, operate: impl FnOnce(&Tree<K, V>) -> R) -> R {
        let tree = self
            .clones
            .pop()
            .unwrap_or_else(|| self.original.lock().clone());
        let result = operate(&tree);
        // A full pool: the clone is dropped and hands its garbage on.
        drop(self.clones.push(tree));
        result
    }

    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.with_tree(|tree| tree.get(key)).map(|value| value.0)
    }

    /// Adds `value` unless the key has one; returns the one it has.
    pub(crate) fn try_insert(&self, key: K, value: Arc<V>) -> Result<(), Arc<V>> {
        let mut value = Shared(value);
        self.with_tree(|tree| {
            loop {
                match tree.cas(key.clone(), None::<&Shared<V>>, Some(value)) {
                    Ok(_) => return Ok(()),
                    Err(failure) => match (failure.actual, failure.returned_new_value) {
                        (Some(present), _) => return Err(present.0),
                        // Refused, yet nothing is there: not documented, so tried again.
                        (None, Some(returned)) => value = returned,
                        (None, None) => return Ok(()),
                    },
                }
            }
        })
    }

    /// Removes `value` from the key, if it is still that one.
    pub(crate) fn remove(&self, key: K, value: &Arc<V>) -> bool {
        let value = Shared(Arc::clone(value));
        self.with_tree(|tree| tree.cas(key, Some(&value), None).is_ok())
    }

    /// Visits the entries from `start` on, in order of their keys, until `visit`
    /// breaks. Entries that come and go meanwhile may be seen or not; all others
    /// are seen once.
    pub(crate) fn scan(
        &self,
        start: Bound<&K>,
        mut visit: impl FnMut(&K, &Arc<V>) -> ControlFlow<()>,
    ) {
        self.with_tree(|tree| {
            for (key, value) in tree.range::<K, _>((start, Bound::Unbounded)) {
                if visit(&key, &value.0).is_break() {
                    break;
                }
            }
        });
    }
}

impl<K, V> std::fmt::Debug for Directory<K, V>
where
    K: 'static + Clone + Minimum + Ord + Send + Sync,
    V: 'static + Send + Sync,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}
