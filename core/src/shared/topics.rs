//! Topic name to its configuration and stream.
//!
//! A topic's state is one immutable version, replaced as a whole: whoever loads it
//! has a configuration and a stream that belong together. A resolved handle
//! ([`Arc<TopicState>`]) makes the path of a message free of lookups; by name there
//! is one hash lookup in a snapshot of topics in use. All known topics are in a
//! [`Directory`], which is for declaring and listing.
//!
//! Invariants: one load gives the configuration and the stream of one version;
//! versions only grow; of two configurations at once both survive
//! ([`TopicState::update`] works on the newer) or one is told that it lost
//! ([`TopicState::replace`]); a removed topic is never found in use.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::FixedState;

use self::table::Table;
use super::directory::{Directory, Full};
use crate::sync::{Mutex, Snapshot};

mod table;

/// One version of a topic.
#[derive(Debug)]
pub struct Version<C, S> {
    number: u64,
    /// How the topic is configured.
    pub config: C,
    /// Where the topic is stored.
    pub stream: S,
    removed: bool,
}

impl<C, S> Version<C, S> {
    /// Counts from 1 and grows with every change.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the topic was removed; a version that says so is the last.
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        self.removed
    }
}

/// A topic, for as long as somebody holds it.
#[derive(Debug)]
pub struct TopicState<C, S> {
    name: Arc<str>,
    current: Snapshot<Version<C, S>>,
}

/// Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigureError {
    /// Somebody else configured the topic first; it now has version `current`. Look
    /// at that one and decide again.
    Lost {
        /// The version that is in force.
        current: u64,
    },
    /// The topic was removed; resolve its name again to declare it anew.
    Removed,
}

impl fmt::Display for ConfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { current } => write!(
                f,
                "the topic was configured by somebody else meanwhile: it now has version {current}"
            ),
            Self::Removed => f.write_str("the topic was removed"),
        }
    }
}

impl std::error::Error for ConfigureError {}

impl<C, S> TopicState<C, S> {
    fn new(name: &str, config: C, stream: S) -> Self {
        Self {
            name: name.into(),
            current: Snapshot::new(Version {
                number: 1,
                config,
                stream,
                removed: false,
            }),
        }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `read` on the current version, without a lock, a reference count or an
    /// allocation.
    pub fn with<R>(&self, read: impl FnOnce(&Version<C, S>) -> R) -> R {
        self.current.with(read)
    }

    /// The current version, to keep.
    #[must_use]
    pub fn load(&self) -> Arc<Version<C, S>> {
        self.current.load()
    }

    /// Changes the topic to what `change` makes of the newest version; when another
    /// change came first, `change` runs again on that one. Returns the new number.
    ///
    /// # Errors
    /// [`ConfigureError::Removed`].
    pub fn update(
        &self,
        mut change: impl FnMut(&Version<C, S>) -> (C, S),
    ) -> Result<u64, ConfigureError> {
        self.change(|now| Ok(change(now)))
    }

    /// Changes the topic if it still has version `expected`. Returns the new number.
    ///
    /// # Errors
    /// [`ConfigureError::Lost`] when it has another one, [`ConfigureError::Removed`].
    pub fn replace(&self, expected: u64, config: C, stream: S) -> Result<u64, ConfigureError>
    where
        C: Clone,
        S: Clone,
    {
        self.change(|now| {
            if now.number == expected {
                Ok((config.clone(), stream.clone()))
            } else {
                Err(ConfigureError::Lost {
                    current: now.number,
                })
            }
        })
    }

    fn change(
        &self,
        mut change: impl FnMut(&Version<C, S>) -> Result<(C, S), ConfigureError>,
    ) -> Result<u64, ConfigureError> {
        let mut result = Err(ConfigureError::Removed);
        self.current.update(|now| {
            let made = if now.removed {
                Err(ConfigureError::Removed)
            } else {
                change(now)
            };
            let number = now.number.saturating_add(1);
            result = made.as_ref().map(|_| number).map_err(|error| *error);
            let (config, stream) = made.ok()?;
            Some(Version {
                number,
                config,
                stream,
                removed: false,
            })
        });
        result
    }

    fn mark_removed(&self)
    where
        C: Clone,
        S: Clone,
    {
        self.current.update(|now| {
            Some(Version {
                number: now.number.saturating_add(1),
                config: now.config.clone(),
                stream: now.stream.clone(),
                removed: true,
            })
        });
    }
}

/// The topics of a bus. `C` and `S` are cheap to clone, an [`Arc`] for example.
#[derive(Debug)]
pub struct Topics<C, S>
where
    C: Clone + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    known: Directory<TopicState<C, S>>,
    hasher: FixedState,
    in_use: [Snapshot<Table<C, S>>; PARTS],
    /// How many are in use. Held while `in_use` changes and while a topic leaves
    /// `known`, so that nothing is taken into use on the way out. Readers and
    /// declarations never take it.
    changing: Mutex<usize>,
    in_use_limit: usize,
}

/// How many parts the topics in use are in. A change copies one part, and disturbs
/// only those who read that part. The models make do with fewer.
const PARTS: usize = if cfg!(loom) { 2 } else { 32 };

impl<C, S> Topics<C, S>
where
    C: Clone + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    /// No topics yet; at most `known` of them, and of these at most `in_use` in the
    /// quick snapshot (others are found in the directory, in a microsecond or two).
    /// `seed` keeps hostile names from choosing their place in the hash table.
    #[must_use]
    pub fn new(seed: u64, known: usize, in_use: usize) -> Self {
        Self {
            known: Directory::new(known),
            hasher: FixedState::with_seed(seed),
            in_use: std::array::from_fn(|_| Snapshot::new(Table::empty())),
            changing: Mutex::new(0),
            in_use_limit: in_use,
        }
    }

    /// Runs `read` on the topic if it is in use: one hash lookup, without a lock, a
    /// reference count or an allocation. `None` says only that it is not in use:
    /// [`resolve`](Self::resolve) it then.
    ///
    /// `read` must not wait.
    pub fn with<R>(&self, name: &str, read: impl FnOnce(&TopicState<C, S>) -> R) -> Option<R> {
        let hash = self.hash(name);
        self.part(hash)?
            .with(|topics| topics.get(hash, name).map(|t| read(t)))
    }

    /// The topic, if it is in use: [`with`](Self::with), to keep.
    #[must_use]
    pub fn in_use(&self, name: &str) -> Option<Arc<TopicState<C, S>>> {
        let hash = self.hash(name);
        self.part(hash)?
            .with(|topics| topics.get(hash, name).map(Arc::clone))
    }

    /// The topic, declared by `make` if nobody has yet, and taken into use. While
    /// somebody else removes it, this may still be the removed one, which says so.
    ///
    /// # Errors
    /// [`Full`]; nothing was declared.
    pub fn resolve(
        &self,
        name: &str,
        make: impl FnOnce() -> (C, S),
    ) -> Result<Arc<TopicState<C, S>>, Full> {
        if let Some(topic) = self.in_use(name) {
            return Ok(topic);
        }
        let topic = self.declare(name, make)?;
        self.take_into_use(&topic);
        Ok(topic)
    }

    /// The topic, declared by `make` if nobody has yet; not taken into use.
    ///
    /// # Errors
    /// [`Full`]; nothing was declared.
    pub fn declare(
        &self,
        name: &str,
        make: impl FnOnce() -> (C, S),
    ) -> Result<Arc<TopicState<C, S>>, Full> {
        self.known.register(name, || {
            let (config, stream) = make();
            TopicState::new(name, config, stream)
        })
    }

    /// The topic, if it is known.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<TopicState<C, S>>> {
        self.known.get(name)
    }

    /// Up to `limit` topics whose names start with `prefix` and come after `after`,
    /// in order.
    #[must_use]
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<TopicState<C, S>>> {
        let mut topics = Vec::new();
        if limit > 0 {
            self.known.scan(prefix, after, |_, topic| {
                topics.push(Arc::clone(topic));
                if topics.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
        }
        topics
    }

    /// Removes a topic. Who holds it sees a version that says so, and cannot change
    /// it any more; the name can be declared anew.
    pub fn remove(&self, name: &str) -> Option<Arc<TopicState<C, S>>> {
        let mut in_use = self.changing.lock();
        // Under the lock a topic is known until it is removed, so this is its only time.
        let topic = self.known.get(name)?;
        topic.mark_removed();
        self.known.remove(name, &topic);
        let hash = self.hash(name);
        let removed = self
            .part(hash)?
            .update(|topics| topics.get(hash, name).map(|_| topics.without(name)));
        *in_use -= usize::from(removed.is_some());
        Some(topic)
    }

    /// How many topics are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no topic is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A first use copies a part of the table: about a microsecond at a thousand
    /// topics.
    fn take_into_use(&self, topic: &Arc<TopicState<C, S>>) {
        let mut in_use = self.changing.lock();
        // Topics are removed under the same lock: this one cannot be on its way out.
        if topic.with(Version::is_removed) || *in_use >= self.in_use_limit {
            return;
        }
        let hash = self.hash(&topic.name);
        let Some(part) = self.part(hash) else {
            return;
        };
        let added = part.update(|topics| match topics.get(hash, &topic.name) {
            Some(_) => None,
            None => Some(topics.with(hash, topic)),
        });
        *in_use += usize::from(added.is_some());
    }

    fn hash(&self, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    /// Which part a name belongs to: by the low bits of its hash, as the high ones
    /// number its place there.
    fn part(&self, hash: u64) -> Option<&Snapshot<Table<C, S>>> {
        self.in_use.get(hash as usize % PARTS)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn topics() -> Topics<Arc<str>, u32> {
        Topics::new(1, 100, 2)
    }

    fn names(topics: &[Arc<TopicState<Arc<str>, u32>>]) -> Vec<&str> {
        topics.iter().map(|topic| topic.name()).collect()
    }

    #[test]
    fn topics_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Topics<Arc<str>, u32>>();
    }

    #[test]
    fn a_resolved_topic_is_in_use_and_declared_once() {
        let topics = topics();
        assert_eq!(topics.with("a", |_| ()), None);
        let first = topics.resolve("a", || ("one".into(), 1)).unwrap();
        let second = topics.resolve("a", || ("two".into(), 2)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let seen = topics.with("a", |t| t.with(|v| (Arc::clone(&v.config), v.stream)));
        assert_eq!(seen, Some(("one".into(), 1)));
    }

    #[test]
    fn topics_beyond_those_in_use_are_still_resolved() {
        let topics = topics();
        for name in ["a", "b", "c"] {
            topics.resolve(name, || (name.into(), 1)).unwrap();
        }
        assert_eq!(topics.with("c", |_| ()), None);
        let topic = topics.resolve("c", || unreachable!()).unwrap();
        assert_eq!(topic.name(), "c");
    }

    #[test]
    fn a_change_on_an_old_version_is_told_that_it_lost() {
        let topics = topics();
        let topic = topics.declare("a", || ("one".into(), 1)).unwrap();
        assert_eq!(topic.replace(1, "two".into(), 2), Ok(2));
        assert_eq!(
            topic.replace(1, "three".into(), 3),
            Err(ConfigureError::Lost { current: 2 })
        );
        assert_eq!(
            topic.update(|v| (Arc::clone(&v.config), v.stream + 1)),
            Ok(3)
        );
        let version = topic.load();
        assert_eq!((&*version.config, version.stream), ("two", 3));
    }

    #[test]
    fn a_removed_topic_is_gone_for_names_and_says_so_to_holders() {
        let topics = topics();
        let held = topics.resolve("a", || ("one".into(), 1)).unwrap();
        assert!(topics.remove("a").is_some());
        assert!(topics.remove("a").is_none());
        assert_eq!(topics.with("a", |_| ()), None);
        assert!(topics.get("a").is_none());
        assert!(topics.is_empty());
        assert!(held.with(Version::is_removed));
        assert_eq!(
            held.update(|v| (Arc::clone(&v.config), 9)),
            Err(ConfigureError::Removed)
        );
        let anew = topics.resolve("a", || ("two".into(), 2)).unwrap();
        assert_eq!(anew.with(|v| (v.number(), v.stream)), (1, 2));
    }

    #[test]
    fn topics_are_listed_by_prefix_in_pages() {
        let topics = topics();
        for name in ["x.2", "x.1", "y", "x.3"] {
            topics.declare(name, || (name.into(), 1)).unwrap();
        }
        assert_eq!(names(&topics.list("x.", None, 2)), ["x.1", "x.2"]);
        assert_eq!(names(&topics.list("x.", Some("x.2"), 2)), ["x.3"]);
        assert!(topics.list("", None, 0).is_empty());
    }
}
