//! How many places the messages of one key take.

use std::collections::HashSet;

use foldhash::fast::FixedState;

use super::held::Held;
use super::words::Key;
use crate::keyed::{Id, Keyed};

/// Which keys hold their share. All it keeps is about keys that hold at least half of
/// it.
#[derive(Debug)]
pub(super) struct Shares {
    share: usize,
    /// Keys that hold their share.
    full: usize,
    /// Keys that were told of, until they hold half.
    told: HashSet<Key, FixedState>,
}

impl Shares {
    pub(super) fn new(share: usize, seed: u64) -> Self {
        Self {
            share,
            full: 0,
            told: HashSet::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// Whether any key holds its share.
    pub(super) const fn any_full(&self) -> bool {
        self.full > 0
    }

    /// Whether the key of `id` holds its share.
    pub(super) fn is_full<T>(&self, keyed: &Keyed<Key, Held<T>>, id: Id) -> bool {
        self.full > 0
            && keyed
                .key(id)
                .is_some_and(|key| keyed.len_of(key) >= self.share)
    }

    /// `id` was added. The head of its key and how many it holds, when that is to be
    /// told.
    pub(super) fn comes<T>(&mut self, keyed: &Keyed<Key, Held<T>>, id: Id) -> Option<(Id, usize)> {
        // Most have a key of their own: nothing is looked up for them.
        if keyed.len() < self.share || self.share > 1 && keyed.is_alone(id) {
            return None;
        }
        let key = keyed.key(id)?;
        let held = keyed.len_of(key);
        self.full += usize::from(held == self.share);
        if held < self.share || !self.told.insert(key.clone()) {
            return None;
        }
        Some((keyed.head(id)?, held))
    }

    /// `id` is about to be taken out.
    pub(super) fn leaves<T>(&mut self, keyed: &Keyed<Key, Held<T>>, id: Id) {
        if self.full == 0 && self.told.is_empty() {
            return;
        }
        let Some(key) = keyed.key(id) else {
            return;
        };
        let held = keyed.len_of(key);
        self.full -= usize::from(held == self.share);
        if held - 1 <= self.share / 2 {
            self.told.remove(key);
        }
    }
}
