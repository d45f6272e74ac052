//! Subject to handlers, exact and with the wildcards `*` and `>`.
//!
//! A router is a [`Table`] behind a snapshot. Readers look up in whatever table is
//! current, without a lock, a reference count or an allocation; a writer replaces
//! the table by a changed copy that shares all it did not change.
//!
//! Invariants: a lookup sees the table before or after a change, never between;
//! once a removal resolved, no run of that handler is going on and none starts,
//! and what the runs did is seen by whoever waited.
//!
//! A lookup may still hold a table from before a removal, so each registration has
//! its own word: *removed* and the number of runs inside. A run has to enter there,
//! and enters only while the word says that nothing was removed.

mod table;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::sync::{AtomicUsize, Ordering, Snapshot, WakerCell};

pub use table::{InsertError, Table};

/// Routes subjects to handlers, through `&self` from many threads.
#[derive(Debug)]
pub struct Router<H> {
    table: Snapshot<Table<Arc<Entry<H>>>>,
}

impl<H> Router<H> {
    /// A router without handlers, for at most `limit` of them. `seed` keeps hostile
    /// subjects from choosing their place in the hash tables.
    #[must_use]
    pub fn new(seed: u64, limit: usize) -> Self {
        Self {
            table: Snapshot::new(Table::new(seed, limit)),
        }
    }

    /// Registers `handler` for what `pattern` covers. Lookups that begin after this
    /// returns see it.
    ///
    /// Costs a copy of the nodes on the pattern's path, or of the index of exact
    /// subjects: some ten microseconds at a thousand patterns.
    ///
    /// # Errors
    /// As [`Table::insert`]; nothing changes then.
    pub fn add(&self, pattern: &str, handler: H) -> Result<Registration<H>, InsertError> {
        let entry = Arc::new(Entry {
            pattern: pattern.into(),
            handler,
            word: AtomicUsize::new(0),
            left: WakerCell::new(),
        });
        let mut inserted = Ok(0);
        self.table.update(|table| {
            let mut table = table.clone();
            inserted = table.insert(pattern, Arc::clone(&entry));
            inserted.is_ok().then_some(table)
        });
        inserted.map(|id| Registration { id, entry })
    }

    /// Takes the handler out. No run of it starts from now on; runs going on are
    /// waited for with [`Removal::poll_removed`].
    pub fn remove(&self, registration: Registration<H>) -> Removal<H> {
        let Registration { id, entry } = registration;
        // Pairs with no access: what matters is its place in the order of this one
        // word. A run that entered before is counted, one that comes after sees it.
        entry.word.fetch_or(REMOVED, Ordering::Relaxed);
        self.table.update(|table| {
            let mut table = table.clone();
            table.remove(&entry.pattern, id).map(|_| table)
        });
        Removal { entry }
    }

    /// Runs `run` on each handler whose pattern covers `subject`; says how many
    /// there were.
    ///
    /// `run` must not wait: removals wait for it.
    pub fn route(&self, subject: &str, mut run: impl FnMut(&H)) -> usize {
        let mut count = 0;
        self.table.with(|table| {
            table.visit(subject, |entry| {
                if let Some(_inside) = entry.enter() {
                    count += 1;
                    run(&entry.handler);
                }
            });
        });
        count
    }

    /// How many handlers are registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.with(Table::len)
    }

    /// Whether no handler is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A handler's place in a router. Dropping it leaves the handler registered for as
/// long as the router lives.
#[must_use = "without it the handler cannot be removed"]
pub struct Registration<H> {
    id: u64,
    entry: Arc<Entry<H>>,
}

impl<H> Registration<H> {
    /// The pattern that was registered.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.entry.pattern
    }

    /// The handler that was registered.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.entry.handler
    }
}

impl<H> fmt::Debug for Registration<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("pattern", &self.entry.pattern)
            .finish_non_exhaustive()
    }
}

/// A handler on its way out. Nothing needs to wait for it; who does not just does
/// not learn when the last run ended.
pub struct Removal<H> {
    entry: Arc<Entry<H>>,
}

impl<H> Removal<H> {
    /// Ready once no run is inside. Waiting for it within a run of the same handler
    /// waits for ever. Only the task that polled last is woken.
    pub fn poll_removed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.entry.is_left() {
            return Poll::Ready(());
        }
        self.entry.left.register(cx.waker());
        // The last run may have left before it could see the waker.
        if self.entry.is_left() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The handler. Once the removal resolved, nobody else uses it.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.entry.handler
    }
}

impl<H> fmt::Debug for Removal<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Removal")
            .field("pattern", &self.entry.pattern)
            .field("left", &self.entry.is_left())
            .finish()
    }
}

struct Entry<H> {
    pattern: Box<str>,
    handler: H,
    /// [`REMOVED`] and, above it, the number of runs inside. Changed by
    /// read-modify-writes only.
    word: AtomicUsize,
    /// Who waits for the last run after the removal.
    left: WakerCell,
}

const REMOVED: usize = 1;
const RUN: usize = 2;

impl<H> Entry<H> {
    fn enter(&self) -> Option<Inside<'_, H>> {
        // Pairs with no access: see `Router::remove`. That the handler is there to be
        // seen is the snapshot's doing.
        self.word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                (word & REMOVED == 0).then_some(word + RUN)
            })
            .is_ok()
            // Not `then_some`: an `Inside` that was never let in must not leave.
            .then(|| Inside(self))
    }

    fn is_left(&self) -> bool {
        // Acquire pairs with the Release of every `Inside::drop`: the waiter sees
        // what the runs did. A word that says so cannot change any more.
        // ordering: router::no_run_starts_after_a_removal_resolved
        self.word.load(Ordering::Acquire) == REMOVED
    }
}

impl<H> fmt::Debug for Entry<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

/// One run; leaves also when the run panics.
struct Inside<'a, H>(&'a Entry<H>);

impl<H> Drop for Inside<'_, H> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `is_left`.
        // ordering: router::no_run_starts_after_a_removal_resolved
        let before = self.0.word.fetch_sub(RUN, Ordering::Release);
        if before == REMOVED | RUN {
            // After the word changed, so that a waiter either sees the word or is seen.
            self.0.left.wake();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
