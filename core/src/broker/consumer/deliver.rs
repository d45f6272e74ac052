//! Pulls and deliveries.

use std::fmt::Write as _;

use super::{Consumer, Pair};
use crate::broker::pull::{Request, Waiting};
use crate::broker::store::{Store, Stored};
use crate::broker::stream_config::nanos;
use crate::broker::world::{BURST, World};
use crate::jetstream::api::{AckPolicy, Retention};
use crate::{Message, Subject};

/// What there is to deliver.
enum Next {
    /// A sequence, and the how-many-th delivery of it this is.
    Message(u64, u64),
    /// Nothing now.
    End,
    /// Too much is unsettled.
    Stalled,
}

impl Consumer {
    /// A pull arrived.
    pub(in crate::broker) fn pull(&mut self, world: &mut World, reply: &Subject, body: &[u8]) {
        let request = match Request::read(body) {
            Ok(request) => request,
            Err(why) => {
                return world.status(reply, 400, &format!("Bad Request - {why}"), &[]);
            }
        };
        if let Some(refusal) = self.over_limit(&request) {
            return world.status(reply, 409, &refusal, &[]);
        }
        let most = usize::try_from(self.config.max_waiting).unwrap_or(0);
        if self.queue.pulls.len() >= most {
            self.process_waiting(world, false);
        }
        if request.no_wait {
            let available = self.undelivered.max(0) as u64 + self.pending.queue_len() as u64;
            if available == 0 && request.expires == 0 {
                self.last_active = world.now;
                return world.status(reply, 404, "No Messages", &[]);
            }
            if available > 0 {
                self.process_waiting(world, false);
                let owed: i64 = self.queue.pulls.iter().map(|p| p.messages).sum();
                if owed != 0 && available < owed.cast_unsigned() {
                    self.last_active = world.now;
                    return world.status(reply, 408, "Requests Pending", &[]);
                }
            }
        }
        if self.queue.pulls.len() >= most {
            // One with heartbeats notices by their absence; an answer would make it
            // ask again at once, for ever.
            if request.idle_heartbeat == 0 {
                world.status(reply, 409, "Exceeded MaxWaiting", &[]);
            }
            return;
        }
        self.last_active = world.now;
        if world.router.has_interest(reply.as_str()) {
            self.queue
                .push(Waiting::new(world.now, reply.clone(), &request));
        }
    }

    fn over_limit(&self, request: &Request) -> Option<String> {
        let config = &self.config;
        if config.max_batch > 0 && request.batch > config.max_batch {
            return Some(format!("Exceeded MaxRequestBatch of {}", config.max_batch));
        }
        if config.max_expires > 0 && request.expires > config.max_expires {
            let limit = go_duration(config.max_expires);
            return Some(format!("Exceeded MaxRequestExpires of {limit}"));
        }
        if config.max_bytes > 0 && request.max_bytes > config.max_bytes {
            let limit = config.max_bytes;
            return Some(format!("Exceeded MaxRequestMaxBytes of {limit}"));
        }
        None
    }

    /// Delivers what can be delivered. Says whether it stopped for the driver's turn
    /// and has to be called again.
    pub(in crate::broker) fn pump(&mut self, world: &mut World, store: &Store) -> bool {
        let mut stalled = false;
        while self.has_pulls() {
            if world.out.len() >= BURST {
                return true;
            }
            match self.look(world, store) {
                Next::Message(seq, nth) => {
                    let Some(message) = store.get(seq) else {
                        continue;
                    };
                    if !self.give(world, seq, nth, message) {
                        break;
                    }
                }
                Next::End => break,
                Next::Stalled => {
                    stalled = true;
                    break;
                }
            }
        }
        self.process_waiting(world, !stalled);
        false
    }

    /// Finds the next message: redeliveries first.
    fn look(&mut self, world: &mut World, store: &Store) -> Next {
        let limit = self.config.max_deliver.max(0).cast_unsigned();
        while let Some(seq) = self.pending.dequeue() {
            let nth = self.pending.count_redelivery(seq);
            if limit > 0 && nth > limit {
                if nth == limit + 1 {
                    self.advise_exhausted(world, seq, nth - 1);
                }
                if let Some(entry) = self.pending.remove(seq) {
                    self.delivered_at = Some(world.wall());
                    self.raise_floor(entry.consumer_seq, seq);
                }
                continue;
            }
            if store.contains(seq) {
                return Next::Message(seq, nth);
            }
            self.pending.uncount_redelivery(seq);
            self.pending.remove(seq);
        }
        let most = usize::try_from(self.config.max_ack_pending).unwrap_or(0);
        if self.config.ack_policy != AckPolicy::None && most > 0 && self.pending.len() >= most {
            return Next::Stalled;
        }
        if let Some(seq) = self.skips.pop_front() {
            self.next.stream = if self.skips.is_empty() {
                self.resume
            } else {
                seq
            } + 1;
            return Next::Message(seq, 1);
        }
        match store.next_match(self.next.stream, &self.filters) {
            Some((seq, _)) => {
                self.next.stream = seq + 1;
                Next::Message(seq, 1)
            }
            None => {
                if store.last() >= self.next.stream {
                    self.next.stream = store.last() + 1;
                }
                self.undelivered = 0;
                Next::End
            }
        }
    }

    /// Gives `message` to the next pull that can take it; takes the message back
    /// when there is none.
    fn give(&mut self, world: &mut World, seq: u64, nth: u64, message: &Stored) -> bool {
        if nth == 1 {
            self.undelivered -= 1;
        }
        let mut ack = String::with_capacity(self.ack_prefix.len() + 64);
        ack.push_str(&self.ack_prefix);
        let _ = write!(
            ack,
            "{nth}.{seq}.{}.{}.{}",
            self.next.consumer,
            message.at.as_unix_nanos(),
            self.undelivered.max(0)
        );
        let mut headers = message.headers.clone();
        let mut payload = message.payload.clone();
        if self.config.headers_only {
            let _ = headers.append("Nats-Msg-Size", &payload.len().to_string());
            payload.clear();
        }
        let size = message.subject.as_str().len() + ack.len() + headers.wire_len() + payload.len();
        let Some(taken) = self.next_waiting(world, size) else {
            if nth == 1 {
                self.next.stream = seq;
                self.undelivered += 1;
            } else {
                self.pending.uncount_redelivery(seq);
                self.pending.requeue(seq);
            }
            return false;
        };
        self.record(world, seq, nth);
        let delivery = Message {
            subject: message.subject.clone(),
            reply: Some(Subject::from(ack)),
            headers,
            status: None,
            payload,
        };
        world
            .router
            .deliver(taken.reply.as_str(), delivery, &mut world.out);
        if taken.messages <= 0 && taken.bytes > 0 {
            pending_status(world, &taken, 409, "Batch Completed");
        }
        true
    }

    /// Writes a delivery down.
    fn record(&mut self, world: &World, seq: u64, nth: u64) {
        let consumer_seq = self.next.consumer;
        self.next.consumer += 1;
        self.delivered_at = Some(world.wall());
        self.last_active = world.now;
        self.shown_delivered.consumer = consumer_seq;
        if self.config.ack_policy == AckPolicy::None {
            self.floor = Pair {
                consumer: consumer_seq,
                stream: seq,
            };
            self.shown_delivered.stream = seq;
            self.shown_floor = self.floor;
            if self.retention != Retention::Limits {
                self.settled.push(seq);
            }
            return;
        }
        self.shown_delivered.stream = self.shown_delivered.stream.max(seq);
        let redelivered = if nth > 1 {
            self.pending.redeliveries(seq)
        } else {
            0
        };
        let due = world.now + self.config.wait(redelivered);
        self.pending.track(seq, consumer_seq, due);
    }

    /// The next pull that takes `size` bytes, after this message was taken off it.
    fn next_waiting(&mut self, world: &mut World, size: usize) -> Option<Taken> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        while let Some(mut pull) = self.queue.pop() {
            if pull.is_expired(world.now) {
                pull_status(world, &pull, 408, "Request Timeout");
                continue;
            }
            if pull.bytes > 0 {
                if size > pull.bytes {
                    pull_status(world, &pull, 409, "Message Size Exceeds MaxBytes");
                    continue;
                }
                pull.bytes -= size;
                if pull.bytes == 0 {
                    pull.messages = 1;
                }
            }
            if !world.router.has_interest(pull.reply.as_str()) {
                continue;
            }
            pull.delivered += 1;
            pull.messages -= 1;
            let taken = Taken {
                reply: pull.reply.clone(),
                messages: pull.messages,
                bytes: pull.bytes,
            };
            if pull.messages > 0 {
                if pull.heartbeat > 0 {
                    pull.next_heartbeat = Some(world.now + nanos(pull.heartbeat));
                }
                self.queue.push(pull);
            }
            return Some(taken);
        }
        None
    }

    /// Answers pulls that expired, beats for those that wait, and drops those that
    /// nobody listens for. `end`: there is nothing to deliver to those that do not
    /// wait.
    pub(super) fn process_waiting(&mut self, world: &mut World, end: bool) {
        let queue = &mut self.queue;
        let interest_lost = queue.losses != world.router.losses();
        let due = queue.deadline.is_some_and(|at| at <= world.now);
        if queue.pulls.is_empty() {
            queue.deadline = None;
            return;
        }
        if !(due || interest_lost || end && queue.no_waits > 0) {
            return;
        }
        queue.losses = world.router.losses();
        let last = (
            (self.next.consumer - 1).to_string(),
            (self.next.stream - 1).to_string(),
        );
        queue.pulls.retain_mut(|pull| {
            if pull.is_expired(world.now) {
                pull_status(world, pull, 408, "Request Timeout");
                return false;
            }
            if end && pull.no_wait && (pull.expires.is_none() || pull.delivered > 0) {
                world.status(&pull.reply, 404, "No Messages", &[]);
                return false;
            }
            if interest_lost && !world.router.has_interest(pull.reply.as_str()) {
                return false;
            }
            if pull.next_heartbeat.is_some_and(|at| at <= world.now) {
                let headers = [
                    ("Nats-Last-Consumer", last.0.as_str()),
                    ("Nats-Last-Stream", last.1.as_str()),
                ];
                world.status(&pull.reply, 100, "Idle Heartbeat", &headers);
                pull.next_heartbeat = Some(world.now + nanos(pull.heartbeat));
            }
            true
        });
        queue.settle();
    }

    /// Its timer fired: pulls are looked through before anything else, and those that
    /// do not wait end even while deliveries are stalled.
    pub(in crate::broker) fn wake(&mut self, world: &mut World) {
        if self.queue.deadline.is_some_and(|at| at <= world.now) {
            self.process_waiting(world, true);
        }
    }

    /// Answers all pulls with a 409 and forgets them.
    pub(in crate::broker) fn release(&mut self, world: &mut World, why: &str) {
        while let Some(pull) = self.queue.pop() {
            world.status(&pull.reply, 409, why, &[]);
        }
        self.queue.settle();
    }
}

/// What a message was given to.
struct Taken {
    reply: Subject,
    messages: i64,
    bytes: i64,
}

fn pull_status(world: &mut World, pull: &Waiting, code: u16, description: &str) {
    let taken = Taken {
        reply: pull.reply.clone(),
        messages: pull.messages,
        bytes: pull.bytes,
    };
    pending_status(world, &taken, code, description);
}

/// A status with what the pull still asked for.
fn pending_status(world: &mut World, pull: &Taken, code: u16, description: &str) {
    let (messages, bytes) = (pull.messages.to_string(), pull.bytes.to_string());
    let headers = [
        ("Nats-Pending-Messages", messages.as_str()),
        ("Nats-Pending-Bytes", bytes.as_str()),
    ];
    world.status(&pull.reply, code, description, &headers);
}

/// A duration as Go prints it, for whole milliseconds up.
pub(in crate::broker) fn go_duration(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let rest = nanos % 1_000_000_000;
    if seconds == 0 {
        return format!("{}ms", nanos as f64 / 1e6);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = (seconds % 60) as f64 + rest as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}
