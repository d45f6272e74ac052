//! The duplicate window: message ids seen of late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::Time;

/// Ids and the sequence each was stored under.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    seqs: BTreeMap<Arc<str>, u64>,
    order: VecDeque<(Time, Arc<str>)>,
}

impl Dedupe {
    /// What an id counts against the broker's memory.
    pub(super) const fn cost(id: &str) -> u64 {
        id.len() as u64 + 64
    }

    pub(super) fn get(&self, id: &str) -> Option<u64> {
        self.seqs.get(id).copied()
    }

    pub(super) fn insert(&mut self, now: Time, id: &str, seq: u64) {
        let id: Arc<str> = id.into();
        self.seqs.insert(Arc::clone(&id), seq);
        self.order.push_back((now, id));
    }

    /// Forgets what is older than `window`; says how much memory that freed.
    pub(super) fn expire(&mut self, now: Time, window: Duration) -> u64 {
        let mut freed = 0;
        while let Some((at, id)) = self.order.front()
            && *at + window <= now
        {
            freed += Self::cost(id);
            self.seqs.remove(id);
            self.order.pop_front();
        }
        freed
    }

    /// All memory that the ids take.
    pub(super) fn total_cost(&self) -> u64 {
        self.order.iter().map(|(_, id)| Self::cost(id)).sum()
    }

    pub(super) fn deadline(&self, window: Duration) -> Option<Time> {
        self.order.front().map(|(at, _)| *at + window)
    }
}
