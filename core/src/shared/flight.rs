//! One attempt at a time, however many want the same.
//!
//! A flight stands for one unit of work. Whoever joins first leads and does it;
//! whoever joins meanwhile follows and gets the leader's outcome. A leader that
//! goes away without an outcome hands over to the first follower. A failure is
//! remembered for a while, so that it is not tried again by everybody at once.
//!
//! Leading with nobody following takes no lock. What the next leader sees of the
//! one before it: landing releases and taking off acquires, or both go through
//! the lock.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::time::Time;

/// Nobody leads, nothing is remembered.
const IDLE: u32 = 0;
/// Somebody leads and nobody has followed. Only from here can a leader land
/// without the lock.
const LEADING: u32 = 1;
/// Somebody leads and the table of followers is in use. Left only under the lock.
const FOLLOWED: u32 = 2;
/// A failure is remembered. Left only under the lock.
const FAILED: u32 = 3;

/// A unit of work that at most one leader does at a time.
pub struct Flight<E> {
    state: AtomicU32,
    cabin: Mutex<Cabin<E>>,
}

#[derive(Debug)]
struct Cabin<E> {
    /// Set exactly in state [`FAILED`].
    failure: Option<(E, Time)>,
    /// By the order they came. Each entry belongs to a [`Follower`] and goes with
    /// it.
    seats: BTreeMap<u64, Seat<E>>,
    next: u64,
}

#[derive(Debug)]
enum Seat<E> {
    Waiting(Waker),
    /// The leader is gone: this follower leads as soon as it looks.
    Leads,
    Done,
    Failed(E, Time),
}

/// What [`Flight::join`] says.
#[derive(Debug)]
pub enum Join<'a, E: Clone> {
    /// Do the work, then say how it went.
    Lead(Leader<'a, E>),
    /// Somebody is at it: wait for them.
    Follow(Follower<'a, E>),
    /// It failed with this error and is not tried again before this time.
    Failed(E, Time),
}

/// What a [`Follower`] gets.
#[derive(Debug)]
pub enum Landed<'a, E: Clone> {
    /// The work was done.
    Done,
    /// It failed with this error and is not tried again before this time.
    Failed(E, Time),
    /// The leader went away: you lead now.
    Lead(Leader<'a, E>),
}

impl<E: Clone> Flight<E> {
    /// Nobody leads, nothing is remembered.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(IDLE),
            cabin: Mutex::new(Cabin {
                failure: None,
                seats: BTreeMap::new(),
                next: 0,
            }),
        }
    }

    /// Leads, follows, or learns that it failed not long before `now`.
    pub fn join(&self, now: Time) -> Join<'_, E> {
        if self.take_off(IDLE) || planted!(TwoLeaders) {
            return Join::Lead(self.lead());
        }
        let mut cabin = self.cabin.lock();
        if let Some((error, until)) = &cabin.failure {
            if now < *until {
                return Join::Failed(error.clone(), *until);
            }
            cabin.failure = None;
            // Nobody else leaves FAILED: that takes this lock. Relaxed, here and
            // below: under the lock the lock orders.
            self.state.swap(LEADING, Ordering::Relaxed);
            return Join::Lead(self.lead());
        }
        loop {
            // From LEADING: a leader that comes to land finds itself followed and
            // takes the lock, so after us.
            let followed = self.change(LEADING, FOLLOWED, Ordering::Relaxed);
            if followed || self.is(FOLLOWED) {
                cabin.next += 1;
                let number = cabin.next;
                cabin
                    .seats
                    .insert(number, Seat::Waiting(Waker::noop().clone()));
                return Join::Follow(Follower {
                    flight: self,
                    number: Some(number),
                });
            }
            // The leader landed before we could follow.
            if self.take_off(IDLE) {
                return Join::Lead(self.lead());
            }
        }
    }

    /// Forgets a failure, so that the next to join leads: what was tried may go
    /// well in changed circumstances.
    pub fn forget_failure(&self) {
        let mut cabin = self.cabin.lock();
        if cabin.failure.take().is_some() {
            self.state.swap(IDLE, Ordering::Relaxed);
        }
    }

    fn lead(&self) -> Leader<'_, E> {
        Leader { flight: Some(self) }
    }

    fn take_off(&self, from: u32) -> bool {
        // Acquire: pairs with the Release in `land_alone` and in `land`.
        // ordering: flight::at_most_one_leads
        self.change(from, LEADING, Ordering::Acquire)
    }

    /// Lands a leader that nobody followed.
    fn land_alone(&self) -> bool {
        // Release: pairs with the Acquire in `take_off`.
        // ordering: flight::at_most_one_leads
        self.change(LEADING, IDLE, Ordering::Release)
    }

    /// Ends a leadership that was followed, or that failed.
    fn land(&self, cabin: &mut Cabin<E>, failure: Option<(E, Time)>) -> Vec<Waker> {
        let mut woken = Vec::new();
        for seat in cabin.seats.values_mut() {
            if let Seat::Waiting(waker) = seat {
                woken.push(std::mem::replace(waker, Waker::noop().clone()));
                *seat = match &failure {
                    None => Seat::Done,
                    Some((error, until)) => Seat::Failed(error.clone(), *until),
                };
            }
        }
        let landed = if failure.is_some() { FAILED } else { IDLE };
        cabin.failure = failure;
        // Release: pairs with the Acquire in `take_off`.
        // ordering: flight::at_most_one_of_three_leads
        self.state.swap(landed, Ordering::Release);
        woken
    }

    /// Gives the lead to the first follower, or lands when there is none left.
    fn hand_over(&self, cabin: &mut Cabin<E>) -> Vec<Waker> {
        for seat in cabin.seats.values_mut() {
            if let Seat::Waiting(waker) = seat {
                let waker = std::mem::replace(waker, Waker::noop().clone());
                *seat = Seat::Leads;
                return vec![waker];
            }
        }
        self.land(cabin, None)
    }
}

impl<E> Flight<E> {
    fn is(&self, state: u32) -> bool {
        self.state.load(Ordering::Relaxed) == state
    }

    fn change(&self, from: u32, to: u32, ordering: Ordering) -> bool {
        self.state
            .compare_exchange(from, to, ordering, Ordering::Relaxed)
            .is_ok()
    }
}

impl<E: Clone> Default for Flight<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for Flight<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.load(Ordering::Relaxed) {
            IDLE => "idle",
            LEADING => "leading",
            FOLLOWED => "followed",
            _ => "failed",
        };
        f.debug_struct("Flight")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// The lead of a flight. Dropped without an outcome (a cancelled task) it goes to
/// the first follower.
#[must_use = "a dropped leader hands over"]
pub struct Leader<'a, E: Clone> {
    /// Gone once it is said how it went.
    flight: Option<&'a Flight<E>>,
}

impl<E: Clone> Leader<'_, E> {
    /// The work is done: tells the followers.
    pub fn done(mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        if !flight.land_alone() {
            let woken = flight.land(&mut flight.cabin.lock(), None);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// The work failed: tells the followers, and everybody who joins before
    /// `until`. Spread `until` a little, or all buses try again together.
    pub fn fail(mut self, error: E, until: Time) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let woken = flight.land(&mut flight.cabin.lock(), Some((error, until)));
        woken.into_iter().for_each(Waker::wake);
    }
}

impl<E: Clone> Drop for Leader<'_, E> {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        if !flight.land_alone() {
            let woken = flight.hand_over(&mut flight.cabin.lock());
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

impl<E: Clone> fmt::Debug for Leader<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").finish_non_exhaustive()
    }
}

/// Ready when the leader has landed or is gone. Whoever waits with a deadline
/// drops it then.
#[must_use = "a future does nothing unless awaited"]
pub struct Follower<'a, E: Clone> {
    flight: &'a Flight<E>,
    /// Gone once the outcome was collected.
    number: Option<u64>,
}

impl<'a, E: Clone> Future for Follower<'a, E> {
    type Output = Landed<'a, E>;

    /// Polled again after it was ready, it says [`Landed::Done`].
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(number) = this.number else {
            return Poll::Ready(Landed::Done);
        };
        let mut cabin = this.flight.cabin.lock();
        if let Some(Seat::Waiting(waker)) = cabin.seats.get_mut(&number) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        this.number = None;
        Poll::Ready(match cabin.seats.remove(&number) {
            Some(Seat::Failed(error, until)) => Landed::Failed(error, until),
            Some(Seat::Leads) => Landed::Lead(this.flight.lead()),
            Some(Seat::Waiting(_) | Seat::Done) | None => Landed::Done,
        })
    }
}

impl<E: Clone> Drop for Follower<'_, E> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut cabin = self.flight.cabin.lock();
        // The lead may have been given to us unseen: it goes on to the next.
        let woken = match cabin.seats.remove(&number) {
            Some(Seat::Leads) => self.flight.hand_over(&mut cabin),
            _ => Vec::new(),
        };
        drop(cabin);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl<E: Clone> fmt::Debug for Follower<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
