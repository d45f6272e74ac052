//! Finding messages by what names them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::held::Identity;

/// What belongs to the messages of a list that somebody else keeps.
///
/// Most messages come once, and nothing is looked up for them. So there is an index only
/// from a question on, until so many were added that it costs no more to make it anew
/// for the next.
#[derive(Debug)]
pub(super) struct Index<V> {
    known: Option<HashMap<Identity, V, FixedState>>,
    hasher: FixedState,
    /// Added since the last question.
    added: usize,
    /// How many may be. As many as the list is long.
    patience: usize,
}

impl<V: Copy> Index<V> {
    pub(super) fn new(patience: usize, seed: u64) -> Self {
        Self {
            known: None,
            hasher: FixedState::with_seed(seed),
            added: 0,
            patience,
        }
    }

    /// The list has one more.
    pub(super) fn add(&mut self, identity: Identity, value: V) {
        let Some(known) = &mut self.known else {
            return;
        };
        self.added += 1;
        if self.added > self.patience {
            self.known = None;
        } else {
            known.insert(identity, value);
        }
    }

    /// The list does not have it any more.
    pub(super) fn remove(&mut self, identity: &Identity) {
        if let Some(known) = &mut self.known {
            known.remove(identity);
        }
    }

    /// What belongs to a message, if it is on the list, which is `all`.
    pub(super) fn get(
        &mut self,
        identity: &Identity,
        all: impl Iterator<Item = (Identity, V)>,
    ) -> Option<V> {
        self.added = 0;
        let known = self.known.get_or_insert_with(|| {
            let mut known = HashMap::with_hasher(self.hasher.clone());
            known.extend(all);
            known
        });
        known.get(identity).copied()
    }

    /// As [`get`](Self::get), when that costs nothing much.
    pub(super) fn peek(&self, identity: &Identity) -> Option<V> {
        self.known.as_ref()?.get(identity).copied()
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn known(&self) -> Option<&HashMap<Identity, V, FixedState>> {
        self.known.as_ref()
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
    fn what_is_on_the_list_is_found_whenever_it_is_asked_for() {
        let mut index = Index::new(3, 1);
        let mut list = Vec::new();
        for seq in 0..20 {
            list.push((name(seq), seq));
            index.add(name(seq), seq);
            if list.len() > 3 {
                index.remove(&list.remove(0).0);
            }
            // Asked never, often, and after so long that the index is gone.
            if (4..8).contains(&seq) || seq == 15 || seq == 19 {
                for asked in 0..=seq + 1 {
                    let expected = list.iter().any(|(_, there)| *there == asked);
                    let found = index.get(&name(asked), list.iter().copied());
                    assert_eq!(found, expected.then_some(asked));
                    assert_eq!(index.peek(&name(asked)), found);
                }
            }
            let asked_lately = (4..=10).contains(&seq) || (15..=18).contains(&seq) || seq == 19;
            assert_eq!(index.known().is_some(), asked_lately, "{seq}");
        }
    }
}
