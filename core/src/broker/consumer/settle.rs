//! Acknowledgements, redelivery timers, and messages that go.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Consumer, Pair};
use crate::Subject;
use crate::broker::store::{Store, is_match};
use crate::broker::stream_config::nanos;
use crate::broker::world::World;
use crate::jetstream::api::{AckPolicy, Retention};

/// Why a delivery ended whose message left the stream.
const DELETED: &str = "Unacknowledged message was deleted";

/// What a delivery's reply subject says: sequences and how often it was delivered.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct Token {
    delivered: u64,
    stream: u64,
    consumer: u64,
}

impl Token {
    /// Reads what follows `$JS.ACK.<stream>.<consumer>.`: five tokens.
    pub(in crate::broker) fn read(text: &str) -> Option<Self> {
        let mut tokens = text.split('.');
        let mut number = || {
            let token = tokens.next()?;
            // The server takes what is no number as one that fits nothing.
            Some(token.parse().unwrap_or(u64::MAX))
        };
        let (delivered, stream, consumer) = (number()?, number()?, number()?);
        let (_at, _pending) = (number()?, number()?);
        tokens.next().is_none().then_some(Self {
            delivered,
            stream,
            consumer,
        })
    }
}

impl Consumer {
    /// An acknowledgement of any kind arrived.
    pub(in crate::broker) fn acknowledge(
        &mut self,
        world: &mut World,
        token: Token,
        reply: Option<&Subject>,
        body: &[u8],
    ) {
        self.last_active = world.now;
        let mut answer = token.stream != 0;
        match body {
            b"" | b"+ACK" | b"+OK" => answer = answer && self.ack(world, token),
            _ if body.starts_with(b"+NXT") => {
                self.ack(world, token);
                if let Some(reply) = reply {
                    self.pull(world, reply, body.get(4..).unwrap_or_default());
                }
                return;
            }
            _ if body.starts_with(b"-NAK") => {
                self.nak(world, token, body.get(4..).unwrap_or_default());
            }
            b"+WPI" => {
                let due = world.now + self.config.wait(self.pending.redeliveries(token.stream));
                self.pending.postpone(token.stream, due);
                if self.pending.contains(token.stream) {
                    self.delivered_at = Some(world.wall());
                }
            }
            _ if body.starts_with(b"+TERM") => {
                let reason = String::from_utf8_lossy(body.get(5..).unwrap_or_default());
                answer = self.terminate(world, token, reason.trim()) && answer;
            }
            _ => {}
        }
        if answer && let Some(reply) = reply {
            world.respond(reply, "");
        }
    }

    /// Settles a message; says whether it is worth an answer.
    fn ack(&mut self, world: &World, token: Token) -> bool {
        let seq = token.stream;
        if seq >= self.next.stream {
            return false;
        }
        let in_place = self.retention != Retention::Limits;
        let mut consumer_seq = token.consumer;
        match self.config.ack_policy {
            AckPolicy::None => return in_place,
            AckPolicy::Explicit => {
                if let Some(entry) = self.pending.remove(seq) {
                    consumer_seq = entry.consumer_seq;
                    self.raise_floor(consumer_seq, seq);
                    self.log_settled(world, seq, consumer_seq);
                    self.show_floor(consumer_seq, seq);
                }
                self.pending.forget_redeliveries(seq);
                self.pending.unqueue(seq);
            }
            AckPolicy::All => {
                if consumer_seq <= self.floor.consumer || seq <= self.floor.stream {
                    return true;
                }
                self.floor = Pair {
                    consumer: consumer_seq,
                    stream: seq,
                };
                let below: Vec<u64> = self.pending.seqs().take_while(|s| *s <= seq).collect();
                for seq in below {
                    if let Some(entry) = self.pending.remove(seq) {
                        self.log_settled(world, seq, entry.consumer_seq);
                    }
                    self.pending.forget_redeliveries(seq);
                    self.pending.unqueue(seq);
                    if in_place && seq != token.stream {
                        self.settled.push(seq);
                    }
                }
                self.shown_floor = self.floor;
            }
        }
        self.acked_at = Some(world.wall());
        if in_place {
            self.settled.push(seq);
        }
        true
    }

    fn log_settled(&mut self, world: &World, seq: u64, consumer_seq: u64) {
        let memory = world.config.ack_memory;
        if memory.is_zero() {
            return;
        }
        while let Some((at, ..)) = self.settled_log.front()
            && *at + memory < world.now
        {
            self.settled_log.pop_front();
        }
        self.settled_log.push_back((world.now, seq, consumer_seq));
    }

    /// Moves the floor after `seq` left the unsettled ones.
    pub(super) fn raise_floor(&mut self, consumer_seq: u64, seq: u64) {
        if self.pending.is_empty() {
            self.floor = Pair {
                consumer: self.next.consumer - 1,
                stream: self.next.stream - 1,
            };
        } else if consumer_seq == self.floor.consumer + 1 {
            self.floor = self.up_to_gap(consumer_seq, seq);
        }
    }

    fn show_floor(&mut self, consumer_seq: u64, seq: u64) {
        if self.pending.is_empty() {
            self.shown_floor = self.shown_delivered;
        } else if consumer_seq == self.shown_floor.consumer + 1 {
            self.shown_floor = self.up_to_gap(consumer_seq, seq);
        }
    }

    /// Settled without a gap: just before the next unsettled one.
    fn up_to_gap(&self, consumer_seq: u64, seq: u64) -> Pair {
        match self.pending.after(seq) {
            Some((next, entry)) => Pair {
                consumer: entry.consumer_seq.saturating_sub(1),
                stream: next - 1,
            },
            None => Pair {
                consumer: consumer_seq,
                stream: seq,
            },
        }
    }

    fn nak(&mut self, world: &mut World, token: Token, argument: &[u8]) {
        let seq = token.stream;
        if token.consumer <= self.floor.consumer
            || token.consumer > self.next.consumer
            || !self.pending.contains(seq)
        {
            return;
        }
        self.advise(world, "MSG_NAKED", "nak", token, &[]);
        let argument = argument.trim_ascii();
        if argument.is_empty() {
            return self.pending.enqueue(seq);
        }
        match read_delay(argument) {
            Some(delay) => {
                self.pending.unqueue(seq);
                // The server moves the delivery's time so that its ack wait ends after
                // the delay; with backoff the step's wait counts instead.
                let wait = self.config.wait(self.pending.redeliveries(seq));
                let ack_wait = nanos(self.config.ack_wait);
                let delay = (delay + wait).saturating_sub(ack_wait);
                self.pending.postpone(seq, world.now + delay);
                self.delivered_at = Some(world.wall());
            }
            None => self.pending.enqueue(seq),
        }
    }

    fn terminate(&mut self, world: &mut World, token: Token, reason: &str) -> bool {
        let done = self.ack(world, token);
        let fields = if reason.is_empty() {
            Vec::new()
        } else {
            vec![("reason", json!(reason))]
        };
        self.advise(world, "MSG_TERMINATED", "terminated", token, &fields);
        done
    }

    /// Queues what is due again, unless it was delivered often enough.
    pub(in crate::broker) fn expire(&mut self, world: &mut World) {
        let limit = self.config.max_deliver.max(0).cast_unsigned();
        let due = self.pending.take_due(world.now);
        for seq in &due {
            let count = self.pending.redeliveries(*seq).max(1);
            if limit == 0 || count < limit {
                self.pending.enqueue(*seq);
                continue;
            }
            if count == limit {
                self.advise_exhausted(world, *seq, count);
            }
            if self.pending.remove(*seq).is_some() {
                self.delivered_at = Some(world.wall());
            }
            self.pending.mark_exhausted(*seq);
        }
        if !due.is_empty() && self.pending.is_empty() {
            self.pending.unqueue_all();
            self.floor = Pair {
                consumer: self.next.consumer - 1,
                stream: self.next.stream - 1,
            };
        }
    }

    /// A message left the stream, other than by a purge.
    pub(in crate::broker) fn removed(&mut self, world: &mut World, seq: u64, subject: &str) {
        if seq >= self.next.stream && is_match(&self.filters, subject) {
            self.undelivered -= 1;
        }
        if let Some(entry) = self.pending.get(seq) {
            let token = Token {
                delivered: self.pending.redeliveries(seq).max(1),
                stream: seq,
                consumer: entry.consumer_seq,
            };
            self.terminate(world, token, DELETED);
        } else {
            self.pending.forget_redeliveries(seq);
        }
    }

    /// The stream was purged, and the first message left for this consumer would be
    /// `first`. With `tell`, it says what it held of the purged.
    pub(in crate::broker) fn purged(
        &mut self,
        world: &mut World,
        store: &Store,
        first: u64,
        tell: bool,
    ) {
        let first = first.max(1);
        self.next.stream = self.next.stream.max(first);
        let gone: Vec<u64> = self
            .pending
            .seqs()
            .filter(|seq| *seq < first || !store.contains(*seq))
            .collect();
        for seq in gone {
            if let Some(entry) = self.pending.remove(seq) {
                self.floor.consumer = self.floor.consumer.max(entry.consumer_seq);
                self.acked_at = Some(world.wall());
                if tell {
                    let token = Token {
                        delivered: self.pending.redeliveries(seq).max(1),
                        stream: seq,
                        consumer: entry.consumer_seq,
                    };
                    let reason = [("reason", json!(DELETED))];
                    self.advise(world, "MSG_TERMINATED", "terminated", token, &reason);
                }
            }
            self.pending.forget_redeliveries(seq);
            self.pending.unqueue(seq);
        }
        self.skips.retain(|seq| store.contains(*seq));
        self.floor.stream = self.floor.stream.max(first - 1);
        if self.pending.is_empty() {
            self.pending.clear();
            self.floor = Pair {
                consumer: self.next.consumer - 1,
                stream: self.next.stream - 1,
            };
        }
        self.pending.unqueue_below(first);
        self.shown_delivered = Pair {
            consumer: self.next.consumer - 1,
            stream: self.next.stream - 1,
        };
        self.shown_floor = self.floor;
        self.count(store);
    }

    pub(super) fn advise_exhausted(&self, world: &mut World, seq: u64, deliveries: u64) {
        let fields = [
            ("stream", json!(&*self.stream)),
            ("consumer", json!(&*self.name)),
            ("stream_seq", json!(seq)),
            ("deliveries", json!(deliveries)),
        ];
        let subject = self.advisory_subject("MAX_DELIVERIES");
        world.advise(subject, "max_deliver", &fields);
    }

    fn advise(
        &self,
        world: &mut World,
        what: &str,
        kind: &str,
        token: Token,
        more: &[(&str, Value)],
    ) {
        let mut fields = vec![
            ("stream", json!(&*self.stream)),
            ("consumer", json!(&*self.name)),
            ("consumer_seq", json!(token.consumer)),
            ("stream_seq", json!(token.stream)),
            ("deliveries", json!(token.delivered)),
        ];
        fields.extend_from_slice(more);
        world.advise(self.advisory_subject(what), kind, &fields);
    }

    fn advisory_subject(&self, what: &str) -> String {
        format!(
            "$JS.EVENT.ADVISORY.CONSUMER.{what}.{}.{}",
            self.stream, self.name
        )
    }
}

/// The delay of a nak: `{"delay": nanoseconds}` or a number with a Go unit.
fn read_delay(argument: &[u8]) -> Option<Duration> {
    if argument.first() == Some(&b'{') {
        let value: Value = serde_json::from_slice(argument).ok()?;
        return match value.get("delay") {
            None | Some(Value::Null) => Some(Duration::ZERO),
            Some(delay) => delay.as_i64().map(nanos),
        };
    }
    let text = std::str::from_utf8(argument).ok()?;
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().ok()?;
    let scale = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64((number * scale).max(0.0)).ok()
}
