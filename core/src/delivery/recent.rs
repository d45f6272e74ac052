//! What is still known of the last messages that are not held any more.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::Identity;

/// How a message was settled. Remembered so that one whose acknowledgement was lost
/// is acknowledged again, not handled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Acked,
    Termed,
}

#[derive(Debug)]
pub(super) struct Recent<V> {
    limit: usize,
    known: HashMap<Identity, V, FixedState>,
    /// The same, oldest first.
    order: VecDeque<Identity>,
}

impl<V: Copy> Recent<V> {
    pub(super) fn new(limit: usize, seed: u64) -> Self {
        Self {
            limit,
            known: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, identity: Identity) -> Option<V> {
        self.known.get(&identity).copied()
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn capacity(&self) -> usize {
        self.known.capacity().max(self.order.capacity())
    }

    /// Remembers one more; the oldest is forgotten when there are too many.
    pub(super) fn remember(&mut self, identity: Identity, value: V) {
        if self.known.insert(identity, value).is_some() {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
