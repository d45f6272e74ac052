//! What is still known of the last messages that are not held any more.

use std::collections::VecDeque;

use super::held::Identity;
use super::index::Index;

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
    /// The oldest first.
    order: VecDeque<(Identity, V)>,
    /// The number of the oldest; the others are numbered from there on.
    first: u64,
    /// The numbers of messages.
    index: Index<u64>,
}

impl<V: Copy> Recent<V> {
    pub(super) fn new(limit: usize, seed: u64) -> Self {
        Self {
            limit,
            order: VecDeque::new(),
            first: 0,
            index: Index::new(limit, seed),
        }
    }

    pub(super) fn get(&mut self, identity: Identity) -> Option<V> {
        // Of one that is there twice the last counts.
        let identities = self.order.iter().map(|(identity, _)| *identity);
        let number = self.index.get(&identity, identities.zip(self.first..))?;
        self.at(number).map(|(_, value)| *value)
    }

    fn at(&mut self, number: u64) -> Option<&mut (Identity, V)> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.order.get_mut(place)
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn capacity(&self) -> usize {
        let index = self.index.known();
        self.order
            .capacity()
            .max(index.map_or(0, std::collections::HashMap::capacity))
    }

    /// Remembers one more; the oldest is forgotten when there are too many.
    pub(super) fn remember(&mut self, identity: Identity, value: V) {
        let known = self.index.peek(&identity);
        if let Some((_, before)) = known.and_then(|number| self.at(number)) {
            *before = value;
            return;
        }
        let number = self.first + self.order.len() as u64;
        self.order.push_back((identity, value));
        self.index.add(identity, number);
        if self.order.len() > self.limit
            && let Some((oldest, _)) = self.order.pop_front()
        {
            if self.index.peek(&oldest) == Some(self.first) {
                self.index.remove(&oldest);
            }
            self.first += 1;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn name(seq: u64) -> Identity {
        (seq, Timestamp::from_unix_nanos(0), false)
    }

    #[test]
    fn the_last_are_remembered_with_what_was_said_last() {
        for asked_before in [false, true] {
            let mut recent = Recent::new(3, 1);
            for seq in 0..5 {
                recent.remember(name(seq), seq);
                if asked_before {
                    assert_eq!(recent.get(name(seq)), Some(seq));
                }
            }
            // Unasked, it is there twice, and the first of the two is forgotten.
            recent.remember(name(3), 30);
            recent.remember(name(5), 5);
            let found: Vec<_> = (0..6).filter_map(|seq| recent.get(name(seq))).collect();
            assert_eq!(found, [30, 4, 5], "asked before: {asked_before}");
            assert_eq!(recent.len(), 3);
        }
    }
}
