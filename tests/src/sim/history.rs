//! What happened in a run, as data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jetbus::runtime::Runtime;
use jetbus_core::Time;
use jetbus_core::dead_letter::Reason;
use jetbus_core::random::mix;

use super::runtime::Sim;

/// The stream of what is redriven.
pub const REDRIVE: &str = "jetbus-redrive";

/// One entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A publish was called. One event may be published by several calls.
    Published {
        /// Which call.
        call: u64,
        /// Whose call: one after the other.
        publisher: u64,
        /// On which bus.
        bus: usize,
        /// Of which tenant.
        tenant: i64,
        /// What is published.
        event: u64,
        /// The topic.
        topic: String,
        /// Its key.
        key: Option<String>,
    },
    /// These calls are one batch, of which all is stored or nothing. Of its events there
    /// is no other call.
    Batch {
        /// Which calls, in order.
        calls: Vec<u64>,
    },
    /// A publish was answered.
    Answered {
        /// Which call.
        call: u64,
        /// How.
        answer: Answer,
    },
    /// Somebody reads the results of a bus from now on.
    Reading {
        /// Which bus.
        bus: usize,
        /// Of which tenant.
        tenant: i64,
    },
    /// A result was read.
    Result {
        /// Of which bus.
        bus: usize,
        /// By the reader of which tenant.
        tenant: i64,
        /// Of which event.
        event: u64,
        /// The topic.
        topic: String,
        /// What it says.
        answer: Answer,
    },
    /// The results came to their end.
    ReadAll {
        /// Of which bus.
        bus: usize,
        /// Of which tenant.
        tenant: i64,
    },
    /// A handler started.
    Started {
        /// Which run of a handler.
        run: u64,
        /// Of which subscription.
        subscription: u64,
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
        /// How often it was redriven.
        redrives: u32,
        /// With others of this batch.
        batch: Option<u64>,
    },
    /// A handler ended.
    Ended {
        /// Which run.
        run: u64,
        /// How.
        said: Said,
    },
    /// A handler was done, and its acknowledgement was not confirmed: that is a failure.
    Unconfirmed {
        /// Which run.
        run: u64,
    },
    /// Somebody is about to subscribe.
    Subscribing {
        /// Which subscription that will be.
        subscription: u64,
        /// Which bus.
        bus: usize,
        /// For which group.
        group: String,
        /// What.
        topic: String,
    },
    /// A subscription is to be drained.
    Draining {
        /// Which bus.
        bus: usize,
        /// Which subscription.
        subscription: u64,
        /// How long handlers may take.
        deadline: Duration,
    },
    /// It is drained, says the report.
    Drained {
        /// Which bus.
        bus: usize,
        /// Which subscription.
        subscription: u64,
        /// Events handled to their end.
        finished: usize,
        /// Events given back.
        returned: usize,
        /// Handlers given up.
        abandoned: usize,
        /// Whether the server knows all of it.
        confirmed: bool,
    },
    /// A bus told that an event is a dead letter now.
    DeadLettered {
        /// Of which group.
        group: String,
        /// The topic.
        topic: String,
        /// The event's sequence in its stream.
        sequence: u64,
        /// Why.
        reason: Reason,
    },
    /// Dead letters were redriven.
    Redriven {
        /// By which bus.
        bus: usize,
        /// How many; `None` when it failed before all were.
        count: Option<u64>,
    },
    /// A bus is about to acknowledge a delivery, or does again.
    Acknowledged(Passage),
    /// A bus read that an acknowledgement before handling counts.
    Confirmed(Passage),
    /// A bus is about to acknowledge a delivery for good, or does again, of a consumer
    /// whose events are acknowledged after they are handled.
    Settled(Passage),
    /// A bus is about to give a delivery back, or does again.
    GivenBack(Passage),
    /// A bus is about to publish a dead letter, or does again.
    Burying {
        /// Which.
        grave: Grave,
        /// Its message id.
        id: String,
    },
    /// A bus read that a dead letter is stored.
    Buried(Grave),
    /// After the storm, when nothing was to be done any more, a bus could not do this.
    NotRecovered {
        /// Which bus.
        bus: usize,
        /// What, in words.
        what: String,
    },
    /// The broker was restarted.
    Restarted {
        /// It forgot acknowledgements of so long.
        forgotten: Duration,
    },
    /// No stream has a leader.
    Leaderless {
        /// For so long.
        time: Duration,
    },
    /// Somebody deleted a consumer.
    Deleted {
        /// Which.
        consumer: String,
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

/// An event that a bus gives up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grave {
    /// Which bus.
    pub bus: usize,
    /// For which group.
    pub group: String,
    /// The stream that stored it first.
    pub stream: String,
    /// With which sequence there.
    pub sequence: u64,
    /// How often it was redriven.
    pub redrives: u32,
}

/// How a publish was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// It is not stored: there was no room for its result.
    Unread,
}

/// How a run of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// It panicked.
    Panicked,
    /// It was dropped before its end: its time was up.
    Dropped,
    /// It wants the event to be a dead letter.
    DeadLetter,
    /// Nobody needs the event.
    Discard,
    /// It gives the event back to the server.
    Back,
    /// Whatever it was: an earlier event of the key in the same batch was not done.
    CalledBack,
}

impl Said {
    /// Whether the event is handled.
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether it counts as a failed attempt.
    #[must_use]
    pub const fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::Panicked | Self::Dropped)
    }

    /// Whether nothing more happens to the event.
    #[must_use]
    pub const fn settles(self) -> bool {
        matches!(self, Self::Done | Self::Discard)
    }
}

/// A message as the broker holds it at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its topic.
    pub topic: String,
    /// What it is.
    pub event: u64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The group that gave it up.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The stream that stored it first.
    pub stream: String,
    /// With which sequence there.
    pub sequence: u64,
    /// Why.
    pub reason: Reason,
}

/// What a subscription held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Events at once, at most.
    pub most: usize,
    /// Its places.
    pub places: usize,
}

/// What a group was told of how to handle a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Events of a key in order, one at a time.
    pub ordered: bool,
    /// Acknowledged before they are handled.
    pub at_most_once: bool,
    /// Failures before an event is given up.
    pub attempts: u32,
    /// Whether what is given up is kept.
    pub dead_letters: bool,
    /// Whether an event is given up when its key has its share and it fails.
    pub gives_up_at_share: bool,
    /// Deliveries before an event is given up without a try.
    pub crash_limit: u64,
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
    /// Whether several subscriptions share it, at once or one after the other.
    pub shared: bool,
    /// How it handles events.
    pub rules: Rules,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What happened, in order.
    pub entries: Vec<(Time, Entry)>,
    /// What the broker holds at the end, by stream and sequence.
    pub stored: BTreeMap<(String, u64), Stored>,
    /// Dead letters that are there at the end.
    pub letters: Vec<Letter>,
    /// What is redriven and not yet handled at the end: the group, and the stream and
    /// sequence where the event was stored first.
    pub redriving: Vec<(String, (String, u64))>,
    /// What each subscription held at most.
    pub held: BTreeMap<u64, Held>,
    /// Who handles what.
    pub groups: Vec<Group>,
    /// When a bus gives up a request.
    pub request_timeout: Duration,
    /// How long closing may take.
    pub close_limit: Duration,
    /// Whether nothing went wrong around the buses: then every publish succeeds.
    pub calm: bool,
    /// Whether messages to the broker were lost though the connection held.
    pub lossy: bool,
    /// How long the lease of an event is.
    pub ack_wait: Duration,
    /// What was free of the publish window of each bus that was open at the end, and its
    /// places.
    pub windows: BTreeMap<usize, (usize, usize)>,
    /// What was left after all buses were closed and dropped, in words: tasks, timers,
    /// wakers, connections.
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

/// What happened so far, with its times. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Entries(Arc<Mutex<Vec<(Time, Entry)>>>);

impl Entries {
    /// Reads what was written so far.
    pub fn with<R>(&self, read: impl FnOnce(&mut Vec<(Time, Entry)>) -> R) -> R {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a running simulation writes what happens. Clones write to the same.
#[derive(Clone, Debug)]
pub struct Log {
    sim: Sim,
    entries: Entries,
}

impl Log {
    /// One that writes there, by the clock of `sim`.
    #[must_use]
    pub fn new(sim: &Sim, entries: &Entries) -> Self {
        Self {
            sim: sim.clone(),
            entries: entries.clone(),
        }
    }

    /// Adds what happens now.
    pub fn add(&self, entry: Entry) {
        let now = self.sim.now();
        self.with(|entries| entries.push((now, entry)));
    }

    /// Reads what was written so far.
    pub fn with<R>(&self, read: impl FnOnce(&mut Vec<(Time, Entry)>) -> R) -> R {
        self.entries.with(read)
    }
}
