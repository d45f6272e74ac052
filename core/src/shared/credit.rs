//! The window of what was sent and is not yet answered.
//!
//! A fixed slab of slots. Whoever wants to send takes a [`Permit`], fills it with
//! what is needed when the answer comes, and sends the [`Token`] along. Of the
//! answer, the timeout, the disconnect and the close that may all settle the
//! token, exactly one gets the item back, and with it the permit, to fill again or
//! to drop.
//!
//! Who orders before whom:
//! - `control` counts the places taken and holds the closed bit. Giving a place
//!   back releases and taking one acquires, so that a place counted as free is
//!   found in the queue of free places, and what its holders did is seen by who
//!   finds the window idle.
//! - a slot's `word` says which generation it holds and whether that is in flight.
//!   Filling releases and settling acquires, so that the winner finds what was
//!   filled in; a scan acquires too, so that a token's mark is not older than it.
//!   Filling and sweeping both do both, so that of a change followed by a sweep and
//!   a filling followed by a look at the change, one sees the other.
//! - the waiting line is behind a lock. That somebody waits is a bit of `control`
//!   too, and all its changes are read-modify-writes of one word: either who gives
//!   back sees the bit and serves the line, or who waits sees the place.

mod line;
mod token;

use std::fmt;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll};

use self::line::Line;
pub use self::token::Token;
use super::waiters::Ticket;
use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering, Queue, Slot};

/// Nothing is taken any more.
const CLOSED: u64 = 1 << 63;
/// Somebody stands in the line: whoever comes now comes after them, and whoever
/// gives a place back serves them.
const WAITING: u64 = 1 << 62;
/// Somebody waits for the window to be idle.
const IDLING: u64 = 1 << 61;
/// The count of places taken.
const TAKEN: u64 = IDLING - 1;

/// A window of a fixed number of places; `T` is what is kept while in flight.
pub struct Credit<T> {
    control: CachePadded<AtomicU64>,
    slots: Box<[Entry<T>]>,
    free: Queue<Place<T>>,
    line: Mutex<Line<T>>,
}

struct Entry<T> {
    /// The generation, shifted by one; the lowest bit is set while in flight.
    word: AtomicU64,
    /// Belongs to the generation in flight. Written by one permit's holder after
    /// another, never read-modify-written.
    mark: AtomicU64,
    /// As `mark`.
    tag: AtomicU64,
    /// Filled while in flight.
    room: Slot<Option<T>>,
}

/// The right to use one slot once. The room travels with the right while nothing
/// is in flight, so that sending allocates nothing.
#[derive(Debug)]
struct Place<T> {
    index: u16,
    generation: u64,
    room: Box<Option<T>>,
}

/// Why no permit was given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken, or somebody has been waiting for one before.
    Full,
    /// The window is closed.
    Closed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the window is full"),
            Self::Closed => Closed.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

/// The window is closed: nothing is sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the window is closed")
    }
}

impl std::error::Error for Closed {}

impl<T> Credit<T> {
    /// A window of `slots` free places.
    #[must_use]
    pub fn new(slots: NonZeroU16) -> Self {
        let free = Queue::new(slots.get().into());
        for index in 0..slots.get() {
            let place = Place {
                index,
                generation: 0,
                room: Box::new(None),
            };
            let kept = free.push(place);
            debug_assert!(kept.is_ok(), "as many places as slots");
        }
        let slots = (0..slots.get()).map(|_| Entry {
            word: AtomicU64::new(0),
            mark: AtomicU64::new(0),
            tag: AtomicU64::new(0),
            room: Slot::new(),
        });
        Self {
            control: CachePadded::new(AtomicU64::new(0)),
            slots: slots.collect(),
            free,
            line: Mutex::new(Line::new()),
        }
    }

    /// Takes a place if one is free and nobody waits. No lock, no allocation.
    ///
    /// # Errors
    /// [`Refused::Full`]: wait with [`take`](Self::take). [`Refused::Closed`]: never
    /// again.
    pub fn try_take(&self) -> Result<Permit<'_, T>, Refused> {
        let place = self.claim(WAITING)?;
        Ok(self.permit(place))
    }

    /// Waits for a place, first come first served. Dropping the future leaves the
    /// line, and hands on a place that had just been given to it.
    ///
    /// # Errors
    /// [`Closed`] when the window is closed before a place was given.
    pub fn take(&self) -> Take<'_, T> {
        Take {
            credit: self,
            number: None,
        }
    }

    /// Takes what is in flight under `token` out, if it still is: of all callers
    /// exactly one gets it. A token of an earlier generation finds nothing.
    pub fn settle(&self, token: Token) -> Option<(T, Permit<'_, T>)> {
        let entry = self.slots.get(usize::from(token.index()))?;
        let generation = match planted!(StaleAnswer) {
            true => entry.word.load(Ordering::Relaxed) >> 1,
            false => token.generation(),
        };
        let next = token::next_generation(generation);
        // Acquire: pairs with the Release in `Permit::fill`; the room is ours and
        // what was put into it is seen.
        // ordering: credit::one_settler_wins_and_sees_the_item
        entry
            .word
            .compare_exchange(
                in_flight(generation),
                at_rest(next),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()?;
        let mut room = entry.room.take()?;
        let item = room.take()?;
        let permit = Permit {
            credit: self,
            index: token.index(),
            generation: next,
            room: Some(room),
        };
        Some((item, permit))
    }

    /// What is in flight, with its marks, one slot after the other while others
    /// go on: what began or ended meanwhile may be missing or already over.
    /// [`settle`](Self::settle) decides.
    pub fn in_flight(&self) -> impl Iterator<Item = (Token, u64)> + '_ {
        (0..).zip(&self.slots).filter_map(|(index, entry)| {
            // Acquire: pairs with the Release in `Permit::fill`, so that the mark
            // read next is this generation's or a later one's. With a later one's
            // the token is over and settling it finds nothing.
            // ordering: credit::a_mark_is_not_older_than_its_token
            let word = entry.word.load(Ordering::Acquire);
            let mark = entry.mark.load(Ordering::Relaxed);
            (word == in_flight(word >> 1)).then(|| (Token::new(index, word >> 1), mark))
        })
    }

    /// Those of [`in_flight`](Self::in_flight) that were filled with this tag.
    pub fn tagged(&self, tag: u64) -> impl Iterator<Item = (Token, u64)> + '_ {
        self.in_flight().filter(move |(token, _)| {
            // Read after the word: of this generation or a later one, as the mark is.
            let entry = self.slots.get(usize::from(token.index()));
            entry.is_some_and(|entry| entry.tag.load(Ordering::Relaxed) == tag)
        })
    }

    /// As [`in_flight`](Self::in_flight), for when something has changed for all
    /// of it, such as the session or the gate: what was filled and is not found
    /// here was filled by somebody who sees that change.
    ///
    /// So it is either found here or, looking at what changed after filling,
    /// noticed there. It writes to every slot: not for every deadline.
    pub fn sweep(&self) -> impl Iterator<Item = (Token, u64)> + '_ {
        (0..).zip(&self.slots).filter_map(|(index, entry)| {
            // AcqRel: pairs with itself in `Permit::fill`, whichever changes the
            // word first. Acquire finds what was filled; Release shows the one who
            // fills later what happened before the sweep.
            // ordering: credit::a_mark_is_not_older_than_its_token,
            // credit::a_sweep_or_a_look_finds_the_change
            let word = entry.word.fetch_or(0, Ordering::AcqRel);
            let mark = entry.mark.load(Ordering::Relaxed);
            (word == in_flight(word >> 1)).then(|| (Token::new(index, word >> 1), mark))
        })
    }

    /// Makes a permit again of a place that was [reserved](Permit::reserve) from
    /// this very window.
    pub fn resume(&self, reserved: Reserved<T>) -> Permit<'_, T> {
        Permit {
            credit: self,
            index: reserved.index,
            generation: reserved.generation,
            room: reserved.room,
        }
    }

    /// Gives no place any more and tells everybody in the line. Permits already
    /// taken stay good, and what is in flight can be settled.
    pub fn close(&self) {
        // Relaxed: closing publishes nothing; that nobody takes a place afterwards
        // is the order of changes of this one word.
        self.control.fetch_or(CLOSED, Ordering::Relaxed);
        // Whoever queues looks for the bit under this lock: they are in the line
        // by now, or will see it.
        let mut line = self.line.lock();
        let woken = line.dismiss();
        self.control.fetch_and(!WAITING, Ordering::Relaxed);
        drop(line);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// Waits until no place is taken. Lasting only after [`close`](Self::close);
    /// before it, a moment without any may pass unseen.
    pub fn idle(&self) -> Idle<'_, T> {
        Idle {
            credit: self,
            ticket: Ticket::default(),
        }
    }

    /// Whether it is closed and no place is taken: nothing is in flight, and nothing
    /// will be. It lasts.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let over = if planted!(ResultsCutShort) { 0 } else { CLOSED };
        // Acquire: pairs with the Release in `give_back`, as in `Idle`.
        // ordering: results::the_end_comes_after_whoever_had_a_place
        self.control.load(Ordering::Acquire) & (over | TAKEN) == over
    }

    /// How many places are taken at this moment, in flight or about to be.
    #[must_use]
    pub fn taken(&self) -> usize {
        let taken = self.control.load(Ordering::Relaxed) & TAKEN;
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    /// How many places there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Takes a place, unless `control` says closed, full or any of `respecting`.
    fn claim(&self, respecting: u64) -> Result<Place<T>, Refused> {
        let mut seen = self.control.load(Ordering::Relaxed);
        loop {
            if seen & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if seen & respecting != 0 || seen & TAKEN >= self.slots.len() as u64 {
                return Err(Refused::Full);
            }
            // Acquire: pairs with the Release in `give_back`: the place counted as
            // free there is in the queue before we look.
            // ordering: argued: no model fails without it, for the queue's stand-in
            // orders the same two.
            match self.control.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        // Never empty: at most as many have claimed as were put in before.
        self.free.pop().ok_or(Refused::Full)
    }

    fn permit(&self, place: Place<T>) -> Permit<'_, T> {
        Permit {
            credit: self,
            index: place.index,
            generation: place.generation,
            room: Some(place.room),
        }
    }

    fn give_back(&self, place: Place<T>) {
        let kept = self.free.push(place);
        debug_assert!(kept.is_ok(), "as many places as slots");
        // Release: pairs with the Acquire in `claim` and in `Idle`.
        // ordering: credit::idle_sees_what_was_done
        let before = self.control.fetch_sub(1, Ordering::Release);
        let last = before & TAKEN == 1;
        if before & WAITING != 0 || (before & IDLING != 0 && last) {
            self.attend(last);
        }
    }

    /// Serves those who wait after a place was given back.
    #[cold]
    fn attend(&self, last: bool) {
        let mut line = self.line.lock();
        let served = self.serve(&mut line);
        let idle = last.then(|| {
            self.control.fetch_and(!IDLING, Ordering::Relaxed);
            line.for_idle.take()
        });
        drop(line);
        served.into_iter().for_each(std::task::Waker::wake);
        if let Some(idle) = idle {
            idle.wake();
        }
    }

    /// Gives free places to the head of the line, while there are both.
    ///
    /// Called after each event that could bring the two together, by the one who
    /// changed `control` for it, so that the load in `claim` sees at least that.
    fn serve(&self, line: &mut Line<T>) -> Vec<std::task::Waker> {
        let mut woken = Vec::new();
        while line.is_waiting() {
            let Ok(place) = self.claim(0) else { break };
            woken.extend(line.grant(place));
        }
        self.settle_waiting_bit(line);
        woken
    }

    /// The bit says what the line says. Only called under the line's lock.
    fn settle_waiting_bit(&self, line: &Line<T>) {
        if !line.is_waiting() {
            self.control.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }
}

fn in_flight(generation: u64) -> u64 {
    generation << 1 | 1
}

fn at_rest(generation: u64) -> u64 {
    generation << 1
}

impl<T> fmt::Debug for Credit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credit")
            .field("taken", &self.taken())
            .field("slots", &self.slots())
            .finish_non_exhaustive()
    }
}

/// One place of the window. Dropping it gives the place to the next.
#[must_use = "dropping the permit gives the place back"]
pub struct Permit<'a, T> {
    credit: &'a Credit<T>,
    index: u16,
    generation: u64,
    /// Gone once the permit is used up.
    room: Option<Box<Option<T>>>,
}

impl<'a, T> Permit<'a, T> {
    /// Puts `item` in flight: from now on the token settles it. `mark` is what
    /// [`Credit::in_flight`] shows meanwhile, such as a deadline.
    pub fn fill(self, item: T, mark: u64) -> Token {
        self.fill_tagged(item, mark, 0)
    }

    /// As [`fill`](Self::fill), with what [`Credit::tagged`] finds it by.
    pub fn fill_tagged(mut self, item: T, mark: u64, tag: u64) -> Token {
        let filled = self
            .room
            .take()
            .zip(self.credit.slots.get(usize::from(self.index)));
        if let Some((mut room, entry)) = filled {
            *room = Some(item);
            entry.room.put(room);
            entry.mark.store(mark, Ordering::Relaxed);
            entry.tag.store(tag, Ordering::Relaxed);
            // Release: pairs with the Acquire in `settle` and in `in_flight`.
            // Acquire: pairs with the Release in `sweep`.
            // ordering: credit::one_settler_wins_and_sees_the_item,
            // credit::a_sweep_or_a_look_finds_the_change
            entry
                .word
                .swap(in_flight(self.generation), Ordering::AcqRel);
        }
        Token::new(self.index, self.generation)
    }

    /// Turns the permit into something that borrows nothing, for
    /// [`Credit::resume`].
    pub fn reserve(mut self) -> Reserved<T> {
        Reserved {
            index: self.index,
            generation: self.generation,
            room: self.room.take(),
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if planted!(LeakedPlace) && self.generation == 3 {
            return;
        }
        if let Some(room) = self.room.take() {
            self.credit.give_back(Place {
                index: self.index,
                generation: self.generation,
                room,
            });
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("token", &Token::new(self.index, self.generation))
            .finish_non_exhaustive()
    }
}

/// A place kept for later by an owner who cannot borrow the window.
///
/// Give it back with [`Credit::resume`]: dropped as it is, the window is one place
/// smaller for ever.
#[must_use = "dropping it loses the place for ever"]
pub struct Reserved<T> {
    index: u16,
    generation: u64,
    room: Option<Box<Option<T>>>,
}

impl<T> fmt::Debug for Reserved<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved")
            .field("token", &Token::new(self.index, self.generation))
            .finish_non_exhaustive()
    }
}

/// Ready with a permit, in the order of first polls; see [`Credit::take`].
#[must_use = "a future does nothing unless awaited"]
pub struct Take<'a, T> {
    credit: &'a Credit<T>,
    /// The number drawn in the line.
    number: Option<u64>,
}

impl<'a, T> Future for Take<'a, T> {
    type Output = Result<Permit<'a, T>, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let credit = this.credit;
        if this.number.is_none() {
            match credit.try_take() {
                Ok(permit) => return Poll::Ready(Ok(permit)),
                Err(Refused::Closed) => return Poll::Ready(Err(Closed)),
                Err(Refused::Full) => {}
            }
        }
        let mut line = credit.line.lock();
        let mut served = Vec::new();
        let number = if let Some(number) = this.number {
            number
        } else {
            // Relaxed: one word and the lock tell all. A place given back before
            // this change is seen by `serve`, one given back after it sees the bit;
            // and likewise with closing.
            let before = credit.control.fetch_or(WAITING, Ordering::Relaxed);
            if before & CLOSED != 0 {
                credit.settle_waiting_bit(&line);
                return Poll::Ready(Err(Closed));
            }
            let number = line.queue(cx.waker());
            this.number = Some(number);
            served = credit.serve(&mut line);
            number
        };
        let ready = match line.collect(number, cx.waker()) {
            line::Collected::Place(place) => Poll::Ready(Ok(credit.permit(place))),
            line::Collected::Dismissed => Poll::Ready(Err(Closed)),
            line::Collected::NotYet => Poll::Pending,
        };
        drop(line);
        if ready.is_ready() {
            this.number = None;
        }
        served.into_iter().for_each(std::task::Waker::wake);
        ready
    }
}

impl<T> Drop for Take<'_, T> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut line = self.credit.line.lock();
        let granted = line.leave(number);
        self.credit.settle_waiting_bit(&line);
        drop(line);
        if let Some(place) = granted {
            self.credit.give_back(place);
        }
    }
}

impl<T> fmt::Debug for Take<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Ready when no place is taken; see [`Credit::idle`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Idle<'a, T> {
    credit: &'a Credit<T>,
    ticket: Ticket,
}

impl<T> Future for Idle<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let credit = this.credit;
        // Acquire, here and below: pairs with the Release in `give_back`.
        // ordering: credit::idle_sees_what_was_done
        if credit.control.load(Ordering::Acquire) & TAKEN == 0 {
            return Poll::Ready(());
        }
        let mut line = credit.line.lock();
        line.for_idle.register(&mut this.ticket, cx.waker());
        // Whoever gives the last place back after this sees the bit.
        // ordering: credit::idle_sees_what_was_done
        let before = credit.control.fetch_or(IDLING, Ordering::Acquire);
        if before & TAKEN == 0 {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<T> Drop for Idle<'_, T> {
    fn drop(&mut self) {
        if self.ticket.is_registered() {
            self.credit.line.lock().for_idle.leave(&self.ticket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
