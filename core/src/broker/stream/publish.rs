//! Storing a message: checks, limits, the answer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::batch::Staged;
use super::{Purge, Stream};
use crate::broker::dedupe::Dedupe;
use crate::broker::error::{self, Error};
use crate::broker::store::{Stored, is_wild};
use crate::broker::world::{World, go_json};
use crate::jetstream::api::{Discard, Retention};
use crate::{Headers, Outbound};

/// What is to be done with a message.
pub(super) enum Verdict {
    /// Store it so.
    Store(Keeping),
    /// It is stored already.
    Duplicate(u64),
}

/// How a message is stored.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Under this id.
    pub(super) id: Option<String>,
    rollup: Option<Rollup>,
    /// For so long.
    ttl: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Rollup {
    Subject,
    All,
}

impl Stream {
    /// Stores `message` and answers its reply.
    pub(in crate::broker) fn publish(&mut self, world: &mut World, message: Outbound) {
        if let Some(id) = message.headers.get("Nats-Batch-Id")
            && !id.is_empty()
        {
            let id = id.to_owned();
            return self.batch(world, &id, message);
        }
        let reply = message.reply.clone().filter(|_| !self.config.no_ack);
        let subject = message.subject.clone();
        let (answer, stored) = match self.store_message(world, message) {
            Ok((seq, stored)) => (None, Some((seq, stored))),
            Err(error) => (Some(error), None),
        };
        if let Some(reply) = &reply {
            let mut body = String::with_capacity(48 + self.name.len());
            if let Some(error) = answer {
                body = go_json(&json!({"error": error.json(), "stream": &*self.name, "seq": 0}));
            } else if let Some((seq, outcome)) = &stored {
                let _ = write!(body, "{{\"stream\":\"{}\",\"seq\":{seq}", self.name);
                body.push_str(match outcome {
                    Outcome::Duplicate => ",\"duplicate\": true}",
                    _ => "}",
                });
            }
            world.respond(reply, body);
        }
        if let Some((seq, Outcome::Stored)) = stored {
            self.signal(world, subject.as_str(), seq);
        }
        self.arm(world);
    }

    /// Tells the consumers that are concerned.
    pub(super) fn signal(&mut self, world: &mut World, subject: &str, seq: u64) {
        let mut settled: Vec<Arc<str>> = Vec::new();
        let (consumers, store, stream) = (&mut self.consumers, &self.store, &self.name);
        self.wanted.visit(subject, |name| {
            if let Some(consumer) = consumers.get_mut(name) {
                consumer.stored(seq);
                if consumer.has_pulls() {
                    if consumer.pump(world, store) {
                        world.ready.insert((Arc::clone(stream), Arc::clone(name)));
                    }
                    consumer.arm(world);
                    settled.push(Arc::clone(name));
                }
            }
        });
        for name in settled {
            self.settle(world, &name);
        }
    }

    fn store_message(
        &mut self,
        world: &mut World,
        message: Outbound,
    ) -> Result<(u64, Outcome), Error> {
        if message
            .reply
            .as_ref()
            .is_some_and(|r| r.as_str().ends_with(".$FI"))
        {
            return Err(error::INGEST_DISABLED);
        }
        let (subject, headers) = (message.subject.as_str(), &message.headers);
        let verdict = if headers.is_empty() {
            self.check_size(0, message.payload.len())?;
            Verdict::Store(Keeping::default())
        } else {
            self.judge(world, subject, headers, message.payload.len(), None)?
        };
        let keeping = match verdict {
            Verdict::Duplicate(seq) => return Ok((seq, Outcome::Duplicate)),
            Verdict::Store(keeping) => keeping,
        };
        let size = self.store.size(subject, headers, &message.payload);
        let id_cost = keeping.id.as_deref().map_or(0, Dedupe::cost);
        if world.is_full(size + id_cost) {
            return Err(error::INSUFFICIENT_RESOURCES);
        }
        if !self.is_unwanted_subject(subject) {
            self.check_room(subject, size, None)?;
        }
        Ok(self.keep(world, message, keeping))
    }

    /// Whether nobody is interested in a message to `subject`, and so it is not kept.
    pub(super) fn is_unwanted_subject(&self, subject: &str) -> bool {
        self.config.retention == Retention::Interest && !self.wanted.covers(subject)
    }

    /// Stores a message for which all checks were made.
    pub(super) fn keep(
        &mut self,
        world: &mut World,
        message: Outbound,
        keeping: Keeping,
    ) -> (u64, Outcome) {
        let Outbound {
            subject,
            headers,
            payload,
            ..
        } = message;
        let Keeping { id, rollup, ttl } = keeping;
        let (seq, outcome) = if self.is_unwanted_subject(subject.as_str()) {
            (self.store.skip(world.wall()), Outcome::Skipped)
        } else {
            let size = self.store.size(subject.as_str(), &headers, &payload);
            let stored = Stored {
                subject: subject.clone(),
                headers,
                payload,
                at: world.wall(),
            };
            world.used += size;
            let seq = self.store.push(stored);
            if let Some(ttl) = ttl {
                self.expiring.insert((world.now + ttl, seq));
            }
            (seq, Outcome::Stored)
        };
        if let Some(id) = &id {
            world.used += Dedupe::cost(id);
            self.dedupe.insert(world.now, id, seq);
        }
        self.last_id = id.unwrap_or_default();
        self.enforce(world, subject.as_str());
        let purge = match rollup {
            Some(Rollup::Subject) => Purge {
                filter: subject.as_str().to_owned(),
                seq: 0,
                keep: 1,
            },
            Some(Rollup::All) => Purge {
                filter: String::new(),
                seq: 0,
                keep: 1,
            },
            None => return (seq, outcome),
        };
        self.purge(world, &purge);
        (seq, outcome)
    }

    pub(super) fn check_size(&self, headers: usize, payload: usize) -> Result<(), Error> {
        let most = self.config.max_msg_size;
        if most > 0 && (headers + payload) as u64 > most.unsigned_abs() {
            return Err(error::MESSAGE_TOO_LARGE);
        }
        Ok(())
    }

    /// What the headers ask for, in the server's order; of a message of a batch, after
    /// those that are `staged` before it.
    pub(super) fn judge(
        &mut self,
        world: &mut World,
        subject: &str,
        headers: &Headers,
        payload: usize,
        staged: Option<&Staged>,
    ) -> Result<Verdict, Error> {
        self.check_size(headers.wire_len(), payload)?;
        let mut id = None;
        let mut expected_id = None;
        let mut expected_stream = None;
        let mut expected_last = None;
        let mut expected_subject_last = None;
        let mut expected_subject = None;
        let mut rollup = None;
        let mut schedule = None;
        let mut ttl = None;
        let mut counter = false;
        for (name, value) in headers.iter() {
            let Some(name) = name.strip_prefix("Nats-") else {
                continue;
            };
            let slot = match name {
                "Msg-Id" => &mut id,
                "Expected-Stream" => &mut expected_stream,
                "Expected-Last-Msg-Id" => &mut expected_id,
                "Expected-Last-Sequence" => &mut expected_last,
                "Expected-Last-Subject-Sequence" => &mut expected_subject_last,
                "Expected-Last-Subject-Sequence-Subject" => &mut expected_subject,
                "Rollup" => &mut rollup,
                "Schedule" => &mut schedule,
                "TTL" => &mut ttl,
                "Incr" => {
                    counter = true;
                    continue;
                }
                _ => continue,
            };
            if !value.is_empty() {
                slot.get_or_insert(value);
            }
        }
        if counter {
            return Err(error::COUNTER_DISABLED);
        }
        if expected_stream.is_some_and(|stream| stream != &*self.name) {
            return Err(error::EXPECTED_STREAM);
        }
        let ttl = match ttl {
            None => None,
            Some(_) if !self.config.allow_msg_ttl => return Err(error::TTL_DISABLED),
            Some(ttl) => Some(parse_ttl(ttl).ok_or(error::TTL_INVALID)?),
        };
        if let Some(expected) = expected_subject_last {
            let subject = expected_subject.unwrap_or(subject);
            if staged.is_some_and(|staged| staged.has(subject)) {
                return Err(error::WRONG_LAST_SEQUENCE_BUSY);
            }
            let last = self.last_seq(subject).unwrap_or(0);
            if expected.parse() != Ok(last) {
                return Err(Error::wrong_last_sequence(last));
            }
        } else if expected_subject.is_some() {
            return Err(error::EXPECTED_SEQUENCE_MISSING);
        }
        if let Some(expected) = expected_last {
            let last = self.store.last() + staged.map_or(0, Staged::len);
            if expected.parse() != Ok(last) {
                return Err(Error::wrong_last_sequence(last));
            }
            // Only the first of a batch may expect it.
            if staged.is_some_and(|staged| staged.len() > 0) {
                return Err(error::WRONG_LAST_SEQUENCE_BUSY);
            }
        }
        if schedule.is_some() {
            return Err(error::SCHEDULES_DISABLED);
        }
        if let Some(id) = id {
            let freed = self.dedupe.expire(world.now, self.config.window());
            world.used = world.used.saturating_sub(freed);
            let known = self.dedupe.get(id);
            if let Some(staged) = staged {
                if known.is_some() || staged.has_id(id) {
                    return Err(error::BATCH_DUPLICATE);
                }
            } else if let Some(seq) = known {
                return Ok(Verdict::Duplicate(seq));
            }
        }
        if staged.is_some() && expected_id.is_some() {
            return Err(Error::batch_header("Nats-Expected-Last-Msg-Id"));
        }
        if expected_id.is_some_and(|id| id != self.last_id) {
            return Err(Error::wrong_last_id(&self.last_id));
        }
        let rollup = match rollup {
            None => None,
            Some(_) if !self.config.allow_rollup_hdrs => {
                return Err(Error::rollup_failed("rollup not permitted"));
            }
            Some("sub") => Some(Rollup::Subject),
            Some("all") => Some(Rollup::All),
            Some(other) => {
                return Err(Error::rollup_failed(format!(
                    "rollup value invalid: {other:?}"
                )));
            }
        };
        let id = id.map(str::to_owned);
        Ok(Verdict::Store(Keeping { id, rollup, ttl }))
    }

    /// The last sequence of a subject or pattern.
    pub(in crate::broker) fn last_seq(&self, subject: &str) -> Option<u64> {
        if is_wild(subject) {
            return self.store.last_seq_of(&[subject.to_owned()]);
        }
        self.store.seqs(subject)?.back().copied()
    }

    /// With discard new: whether the limits leave room for `size` more bytes, after what
    /// is `staged`.
    pub(super) fn check_room(
        &self,
        subject: &str,
        size: u64,
        staged: Option<&Staged>,
    ) -> Result<(), Error> {
        let config = &self.config;
        let (more, of_subject, more_bytes) = staged.map_or((0, 0, 0), |staged| {
            (staged.len(), staged.len_of(subject), staged.bytes())
        });
        if config.discard != Discard::New {
            return Ok(());
        }
        let mut replaced = None;
        if config.max_msgs_per_subject > 0
            && let seqs = self.store.seqs(subject)
            && (seqs.map_or(0, |seqs| seqs.len() as u64) + of_subject)
                >= config.max_msgs_per_subject.unsigned_abs()
        {
            if config.discard_new_per_subject {
                return Err(Error::store_failed("maximum messages per subject exceeded"));
            }
            let first = seqs.and_then(|seqs| seqs.front());
            replaced = first.and_then(|seq| self.store.get(*seq));
        }
        if config.max_msgs > 0
            && self.store.len() + more >= config.max_msgs.unsigned_abs()
            && replaced.is_none()
        {
            return Err(Error::store_failed("maximum messages exceeded"));
        }
        let bytes = self.store.bytes() + more_bytes + size;
        if config.max_bytes > 0 && bytes > config.max_bytes.unsigned_abs() {
            let freed = replaced.map_or(0, |m| {
                self.store.size(m.subject.as_str(), &m.headers, &m.payload)
            });
            if freed < size {
                return Err(Error::store_failed("maximum bytes exceeded"));
            }
        }
        Ok(())
    }

    /// Enforces the limits after a message to `subject` was stored.
    fn enforce(&mut self, world: &mut World, subject: &str) {
        let most = self.config.max_msgs_per_subject;
        while most > 0
            && let Some(seqs) = self.store.seqs(subject)
            && seqs.len() as i64 > most
            && let Some(&seq) = seqs.front()
        {
            self.remove(world, seq);
        }
        // What is there already stays when limits shrink under discard new.
        if self.config.discard == Discard::New {
            return;
        }
        let (messages, bytes) = (self.config.max_msgs, self.config.max_bytes);
        while (messages > 0 && self.store.len() > messages.unsigned_abs()
            || bytes > 0 && self.store.bytes() > bytes.unsigned_abs())
            && let Some(seq) = self.store.first_seq_of_all()
        {
            self.remove(world, seq);
        }
    }

    /// Enforces the limits for every subject, after they changed.
    pub(super) fn enforce_all(&mut self, world: &mut World) {
        self.enforce(world, "");
        if self.config.max_msgs_per_subject > 0 {
            let most = usize::try_from(self.config.max_msgs_per_subject).unwrap_or(usize::MAX);
            let subjects: Vec<_> = self
                .store
                .matching(&[])
                .filter(|(_, seqs)| seqs.len() > most)
                .map(|(subject, _)| subject.clone())
                .collect();
            for subject in subjects {
                self.enforce(world, subject.as_str());
            }
        }
    }
}

/// A time to live: seconds, or a whole number of h, m or s; at least a second.
fn parse_ttl(text: &str) -> Option<Duration> {
    let (number, unit) = match text.as_bytes().last()? {
        b'h' => (text.strip_suffix('h')?, 3_600),
        b'm' => (text.strip_suffix('m')?, 60),
        b's' => (text.strip_suffix('s')?, 1),
        _ => (text, 1),
    };
    let seconds = number.parse::<u32>().ok().filter(|number| *number > 0)?;
    Some(Duration::from_secs(u64::from(seconds) * unit))
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored,
    /// Nobody was interested: it used up a sequence.
    Skipped,
    Duplicate,
}
