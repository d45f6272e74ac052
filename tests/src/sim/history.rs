//! What happened in a run, as data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jetbus::runtime::Runtime;
use jetbus_core::Time;
use jetbus_core::random::mix;

use super::runtime::Sim;

/// One entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A publish was called. One event may be published by several calls.
    Published {
        /// Which call.
        call: u64,
        /// Whose call: one after the other.
        publisher: u64,
        /// What is published.
        event: u64,
        /// The topic.
        topic: String,
        /// Its key.
        key: Option<String>,
    },
    /// A publish was answered.
    Answered {
        /// Which call.
        call: u64,
        /// How.
        answer: Answer,
    },
    /// A handler started.
    Started {
        /// Which run of a handler.
        run: u64,
        /// Which bus: a process of its own.
        bus: usize,
        /// For which group.
        group: String,
        /// What it got.
        event: u64,
        /// From which topic.
        topic: String,
        /// With which key.
        key: Option<String>,
        /// From which stream.
        stream: String,
        /// With which sequence there.
        sequence: u64,
    },
    /// A handler ended.
    Ended {
        /// Which run.
        run: u64,
        /// Whether it said that it was done.
        done: bool,
    },
    /// A delivery reached a bus.
    Arrived(Passage),
    /// A delivery to a bus was lost on its way.
    Lost(Passage),
    /// A bus told that it waits no longer for an event that was given back.
    Overtaken {
        /// Which bus.
        bus: usize,
        /// The topic.
        topic: String,
        /// The event's sequence in its stream.
        sequence: u64,
    },
    /// A bus asked for a stream to be created.
    Create {
        /// Which bus.
        bus: usize,
        /// Which stream.
        stream: String,
        /// Where the answer goes.
        reply: String,
    },
    /// The link did not take the request.
    NotTaken {
        /// Which bus.
        bus: usize,
        /// Where the answer would have gone.
        reply: String,
    },
    /// The answer reached the bus.
    Created {
        /// Which bus.
        bus: usize,
        /// Where it went.
        reply: String,
    },
    /// The link of a bus broke: no request before is answered.
    Down {
        /// Which bus.
        bus: usize,
    },
    /// It is back.
    Up {
        /// Which bus.
        bus: usize,
    },
    /// Somebody closes a bus.
    Closing {
        /// Which bus.
        bus: usize,
        /// Who.
        closer: u64,
    },
    /// It is closed, says the report.
    Closed {
        /// Which bus.
        bus: usize,
        /// For whom.
        closer: u64,
        /// The report.
        report: String,
    },
}

/// A delivery between the server and a bus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passage {
    /// Which bus.
    pub bus: usize,
    /// Of which consumer; empty as in [`Group::consumer`].
    pub consumer: String,
    /// From which stream.
    pub stream: String,
    /// With which sequence there.
    pub sequence: u64,
}

/// How a publish was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored, now or by an earlier call.
    Stored {
        /// In which stream.
        stream: String,
        /// With which sequence there.
        sequence: u64,
        /// By an earlier call or attempt.
        duplicate: bool,
    },
    /// It may or may not be stored.
    Unknown,
    /// It is not stored, for this reason.
    Failed(String),
}

/// A message as the broker holds it at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its topic.
    pub topic: String,
    /// What it is.
    pub event: u64,
}

/// Who handles a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The consumer on the server; empty for one that lives as long as its
    /// subscription, whose name is made up.
    pub consumer: String,
    /// The buses that share it.
    pub buses: usize,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What happened, in order.
    pub entries: Vec<(Time, Entry)>,
    /// What the broker holds at the end, by stream and sequence.
    pub stored: BTreeMap<(String, u64), Stored>,
    /// Who handles what.
    pub groups: Vec<Group>,
    /// When a bus gives up a request.
    pub request_timeout: Duration,
    /// How long closing may take.
    pub close_limit: Duration,
    /// Whether nothing went wrong around the buses: then every publish succeeds.
    pub calm: bool,
    /// Tasks that were left at the end, in words.
    pub left: Vec<String>,
}

impl History {
    /// A digest of everything in it: equal for equal histories.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let text = format!("{self:?}");
        text.bytes()
            .fold(0, |digest, byte| mix(digest ^ u64::from(byte)))
    }
}

/// Where a running simulation writes what happens. Clones write to the same.
#[derive(Clone, Debug)]
pub struct Log {
    sim: Sim,
    entries: Arc<Mutex<Vec<(Time, Entry)>>>,
}

impl Log {
    /// An empty one, by the clock of `sim`.
    #[must_use]
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            entries: Arc::default(),
        }
    }

    /// Adds what happens now.
    pub fn add(&self, entry: Entry) {
        let now = self.sim.now();
        self.with(|entries| entries.push((now, entry)));
    }

    /// Reads what was written so far.
    pub fn with<R>(&self, read: impl FnOnce(&mut Vec<(Time, Entry)>) -> R) -> R {
        read(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
