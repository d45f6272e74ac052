//! The embedded broker: a JetStream server as a machine.
//!
//! It answers the same subjects with the same bytes as nats-server 2.15.1, so that
//! what speaks to a server can speak to it instead. Equal means equal after
//! normalising names of servers and clusters, random ids and times, and up to the
//! order of the keys of JSON objects. It holds everything in memory and does no I/O:
//! connections are numbers, messages go in by [`Broker::handle`] and come out of
//! [`Broker::poll`], and time is an argument. The same inputs give the same outputs.
//!
//! # What is done
//! - Core NATS: subjects with wildcards, queue groups, 503 when nobody listens.
//! - Streams: limits, interest and work-queue retention; limits by messages, bytes,
//!   age, subject and message size; discard old and new (per subject too); the
//!   duplicate window; expected stream, sequences and message id; rollups; purge by
//!   filter, sequence and count; deleting and getting messages; atomic batches.
//! - Pull consumers, durable and ephemeral, with every deliver and ack policy,
//!   filters, backoff, all limits, and all statuses of pulls.
//! - Advisories: streams and consumers created, deleted; messages naked, terminated,
//!   delivered too often.
//!
//! # What is not done, and what it answers instead
//!
//! | asked for | answer |
//! |---|---|
//! | mirrors, sources, republish, subject transforms, delete markers, counters, schedules, fast-ingest batches, persist mode | 10052 "... not supported" at stream create or update |
//! | headers for counters and schedules, replies for fast-ingest batches | what a server says when the stream did not allow them: 10168, 10188, 10205 |
//! | `Nats-TTL: never` and TTLs in other units than h, m, s | 10165 |
//! | sealing a stream | 10052 "sealing a stream is not supported" |
//! | more than one replica | 10074, as a single server |
//! | push consumers, priority groups, pausing, ack sampling, replay policy original | 10012 "... not supported" |
//! | direct get, consumer reset / pause / unpin, snapshots, restores, account purge, `$SYS` | 503, nobody is there |
//! | other subjects below `$JS.API`; a domain (`$JS.<domain>.API`) | as a server without it: no answer; 503 |
//! | `pedantic` | accepted, not enforced |
//! | API audit advisories (`$JS.EVENT.ADVISORY.API`), stream update advisories | never sent |
//! | `placement`, `compression` | kept and shown; there is one place, and nothing to compress |
//! | words of JSON type and syntax errors (10025) | the same code; the words match in the usual cases |
//! | a consumer whose filter an update took away | it goes on with everything; 2.15.1 no longer notices new messages |
//! | subjects and patterns of more than 128 tokens | 10052 "invalid subject"; a subscription to one is ignored |
//! | atomic batches under way in all streams together | bounded by the memory, not by 1 000; 50 of a stream, as a server |
//! | jitter of the inactive threshold | none: it ends exactly then |
//!
//! # Limits
//! Everything is bounded by [`Config`]: a full memory refuses messages (10023) and
//! streams that ask for too much (10047 / 10028), too many streams and consumers are
//! refused (10027, 10026). Deliveries wait inside until the driver polled what is
//! out. A message over `max_payload` closes the connection at a server; a link checks
//! it before, here it is answered with 10054.

mod api;
mod consumer;
mod consumer_config;
mod core_nats;
mod dedupe;
mod error;
mod json;
mod pending;
mod pull;
mod store;
mod stream;
mod stream_config;
mod world;

#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json as json_value;

use self::stream::Stream;
use self::world::World;
use crate::jetstream::api::AckPolicy;
use crate::{Message, Outbound, Subject, Time, Timestamp};

/// The version of nats-server that the broker answers as.
pub const VERSION: &str = "2.15.1";

/// What a broker is given.
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest message, headers included, in bytes.
    pub max_payload: usize,
    /// Memory for the messages of all streams, in bytes.
    pub max_bytes: u64,
    /// Most streams.
    pub max_streams: usize,
    /// Most consumers of one stream.
    pub max_consumers: usize,
    /// Most subscriptions of one connection.
    pub max_subscriptions: usize,
    /// What the wall clock shows at [`Time::ZERO`].
    pub wall: Timestamp,
    /// Where random ids and the choice within queue groups come from.
    pub seed: u64,
    /// How far back [`Broker::restart`] can forget acknowledgements; zero keeps no
    /// record of them.
    pub ack_memory: Duration,
    /// The name it goes by, as `cluster.leader` of a stream.
    pub server_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_payload: 1 << 20,
            max_bytes: 1 << 30,
            max_streams: 10_000,
            max_consumers: 100_000,
            max_subscriptions: 1_000_000,
            wall: Timestamp::default(),
            seed: 0,
            ack_memory: Duration::ZERO,
            server_name: "embedded".to_owned(),
        }
    }
}

/// A client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

/// What a broker is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection wants to hear a subject. Ignored with a sid in use, on a closed
    /// connection, and beyond [`Config::max_subscriptions`].
    Subscribe {
        /// Whose.
        conn: ConnId,
        /// The connection's own number for it.
        sid: u64,
        /// Subject or pattern.
        pattern: Subject,
        /// Of the subscriptions of a group one gets each message.
        group: Option<Box<str>>,
    },
    /// It no longer wants to.
    Unsubscribe {
        /// Whose.
        conn: ConnId,
        /// Which.
        sid: u64,
    },
    /// A connection publishes.
    Publish {
        /// Whose.
        conn: ConnId,
        /// What.
        message: Outbound,
    },
    /// A connection is gone with its subscriptions.
    Disconnect {
        /// Which.
        conn: ConnId,
    },
    /// Time passed.
    Tick,
}

/// What a broker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A message for a subscription.
    Deliver {
        /// Whose.
        conn: ConnId,
        /// The connection's own number of the subscription.
        sid: u64,
        /// The message.
        message: Message,
    },
}

/// The broker. After [`handle`](Self::handle), [`poll`](Self::poll) until there is
/// nothing, then come back at [`deadline`](Self::deadline) at the latest.
#[derive(Debug)]
pub struct Broker {
    world: World,
    streams: BTreeMap<Arc<str>, Stream>,
    leaderless_until: Time,
    api_calls: u64,
    api_errors: u64,
}

impl Broker {
    /// A broker without streams.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            world: World::new(config),
            streams: BTreeMap::new(),
            leaderless_until: Time::ZERO,
            api_calls: 0,
            api_errors: 0,
        }
    }

    /// Opens a connection.
    pub fn connect(&mut self, now: Time) -> ConnId {
        self.advance(now);
        self.world.router.connect()
    }

    /// Takes an input. Time never goes back: an earlier `now` counts as the latest.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.advance(now);
        match input {
            Input::Subscribe {
                conn,
                sid,
                pattern,
                group,
            } => {
                let most = self.world.config.max_subscriptions;
                self.world.router.subscribe(conn, sid, pattern, group, most);
            }
            Input::Unsubscribe { conn, sid } => self.world.router.unsubscribe(conn, sid),
            Input::Publish { conn, message } => {
                let size = message.headers.wire_len() + message.payload.len();
                if !self.world.router.is_connected(conn) {
                    // Late: it left before.
                } else if size > self.world.config.max_payload {
                    self.refuse_size(&message);
                } else {
                    self.publish(message);
                }
            }
            Input::Disconnect { conn } => self.world.router.disconnect(conn),
            Input::Tick => {}
        }
        self.publish_advisories();
    }

    /// The next output, if there is one.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.world.out.pop_front() {
                return Some(output);
            }
            let (stream, consumer) = self.world.ready.pop_first()?;
            if let Some(stream) = self.streams.get_mut(&stream) {
                stream.pump(&mut self.world, &consumer);
            }
            self.publish_advisories();
        }
    }

    /// When [`handle`](Self::handle) wants to be called at the latest; earlier is
    /// harmless. It changes with every input.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let (at, _) = self.world.timers.first()?;
        Some((*at).max(self.leaderless_until))
    }

    /// A fault: the server is killed and starts again. Connections, streams in memory
    /// and everything in flight are gone; streams in files stay, but acknowledgements
    /// since `lost`, when given, are forgotten (as far as [`Config::ack_memory`]
    /// reaches).
    pub fn restart(&mut self, now: Time, lost: Option<Time>) {
        self.advance(now);
        let world = &mut self.world;
        world.router.disconnect_all();
        world.ready.clear();
        let names: Vec<Arc<str>> = self.streams.keys().cloned().collect();
        for name in names {
            let stays = self
                .streams
                .get_mut(&name)
                .is_some_and(|stream| stream.restart(world, lost));
            if !stays && let Some(stream) = self.streams.remove(&name) {
                stream.close(world);
            }
        }
        world.out.clear();
        world.advisories.clear();
    }

    /// A fault: until `until` no stream has a leader. Waiting pulls are told so;
    /// publishing, pulling and acknowledging find nobody; the API does not answer.
    pub fn set_leaderless(&mut self, now: Time, until: Time) {
        self.advance(now);
        for stream in self.streams.values_mut() {
            stream.forget_batches(&mut self.world);
            for consumer in stream.consumers.values_mut() {
                consumer.release(&mut self.world, "Leadership Change");
            }
        }
        self.leaderless_until = until;
    }

    fn is_leaderless(&self) -> bool {
        self.world.now < self.leaderless_until
    }

    /// Moves time on and fires what is due.
    fn advance(&mut self, now: Time) {
        self.world.now = self.world.now.max(now);
        if self.is_leaderless() {
            return;
        }
        while let Some((at, _)) = self.world.timers.first()
            && *at <= self.world.now
            && let Some((_, (stream, consumer))) = self.world.timers.pop_first()
        {
            if let Some(stream) = self.streams.get_mut(&stream) {
                match consumer {
                    Some(consumer) => stream.fire_consumer(&mut self.world, &consumer),
                    None => stream.fire(&mut self.world),
                }
            }
        }
        self.publish_advisories();
    }

    /// Answers a message over `max_payload`, which goes nowhere.
    fn refuse_size(&mut self, message: &Outbound) {
        if let Some(reply) = &message.reply {
            let stream = self.world.captured.first(message.subject.as_str());
            let stream = stream.map_or_else(String::new, |name| (**name).to_owned());
            let error = error::MESSAGE_TOO_LARGE.json();
            let body = json_value!({"error": error, "stream": stream, "seq": 0});
            self.world.respond(reply, body.to_string());
        }
    }

    /// Routes a message: to subscriptions, to the stream that stores it, to the API.
    fn publish(&mut self, message: Outbound) {
        let subject = message.subject.as_str();
        if let Some(request) = subject.strip_prefix("$JS.API.") {
            if self.world.router.has_interest(subject) {
                self.deliver(message.clone());
            }
            return self.api(request, &message);
        }
        if subject.starts_with("$JS.ACK.") {
            if self.world.router.has_interest(subject) {
                self.deliver(message.clone());
            }
            return self.acknowledge(&message);
        }
        let Some(stream) = self.world.captured.first(subject).cloned() else {
            if !self.deliver(message.clone()) {
                self.world.no_responders(subject, message.reply.as_ref());
            }
            return;
        };
        let heard = self.world.router.has_interest(subject) && self.deliver(message.clone());
        if self.is_leaderless() {
            if !heard {
                self.world.no_responders(subject, message.reply.as_ref());
            }
            return;
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.publish(&mut self.world, message);
        }
    }

    /// Hands a message to its subscriptions; says whether there were any.
    fn deliver(&mut self, message: Outbound) -> bool {
        let subject = message.subject.clone();
        let delivery = Message {
            subject: message.subject,
            reply: message.reply,
            headers: message.headers,
            status: None,
            payload: message.payload,
        };
        let world = &mut self.world;
        world
            .router
            .deliver(subject.as_str(), delivery, &mut world.out)
            > 0
    }

    fn acknowledge(&mut self, message: &Outbound) {
        let subject = message.subject.as_str();
        let reply = message.reply.as_ref();
        if self.is_leaderless() || !self.try_acknowledge(message) {
            self.world.no_responders(subject, reply);
        }
    }

    /// Whether there is a consumer for this acknowledgement.
    fn try_acknowledge(&mut self, message: &Outbound) -> bool {
        let mut parts = message.subject.as_str().splitn(5, '.').skip(2);
        let (Some(stream), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let Some(stream) = self.streams.get_mut(stream) else {
            return false;
        };
        let Some((name, to)) = stream.consumers.get_key_value(name) else {
            return false;
        };
        if to.config.ack_policy == AckPolicy::None {
            return false;
        }
        let (name, Some(token)) = (Arc::clone(name), consumer::Token::read(rest)) else {
            return false;
        };
        let world = &mut self.world;
        if let Some(consumer) = stream.consumers.get_mut(&name) {
            consumer.acknowledge(world, token, message.reply.as_ref(), &message.payload);
        }
        stream.settle(world, &name);
        stream.pump(world, &name);
        true
    }

    /// Stores advisories in the streams that capture them.
    fn publish_advisories(&mut self) {
        while let Some(message) = self.world.advisories.pop_front() {
            let stream = self.world.captured.first(message.subject.as_str());
            if let Some(stream) = stream.cloned()
                && let Some(stream) = self.streams.get_mut(&stream)
            {
                stream.publish(&mut self.world, message);
            }
        }
    }
}
