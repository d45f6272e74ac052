//! Atomic batches (ADR-50): messages wait until their batch is whole, then all are
//! stored, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::Stream;
use super::publish::{Keeping, Outcome, Verdict};
use crate::broker::dedupe::Dedupe;
use crate::broker::error::{self, Error};
use crate::broker::world::{World, go_json};
use crate::{Outbound, Subject, Time};

/// Most batches of a stream under way.
const MOST_BATCHES: usize = 50;
/// Most messages of a batch.
const MOST: u64 = 1_000;
/// How long a batch waits for its next message.
const IDLE: Duration = Duration::from_secs(10);
/// The header that ends a batch.
const COMMIT: &str = "Nats-Batch-Commit";
/// The longest name of a batch, in bytes.
const MAX_ID: usize = 64;

/// The batches of a stream that are under way, by name.
#[derive(Debug, Default)]
pub(super) struct Batches(BTreeMap<String, Group>);

/// A batch under way.
#[derive(Debug)]
struct Group {
    messages: Vec<Outbound>,
    /// How many messages came.
    last: u64,
    /// What they count against the broker's memory.
    bytes: u64,
    /// When the last one came.
    at: Time,
}

impl Batches {
    /// When the first is abandoned.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.values().map(|group| group.at + IDLE).min()
    }
}

/// What of a batch was found good, and is to be stored before the rest.
#[derive(Debug, Default)]
pub(super) struct Staged {
    count: u64,
    bytes: u64,
    subjects: BTreeMap<String, u64>,
    ids: BTreeSet<String>,
}

impl Staged {
    pub(super) const fn len(&self) -> u64 {
        self.count
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len_of(&self, subject: &str) -> u64 {
        self.subjects.get(subject).copied().unwrap_or(0)
    }

    pub(super) fn has(&self, subject: &str) -> bool {
        self.subjects.contains_key(subject)
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn add(&mut self, subject: &Subject, id: Option<&str>, size: u64) {
        self.count += 1;
        self.bytes += size;
        *self.subjects.entry(subject.to_string()).or_default() += 1;
        self.ids.extend(id.map(str::to_owned));
    }
}

impl Stream {
    /// Takes a message of the batch `id`, and answers its reply.
    pub(super) fn batch(&mut self, world: &mut World, id: &str, message: Outbound) {
        let reply = message.reply.clone().filter(|_| !self.config.no_ack);
        let body = match self.take(world, id, message) {
            Ok(None) => Bytes::new(),
            Ok(Some((seq, count))) => go_json(&json!({
                "stream": &*self.name, "seq": seq, "batch": id, "count": count,
            }))
            .into(),
            Err(error) => {
                go_json(&json!({"error": error.json(), "stream": &*self.name, "seq": 0})).into()
            }
        };
        if let Some(reply) = &reply {
            world.respond(reply, body);
        }
        self.arm(world);
    }

    /// Takes a message of a batch. When it was the last, the sequence of the last and
    /// how many were stored.
    fn take(
        &mut self,
        world: &mut World,
        id: &str,
        message: Outbound,
    ) -> Result<Option<(u64, u64)>, Error> {
        let headers = &message.headers;
        self.check_size(headers.wire_len(), message.payload.len())?;
        if !self.config.allow_atomic {
            return Err(error::ATOMIC_DISABLED);
        }
        if id.len() > MAX_ID {
            return Err(error::BATCH_ID_INVALID);
        }
        let seq = headers.get("Nats-Batch-Sequence");
        let seq = seq.and_then(|seq| seq.parse::<u64>().ok());
        let seq = seq.ok_or(error::BATCH_SEQUENCE_MISSING)?;
        if !self.batches.0.contains_key(id) {
            if seq != 1 {
                return Err(error::BATCH_INCOMPLETE);
            }
            if self.batches.0.len() >= MOST_BATCHES {
                return Err(error::TOO_MANY_BATCHES);
            }
            let group = Group {
                messages: Vec::new(),
                last: 0,
                bytes: 0,
                at: world.now,
            };
            self.batches.0.insert(id.to_owned(), group);
        }
        let commit = headers.get(COMMIT).map(str::to_owned);
        let is_kept = match commit.as_deref() {
            None | Some("1") => true,
            // The message ends the batch and is not of it.
            Some("eob") => false,
            Some(_) => {
                self.forget(world, id);
                return Err(error::BATCH_COMMIT_INVALID);
            }
        };
        let size = self
            .store
            .size(message.subject.as_str(), headers, &message.payload);
        let Some(group) = self.batches.0.get_mut(id) else {
            return Err(error::BATCH_INCOMPLETE);
        };
        group.last += 1;
        group.at = world.now;
        let last = group.last;
        if last != seq {
            self.forget(world, id);
            self.abandoned(world, id, "incomplete");
            return Err(error::BATCH_INCOMPLETE);
        }
        if last > MOST {
            if last == MOST + 1 {
                self.abandoned(world, id, "large");
            }
            if commit.is_some() {
                self.forget(world, id);
            }
            return Err(error::BATCH_TOO_LARGE);
        }
        if world.is_full(size) {
            self.forget(world, id);
            return Err(error::INSUFFICIENT_RESOURCES);
        }
        let Some(group) = self.batches.0.get_mut(id) else {
            return Err(error::BATCH_INCOMPLETE);
        };
        if !is_kept && let Some(last) = group.messages.last_mut() {
            // The one before it is the last; it is stored as if it had said so.
            let _ = last.headers.append(COMMIT, "1");
        }
        if is_kept {
            world.used += size;
            group.bytes += size;
            group.messages.push(message);
        }
        match commit {
            Some(_) => self.commit(world, id).map(Some),
            None => Ok(None),
        }
    }

    /// Stores all messages of a batch, or none.
    fn commit(&mut self, world: &mut World, id: &str) -> Result<(u64, u64), Error> {
        let messages = self.forget(world, id);
        let mut staged = Staged::default();
        let mut all: Vec<(Outbound, Keeping)> = Vec::with_capacity(messages.len());
        for message in messages {
            let (subject, headers) = (message.subject.as_str(), &message.headers);
            let len = message.payload.len();
            let verdict = self.judge(world, subject, headers, len, Some(&staged))?;
            let Verdict::Store(keeping) = verdict else {
                return Err(error::BATCH_DUPLICATE);
            };
            let size = self.store.size(subject, headers, &message.payload);
            let cost = keeping.id.as_deref().map_or(0, Dedupe::cost);
            if world.is_full(staged.bytes() + size + cost) {
                return Err(error::INSUFFICIENT_RESOURCES);
            }
            if !self.is_unwanted_subject(subject) {
                self.check_room(subject, size, Some(&staged))?;
            }
            staged.add(&message.subject, keeping.id.as_deref(), size);
            all.push((message, keeping));
        }
        let mut stored = Vec::with_capacity(all.len());
        let mut last = self.store.last();
        for (message, keeping) in all {
            let subject = message.subject.clone();
            let (seq, outcome) = self.keep(world, message, keeping);
            last = seq;
            if outcome == Outcome::Stored {
                stored.push((subject, seq));
            }
        }
        // Consumers see none of them before all are there.
        for (subject, seq) in &stored {
            self.signal(world, subject.as_str(), *seq);
        }
        Ok((last, staged.len()))
    }

    /// Takes a batch out.
    fn forget(&mut self, world: &mut World, id: &str) -> Vec<Outbound> {
        let Some(group) = self.batches.0.remove(id) else {
            return Vec::new();
        };
        world.used = world.used.saturating_sub(group.bytes);
        group.messages
    }

    /// Forgets all batches: the server restarted, or another leads.
    pub(in crate::broker) fn forget_batches(&mut self, world: &mut World) {
        let groups = std::mem::take(&mut self.batches.0);
        let bytes: u64 = groups.values().map(|group| group.bytes).sum();
        world.used = world.used.saturating_sub(bytes);
    }

    /// Forgets batches that have waited for too long.
    pub(super) fn abandon_batches(&mut self, world: &mut World) {
        let groups = self.batches.0.iter();
        let idle = groups.filter(|(_, group)| group.at + IDLE <= world.now);
        let idle: Vec<String> = idle.map(|(id, _)| id.clone()).collect();
        for id in idle {
            self.forget(world, &id);
            self.abandoned(world, &id, "timeout");
        }
    }

    fn abandoned(&self, world: &mut World, id: &str, reason: &str) {
        let fields = [
            ("stream", json!(&*self.name)),
            ("batch", json!(id)),
            ("reason", json!(reason)),
        ];
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{}", self.name);
        world.advise(subject, "stream_batch_abandoned", &fields);
    }
}
