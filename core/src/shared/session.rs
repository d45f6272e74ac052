//! The current session with a server: one immutable value, replaced as a whole.
//!
//! Readers take no lock and touch no reference count. Those who replace it
//! (connecting, disconnecting, closing: all rare) take turns under a lock, which is
//! also where the tasks that wait for a session are listed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::waiters::{Ticket, Waiters};
use crate::sync::{Mutex, Snapshot};

/// Which of the sessions of a bus; grows with every one and is never zero.
pub type Generation = u64;

/// What a session cell holds at one moment.
#[derive(Debug)]
pub enum Current<L> {
    /// Connected.
    Up(Session<L>),
    /// Not yet connected, or disconnected and about to be connected again.
    Down,
    /// Closed for good.
    Closed,
}

/// One connection, from its beginning to its loss.
#[derive(Debug)]
pub struct Session<L> {
    /// Tells this session from those before and after it.
    pub generation: Generation,
    /// How to reach the server, and what is known of it.
    pub link: L,
}

/// The cell was closed: there will be no session any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is closed for good")
    }
}

impl std::error::Error for Closed {}

/// Holds the current [`Session`].
#[derive(Debug)]
pub struct SessionCell<L> {
    current: Snapshot<Current<L>>,
    /// Held by whoever replaces `current`.
    replacing: Mutex<Replacing>,
}

#[derive(Debug, Default)]
struct Replacing {
    /// The newest generation given out.
    generation: Generation,
    for_up: Waiters,
}

impl<L> SessionCell<L> {
    /// A cell that was never connected.
    #[must_use]
    pub fn new() -> Self {
        Self {
            current: Snapshot::new(Current::Down),
            replacing: Mutex::new(Replacing::default()),
        }
    }

    /// Runs `read` on what is current. Whatever `read` sees belongs to one
    /// session, also when that is replaced meanwhile; keep it short.
    pub fn with<R>(&self, read: impl FnOnce(&Current<L>) -> R) -> R {
        self.current.with(read)
    }

    /// What is current, to keep across an await. An old session lives until its
    /// last holder lets go.
    #[must_use]
    pub fn load(&self) -> Arc<Current<L>> {
        self.current.load()
    }

    /// The generation of the current session, `None` when there is none.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.with(|current| match current {
            Current::Up(session) => Some(session.generation),
            Current::Down | Current::Closed => None,
        })
    }

    /// Makes a session over `link` the current one and returns its generation.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close); the link is dropped.
    pub fn connected(&self, link: L) -> Result<Generation, Closed> {
        let mut replacing = self.replacing.lock();
        if self.with(|current| matches!(current, Current::Closed)) {
            return Err(Closed);
        }
        replacing.generation += 1;
        let generation = replacing.generation;
        let old = self
            .current
            .swap(Arc::new(Current::Up(Session { generation, link })));
        let woken = replacing.for_up.take();
        drop(replacing);
        // Outside the lock: wakers and the old link run foreign code.
        woken.wake();
        drop(old);
        Ok(generation)
    }

    /// Notes that the session `generation` is lost. False, and nothing changes,
    /// when it is not the current one any more.
    pub fn disconnected(&self, generation: Generation) -> bool {
        let replacing = self.replacing.lock();
        if self.generation() != Some(generation) {
            return false;
        }
        let old = self.current.swap(Arc::new(Current::Down));
        drop(replacing);
        drop(old);
        true
    }

    /// Ends the session and all later ones. True for the call that did it.
    pub fn close(&self) -> bool {
        let mut replacing = self.replacing.lock();
        let old = self.current.swap(Arc::new(Current::Closed));
        let woken = replacing.for_up.take();
        drop(replacing);
        woken.wake();
        !matches!(*old, Current::Closed)
    }

    /// Waits until there is a session and returns its generation.
    ///
    /// # Errors
    /// [`Closed`] when there will be none.
    pub fn up(&self) -> Up<'_, L> {
        Up {
            cell: self,
            ticket: Ticket::default(),
        }
    }
}

impl<L> Default for SessionCell<L> {
    fn default() -> Self {
        Self::new()
    }
}

/// Ready when there is a session or never will be; see [`SessionCell::up`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Up<'a, L> {
    cell: &'a SessionCell<L>,
    ticket: Ticket,
}

impl<L> Up<'_, L> {
    fn look(&self) -> Poll<Result<Generation, Closed>> {
        self.cell.with(|current| match current {
            Current::Up(session) => Poll::Ready(Ok(session.generation)),
            Current::Closed => Poll::Ready(Err(Closed)),
            Current::Down => Poll::Pending,
        })
    }
}

impl<L> Future for Up<'_, L> {
    type Output = Result<Generation, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(up) = this.look() {
            return Poll::Ready(up);
        }
        // Nothing is replaced while the lock is held, so what is seen now stays
        // until after the waker is in the list.
        let mut replacing = this.cell.replacing.lock();
        if let Poll::Ready(up) = this.look() {
            return Poll::Ready(up);
        }
        replacing.for_up.register(&mut this.ticket, cx.waker());
        Poll::Pending
    }
}

impl<L> Drop for Up<'_, L> {
    fn drop(&mut self) {
        if self.ticket.is_registered() {
            self.cell.replacing.lock().for_up.leave(&self.ticket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
