//! Models of `shared::topics`.
//!
//! The payloads are atomics written and read relaxed: topics have to be `Sync`,
//! which loom's cell is not, and a reader not ordered after the writer would see
//! what was there before.

use std::sync::Arc;

use core_loom::shared::topics::{ConfigureError, Topics, Version};
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use crate::support::{Model, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![
    one_load_gives_one_version,
    two_updates_both_survive,
    of_two_replacements_one_is_told_it_lost,
    a_first_use_happens_once,
    a_removed_topic_is_never_in_use,
    configure_and_remove_while_publishing,
];

type Payload = Arc<AtomicUsize>;

fn payload(n: usize) -> Payload {
    let payload = Arc::new(AtomicUsize::new(0));
    payload.store(n, Relaxed);
    payload
}

fn pair(n: usize) -> (Payload, Payload) {
    (payload(n), payload(n))
}

fn topics() -> Arc<Topics<Payload, Payload>> {
    Arc::new(Topics::new(1, 8, 8))
}

/// The number that both halves of a version hold.
fn read(version: &Version<Payload, Payload>) -> usize {
    let config = version.config.load(Relaxed);
    assert_eq!(config, version.stream.load(Relaxed));
    config
}

/// Invariant: one load gives the configuration and the stream of one version, and
/// versions only grow.
/// Threads: one updates twice, one reads twice. Exhaustive.
/// It rests on the snapshot alone: there is no line of our own to weaken here.
fn one_load_gives_one_version() {
    exhaustive(|| {
        let topics = topics();
        let topic = topics.resolve("a", || pair(1)).unwrap();
        let other = thread::spawn({
            let topic = Arc::clone(&topic);
            move || {
                assert_eq!(topic.update(|_| pair(2)), Ok(2));
                assert_eq!(topic.update(|_| pair(3)), Ok(3));
            }
        });
        let look = || topic.with(|version| (version.number(), read(version)));
        let (first, second) = (look(), look());
        assert!(first <= second);
        assert_eq!(first.0, first.1 as u64);
        other.join().unwrap();
    });
}

/// Invariant: two configurations at once both survive: each works on the newer.
/// Threads: two update once each. Exhaustive.
/// Seen to fail: `load` and `swap` in place of `update` in `change`.
fn two_updates_both_survive() {
    exhaustive(|| {
        let topics = topics();
        let topic = topics.declare("a", || pair(1)).unwrap();
        let other = thread::spawn({
            let topic = Arc::clone(&topic);
            move || topic.update(|now| pair(read(now) * 2)).unwrap()
        });
        let mine = topic.update(|now| pair(read(now) * 2)).unwrap();
        let theirs = other.join().unwrap();
        assert_eq!([mine.min(theirs), mine.max(theirs)], [2, 3]);
        assert_eq!(topic.with(read), 4);
    });
}

/// Invariant: of configurations for one version one wins and the others are told
/// that they lost, with the version in force.
/// Threads: three replace once each. Exhaustive.
/// Seen to fail: `expected` not looked at again when another change came first; `load`
/// and `swap` in place of `update` in `change`.
fn of_two_replacements_one_is_told_it_lost() {
    exhaustive(|| {
        let topics = topics();
        let topic = topics.declare("a", || pair(1)).unwrap();
        let replace = |topic: &core_loom::shared::topics::TopicState<_, _>, n| {
            let (config, stream) = pair(n);
            topic.replace(1, config, stream)
        };
        let others = [5, 6].map(|n| {
            let topic = Arc::clone(&topic);
            thread::spawn(move || replace(&topic, n))
        });
        let mut results = vec![replace(&topic, 7)];
        results.extend(others.map(|other| other.join().unwrap()));
        results.sort_by_key(Result::is_err);
        let lost = Err(ConfigureError::Lost { current: 2 });
        assert_eq!(results, [Ok(2), lost, lost]);
    });
}

/// Invariant: several first uses of a topic find one state, and it is in use.
/// Threads: two resolve once each. Exhaustive.
/// It rests on the directory; see there what fails.
fn a_first_use_happens_once() {
    exhaustive(|| {
        let topics = topics();
        let other = thread::spawn({
            let topics = Arc::clone(&topics);
            move || topics.resolve("a", || pair(1)).unwrap()
        });
        let mine = topics.resolve("a", || pair(2)).unwrap();
        mine.with(read);
        assert_eq!(topics.with("a", |t| t.with(read)), Some(mine.with(read)));
        assert!(Arc::ptr_eq(&mine, &other.join().unwrap()));
    });
}

/// Invariant: a removed topic is not found in use, however a first use runs against
/// its removal.
/// Threads: one resolves, one removes. Exhaustive.
/// Seen to fail: the look at `is_removed` in `take_into_use` removed; the lock
/// there or in `remove` removed; a removal that leaves the topic in use.
fn a_removed_topic_is_never_in_use() {
    exhaustive(|| {
        let topics = topics();
        let first = topics.declare("a", || pair(1)).unwrap();
        let other = thread::spawn({
            let topics = Arc::clone(&topics);
            move || drop(topics.resolve("a", || pair(2)).unwrap())
        });
        assert!(topics.remove("a").is_some());
        assert!(first.with(Version::is_removed));
        // In use is at most a topic declared since.
        let removed = topics.with("a", |t| t.with(Version::is_removed));
        assert_ne!(removed, Some(true));
        other.join().unwrap();
        let removed = topics.with("a", |t| t.with(Version::is_removed));
        assert_ne!(removed, Some(true));
    });
}

/// Publishing by name x configuring x removing: a reader sees whole versions of one
/// topic or none, and a configuration after the removal is told.
/// Threads: one looks up twice, one updates, one removes. Exhaustive.
/// Seen to fail: `change` not looking whether the topic was removed, or by `load` and
/// `swap`; a removal that leaves the topic in use.
fn configure_and_remove_while_publishing() {
    exhaustive(|| {
        let topics = topics();
        let topic = topics.resolve("a", || pair(1)).unwrap();
        let configurer = thread::spawn({
            let topic = Arc::clone(&topic);
            move || topic.update(|_| pair(2))
        });
        let remover = thread::spawn({
            let topics = Arc::clone(&topics);
            move || assert!(topics.remove("a").is_some())
        });
        let look = || topics.with("a", |t| t.with(|v| (v.number(), read(v))));
        let (first, second) = (look(), look());
        assert!(second.is_none() || first <= second);
        remover.join().unwrap();
        match configurer.join().unwrap() {
            Ok(number) => assert_eq!(number, 2),
            Err(error) => assert_eq!(error, ConfigureError::Removed),
        }
        assert_eq!(look(), None);
        assert!(topic.with(Version::is_removed));
    });
}
