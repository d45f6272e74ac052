//! Those who wait for a place, in the order they came.

use std::collections::BTreeMap;
use std::task::Waker;

use super::Place;
use crate::shared::waiters::Waiters;

/// Kept under the lock of its [`Credit`](super::Credit). Each entry belongs to a
/// future that waits and goes when that is dropped.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// By the number they drew: the smallest came first.
    waiting: BTreeMap<u64, Waker>,
    /// Served and not yet come to collect.
    granted: BTreeMap<u64, Place<T>>,
    next: u64,
    pub(super) for_idle: Waiters,
}

pub(super) enum Collected<T> {
    Place(Place<T>),
    NotYet,
    Dismissed,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            granted: BTreeMap::new(),
            next: 0,
            for_idle: Waiters::default(),
        }
    }

    /// Queues at the end and returns the number drawn.
    pub(super) fn queue(&mut self, waker: &Waker) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, waker.clone());
        number
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sets `place` aside for the head of the line, who is to be woken.
    pub(super) fn grant(&mut self, place: Place<T>) -> Option<Waker> {
        let (number, waker) = self.waiting.pop_first()?;
        self.granted.insert(number, place);
        Some(waker)
    }

    /// What has become of `number`; `waker` is the one to wake from now on.
    pub(super) fn collect(&mut self, number: u64, waker: &Waker) -> Collected<T> {
        if let Some(place) = self.granted.remove(&number) {
            return Collected::Place(place);
        }
        match self.waiting.get_mut(&number) {
            Some(known) => {
                known.clone_from(waker);
                Collected::NotYet
            }
            None => Collected::Dismissed,
        }
    }

    /// Leaves the line; a place set aside meanwhile is for the next.
    #[must_use]
    pub(super) fn leave(&mut self, number: u64) -> Option<Place<T>> {
        self.waiting.remove(&number);
        self.granted.remove(&number)
    }

    /// Sends away everybody who was not served.
    #[must_use]
    pub(super) fn dismiss(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}
