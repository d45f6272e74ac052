//! Storing a message: checks, limits, the answer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Purge, Stream};
use crate::broker::dedupe::Dedupe;
use crate::broker::error::{self, Error};
use crate::broker::store::{Stored, is_wild};
use crate::broker::world::{World, go_json};
use crate::jetstream::api::{Discard, Retention};
use crate::{Headers, Outbound};

/// What is to be done with a message.
enum Verdict<'a> {
    /// Store it, under the id, with the rollup and for so long.
    Store(Option<&'a str>, Option<Rollup>, Option<Duration>),
    /// It is stored already.
    Duplicate(u64),
}

#[derive(Clone, Copy)]
enum Rollup {
    Subject,
    All,
}

impl Stream {
    /// Stores `message` and answers its reply.
    pub(in crate::broker) fn publish(&mut self, world: &mut World, message: Outbound) {
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
    fn signal(&mut self, world: &mut World, subject: &str, seq: u64) {
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
        let Outbound {
            subject,
            headers,
            payload,
            ..
        } = message;
        let verdict = if headers.is_empty() {
            self.check_size(0, payload.len())?;
            Verdict::Store(None, None, None)
        } else {
            self.judge(world, subject.as_str(), &headers, payload.len())?
        };
        let (id, rollup, ttl) = match verdict {
            Verdict::Duplicate(seq) => return Ok((seq, Outcome::Duplicate)),
            Verdict::Store(id, rollup, ttl) => (id, rollup, ttl),
        };
        let size = self.store.size(subject.as_str(), &headers, &payload);
        let id_cost = id.map_or(0, Dedupe::cost);
        if world.is_full(size + id_cost) {
            return Err(error::INSUFFICIENT_RESOURCES);
        }
        let id = id.map(str::to_owned);
        let unwanted =
            self.config.retention == Retention::Interest && !self.wanted.covers(subject.as_str());
        let (seq, outcome) = if unwanted {
            (self.store.skip(world.wall()), Outcome::Skipped)
        } else {
            self.check_room(subject.as_str(), size)?;
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
            world.used += id_cost;
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
            None => return Ok((seq, outcome)),
        };
        self.purge(world, &purge);
        Ok((seq, outcome))
    }

    fn check_size(&self, headers: usize, payload: usize) -> Result<(), Error> {
        let most = self.config.max_msg_size;
        if most > 0 && (headers + payload) as u64 > most.unsigned_abs() {
            return Err(error::MESSAGE_TOO_LARGE);
        }
        Ok(())
    }

    /// What the headers ask for, in the server's order.
    fn judge<'a>(
        &mut self,
        world: &mut World,
        subject: &str,
        headers: &'a Headers,
        payload: usize,
    ) -> Result<Verdict<'a>, Error> {
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
                "Batch-Id" => return Err(error::ATOMIC_DISABLED),
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
            let last = self.last_seq(subject).unwrap_or(0);
            if expected.parse() != Ok(last) {
                return Err(Error::wrong_last_sequence(last));
            }
        } else if expected_subject.is_some() {
            return Err(error::EXPECTED_SEQUENCE_MISSING);
        }
        if let Some(expected) = expected_last {
            let last = self.store.last();
            if expected.parse() != Ok(last) {
                return Err(Error::wrong_last_sequence(last));
            }
        }
        if schedule.is_some() {
            return Err(error::SCHEDULES_DISABLED);
        }
        if let Some(id) = id {
            let freed = self.dedupe.expire(world.now, self.config.window());
            world.used = world.used.saturating_sub(freed);
            if let Some(seq) = self.dedupe.get(id) {
                return Ok(Verdict::Duplicate(seq));
            }
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
        Ok(Verdict::Store(id, rollup, ttl))
    }

    /// The last sequence of a subject or pattern.
    pub(in crate::broker) fn last_seq(&self, subject: &str) -> Option<u64> {
        if is_wild(subject) {
            return self.store.last_seq_of(&[subject.to_owned()]);
        }
        self.store.seqs(subject)?.back().copied()
    }

    /// With discard new: whether the limits leave room for `size` more bytes.
    fn check_room(&self, subject: &str, size: u64) -> Result<(), Error> {
        let config = &self.config;
        if config.discard != Discard::New {
            return Ok(());
        }
        let mut replaced = None;
        if config.max_msgs_per_subject > 0
            && let Some(seqs) = self.store.seqs(subject)
            && seqs.len() as i64 >= config.max_msgs_per_subject
        {
            if config.discard_new_per_subject {
                return Err(Error::store_failed("maximum messages per subject exceeded"));
            }
            replaced = seqs.front().and_then(|seq| self.store.get(*seq));
        }
        if config.max_msgs > 0
            && self.store.len() >= config.max_msgs.unsigned_abs()
            && replaced.is_none()
        {
            return Err(Error::store_failed("maximum messages exceeded"));
        }
        if config.max_bytes > 0 && self.store.bytes() + size > config.max_bytes.unsigned_abs() {
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
#[derive(Clone, Copy)]
enum Outcome {
    Stored,
    /// Nobody was interested: it used up a sequence.
    Skipped,
    Duplicate,
}
