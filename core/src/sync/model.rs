//! The roles of [`super`] as loom sees them: the same names, over loom's types.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::task::Waker;

use super::Minimum;

pub(crate) use loom::sync::atomic::Ordering;

/// Loom's atomic beside a turnstile that every access passes first.
///
/// Loom 0.7.2 remembers one last access per atomic. A load hides the load of
/// another thread before it, and a write that follows is then never tried before
/// that one: interleavings are missed. Read-modify-writes hide nothing. Passing
/// the turnstile is one, relaxed, so that all orders of accesses are tried, nothing
/// is ordered that was not, and a load may still see an old value.
macro_rules! atomics {
    ($($name:ident: $value:ty),* $(,)?) => {$(
        #[derive(Debug)]
        pub(crate) struct $name {
            turnstile: loom::sync::atomic::AtomicUsize,
            value: loom::sync::atomic::$name,
        }

        #[allow(dead_code, reason = "the same operations for each")]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self {
                    turnstile: loom::sync::atomic::AtomicUsize::new(0),
                    value: loom::sync::atomic::$name::new(value),
                }
            }

            fn pass(&self) -> &loom::sync::atomic::$name {
                self.turnstile.fetch_add(1, Ordering::Relaxed);
                &self.value
            }

            /// A write needs no other order tried than that of the turnstile.
            fn write<R>(&self, write: impl FnOnce(&loom::sync::atomic::$name) -> R) -> R {
                let value = self.pass();
                loom::stop_exploring();
                let result = write(value);
                loom::explore();
                result
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.pass().load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.write(|atomic| atomic.store(value, order));
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.swap(value, order))
            }

            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.fetch_add(value, order))
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.fetch_sub(value, order))
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.fetch_and(value, order))
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.fetch_or(value, order))
            }

            pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.fetch_max(value, order))
            }

            pub(crate) fn fetch_min(&self, value: $value, order: Ordering) -> $value {
                self.write(|atomic| atomic.fetch_min(value, order))
            }

            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(failure);
                while let Some(next) = change(seen) {
                    match self.compare_exchange_weak(seen, next, success, failure) {
                        Ok(seen) => return Ok(seen),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.write(|atomic| atomic.compare_exchange(current, new, success, failure))
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.write(|atomic| atomic.compare_exchange_weak(current, new, success, failure))
            }
        }
    )*};
}

atomics! {
    AtomicU32: u32,
    AtomicU64: u64,
    AtomicUsize: usize,
}

/// See the real arm.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .expect("loom aborts the model when a holder panics")
    }
}

/// Stand-in for arc-swap. Stronger than it: a reader is ordered before the next
/// writer here. Rely only on a reader seeing what was written before the value
/// it got was stored.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(loom::sync::RwLock<Arc<T>>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(Arc::new(value)))
    }

    pub(crate) fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        // The lock is not held while `read` runs: the real one holds none.
        read(&self.load())
    }

    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.read().expect("no poisoning in a model"))
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut self.0.write().expect("no poisoning in a model"), value)
    }

    pub(crate) fn update(&self, mut change: impl FnMut(&T) -> Option<T>) -> Option<Arc<T>> {
        let mut current = self.load();
        loop {
            let next = Arc::new(change(&current)?);
            let mut slot = self.0.write().expect("no poisoning in a model");
            if Arc::ptr_eq(&slot, &current) {
                return Some(std::mem::replace(&mut slot, next));
            }
            current = Arc::clone(&slot);
        }
    }
}

/// Stand-in for crossbeam's `ArrayQueue`.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: loom::sync::Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue holds at least one item");
        Self {
            items: loom::sync::Mutex::new(VecDeque::with_capacity(capacity)),
            capacity,
        }
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut items = self.items.lock().expect("no poisoning in a model");
        if items.len() == self.capacity {
            return Err(value);
        }
        items.push_back(value);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items
            .lock()
            .expect("no poisoning in a model")
            .pop_front()
    }
}

/// Stand-in for crossbeam's `AtomicCell`, weaker than it: it orders nothing, and
/// the cell beside it fails the model when two turns are not ordered by others.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    turn: loom::cell::UnsafeCell<()>,
    value: std::sync::Mutex<Option<Box<T>>>,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            turn: loom::cell::UnsafeCell::new(()),
            value: std::sync::Mutex::new(None),
        }
    }

    pub(crate) fn put(&self, value: Box<T>) {
        self.turn.with_mut(|_| ());
        *self.value.lock().expect("no poisoning in a model") = Some(value);
    }

    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.turn.with_mut(|_| ());
        self.value.lock().expect("no poisoning in a model").take()
    }
}

/// Stand-in for atomic-waker.
#[derive(Debug, Default)]
pub(crate) struct WakerCell(loom::sync::Mutex<Option<Waker>>);

impl WakerCell {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn register(&self, waker: &Waker) {
        *self.0.lock().expect("no poisoning in a model") = Some(waker.clone());
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().expect("no poisoning in a model").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Stand-in for concurrent-map behind its pool. Stronger than it in two ways: a
/// reader is ordered before the next writer, and a scan sees one moment. Rely
/// only on each operation on one key being atomic and on what was written before
/// a value was put in.
#[derive(Debug)]
pub(crate) struct Directory<K, V>(loom::sync::Mutex<BTreeMap<K, Arc<V>>>);

impl<K, V> Directory<K, V>
where
    K: 'static + Clone + Minimum + Ord + Send + Sync,
    V: 'static + Send + Sync,
{
    pub(crate) fn new() -> Self {
        Self(loom::sync::Mutex::new(BTreeMap::new()))
    }

    fn entries(&self) -> loom::sync::MutexGuard<'_, BTreeMap<K, Arc<V>>> {
        self.0.lock().expect("no poisoning in a model")
    }

    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.entries().get(key).cloned()
    }

    pub(crate) fn try_insert(&self, key: K, value: Arc<V>) -> Result<(), Arc<V>> {
        let mut entries = self.entries();
        if let Some(present) = entries.get(&key) {
            return Err(Arc::clone(present));
        }
        entries.insert(key, value);
        Ok(())
    }

    pub(crate) fn remove(&self, key: K, value: &Arc<V>) -> bool {
        let mut entries = self.entries();
        let same = entries.get(&key).is_some_and(|v| Arc::ptr_eq(v, value));
        if same {
            entries.remove(&key);
        }
        same
    }

    pub(crate) fn scan(
        &self,
        start: Bound<&K>,
        mut visit: impl FnMut(&K, &Arc<V>) -> ControlFlow<()>,
    ) {
        let entries: Vec<(K, Arc<V>)> = self
            .entries()
            .range::<K, _>((start, Bound::Unbounded))
            .map(|(key, value)| (key.clone(), Arc::clone(value)))
            .collect();
        for (key, value) in &entries {
            if visit(key, value).is_break() {
                break;
            }
        }
    }
}
