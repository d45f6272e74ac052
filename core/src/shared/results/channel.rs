//! Places for results, and the way from who settles one to who reads it.
//!
//! The places are those of a [`Credit`], taken when reserved and given back when read;
//! who waits for one stands in its line. The order in which results are read is that in
//! which they were settled: their tokens travel by a queue with room for all.

use std::fmt;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Results;
pub use crate::shared::credit::Closed;
use crate::shared::credit::{self, Credit, Permit, Reserved, Take, Token};
use crate::sync::{AtomicU64, Ordering, Queue, WakerCell};

/// What happens to who finds no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// They wait until a result is read.
    #[default]
    Wait,
    /// They go without a result, and are counted.
    Count,
}

/// A fixed number of places for results.
pub struct Channel<T> {
    credit: Credit<T>,
    settled: Queue<Token>,
    reader: WakerCell,
    overflow: Overflow,
    /// How many went without.
    overflowed: AtomicU64,
    /// Of who reserves several places, one after the other.
    turns: Credit<()>,
}

/// Why no place was reserved at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All are taken, or somebody has been waiting for one before: wait with
    /// [`Channel::reserve`].
    Full,
    /// All are taken, and it is counted: there is no result.
    Counted,
    /// Nobody is registered here any more.
    Closed,
}

impl<T> Channel<T> {
    pub(super) fn new(places: NonZeroU16, overflow: Overflow) -> Self {
        Self {
            credit: Credit::new(places),
            settled: Queue::new(places.get().into()),
            reader: WakerCell::new(),
            overflow,
            overflowed: AtomicU64::new(0),
            turns: Credit::new(NonZeroU16::MIN),
        }
    }

    /// Reserves a place if one is free. No lock.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn try_reserve(this: &Arc<Self>) -> Result<Place<T>, Refused> {
        match this.credit.try_take() {
            Ok(permit) => Ok(Place::new(this, permit)),
            Err(credit::Refused::Closed) => Err(Refused::Closed),
            Err(credit::Refused::Full) => match this.overflow {
                Overflow::Wait => Err(Refused::Full),
                Overflow::Count => {
                    // Relaxed: a count of its own.
                    this.overflowed.fetch_add(1, Ordering::Relaxed);
                    Err(Refused::Counted)
                }
            },
        }
    }

    /// Waits for a place, first come first served. Dropping the future leaves the line.
    pub fn reserve(this: &Arc<Self>) -> Reserve<'_, T> {
        Reserve {
            channel: this,
            take: Some(this.credit.take()),
        }
    }

    /// The turn of who reserves several places, first come first served: two that have some
    /// each would wait for each other. It comes also when nobody is registered here any more.
    pub fn turn(&self) -> Take<'_, ()> {
        self.turns.take()
    }

    /// No place is reserved from now on, and whoever waits for one is told.
    pub(super) fn close(&self) {
        self.credit.close();
        self.reader.wake();
    }

    /// How many at once may have a result; `None` where those beyond go without.
    #[must_use]
    pub fn most(&self) -> Option<usize> {
        match self.overflow {
            Overflow::Wait => Some(self.credit.slots()),
            Overflow::Count => None,
        }
    }

    fn read(&self) -> Option<T> {
        let token = self.settled.pop()?;
        // It was filled before its token came here, and is settled here only.
        let (item, permit) = self.credit.settle(token)?;
        drop(permit);
        Some(item)
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("taken", &self.credit.taken())
            .field("places", &self.credit.slots())
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

/// A reserved place. Dropped without a result, it is free again and nothing is read.
#[must_use = "a place waits for its result"]
pub struct Place<T> {
    channel: Arc<Channel<T>>,
    /// Gone once it is settled.
    reserved: Option<Reserved<T>>,
}

impl<T> Place<T> {
    fn new(channel: &Arc<Channel<T>>, permit: Permit<'_, T>) -> Self {
        Self {
            channel: Arc::clone(channel),
            reserved: Some(permit.reserve()),
        }
    }

    /// The result, for the reader.
    pub fn settle(mut self, item: T) {
        let Some(reserved) = self.reserved.take() else {
            return;
        };
        let token = self.channel.credit.resume(reserved).fill(item, 0);
        let kept = self.channel.settled.push(token);
        debug_assert!(kept.is_ok(), "as much room as places");
        self.channel.reader.wake();
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            drop(self.channel.credit.resume(reserved));
            // It may have been the last that the end waits for.
            self.channel.reader.wake();
        }
    }
}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}

/// Ready with a place, in the order of first polls; see [`Channel::reserve`].
#[must_use = "a future does nothing unless awaited"]
pub struct Reserve<'a, T> {
    channel: &'a Arc<Channel<T>>,
    /// Gone once it is ready.
    take: Option<Take<'a, T>>,
}

impl<T> Future for Reserve<'_, T> {
    type Output = Result<Place<T>, Closed>;

    /// Polled again after it was ready, it says [`Closed`].
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(take) = &mut this.take else {
            return Poll::Ready(Err(Closed));
        };
        let permit = std::task::ready!(Pin::new(take).poll(cx));
        this.take = None;
        Poll::Ready(permit.map(|permit| Place::new(this.channel, permit)))
    }
}

impl<T> Drop for Reserve<'_, T> {
    fn drop(&mut self) {
        if let Some(take) = self.take.take() {
            drop(take);
            // A place that had just been given to it may have been the last.
            self.channel.reader.wake();
        }
    }
}

impl<T> fmt::Debug for Reserve<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve")
            .field("take", &self.take)
            .finish_non_exhaustive()
    }
}

/// Reads the results of a tenant. Dropping it unregisters it; results that nobody can
/// read any more are dropped, at the latest with the last place.
pub struct Reader<T> {
    results: Arc<Results<T>>,
    tenant: i64,
    channel: Arc<Channel<T>>,
}

impl<T> Reader<T> {
    pub(super) const fn new(
        results: Arc<Results<T>>,
        tenant: i64,
        channel: Arc<Channel<T>>,
    ) -> Self {
        Self {
            results,
            tenant,
            channel,
        }
    }

    /// Whose results these are; 0 for those of no tenant.
    #[must_use]
    pub const fn tenant(&self) -> i64 {
        self.tenant
    }

    /// How many went without a place.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.channel.overflowed.load(Ordering::Relaxed)
    }

    /// The next result, in the order in which they were settled; `None` once it is
    /// unregistered, or all is closed, and every place is settled and read. Only the
    /// task that polled last is woken.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let channel = &self.channel;
        let mut item = channel.read();
        if item.is_none() {
            channel.reader.register(cx.waker());
            // One may have come, or the end, before they could see the waker.
            item = channel.read();
        }
        match item {
            Some(item) => Poll::Ready(Some(item)),
            // A result that is not read yet keeps its place.
            None if channel.credit.is_over() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Comes to its end once what has a place is settled and read. Another may be
    /// registered for the tenant at once.
    pub fn unregister(&self) {
        self.results.unregister(self.tenant, &self.channel);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.unregister();
        while self.channel.read().is_some() {}
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("tenant", &self.tenant)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
