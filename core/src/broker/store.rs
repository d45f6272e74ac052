//! The messages of a stream, by sequence and by subject.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::jetstream::api::Storage;
use crate::subject::covers;
use crate::{Headers, Subject, Timestamp};

/// A stored message.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) subject: Subject,
    pub(super) headers: Headers,
    pub(super) payload: Bytes,
    pub(super) at: Timestamp,
}

/// Messages, an index by subject, and what the server counts of them.
#[derive(Debug)]
pub(super) struct Store {
    storage: Storage,
    messages: BTreeMap<u64, Stored>,
    subjects: BTreeMap<Subject, VecDeque<u64>>,
    bytes: u64,
    first: u64,
    last: u64,
    last_at: Option<Timestamp>,
}

impl Store {
    pub(super) const fn new(storage: Storage, first: u64) -> Self {
        Self {
            storage,
            messages: BTreeMap::new(),
            subjects: BTreeMap::new(),
            bytes: 0,
            first,
            last: first.saturating_sub(1),
            last_at: None,
        }
    }

    /// What a message counts against `max_bytes`: the server's record of it.
    pub(super) fn size(&self, subject: &str, headers: &Headers, payload: &Bytes) -> u64 {
        let headers = headers.wire_len();
        let record = match self.storage {
            Storage::Memory => 16,
            Storage::File if headers == 0 => 30,
            Storage::File => 34,
        };
        (subject.len() + headers + payload.len() + record) as u64
    }

    fn size_of(&self, message: &Stored) -> u64 {
        self.size(message.subject.as_str(), &message.headers, &message.payload)
    }

    pub(super) fn len(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn first_at(&self) -> Option<Timestamp> {
        self.messages.first_key_value().map(|(_, m)| m.at)
    }

    pub(super) const fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    pub(super) fn subject_count(&self) -> usize {
        self.subjects.len()
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Stored> {
        self.messages.get(&seq)
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.messages.contains_key(&seq)
    }

    /// Sequences between first and last that hold nothing. Of a file without any
    /// message ever, the server says 0 is one.
    pub(super) fn deleted(&self) -> impl Iterator<Item = u64> {
        let mut next = match (self.storage, self.first) {
            (Storage::Memory, 0) => 1,
            (_, first) => first,
        };
        self.messages
            .keys()
            .copied()
            .chain([self.last + 1])
            .flat_map(move |seq| {
                let gap = next..seq;
                next = seq + 1;
                gap
            })
    }

    pub(super) fn deleted_count(&self) -> u64 {
        if self.last < self.first || self.first == 0 {
            return 0;
        }
        (self.last - self.first + 1).saturating_sub(self.messages.len() as u64)
    }

    /// Stores a message and says its sequence.
    pub(super) fn push(&mut self, message: Stored) -> u64 {
        let seq = self.next();
        self.last_at = Some(message.at);
        self.bytes += self.size_of(&message);
        if let Some(seqs) = self.subjects.get_mut(&message.subject) {
            seqs.push_back(seq);
        } else {
            self.subjects
                .insert(message.subject.clone(), VecDeque::from([seq]));
        }
        if self.messages.is_empty() {
            self.first = seq;
        }
        self.messages.insert(seq, message);
        seq
    }

    /// Uses up a sequence without storing.
    pub(super) fn skip(&mut self, at: Timestamp) -> u64 {
        let seq = self.next();
        self.last_at = Some(at);
        if self.messages.is_empty() {
            self.first = seq + 1;
        }
        seq
    }

    const fn next(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Stored> {
        let message = self.messages.remove(&seq)?;
        self.bytes = self.bytes.saturating_sub(self.size_of(&message));
        if let Some(seqs) = self.subjects.get_mut(&message.subject) {
            if let Ok(at) = seqs.binary_search(&seq) {
                seqs.remove(at);
            }
            if seqs.is_empty() {
                self.subjects.remove(&message.subject);
            }
        }
        if seq == self.first {
            self.first = self
                .messages
                .first_key_value()
                .map_or(self.last + 1, |(seq, _)| *seq);
        }
        Some(message)
    }

    /// After a purge: an empty store begins at its next sequence, which is at least
    /// `seq`.
    pub(super) fn jump(&mut self, seq: u64) {
        if self.messages.is_empty() {
            self.first = self.last + 1;
        }
        if seq > self.last {
            self.last = seq - 1;
            self.first = seq;
        }
    }

    pub(super) fn seqs_below(&self, seq: u64) -> Vec<u64> {
        self.messages.range(..seq).map(|(seq, _)| *seq).collect()
    }

    pub(super) fn first_seq_of_all(&self) -> Option<u64> {
        self.messages.first_key_value().map(|(seq, _)| *seq)
    }

    /// Sequences of `subject`, in order.
    pub(super) fn seqs(&self, subject: &str) -> Option<&VecDeque<u64>> {
        self.subjects.get(subject.as_bytes())
    }

    /// Subjects that one of `filters` covers (all when there is none), and their
    /// sequences.
    pub(super) fn matching<'a>(
        &'a self,
        filters: &'a [String],
    ) -> impl Iterator<Item = (&'a Subject, &'a VecDeque<u64>)> {
        let literal = match filters {
            [one] if !is_wild(one) => Some(self.subjects.get_key_value(one.as_bytes())),
            _ => None,
        };
        let all = literal.is_none().then(|| {
            self.subjects
                .iter()
                .filter(|(subject, _)| is_match(filters, subject.as_str()))
        });
        literal
            .flatten()
            .into_iter()
            .chain(all.into_iter().flatten())
    }

    pub(super) fn last_seq_of(&self, filters: &[String]) -> Option<u64> {
        self.matching(filters)
            .filter_map(|(_, seqs)| seqs.back().copied())
            .max()
    }

    /// Messages at or after `from` that match.
    pub(super) fn count_from(&self, from: u64, filters: &[String]) -> u64 {
        if filters.is_empty() {
            return if from <= self.first {
                self.len()
            } else {
                self.messages.range(from..).count() as u64
            };
        }
        self.matching(filters)
            .map(|(_, seqs)| (seqs.len() - seqs.partition_point(|s| *s < from)) as u64)
            .sum()
    }

    /// Subjects whose last message is at or after `from`.
    pub(super) fn count_last_from(&self, from: u64, filters: &[String]) -> u64 {
        self.matching(filters)
            .filter(|(_, seqs)| seqs.back().is_some_and(|s| *s >= from))
            .count() as u64
    }

    /// The last sequence of each matching subject, in order.
    pub(super) fn last_seqs(&self, filters: &[String]) -> VecDeque<u64> {
        let mut seqs: Vec<u64> = self
            .matching(filters)
            .filter_map(|(_, seqs)| seqs.back().copied())
            .collect();
        seqs.sort_unstable();
        seqs.into()
    }

    /// The next message at or after `from` that matches. One literal filter jumps by
    /// the subject's index; wildcards walk on, each message once per consumer.
    pub(super) fn next_match(&self, from: u64, filters: &[String]) -> Option<(u64, &Stored)> {
        if let [one] = filters
            && !is_wild(one)
        {
            let seqs = self.seqs(one)?;
            let seq = *seqs.get(seqs.partition_point(|s| *s < from))?;
            return self.get(seq).map(|m| (seq, m));
        }
        self.messages
            .range(from..)
            .find(|(_, m)| is_match(filters, m.subject.as_str()))
            .map(|(seq, m)| (*seq, m))
    }

    /// The first sequence stored at or after `at`; one past the last if none.
    pub(super) fn seq_from_time(&self, at: Timestamp) -> u64 {
        self.messages
            .iter()
            .find(|(_, m)| m.at >= at)
            .map_or(self.last + 1, |(seq, _)| *seq)
    }
}

pub(super) fn is_wild(pattern: &str) -> bool {
    pattern.split('.').any(|token| token == "*" || token == ">")
}

/// Whether `subject` matches one of `filters`; all match none.
pub(super) fn is_match(filters: &[String], subject: &str) -> bool {
    filters.is_empty() || filters.iter().any(|f| covers(f, subject))
}
