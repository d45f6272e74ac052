//! Bytes that may be on their way at once.
//!
//! Whoever wants to send takes as many bytes as its message has and gives them back
//! when it is settled. A message larger than the whole budget goes alone. Who finds
//! no room waits in line: nobody overtakes, however small.
//!
//! The budget only counts. It orders nobody's writes before anybody's reads, so
//! every access is `Relaxed`: what is decided is decided by the order of changes of
//! one word, and the line is behind a lock. That somebody waits is a bit of that
//! word: either who gives back sees the bit and serves the line, or who waits sees
//! the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering};

/// Nothing is taken any more.
const CLOSED: u64 = 1 << 63;
/// Somebody stands in the line.
const WAITING: u64 = 1 << 62;
/// The count of bytes taken.
const TAKEN: u64 = WAITING - 1;

/// A budget of bytes. See the [module](self).
pub struct Budget {
    control: CachePadded<AtomicU64>,
    limit: u64,
    line: Mutex<Line>,
}

/// Who waits, by the number drawn: the smallest came first.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<u64, (u64, Waker)>,
    /// Served and not yet come to collect.
    granted: BTreeSet<u64>,
    next: u64,
}

/// Why no bytes were given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room, or somebody has been waiting for it before.
    Full,
    /// The budget is closed.
    Closed,
}

/// The budget is closed: nothing is sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the budget is closed")
    }
}

impl std::error::Error for Closed {}

impl Budget {
    /// A budget of `limit` bytes; one message may always go.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            control: CachePadded::new(AtomicU64::new(0)),
            limit: limit.min(TAKEN >> 1),
            line: Mutex::new(Line::default()),
        }
    }

    /// Takes `bytes` if there is room and nobody waits. No lock, no allocation.
    ///
    /// # Errors
    /// [`Refused::Full`]: wait with [`take`](Self::take). [`Refused::Closed`]: never
    /// again.
    pub fn try_take(&self, bytes: u64) -> Result<(), Refused> {
        self.claim(bytes, WAITING)
    }

    /// Waits for room, first come first served. Dropping the future leaves the line,
    /// and gives back what had just been given to it.
    ///
    /// # Errors
    /// [`Closed`] when the budget is closed before there was room.
    pub const fn take(&self, bytes: u64) -> Take<'_> {
        Take {
            budget: self,
            bytes,
            number: None,
        }
    }

    /// Gives back bytes that were taken.
    pub fn give_back(&self, bytes: u64) {
        let before = self.control.fetch_sub(self.weigh(bytes), Ordering::Relaxed);
        if before & WAITING != 0 {
            self.attend();
        }
    }

    /// Gives nothing any more and tells everybody in the line.
    pub fn close(&self) {
        self.control.fetch_or(CLOSED, Ordering::Relaxed);
        // Whoever queues looks for the bit under this lock: they are in the line by
        // now, or will see it.
        let mut line = self.line.lock();
        let woken = std::mem::take(&mut line.waiting);
        self.control.fetch_and(!WAITING, Ordering::Relaxed);
        drop(line);
        woken.into_values().for_each(|(_, waker)| waker.wake());
    }

    /// How many bytes are taken at this moment.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.control.load(Ordering::Relaxed) & TAKEN
    }

    /// What a message counts: never so much that the count could run over.
    const fn weigh(&self, bytes: u64) -> u64 {
        if bytes > self.limit {
            self.limit + 1
        } else {
            bytes
        }
    }

    fn claim(&self, bytes: u64, respecting: u64) -> Result<(), Refused> {
        let bytes = self.weigh(bytes);
        let mut seen = self.control.load(Ordering::Relaxed);
        loop {
            if seen & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            let taken = seen & TAKEN;
            if seen & respecting != 0 || (taken > 0 && taken + bytes > self.limit) {
                return Err(Refused::Full);
            }
            match self.control.compare_exchange_weak(
                seen,
                seen + bytes,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Serves those who wait after bytes were given back.
    #[cold]
    fn attend(&self) {
        let mut line = self.line.lock();
        let served = self.serve(&mut line);
        drop(line);
        served.into_iter().for_each(Waker::wake);
    }

    /// Gives room to the head of the line, while there is enough.
    ///
    /// Called after each event that could bring the two together, by the one who
    /// changed `control` for it, so that the load in `claim` sees at least that.
    fn serve(&self, line: &mut Line) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some((&number, &(bytes, _))) = line.waiting.first_key_value() {
            if self.claim(bytes, 0).is_err() {
                break;
            }
            line.granted.insert(number);
            woken.extend(line.waiting.remove(&number).map(|(_, waker)| waker));
        }
        self.settle_waiting_bit(line);
        woken
    }

    /// The bit says what the line says. Only called under the line's lock.
    fn settle_waiting_bit(&self, line: &Line) {
        if line.waiting.is_empty() {
            self.control.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("taken", &self.taken())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Ready when the bytes are taken, in the order of first polls; see
/// [`Budget::take`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Take<'a> {
    budget: &'a Budget,
    bytes: u64,
    /// The number drawn in the line.
    number: Option<u64>,
}

impl Future for Take<'_> {
    type Output = Result<(), Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let budget = this.budget;
        if this.number.is_none() {
            match budget.try_take(this.bytes) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(Refused::Closed) => return Poll::Ready(Err(Closed)),
                Err(Refused::Full) => {}
            }
        }
        let mut line = budget.line.lock();
        let mut served = Vec::new();
        let number = if let Some(number) = this.number {
            number
        } else {
            // What is given back before this change is seen by `serve`, what is
            // given back after it sees the bit; and likewise with closing.
            let before = budget.control.fetch_or(WAITING, Ordering::Relaxed);
            if before & CLOSED != 0 {
                budget.settle_waiting_bit(&line);
                return Poll::Ready(Err(Closed));
            }
            let number = line.next;
            line.next += 1;
            line.waiting
                .insert(number, (this.bytes, cx.waker().clone()));
            this.number = Some(number);
            served = budget.serve(&mut line);
            number
        };
        let ready = if line.granted.remove(&number) {
            Poll::Ready(Ok(()))
        } else {
            match line.waiting.get_mut(&number) {
                Some((_, known)) => {
                    known.clone_from(cx.waker());
                    Poll::Pending
                }
                None => Poll::Ready(Err(Closed)),
            }
        };
        drop(line);
        if ready.is_ready() {
            this.number = None;
        }
        served.into_iter().for_each(Waker::wake);
        ready
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut line = self.budget.line.lock();
        let granted = line.granted.remove(&number);
        let left = line.waiting.remove(&number).is_some();
        // The next in line may need less than who leaves.
        let served = if left {
            self.budget.serve(&mut line)
        } else {
            Vec::new()
        };
        drop(line);
        served.into_iter().for_each(Waker::wake);
        if granted {
            self.budget.give_back(self.bytes);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn bytes_are_taken_up_to_the_limit() {
        let budget = Budget::new(10);
        assert_eq!(budget.try_take(6), Ok(()));
        assert_eq!(budget.try_take(4), Ok(()));
        assert_eq!(budget.try_take(1), Err(Refused::Full));
        assert_eq!(budget.try_take(0), Ok(()));
        budget.give_back(4);
        assert_eq!(budget.taken(), 6);
        assert_eq!(budget.try_take(5), Err(Refused::Full));
    }

    #[test]
    fn what_is_larger_than_all_goes_alone() {
        let budget = Budget::new(10);
        assert_eq!(budget.try_take(u64::MAX), Ok(()));
        assert_eq!(budget.try_take(1), Err(Refused::Full));
        let mut again = pin!(budget.take(1_000));
        assert_eq!(poll(again.as_mut()), Poll::Pending);
        budget.give_back(u64::MAX);
        assert_eq!(poll(again.as_mut()), Poll::Ready(Ok(())));
        budget.give_back(1_000);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn nobody_overtakes_however_small() {
        let budget = Budget::new(10);
        budget.try_take(6).unwrap();
        let mut large = Box::pin(budget.take(8));
        assert_eq!(poll(large.as_mut()), Poll::Pending);
        assert_eq!(budget.try_take(1), Err(Refused::Full));
        let mut small = pin!(budget.take(1));
        assert_eq!(poll(small.as_mut()), Poll::Pending);
        // The large one leaves: the small one has room at once.
        drop(large);
        assert_eq!(poll(small.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(budget.taken(), 7);
        let mut third = Box::pin(budget.take(8));
        assert_eq!(poll(third.as_mut()), Poll::Pending);
        budget.give_back(6);
        // Served and gone before it came to collect.
        drop(third);
        assert_eq!(budget.taken(), 1);
    }

    #[test]
    fn closing_tells_all_who_wait() {
        let budget = Budget::new(1);
        budget.try_take(1).unwrap();
        let mut waiting = pin!(budget.take(1));
        assert_eq!(poll(waiting.as_mut()), Poll::Pending);
        budget.close();
        assert_eq!(poll(waiting.as_mut()), Poll::Ready(Err(Closed)));
        assert_eq!(budget.try_take(0), Err(Refused::Closed));
        budget.give_back(1);
        assert_eq!(budget.taken(), 0);
    }
}
