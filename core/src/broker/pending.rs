//! Deliveries that nobody settled yet, and those due again.

use std::collections::{BTreeMap, BTreeSet};

use crate::Time;

/// An unsettled delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    /// The consumer sequence of its first delivery.
    pub(super) consumer_seq: u64,
    /// When it is due again; `None` while it is queued for that.
    due: Option<Time>,
}

/// Unsettled deliveries by stream sequence, the queue of redeliveries, and how
/// often each was redelivered.
#[derive(Debug, Default)]
pub(super) struct Pending {
    unsettled: BTreeMap<u64, Unsettled>,
    due: BTreeSet<(Time, u64)>,
    /// By order of arrival, and back.
    queue: BTreeMap<u64, u64>,
    queued: BTreeMap<u64, u64>,
    next_place: u64,
    redelivered: BTreeMap<u64, u64>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.unsettled.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsettled.is_empty()
    }

    pub(super) fn get(&self, seq: u64) -> Option<Unsettled> {
        self.unsettled.get(&seq).copied()
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.unsettled.contains_key(&seq)
    }

    /// The first unsettled one after `seq`.
    pub(super) fn after(&self, seq: u64) -> Option<(u64, Unsettled)> {
        self.unsettled
            .range(seq.saturating_add(1)..)
            .next()
            .map(|(seq, entry)| (*seq, *entry))
    }

    pub(super) fn seqs(&self) -> impl Iterator<Item = u64> {
        self.unsettled.keys().copied()
    }

    /// Records a delivery, due again at `due`; a redelivery keeps its first consumer
    /// sequence.
    pub(super) fn track(&mut self, seq: u64, consumer_seq: u64, due: Time) {
        let entry = self.unsettled.entry(seq).or_insert(Unsettled {
            consumer_seq,
            due: None,
        });
        if let Some(old) = entry.due.replace(due) {
            self.due.remove(&(old, seq));
        }
        self.due.insert((due, seq));
    }

    /// Moves when an unsettled delivery is due, unless it is already queued.
    pub(super) fn postpone(&mut self, seq: u64, due: Time) {
        if let Some(entry) = self.unsettled.get(&seq)
            && !self.queued.contains_key(&seq)
        {
            self.track(seq, entry.consumer_seq, due);
        }
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Unsettled> {
        let entry = self.unsettled.remove(&seq)?;
        if let Some(due) = entry.due {
            self.due.remove(&(due, seq));
        }
        Some(entry)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what is due by `now` off its timer, in order of sequence.
    pub(super) fn take_due(&mut self, now: Time) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(&(at, seq)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            if let Some(entry) = self.unsettled.get_mut(&seq) {
                entry.due = None;
            }
            seqs.push(seq);
        }
        seqs.sort_unstable();
        seqs
    }

    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Queues for redelivery, once, without a timer until then.
    pub(super) fn enqueue(&mut self, seq: u64) {
        self.requeue(seq);
        if let Some(entry) = self.unsettled.get_mut(&seq)
            && let Some(due) = entry.due.take()
        {
            self.due.remove(&(due, seq));
        }
    }

    /// Puts back the one that was just dequeued.
    pub(super) fn requeue(&mut self, seq: u64) {
        if !self.queued.contains_key(&seq) {
            self.queued.insert(seq, self.next_place);
            self.queue.insert(self.next_place, seq);
            self.next_place += 1;
        }
    }

    pub(super) fn dequeue(&mut self) -> Option<u64> {
        let (_, seq) = self.queue.pop_first()?;
        self.queued.remove(&seq);
        Some(seq)
    }

    pub(super) fn unqueue(&mut self, seq: u64) {
        if let Some(place) = self.queued.remove(&seq) {
            self.queue.remove(&place);
        }
    }

    /// Drops queued redeliveries below `seq`.
    pub(super) fn unqueue_below(&mut self, seq: u64) {
        self.queue.retain(|_, s| *s >= seq);
        self.queued = self.queued.split_off(&seq);
    }

    pub(super) fn unqueue_all(&mut self) {
        self.queue.clear();
        self.queued.clear();
    }

    pub(super) fn redelivered_count(&self) -> usize {
        self.redelivered.len()
    }

    /// How often `seq` was redelivered.
    pub(super) fn redeliveries(&self, seq: u64) -> u64 {
        self.redelivered.get(&seq).copied().unwrap_or(0)
    }

    pub(super) fn was_redelivered(&self, seq: u64) -> bool {
        self.redelivered.contains_key(&seq)
    }

    /// Counts one more redelivery and says which delivery that is.
    pub(super) fn count_redelivery(&mut self, seq: u64) -> u64 {
        let count = self.redelivered.entry(seq).or_insert(0);
        *count += 1;
        *count + 1
    }

    pub(super) fn uncount_redelivery(&mut self, seq: u64) {
        if let Some(count) = self.redelivered.get_mut(&seq) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.redelivered.remove(&seq);
            }
        }
    }

    pub(super) fn forget_redeliveries(&mut self, seq: u64) {
        self.redelivered.remove(&seq);
    }

    /// Marks `seq` as one that ran out of deliveries.
    pub(super) fn mark_exhausted(&mut self, seq: u64) {
        self.redelivered.entry(seq).or_insert(1);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// After a restart everything unsettled is timed anew.
    pub(super) fn rearm(&mut self, due: impl Fn(u64) -> Time) {
        self.due.clear();
        self.unqueue_all();
        let redelivered = &self.redelivered;
        for (seq, entry) in &mut self.unsettled {
            let at = due(redelivered.get(seq).copied().unwrap_or(0));
            entry.due = Some(at);
            self.due.insert((at, *seq));
        }
    }
}
