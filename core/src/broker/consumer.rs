//! A pull consumer: its place in the stream, what it delivered, what it knows.

mod deliver;
mod settle;

pub(super) use self::deliver::go_duration;
pub(super) use self::settle::Token;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::consumer_config::ConsumerConfig;
use super::pending::Pending;
use super::pull::Queue;
use super::store::{Store, is_match};
use super::stream_config::nanos;
use super::world::World;
use crate::jetstream::api::{AckPolicy, DeliverPolicy, Retention};
use crate::{Time, Timestamp};

/// A consumer sequence and the stream sequence that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pair {
    consumer: u64,
    stream: u64,
}

/// A consumer of a stream.
#[derive(Debug)]
pub(super) struct Consumer {
    stream: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) config: ConsumerConfig,
    pub(super) filters: Vec<String>,
    pub(super) retention: Retention,
    created: Timestamp,
    /// `$JS.ACK.<stream>.<consumer>.`
    ack_prefix: String,
    /// The next to look at and the next to give.
    next: Pair,
    /// Below or at these everything is settled.
    floor: Pair,
    /// What the server would have written down of the two, which INFO shows.
    shown_delivered: Pair,
    shown_floor: Pair,
    delivered_at: Option<Timestamp>,
    acked_at: Option<Timestamp>,
    /// Stored messages that match and were not delivered. It may be too high for a
    /// moment, as the server's.
    undelivered: i64,
    /// The last sequence when they were counted. What comes after counts when it is
    /// stored, also below a start that still lies ahead, as on a server.
    counted: u64,
    /// With last per subject: what is to be delivered first, then where to go on.
    skips: VecDeque<u64>,
    resume: u64,
    pending: Pending,
    queue: Queue,
    last_active: Time,
    /// Sequences that the stream has to hear were settled.
    settled: Vec<u64>,
    /// When its timer is set.
    pub(super) armed: Time,
    /// Lately settled ones, for a restart that forgets them.
    settled_log: VecDeque<(Time, u64, u64)>,
}

impl Consumer {
    pub(super) fn new(
        world: &World,
        store: &Store,
        stream: Arc<str>,
        name: Arc<str>,
        config: ConsumerConfig,
        retention: Retention,
        max_msgs_per_subject: i64,
    ) -> Self {
        let filters = config.filters();
        let ack_prefix = format!("$JS.ACK.{stream}.{name}.");
        let mut consumer = Self {
            stream,
            name,
            config,
            filters,
            retention,
            created: world.wall(),
            ack_prefix,
            next: Pair::default(),
            floor: Pair::default(),
            shown_delivered: Pair::default(),
            shown_floor: Pair::default(),
            delivered_at: None,
            acked_at: None,
            undelivered: 0,
            counted: 0,
            skips: VecDeque::new(),
            resume: 0,
            pending: Pending::default(),
            queue: Queue::default(),
            last_active: world.now,
            settled: Vec::new(),
            armed: Time::NEVER,
            settled_log: VecDeque::new(),
        };
        consumer.start(store, max_msgs_per_subject);
        consumer
    }

    /// Chooses the first sequence by the deliver policy.
    fn start(&mut self, store: &Store, max_msgs_per_subject: i64) {
        let (first, last) = (store.first(), store.last());
        let optional = self.config.opt_start_seq;
        let mut at = match self.config.deliver_policy {
            DeliverPolicy::All => first,
            DeliverPolicy::Last if self.filters.is_empty() => last,
            DeliverPolicy::Last => store.last_seq_of(&self.filters).unwrap_or(0),
            DeliverPolicy::LastPerSubject if max_msgs_per_subject == 1 => first,
            DeliverPolicy::LastPerSubject => {
                self.skips = store.last_seqs(&self.filters);
                self.resume = last;
                self.skips.front().copied().unwrap_or(last)
            }
            DeliverPolicy::ByStartTime => {
                let at = self.config.opt_start_time.unwrap_or_default();
                store.seq_from_time(at)
            }
            DeliverPolicy::New => last.saturating_add(1),
            DeliverPolicy::ByStartSequence => optional,
        };
        if first == 0 && optional == 0 {
            at = 1;
        } else if at > last && optional == 0 {
            at = last.saturating_add(1);
        } else if at < first {
            at = first;
        }
        let at = at.max(1);
        self.next = Pair {
            consumer: 1,
            stream: at,
        };
        self.floor = Pair {
            consumer: 0,
            stream: at - 1,
        };
        self.shown_delivered = self.floor;
        self.shown_floor = self.floor;
        self.count(store);
    }

    /// Counts undelivered messages anew.
    pub(super) fn count(&mut self, store: &Store) {
        let count = if self.config.deliver_policy == DeliverPolicy::LastPerSubject {
            store.count_last_from(self.next.stream, &self.filters)
        } else {
            store.count_from(self.next.stream, &self.filters)
        };
        self.undelivered = i64::try_from(count).unwrap_or(i64::MAX);
        self.counted = store.last();
    }

    /// Takes a changed configuration.
    pub(super) fn update(&mut self, config: ConsumerConfig, store: &Store) {
        let filters = config.filters();
        self.config = config;
        if filters != self.filters {
            self.filters = filters;
            self.count(store);
        }
    }

    /// A message that matches was stored.
    pub(super) fn stored(&mut self, seq: u64) {
        if seq > self.counted {
            self.undelivered += 1;
        }
    }

    pub(super) fn has_pulls(&self) -> bool {
        !self.queue.pulls.is_empty()
    }

    /// Sequences to tell the stream of, taken.
    pub(super) fn take_settled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.settled)
    }

    /// Whether `seq` may not go yet because of this consumer.
    pub(super) fn needs(&self, seq: u64, subject: &str) -> bool {
        if !is_match(&self.filters, subject) {
            return false;
        }
        let ahead = seq > self.floor.stream
            && (self.config.ack_policy != AckPolicy::Explicit
                || seq >= self.next.stream
                || self.pending.contains(seq));
        ahead || self.pending.was_redelivered(seq)
    }

    pub(super) const fn floor_seq(&self) -> u64 {
        self.floor.stream
    }

    /// Sets its timer, after anything that may have moved its deadline.
    pub(super) fn arm(&mut self, world: &mut World) {
        let due = self.deadline();
        let key = || (Arc::clone(&self.stream), Some(Arc::clone(&self.name)));
        world.arm(key, &mut self.armed, due);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let threshold = (self.config.inactive_threshold > 0)
            .then(|| self.last_active + nanos(self.config.inactive_threshold));
        [self.queue.deadline, self.pending.deadline(), threshold]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it is to be deleted because nobody used it for its threshold.
    pub(super) fn is_abandoned(&mut self, now: Time) -> bool {
        let threshold = self.config.inactive_threshold;
        if threshold <= 0 || self.last_active + nanos(threshold) > now {
            return false;
        }
        if self.has_pulls() || !self.pending.is_empty() {
            self.last_active = now;
            return false;
        }
        true
    }

    /// Forgets what does not outlive a restart: pulls and timers; of the
    /// acknowledgements those since `lost`.
    pub(super) fn restart(&mut self, world: &World, store: &Store, lost: Option<Time>) {
        self.queue = Queue::default();
        self.last_active = world.now;
        if let Some(since) = lost {
            for (at, seq, consumer_seq) in std::mem::take(&mut self.settled_log) {
                if at >= since && store.contains(seq) {
                    self.pending.track(seq, consumer_seq, Time::NEVER);
                }
            }
            if let Some((seq, entry)) = self.pending.after(0)
                && seq <= self.floor.stream
            {
                self.floor = Pair {
                    consumer: entry.consumer_seq.saturating_sub(1),
                    stream: seq - 1,
                };
                self.shown_floor = self.floor;
            }
        }
        self.settled_log.clear();
        let (now, config) = (world.now, &self.config);
        self.pending
            .rearm(|redelivered| now + config.wait(redelivered));
    }

    /// What INFO says, without `type`.
    pub(super) fn info(
        &mut self,
        world: &mut World,
        store: &Store,
        dynamic: bool,
    ) -> Map<String, Value> {
        self.clamp(store);
        self.process_waiting(world, false);
        let pair = |pair: Pair, at: Option<Timestamp>| {
            let mut shown = json!({"consumer_seq": pair.consumer, "stream_seq": pair.stream});
            if let (Some(at), Some(o)) = (at, shown.as_object_mut()) {
                o.insert("last_active".into(), json!(at));
            }
            shown
        };
        let redelivered = match self.config.max_deliver {
            1 => 0,
            _ => self.pending.redelivered_count(),
        };
        let shown = json!({
            "stream_name": &*self.stream,
            "name": &*self.name,
            "created": self.created,
            "config": self.config.json(dynamic),
            "delivered": pair(self.shown_delivered, self.delivered_at),
            "ack_floor": pair(self.shown_floor, self.acked_at),
            "num_ack_pending": self.pending.len(),
            "num_redelivered": redelivered,
            "num_waiting": self.queue.pulls.len(),
            "num_pending": self.undelivered.max(0),
            "ts": world.wall(),
        });
        match shown {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// Brings the count of undelivered messages back to what is possible.
    fn clamp(&mut self, store: &Store) {
        if self.next.stream > store.last() {
            self.undelivered = 0;
        } else {
            let ahead = store.last() - self.next.stream + 1;
            let most = i64::try_from(store.len().min(ahead)).unwrap_or(i64::MAX);
            self.undelivered = self.undelivered.min(most);
        }
    }
}
