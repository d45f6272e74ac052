//! A wanted stream, and what is to be done about the one that is there.

mod differences;

use std::fmt::Debug;
use std::time::Duration;

use super::mark::{Owned, hash};
use super::{
    Asset, Change, Difference, OnMismatch, Outcome, Policy, ProvisionError, ProvisionEvent,
    Strategy,
};
use crate::jetstream::api::{Compression, Discard, Retention, Storage, StreamConfig};
use crate::names::{check_stream, schedules};
use crate::subject::{NameError, check_pattern, covers, overlap};
use differences::{DEFAULT_DEDUPE, differences, endless};

/// The server's shortest age and window.
const SHORTEST: Duration = Duration::from_millis(100);

/// A stream as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedStream {
    /// Its name.
    pub name: String,
    /// The topics and patterns it stores; none overlaps another.
    pub subjects: Vec<String>,
    /// When messages go.
    pub retention: Retention,
    /// Where they are kept.
    pub storage: Storage,
    /// Oldest age, at least 100 ms; `None`: any.
    pub max_age: Option<Duration>,
    /// Most bytes; `None`: any number.
    pub max_bytes: Option<u64>,
    /// Most messages; `None`: any number.
    pub max_msgs: Option<u64>,
    /// Most messages of one subject; `None`: any number.
    pub max_msgs_per_subject: Option<u64>,
    /// Largest message in bytes, headers included; `None`: any that the server
    /// takes.
    pub max_msg_size: Option<u64>,
    /// What a full stream does. By default it refuses: nothing unhandled vanishes.
    pub discard: Discard,
    /// How long message ids are remembered: at least 100 ms, at most `max_age`;
    /// `None`: two minutes, or `max_age` if that is shorter.
    pub dedupe_window: Option<Duration>,
    /// Copies, 1 to 5.
    pub replicas: u32,
    /// How files are compressed.
    pub compression: Compression,
    /// Whether messages may have a time to live of their own. Cannot be taken back.
    pub message_ttl: bool,
    /// Whether messages may be stored to be published later; they wait under
    /// [`schedules`], which it stores then too. Cannot be taken back.
    pub schedules: bool,
    /// Whether batches may be stored whole or not at all.
    pub atomic_batches: bool,
    /// Whether batches may be stored on the way, in order.
    pub fast_ingest: bool,
    /// What it is for; `None` leaves what is there.
    pub description: Option<String>,
}

impl WantedStream {
    /// A stream of one copy in files, without limits, that refuses when it cannot
    /// store.
    #[must_use]
    pub fn new(name: impl Into<String>, subjects: Vec<String>) -> Self {
        Self {
            name: name.into(),
            subjects,
            retention: Retention::Limits,
            storage: Storage::File,
            max_age: None,
            max_bytes: None,
            max_msgs: None,
            max_msgs_per_subject: None,
            max_msg_size: None,
            discard: Discard::New,
            dedupe_window: None,
            replicas: 1,
            compression: Compression::None,
            message_ttl: false,
            schedules: false,
            atomic_batches: false,
            fast_ingest: false,
            description: None,
        }
    }

    /// Whether `topic` belongs to this stream.
    #[must_use]
    pub fn covers(&self, topic: &str) -> bool {
        self.subjects.iter().any(|pattern| covers(pattern, topic))
    }

    /// Checks all rules.
    ///
    /// # Errors
    /// Names the first value that breaks a rule.
    pub fn check(&self) -> Result<(), NameError> {
        check_stream(&self.name)?;
        let refuse =
            |what, value: &dyn Debug, rule| Err(NameError::new(what, &format!("{value:?}"), rule));
        if self.subjects.is_empty() {
            return refuse(
                "subjects",
                &self.subjects,
                "a stream has at least one subject",
            );
        }
        for (n, subject) in self.subjects.iter().enumerate() {
            check_pattern(subject)?;
            if self
                .subjects
                .iter()
                .skip(n + 1)
                .any(|other| overlap(subject, other))
            {
                return refuse(
                    "subjects",
                    &self.subjects,
                    "the subjects of a stream do not overlap",
                );
            }
        }
        let waiting = schedules(&self.name);
        if self.schedules
            && self
                .subjects
                .iter()
                .any(|subject| overlap(subject, &waiting) && !covers(subject, &waiting))
        {
            return refuse(
                "subjects",
                &self.subjects,
                "they overlap with where the stream's schedules wait",
            );
        }
        for (what, limit, most) in [
            ("max_bytes", self.max_bytes, i64::MAX as u64),
            ("max_msgs", self.max_msgs, i64::MAX as u64),
            (
                "max_msgs_per_subject",
                self.max_msgs_per_subject,
                i64::MAX as u64,
            ),
            ("max_msg_size", self.max_msg_size, i32::MAX as u64),
        ] {
            if limit.is_some_and(|limit| limit == 0 || limit > most) {
                return refuse(
                    what,
                    &limit,
                    "a limit is at least 1 and fits the server's integer",
                );
            }
        }
        for (what, time) in [
            ("max_age", self.max_age),
            ("dedupe_window", self.dedupe_window),
        ] {
            if time.is_some_and(|time| time < SHORTEST || i64::try_from(time.as_nanos()).is_err()) {
                return refuse(what, &time, "it is at least 100 ms and less than 292 years");
            }
        }
        if let (Some(window), Some(age)) = (self.dedupe_window, self.max_age)
            && window > age
        {
            return refuse("dedupe_window", &window, "it is at most max_age");
        }
        if self.schedules && self.discard == Discard::New {
            return refuse(
                "discard",
                &self.discard,
                "a stream with schedules discards the old (the server's rule)",
            );
        }
        if !(1..=5).contains(&self.replicas) {
            return refuse("replicas", &self.replicas, "there are 1 to 5 copies");
        }
        Ok(())
    }

    /// What the server is asked for, without the mark.
    #[must_use]
    pub fn config(&self) -> StreamConfig {
        let limit = |limit: Option<u64>| limit.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        let max_age = self.max_age.map_or(0, nanos);
        let mut subjects = self.subjects.clone();
        if self.schedules {
            let waiting = schedules(&self.name);
            if !subjects.iter().any(|pattern| covers(pattern, &waiting)) {
                subjects.push(waiting);
            }
        }
        StreamConfig {
            name: self.name.clone(),
            description: self.description.clone(),
            subjects,
            retention: self.retention,
            max_consumers: -1,
            max_msgs: limit(self.max_msgs),
            max_bytes: limit(self.max_bytes),
            max_age,
            max_msgs_per_subject: limit(self.max_msgs_per_subject),
            max_msg_size: limit(self.max_msg_size),
            discard: self.discard,
            storage: self.storage,
            num_replicas: self.replicas,
            duplicate_window: self
                .dedupe_window
                .map_or_else(|| DEFAULT_DEDUPE.min(endless(max_age)), nanos),
            compression: self.compression,
            allow_msg_ttl: self.message_ttl,
            allow_msg_schedules: self.schedules,
            allow_atomic: self.atomic_batches,
            allow_batched: self.fast_ingest,
            ..StreamConfig::default()
        }
    }
}

/// What is to be done about a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamPlan {
    /// Create it so.
    Create(StreamConfig),
    /// Change it to this.
    Update(StreamConfig, Vec<Difference>),
    /// Use it as it is, and tell this.
    Use(Option<ProvisionEvent>),
    /// Fail.
    Refuse(ProvisionError),
}

/// Plans what is to be done, given the stream of this name (or one that stores its
/// subjects) as the server has it.
#[must_use]
pub fn plan_stream(
    wanted: &WantedStream,
    policy: &Policy,
    found: Option<&StreamConfig>,
) -> StreamPlan {
    let mut config = wanted.config();
    let hash = hash(&config);
    let Some(found) = found else {
        return match policy.strategy {
            Strategy::ValidateOnly => StreamPlan::Refuse(ProvisionError::Missing {
                stream: wanted.name.clone(),
            }),
            Strategy::Skip => StreamPlan::Use(None),
            Strategy::CreateOnly | Strategy::CreateOrUpdate => {
                policy.mark.write(&hash, &mut config.metadata);
                StreamPlan::Create(config)
            }
        };
    };

    let mut differences = differences(&config, found);
    let owned = if found.name == wanted.name {
        policy.mark.read(&hash, &found.metadata)
    } else {
        Owned::Foreign
    };
    let fits = wanted.subjects.iter().all(|subject| {
        found
            .subjects
            .iter()
            .any(|pattern| covers(pattern, subject))
    });
    if owned == Owned::Foreign && fits {
        // What it stores besides is no business of ours.
        differences.retain(|difference| difference.field != "subjects");
    }

    let conflict = |differences| {
        StreamPlan::Refuse(ProvisionError::Conflict {
            asset: Asset::Stream,
            name: found.name.clone(),
            differences,
        })
    };
    let tell = |outcome, differences| {
        StreamPlan::Use(Some(ProvisionEvent {
            asset: Asset::Stream,
            name: found.name.clone(),
            outcome,
            differences,
        }))
    };

    let outcome = match owned {
        Owned::Ours { same } if policy.strategy == Strategy::CreateOrUpdate => {
            if same && differences.is_empty() {
                return StreamPlan::Use(None);
            }
            let allowed = |difference: &Difference| match difference.change {
                Change::Safe => true,
                Change::Destructive => policy.allow_destructive,
                Change::Impossible | Change::AtCreation => false,
            };
            if !differences.iter().all(allowed) {
                return conflict(differences);
            }
            let mut config = changed(&config, found);
            policy.mark.write(&hash, &mut config.metadata);
            return StreamPlan::Update(config, differences);
        }
        Owned::Ours { .. } if differences.is_empty() => return StreamPlan::Use(None),
        Owned::Ours { .. } => Outcome::Kept,
        Owned::Newer { version } => Outcome::Yielded { to: version },
        Owned::Foreign => Outcome::Adopted,
    };
    let refused = policy.on_mismatch == OnMismatch::Refuse
        && !differences.is_empty()
        && !matches!(owned, Owned::Newer { .. });
    if !fits || refused {
        return conflict(differences);
    }
    tell(outcome, differences)
}

/// `found`, with every field that is ours as wanted and the rest as it is.
fn changed(wanted: &StreamConfig, found: &StreamConfig) -> StreamConfig {
    StreamConfig {
        name: found.name.clone(),
        description: wanted
            .description
            .clone()
            .or_else(|| found.description.clone()),
        max_consumers: found.max_consumers,
        discard_new_per_subject: found.discard_new_per_subject
            && wanted.discard == Discard::New
            && wanted.max_msgs_per_subject > 0,
        allow_msg_ttl: wanted.allow_msg_ttl || found.allow_msg_ttl,
        allow_msg_schedules: wanted.allow_msg_schedules || found.allow_msg_schedules,
        allow_atomic: wanted.allow_atomic || found.allow_atomic,
        allow_batched: wanted.allow_batched || found.allow_batched,
        metadata: found.metadata.clone(),
        other: found.other.clone(),
        ..wanted.clone()
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
