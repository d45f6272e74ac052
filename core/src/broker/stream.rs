//! A stream: its messages, its consumers, and what ties them.

mod batch;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::batch::Batches;
use super::consumer::Consumer;
use super::consumer_config::ConsumerConfig;
use super::dedupe::Dedupe;
use super::error::{self, Error};
use super::store::Store;
use super::stream_config::{StreamConfig, nanos};
use super::world::World;
use crate::jetstream::api::{AckPolicy, DeliverPolicy, Retention, Storage};
use crate::shared::router::Table;
use crate::subject::{any_overlap, covers, overlap};
use crate::{Time, Timestamp};

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    pub(super) config: StreamConfig,
    created: Timestamp,
    pub(super) store: Store,
    dedupe: Dedupe,
    /// When messages with a time to live of their own go.
    expiring: BTreeSet<(Time, u64)>,
    /// The id of the last message, empty if it had none.
    last_id: String,
    pub(super) consumers: BTreeMap<Arc<str>, Consumer>,
    /// Which consumers a subject is for.
    wanted: Table<Arc<str>>,
    /// Messages that wait for the end of their batch.
    batches: Batches,
    armed: Time,
}

/// Which messages a purge takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Purge {
    pub(super) filter: String,
    pub(super) seq: u64,
    pub(super) keep: u64,
}

/// Routes `subject` to the stream `name`.
fn capture(world: &mut World, subject: &str, name: &Arc<str>) {
    let kept = world.captured.insert(subject, Arc::clone(name));
    debug_assert!(kept.is_ok(), "subjects are checked before");
}

impl Stream {
    pub(super) fn new(world: &mut World, config: StreamConfig) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        for subject in &config.subjects {
            capture(world, subject, &name);
        }
        Self {
            name,
            created: world.wall(),
            store: Store::new(config.storage, config.first_seq),
            config,
            dedupe: Dedupe::default(),
            expiring: BTreeSet::new(),
            last_id: String::new(),
            consumers: BTreeMap::new(),
            wanted: Table::new(world.random.next(), usize::MAX),
            batches: Batches::default(),
            armed: Time::NEVER,
        }
    }

    /// Takes a changed configuration and enforces its limits.
    pub(super) fn update(&mut self, world: &mut World, config: StreamConfig) {
        for subject in &self.config.subjects {
            world.captured.remove_value(subject, &self.name);
        }
        for subject in &config.subjects {
            capture(world, subject, &self.name);
        }
        let by_interest =
            config.retention == Retention::Interest && self.config.retention != Retention::Interest;
        self.config = config;
        for consumer in self.consumers.values_mut() {
            consumer.retention = self.config.retention;
        }
        if by_interest && self.consumers.is_empty() {
            self.drop_unwanted(world, 0);
        }
        self.enforce_all(world);
        self.tick(world);
        self.arm(world);
    }

    /// Refuses limits that consumers it has are over.
    pub(super) fn check_limits(&self, config: &StreamConfig) -> Result<(), Error> {
        let over = |limit: i64, value: i64| limit > 0 && value > limit;
        let names: Vec<&str> = self
            .consumers
            .iter()
            .filter(|(_, c)| {
                over(config.max_ack_pending, c.config.max_ack_pending)
                    || over(config.max_inactive, c.config.inactive_threshold)
            })
            .map(|(name, _)| &**name)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::stream_update(format!(
            "change to limits violates consumers: {}",
            names.join(", ")
        )))
    }

    /// Gives back its memory and subjects, and ends its consumers.
    pub(super) fn close(mut self, world: &mut World) {
        self.forget_batches(world);
        let names: Vec<Arc<str>> = self.consumers.keys().cloned().collect();
        for name in names {
            self.delete_consumer(world, &name, false);
        }
        for subject in &self.config.subjects {
            world.captured.remove_value(subject, &self.name);
        }
        world
            .timers
            .remove(&(self.armed, (Arc::clone(&self.name), None)));
        world.used = world
            .used
            .saturating_sub(self.store.bytes() + self.dedupe.total_cost());
    }

    pub(super) fn arm(&mut self, world: &mut World) {
        let due = self.deadline(world);
        let key = || (Arc::clone(&self.name), None);
        world.arm(key, &mut self.armed, due);
    }

    fn deadline(&self, world: &World) -> Option<Time> {
        let window = self.dedupe.deadline(self.config.window());
        let age = (self.config.max_age > 0)
            .then(|| self.store.first_at())
            .flatten()
            .map(|at| world.time_of(at) + nanos(self.config.max_age));
        let expiring = self.expiring.first().map(|&(at, _)| at);
        let batch = self.batches.deadline();
        [window, age, expiring, batch].into_iter().flatten().min()
    }

    /// Its timer fired: what is too old goes.
    pub(super) fn fire(&mut self, world: &mut World) {
        self.armed = Time::NEVER;
        self.tick(world);
        self.arm(world);
    }

    fn tick(&mut self, world: &mut World) {
        self.abandon_batches(world);
        let freed = self.dedupe.expire(world.now, self.config.window());
        world.used = world.used.saturating_sub(freed);
        while let Some(&(at, seq)) = self.expiring.first()
            && at <= world.now
        {
            self.expiring.pop_first();
            // It may be gone already.
            self.remove(world, seq);
        }
        if self.config.max_age <= 0 {
            return;
        }
        let age = nanos(self.config.max_age);
        while let Some(at) = self.store.first_at()
            && world.time_of(at) + age <= world.now
            && let Some(seq) = self.store.first_seq_of_all()
        {
            self.remove(world, seq);
        }
    }

    /// Removes a message, and whatever its removal settles; says whether it was there.
    pub(super) fn remove(&mut self, world: &mut World, seq: u64) -> bool {
        let mut work = vec![seq];
        let mut found = false;
        while let Some(seq) = work.pop() {
            let before = self.store.bytes();
            let Some(message) = self.store.remove(seq) else {
                continue;
            };
            found = true;
            world.used = world.used.saturating_sub(before - self.store.bytes());
            let mut settled = Vec::new();
            for (name, consumer) in &mut self.consumers {
                consumer.removed(world, seq, message.subject.as_str());
                for seq in consumer.take_settled() {
                    settled.push((Arc::clone(name), seq));
                }
            }
            work.extend(
                settled
                    .into_iter()
                    .filter(|(name, seq)| self.may_go(*seq, Some(name)))
                    .map(|(_, seq)| seq),
            );
        }
        found
    }

    /// Whether retention lets a settled message go: `but` settled it.
    fn may_go(&self, seq: u64, but: Option<&str>) -> bool {
        match self.config.retention {
            Retention::Limits => false,
            Retention::WorkQueue => true,
            Retention::Interest => self.is_unwanted(seq, but),
        }
    }

    /// Whether no consumer other than `but` still needs `seq`.
    fn is_unwanted(&self, seq: u64, but: Option<&str>) -> bool {
        let Some(message) = self.store.get(seq) else {
            return false;
        };
        !self
            .consumers
            .iter()
            .filter(|(name, _)| Some(&***name) != but)
            .any(|(_, consumer)| consumer.needs(seq, message.subject.as_str()))
    }

    /// Removes what `name` settled as far as retention says so.
    pub(super) fn settle(&mut self, world: &mut World, name: &str) {
        let Some(consumer) = self.consumers.get_mut(name) else {
            return;
        };
        for seq in consumer.take_settled() {
            if self.may_go(seq, Some(name)) {
                self.remove(world, seq);
            }
        }
    }

    /// Delivers what `name` can deliver.
    pub(super) fn pump(&mut self, world: &mut World, name: &Arc<str>) {
        let Some(consumer) = self.consumers.get_mut(name) else {
            return;
        };
        if consumer.pump(world, &self.store) {
            world
                .ready
                .insert((Arc::clone(&self.name), Arc::clone(name)));
        }
        consumer.arm(world);
        self.settle(world, name);
    }

    /// The timer of a consumer fired.
    pub(super) fn fire_consumer(&mut self, world: &mut World, name: &Arc<str>) {
        let Some(consumer) = self.consumers.get_mut(name) else {
            return;
        };
        consumer.armed = Time::NEVER;
        consumer.expire(world);
        if consumer.is_abandoned(world.now) {
            self.delete_consumer(world, name, true);
            return;
        }
        consumer.wake(world);
        self.pump(world, name);
    }

    /// Creates a consumer; its configuration was checked.
    pub(super) fn create_consumer(
        &mut self,
        world: &mut World,
        name: Arc<str>,
        config: ConsumerConfig,
    ) -> Result<(), Error> {
        let most = self.config.max_consumers;
        let count = self.consumers.len();
        if most > 0 && count as i64 >= most || count >= world.config.max_consumers {
            return Err(error::MAX_CONSUMERS);
        }
        self.check_work_queue(&config)?;
        let mut consumer = Consumer::new(
            world,
            &self.store,
            Arc::clone(&self.name),
            Arc::clone(&name),
            config,
            self.config.retention,
            self.config.max_msgs_per_subject,
        );
        self.watch(&consumer.filters, &name, true);
        consumer.arm(world);
        self.advise_consumer(world, &name, "CREATED", "create");
        self.consumers.insert(name, consumer);
        Ok(())
    }

    /// The rules of a work queue for a new consumer.
    fn check_work_queue(&self, config: &ConsumerConfig) -> Result<(), Error> {
        if self.config.retention != Retention::WorkQueue {
            return Ok(());
        }
        if config.ack_policy != AckPolicy::Explicit {
            return Err(error::WORK_QUEUE_EXPLICIT);
        }
        if config.deliver_policy != DeliverPolicy::All {
            return Err(error::WORK_QUEUE_DELIVER_ALL);
        }
        self.check_unique(&config.filters(), None)
    }

    /// In a work queue each message is for exactly one consumer: whether nobody but
    /// `but` takes what these filters do.
    pub(super) fn check_unique(&self, filters: &[String], but: Option<&str>) -> Result<(), Error> {
        if self.config.retention != Retention::WorkQueue {
            return Ok(());
        }
        let mut others = self
            .consumers
            .iter()
            .filter(|(name, _)| Some(&***name) != but)
            .peekable();
        if others.peek().is_some() && filters.is_empty() {
            return Err(error::WORK_QUEUE_UNFILTERED);
        }
        if others.any(|(_, o)| o.filters.is_empty() || any_overlap(filters, &o.filters)) {
            return Err(error::WORK_QUEUE_OVERLAP);
        }
        Ok(())
    }

    pub(super) fn update_consumer(
        &mut self,
        world: &mut World,
        name: &Arc<str>,
        config: ConsumerConfig,
    ) {
        let Some(consumer) = self.consumers.get_mut(name) else {
            return;
        };
        let old = consumer.filters.clone();
        consumer.update(config, &self.store);
        let new = consumer.filters.clone();
        if old != new {
            self.watch(&old, name, false);
            self.watch(&new, name, true);
            if self.config.retention == Retention::Interest {
                self.drop_unwanted(world, 0);
            }
        }
        self.pump(world, name);
    }

    /// Keeps `wanted` in step with a consumer's filters.
    fn watch(&mut self, filters: &[String], name: &Arc<str>, on: bool) {
        let all = [">".to_owned()];
        for filter in if filters.is_empty() { &all } else { filters } {
            if on {
                let kept = self.wanted.insert(filter, Arc::clone(name));
                debug_assert!(kept.is_ok(), "filters are checked before");
            } else {
                self.wanted.remove_value(filter, name);
            }
        }
    }

    /// Deletes a consumer; says whether there was one. With `cleanup`, messages that
    /// only it was interested in go.
    pub(super) fn delete_consumer(&mut self, world: &mut World, name: &str, cleanup: bool) -> bool {
        let Some((name, mut consumer)) = self.consumers.remove_entry(name) else {
            return false;
        };
        self.watch(&consumer.filters, &name, false);
        let key = (Arc::clone(&self.name), Some(Arc::clone(&name)));
        world.timers.remove(&(consumer.armed, key));
        self.advise_consumer(world, &name, "DELETED", "delete");
        consumer.release(world, "Consumer Deleted");
        if cleanup && self.config.retention == Retention::Interest {
            if self.consumers.is_empty() {
                self.drop_unwanted(world, 0);
                self.store.jump(self.store.last() + 1);
            } else {
                self.drop_unwanted(world, consumer.floor_seq());
            }
        }
        true
    }

    fn drop_unwanted(&mut self, world: &mut World, floor: u64) {
        let seqs: Vec<u64> = (floor.max(self.store.first())..=self.store.last())
            .filter(|seq| self.is_unwanted(*seq, None))
            .collect();
        for seq in seqs {
            self.remove(world, seq);
        }
    }

    fn advise_consumer(&self, world: &mut World, name: &str, what: &str, action: &str) {
        let fields = [
            ("stream", json!(&*self.name)),
            ("consumer", json!(name)),
            ("action", json!(action)),
        ];
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{what}.{}.{name}", self.name);
        world.advise(subject, "consumer_action", &fields);
    }

    /// Purges; says how many messages went.
    pub(super) fn purge(&mut self, world: &mut World, purge: &Purge) -> u64 {
        let before = self.store.len();
        let filters: &[String] = match purge.filter.as_str() {
            "" | ">" => &[],
            _ => std::slice::from_ref(&purge.filter),
        };
        let victims: Vec<u64> = if filters.is_empty() {
            let below = match (purge.seq, purge.keep) {
                (0, 0) => u64::MAX,
                (0, keep) if keep >= before => 0,
                (0, keep) => self.store.last().saturating_sub(keep) + 1,
                (seq, _) => seq,
            };
            self.store.seqs_below(below)
        } else {
            let mut seqs: Vec<u64> = self
                .store
                .matching(filters)
                .flat_map(|(_, seqs)| seqs.iter().copied())
                .collect();
            seqs.sort_unstable();
            if purge.seq > 0 {
                seqs.retain(|seq| *seq < purge.seq);
            } else {
                let keep = usize::try_from(purge.keep).unwrap_or(usize::MAX);
                seqs.truncate(seqs.len().saturating_sub(keep));
            }
            seqs
        };
        // The server removes a single message that a filter found as if it was deleted:
        // who held it is told.
        let tell = !filters.is_empty() && victims.len() == 1;
        for seq in victims {
            if let Some(message) = self.store.remove(seq) {
                let size =
                    self.store
                        .size(message.subject.as_str(), &message.headers, &message.payload);
                world.used = world.used.saturating_sub(size);
            }
        }
        if filters.is_empty() {
            match (purge.seq, purge.keep) {
                // An empty stream shows the next sequence as its first.
                (0, 0) => self.store.jump(self.store.last() + 1),
                (0 | 1, _) => {}
                (seq, _) => self.store.jump(seq),
            }
        }
        let purged = before - self.store.len();
        for consumer in self.consumers.values_mut() {
            let touched = filters.is_empty()
                || consumer.filters.is_empty()
                || consumer.filters.iter().any(|f| overlap(f, &purge.filter));
            if !touched {
                continue;
            }
            // Whoever wants only what was purged goes on where that is left; all others
            // at the first message of all.
            let narrow = !filters.is_empty()
                && !consumer.filters.is_empty()
                && consumer.filters.iter().all(|f| covers(&purge.filter, f));
            let first = if narrow {
                self.store
                    .next_match(1, filters)
                    .map_or_else(|| self.store.last() + 1, |(seq, _)| seq)
            } else {
                self.store.first()
            };
            consumer.purged(world, &self.store, first, tell);
            consumer.arm(world);
        }
        purged
    }

    /// `created`, `config`, `state` and `ts` of an answer.
    pub(super) fn info(&self, world: &World, dynamic: bool) -> Map<String, Value> {
        let mut o = Map::new();
        o.insert("config".into(), self.config.json(dynamic));
        o.insert("created".into(), json!(self.created));
        o.insert("state".into(), Value::Object(self.state()));
        o.insert("ts".into(), json!(world.wall()));
        o
    }

    pub(super) fn state(&self) -> Map<String, Value> {
        const NEVER: &str = "0001-01-01T00:00:00Z";
        let time = |at: Option<Timestamp>| at.map_or_else(|| json!(NEVER), |at| json!(at));
        let store = &self.store;
        let mut o = Map::new();
        let mut put = |key: &str, value: Value| o.insert(key.to_owned(), value);
        put("messages", json!(store.len()));
        put("bytes", json!(store.bytes()));
        put("first_seq", json!(store.first()));
        put("first_ts", time(store.first_at()));
        put("last_seq", json!(store.last()));
        put("last_ts", time(store.last_at()));
        put("consumer_count", json!(self.consumers.len()));
        if store.subject_count() > 0 {
            put("num_subjects", json!(store.subject_count()));
        }
        if store.deleted_count() > 0 {
            put("num_deleted", json!(store.deleted_count()));
        }
        o
    }

    /// Whether it stores something that `subject`, maybe a pattern, covers.
    pub(super) fn is_for(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|s| overlap(s, subject))
    }

    /// Survives a restart if it is kept in a file; says whether it does.
    pub(super) fn restart(&mut self, world: &mut World, lost: Option<Time>) -> bool {
        self.forget_batches(world);
        if self.config.storage == Storage::Memory {
            return false;
        }
        for consumer in self.consumers.values_mut() {
            consumer.restart(world, &self.store, lost);
            consumer.arm(world);
        }
        true
    }
}
