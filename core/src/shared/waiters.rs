//! Tasks that wait for something which comes for all of them at once.

use std::collections::BTreeMap;
use std::task::Waker;

/// The wakers of waiting tasks, kept under their owner's lock.
///
/// A waiting future holds a [`Ticket`] and gives it back when it is dropped, so
/// the list is never longer than the number of futures waiting.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

/// A future's place in [`Waiters`]; empty while it does not wait.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

impl Waiters {
    /// Wakes `waker` at the next [`take`](Self::take), in place of the one this
    /// ticket had before.
    pub(crate) fn register(&mut self, ticket: &mut Ticket, waker: &Waker) {
        let id = *ticket.0.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        match self.wakers.get_mut(&id) {
            Some(known) => known.clone_from(waker),
            None => drop(self.wakers.insert(id, waker.clone())),
        }
    }

    pub(crate) fn leave(&mut self, ticket: &Ticket) {
        if let Some(id) = ticket.0 {
            self.wakers.remove(&id);
        }
    }

    /// Everybody who waits, first come first. Wake them after the lock is gone.
    #[must_use]
    pub(crate) fn take(&mut self) -> Woken {
        Woken(std::mem::take(&mut self.wakers))
    }
}

impl Ticket {
    /// Whether a list may know this ticket.
    pub(crate) fn is_registered(&self) -> bool {
        self.0.is_some()
    }
}

/// Wakers taken out of a list, woken by [`wake`](Self::wake).
#[derive(Debug)]
pub(crate) struct Woken(BTreeMap<u64, Waker>);

impl Woken {
    pub(crate) fn wake(self) {
        for waker in self.0.into_values() {
            waker.wake();
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
