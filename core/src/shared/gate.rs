//! Open, draining, closed: who may still begin, and when the last one has left.
//!
//! One word holds the state and the number of operations inside, so that no
//! operation can slip in between "still open?" and "count me".
//!
//! Who orders before whom:
//! - leaving releases and seeing [`Gate::drained`] acquires: what an operation
//!   did is seen by whoever was told that all of them are over;
//! - everything else travels under the lock that waiting tasks take.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::waiters::{Ticket, Waiters};
use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering};

/// Closing has begun: nothing enters any more.
const CLOSING: u64 = 1 << 63;
/// Closing has begun and the last operation inside has left. Once set it stays:
/// the count below may still flicker when somebody knocks and is turned away.
const DRAINED: u64 = 1 << 62;
/// The count of operations inside.
const INSIDE: u64 = DRAINED - 1;

/// Lets operations in until it is closed, and tells when the last has left.
///
/// `R` is the report of closing: the one who began it hands it in with
/// [`finish`](Self::finish), and everybody who waits for [`closed`](Self::closed)
/// gets the same.
pub struct Gate<R> {
    word: CachePadded<AtomicU64>,
    waiting: Mutex<Waiting<R>>,
}

#[derive(Debug)]
struct Waiting<R> {
    report: Option<Arc<R>>,
    for_closing: Waiters,
    for_drained: Waiters,
    for_closed: Waiters,
}

/// The gate no longer lets anything in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing;

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closing has begun: no new operation is let in")
    }
}

impl std::error::Error for Closing {}

/// Where a gate stands. It only ever moves downwards in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Operations enter and leave.
    Open,
    /// Nothing enters; some operation may still be inside.
    Draining,
    /// The report is there.
    Closed,
}

impl<R> Gate<R> {
    /// An open gate with nobody inside.
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(0)),
            waiting: Mutex::new(Waiting {
                report: None,
                for_closing: Waiters::default(),
                for_drained: Waiters::default(),
                for_closed: Waiters::default(),
            }),
        }
    }

    /// Begins an operation. It ends when the pass is dropped.
    ///
    /// # Errors
    /// [`Closing`] once [`close`](Self::close) was called.
    pub fn enter(&self) -> Result<Pass<'_, R>, Closing> {
        self.come_in()?;
        Ok(Pass { gate: self })
    }

    /// As [`enter`](Self::enter), with a pass that can be kept anywhere.
    ///
    /// # Errors
    /// [`Closing`] once [`close`](Self::close) was called.
    pub fn enter_owned(this: &Arc<Self>) -> Result<OwnedPass<R>, Closing> {
        this.come_in()?;
        Ok(OwnedPass {
            gate: Arc::clone(this),
        })
    }

    fn come_in(&self) -> Result<(), Closing> {
        // Relaxed: nothing is published to whoever enters. That no entry comes
        // after `close` is the order of changes of this one word.
        if self.word.fetch_add(1, Ordering::Relaxed) & CLOSING == 0 {
            return Ok(());
        }
        self.go_out();
        Err(Closing)
    }

    fn go_out(&self) {
        // Release: pairs with the Acquire loads in `is_drained`. The other
        // changes of the word are read-modify-writes, so each leaves this one's
        // release in force for who reads a later value.
        // ordering: gate::drained_sees_what_was_done_inside
        let before = self.word.fetch_sub(1, Ordering::Release);
        if before & INSIDE == 1 && before & (CLOSING | DRAINED) == CLOSING {
            self.mark_drained();
        }
    }

    /// Called by whoever saw nobody inside a closing gate.
    #[cold]
    fn mark_drained(&self) {
        // Fails when somebody knocked meanwhile: then it is they who, turned
        // away, find nobody inside and come here. Relaxed, see `go_out`.
        let marked = self.word.compare_exchange(
            CLOSING,
            CLOSING | DRAINED,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if marked.is_ok() {
            // A waiter looks at the word again under this lock: either it is in
            // the list by now, or it will see the mark.
            let woken = self.waiting.lock().for_drained.take();
            woken.wake();
        }
    }

    /// Lets nothing in from now on. True for the one who began it and so has to
    /// [`finish`](Self::finish); everybody else waits for
    /// [`closed`](Self::closed).
    ///
    /// The one who began must not be cancelled before it has finished: run it in
    /// a task of its own.
    pub fn close(&self) -> bool {
        // Relaxed: closing publishes nothing.
        let before = self.word.fetch_or(CLOSING, Ordering::Relaxed);
        if before == 0 {
            self.mark_drained();
        }
        let leads = before & CLOSING == 0;
        if leads {
            // A waiter looks at the word again under this lock, see `mark_drained`.
            let woken = self.waiting.lock().for_closing.take();
            woken.wake();
        }
        leads
    }

    /// Waits until closing has begun, whoever is inside.
    pub fn closes(&self) -> Closes<'_, R> {
        Closes {
            gate: self,
            ticket: Ticket::default(),
        }
    }

    /// Waits until closing has begun and nobody is inside.
    pub fn drained(&self) -> Drained<'_, R> {
        Drained {
            gate: self,
            ticket: Ticket::default(),
        }
    }

    /// Hands in the report. Only the first one counts; operations that did not
    /// leave in time are for the report to tell of. Closes the gate in any case.
    pub fn finish(&self, report: R) {
        self.close();
        let mut waiting = self.waiting.lock();
        if waiting.report.is_none() {
            waiting.report = Some(Arc::new(report));
        }
        let woken = waiting.for_closed.take();
        drop(waiting);
        woken.wake();
    }

    /// Waits for the report. Every call gets the same one, also long after.
    pub fn closed(&self) -> Closed<'_, R> {
        Closed {
            gate: self,
            ticket: Ticket::default(),
        }
    }

    /// Where the gate stands at this moment.
    #[must_use]
    pub fn state(&self) -> State {
        if !self.is_closing() {
            State::Open
        } else if self.waiting.lock().report.is_none() {
            State::Draining
        } else {
            State::Closed
        }
    }

    /// How many operations are inside at this moment; for reports.
    #[must_use]
    pub fn inside(&self) -> u64 {
        self.word.load(Ordering::Relaxed) & INSIDE
    }

    fn is_closing(&self) -> bool {
        // Relaxed: closing publishes nothing.
        self.word.load(Ordering::Relaxed) & CLOSING != 0
    }

    fn is_drained(&self) -> bool {
        // Acquire: pairs with the Release of every `go_out` before the mark.
        // ordering: gate::drained_sees_what_was_done_inside
        self.word.load(Ordering::Acquire) & DRAINED != 0
    }
}

impl<R> Default for Gate<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Gate<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("state", &self.state())
            .field("inside", &self.inside())
            .finish()
    }
}

/// Permission to be inside; dropping it leaves.
#[must_use = "dropping the pass ends the operation"]
#[derive(Debug)]
pub struct Pass<'a, R> {
    gate: &'a Gate<R>,
}

impl<R> Drop for Pass<'_, R> {
    fn drop(&mut self) {
        self.gate.go_out();
    }
}

/// A [`Pass`] that keeps its gate alive.
#[must_use = "dropping the pass ends the operation"]
#[derive(Debug)]
pub struct OwnedPass<R> {
    gate: Arc<Gate<R>>,
}

impl<R> Drop for OwnedPass<R> {
    fn drop(&mut self) {
        self.gate.go_out();
    }
}

/// Ready when closing has begun; see [`Gate::closes`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Closes<'a, R> {
    gate: &'a Gate<R>,
    ticket: Ticket,
}

impl<R> Future for Closes<'_, R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.gate.is_closing() {
            return Poll::Ready(());
        }
        let mut waiting = this.gate.waiting.lock();
        waiting.for_closing.register(&mut this.ticket, cx.waker());
        // It may have begun before the lock; see `Gate::close`.
        if this.gate.is_closing() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<R> Drop for Closes<'_, R> {
    fn drop(&mut self) {
        if self.ticket.is_registered() {
            self.gate.waiting.lock().for_closing.leave(&self.ticket);
        }
    }
}

/// Ready when closing has begun and nobody is inside; see [`Gate::drained`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Drained<'a, R> {
    gate: &'a Gate<R>,
    ticket: Ticket,
}

impl<R> Future for Drained<'_, R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.gate.is_drained() {
            return Poll::Ready(());
        }
        let mut waiting = this.gate.waiting.lock();
        waiting.for_drained.register(&mut this.ticket, cx.waker());
        // The mark may have come before the lock; see `mark_drained`.
        if this.gate.is_drained() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<R> Drop for Drained<'_, R> {
    fn drop(&mut self) {
        if self.ticket.is_registered() {
            self.gate.waiting.lock().for_drained.leave(&self.ticket);
        }
    }
}

/// Ready with the report of closing; see [`Gate::closed`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Closed<'a, R> {
    gate: &'a Gate<R>,
    ticket: Ticket,
}

impl<R> Future for Closed<'_, R> {
    type Output = Arc<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Arc<R>> {
        let this = self.get_mut();
        let mut waiting = this.gate.waiting.lock();
        if let Some(report) = &waiting.report {
            return Poll::Ready(Arc::clone(report));
        }
        waiting.for_closed.register(&mut this.ticket, cx.waker());
        Poll::Pending
    }
}

impl<R> Drop for Closed<'_, R> {
    fn drop(&mut self) {
        if self.ticket.is_registered() {
            self.gate.waiting.lock().for_closed.leave(&self.ticket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
