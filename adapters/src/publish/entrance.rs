//! Where publishes of a key come to the hub, which keeps their order.

use std::sync::Arc;
use std::task::Waker;

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;
use jetbus_core::jetstream::publish::Failure;
use jetbus_core::{Subject, Time};

use super::boarding::Departing;

/// What is in order with what: a topic and a key.
pub(crate) type Key = (Subject, Arc<str>);

/// What the hub is told.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A publish in its place of the window comes to the end of its key's line.
    Enter {
        /// Its place, as bits.
        token: u64,
        /// Its number among all publishes.
        order: u64,
        /// Of what it is in order with.
        key: Key,
        /// When its caller stops waiting.
        deadline: Time,
    },
    /// The messages of a batch, in their places of the window.
    Batch(Box<Departing>),
    /// The server was asked about the stream of a publish that nobody answers.
    Asked {
        /// Its place, as bits.
        token: u64,
        /// How its attempt failed.
        failure: Failure,
        /// Whether nobody answered that either.
        unavailable: bool,
    },
}

/// A bounded queue to the hub. A place of the window is in at most one entry at a
/// time, so that it is never full.
#[derive(Debug)]
pub(crate) struct Entrance {
    entries: ArrayQueue<Entry>,
    /// Publishes whose callers left, by their numbers among all publishes. What finds
    /// no room here is taken back when its turn comes.
    left: ArrayQueue<u64>,
    hub: AtomicWaker,
}

impl Entrance {
    /// For a window of so many places, at least one.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            entries: ArrayQueue::new(places.max(1)),
            left: ArrayQueue::new(places.max(1)),
            hub: AtomicWaker::new(),
        }
    }

    /// Tells the hub; gives the entry back when there is no room.
    pub(crate) fn push(&self, entry: Entry) -> Result<(), Entry> {
        self.entries.push(entry)?;
        self.hub.wake();
        Ok(())
    }

    /// The caller of a publish left before it was told.
    pub(crate) fn leave(&self, order: u64) {
        if self.left.push(order).is_ok() {
            self.hub.wake();
        }
    }

    /// The next whose caller left. Look for entries first.
    pub(crate) fn pop_left(&self) -> Option<u64> {
        self.left.pop()
    }

    /// The next entry.
    pub(crate) fn pop(&self) -> Option<Entry> {
        self.entries.pop()
    }

    /// Whom to wake. Look for entries afterwards.
    pub(crate) fn register(&self, hub: &Waker) {
        self.hub.register(hub);
    }
}
