//! The topics of a bus: how each is configured and where it is kept.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetbus_core::provision::WantedStream;
use jetbus_core::shared::topics::{self, Topics};
use jetbus_core::subject;

use crate::bus::Inner;
use crate::config::{Persistence, TopicConfig};
use crate::error::TopicError;
use crate::streams::{StreamEntry, Wanted};

/// Most topics that a bus knows.
const KNOWN: usize = 1_000_000;

/// Most topics that are found by name without a look into the directory.
const IN_USE: usize = 16_384;

/// How a topic was configured, if it was, and where it is kept.
pub(crate) type TopicState = topics::TopicState<Option<Arc<TopicConfig>>, Kept>;

/// Where the events of a topic go.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// To whoever listens: core NATS.
    Nowhere,
    /// Into this stream.
    In(Arc<StreamEntry>),
}

#[derive(Debug)]
pub(crate) struct TopicTable {
    topics: Topics<Option<Arc<TopicConfig>>, Kept>,
    /// The topics that somebody is configuring.
    configuring: Mutex<BTreeSet<String>>,
}

/// The right to configure a topic, given back when dropped.
struct Configuring<'a> {
    table: &'a TopicTable,
    topic: &'a str,
}

impl TopicTable {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            topics: Topics::new(seed, KNOWN, IN_USE),
            configuring: Mutex::default(),
        }
    }

    /// The right to configure `topic`, unless somebody has it: its stream is to be
    /// as the last configuration wants it.
    fn claim<'a>(&'a self, topic: &'a str) -> Result<Configuring<'a>, TopicError> {
        if self.configuring().insert(topic.into()) {
            Ok(Configuring { table: self, topic })
        } else {
            Err(lost(topic))
        }
    }

    fn configuring(&self) -> MutexGuard<'_, BTreeSet<String>> {
        let locked = self.configuring.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self, topic: &str) -> Option<TopicConfig> {
        let config = self
            .topics
            .get(topic)?
            .with(|version| version.config.clone());
        config.map(|config| TopicConfig::clone(&config))
    }

    pub(crate) fn configured(&self, prefix: &str) -> Vec<String> {
        const PAGE: usize = 1_000;
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.topics.list(prefix, after.as_deref(), PAGE);
            let configured = page
                .iter()
                .filter(|topic| topic.with(|version| version.config.is_some()));
            names.extend(configured.map(|topic| topic.name().to_owned()));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.name().to_owned()),
                _ => return names,
            }
        }
    }
}

/// The topic, declared as nobody configured it if it is new.
pub(crate) fn resolve(bus: &Inner, name: &str) -> Result<Arc<TopicState>, TopicError> {
    // A known name was checked before.
    if let Some(known) = bus.topics.topics.in_use(name) {
        return Ok(known);
    }
    subject::check_topic(name).map_err(TopicError::Name)?;
    let kept = kept(bus, name, None)?;
    bus.topics
        .topics
        .resolve(name, || (None, kept))
        .map_err(|full| TopicError::TooMany { limit: full.limit })
}

/// Sets how a topic is kept, and makes its stream ready.
pub(crate) async fn configure(
    bus: &Arc<Inner>,
    name: &str,
    config: TopicConfig,
) -> Result<(), TopicError> {
    let _open = bus.life.enter().map_err(|_| TopicError::Closed)?;
    check(&config)?;
    let state = resolve(bus, name)?;
    let _claim = bus.topics.claim(name)?;
    let seen = state.with(topics::Version::number);
    let kept = kept(bus, name, Some(&config))?;
    if let Kept::In(stream) = &kept {
        let deadline = bus.runtime.now() + bus.settings.publish_timeout;
        stream
            .ensure(bus, deadline)
            .await
            .map_err(TopicError::Stream)?;
    }
    state
        .replace(seen, Some(Arc::new(config)), kept)
        .map(drop)
        .map_err(|_| lost(name))
}

fn lost(topic: &str) -> TopicError {
    TopicError::Lost {
        topic: topic.into(),
    }
}

impl Drop for Configuring<'_> {
    fn drop(&mut self) {
        self.table.configuring().remove(self.topic);
    }
}

/// Forgets how a topic was configured.
pub(crate) fn unconfigure(bus: &Inner, name: &str) -> bool {
    let Some(state) = bus.topics.topics.get(name) else {
        return false;
    };
    let Ok(kept) = kept(bus, name, None) else {
        return false;
    };
    let mut was = false;
    let changed = state.update(|version| {
        was = version.config.is_some();
        (None, kept.clone())
    });
    changed.is_ok() && was
}

/// Where a topic or pattern is kept that somebody subscribes to.
pub(crate) fn kept_for(bus: &Inner, pattern: &str) -> Result<Kept, TopicError> {
    match bus.topics.topics.get(pattern) {
        Some(topic) => Ok(topic.with(|version| version.stream.clone())),
        None => kept(bus, pattern, None),
    }
}

/// Where a topic or pattern is kept: one function for publishing and subscribing.
fn kept(bus: &Inner, name: &str, config: Option<&TopicConfig>) -> Result<Kept, TopicError> {
    let persistence = match config.map(|config| config.persistence) {
        None | Some(Persistence::Auto) => bus.settings.persistence,
        Some(persistence) => persistence,
    };
    let unset = TopicConfig::default().stream;
    let options = config.map_or_else(|| unset.clone(), |config| config.stream.clone());
    if persistence == Persistence::Ephemeral {
        let publishing = config.is_some_and(|config| config.unordered || config.allow_unconfirmed);
        if options != unset || publishing {
            return Err(TopicError::Ephemeral { topic: name.into() });
        }
        return Ok(Kept::Nowhere);
    }
    let wanted = match bus.declared(name) {
        Some(stream) if options != unset => {
            return Err(TopicError::DeclaredStream {
                topic: name.into(),
                stream: stream.name.clone(),
            });
        }
        Some(stream) => Wanted::Declared(stream.clone()),
        None => Wanted::OfTopic(name.into(), options),
    };
    bus.streams
        .entry(wanted)
        .map(Kept::In)
        .map_err(TopicError::Stream)
}

/// Checks the values of a configuration, as they would be for a topic of any name.
fn check(config: &TopicConfig) -> Result<(), TopicError> {
    let sample = WantedStream {
        name: "name".into(),
        subjects: vec!["name".into()],
        ..config.stream.clone()
    };
    sample.check().map_err(TopicError::Name)
}

impl Inner {
    /// The declared stream that covers a topic or pattern: the first that does.
    pub(crate) fn declared(&self, topic: &str) -> Option<&WantedStream> {
        let mut streams = self.settings.streams.iter().map(|stream| &stream.0);
        streams.find(|stream| stream.covers(topic))
    }
}
