//! A wanted consumer, and what is to be done about the one that is there.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use serde_json::Value;

use super::mark::{Mark, Owned, hash};
use super::stream::nanos;
use super::{Asset, Change, Difference, Outcome, ProvisionError, ProvisionEvent};
use crate::Timestamp;
use crate::jetstream::api::{AckPolicy, ConsumerConfig, DeliverPolicy};
use crate::names::{check_consumer, check_stream};
use crate::subject::{NameError, check_pattern, overlap};

/// The server's values where none is given.
const DEFAULT_ACK_WAIT: u64 = 30_000_000_000;
const DEFAULT_ACK_PENDING: i64 = 1_000;

/// Where a new consumer starts. It counts only when the consumer is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first stored message.
    #[default]
    All,
    /// At the next message to be stored.
    New,
    /// At this sequence of the stream.
    Sequence(u64),
    /// At the first message stored at this time or later.
    Time(Timestamp),
}

/// A pull consumer as it is wanted: explicit acknowledgements, deliveries without
/// end (`max_deliver` -1: attempts are counted by us), no backoff on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedConsumer {
    /// The stream it reads.
    pub stream: String,
    /// Its name.
    pub name: String,
    /// Whether it outlives its readers.
    pub durable: bool,
    /// The topics or patterns it takes; none overlaps another. Empty: all.
    pub filters: Vec<String>,
    /// Where it starts.
    pub start: Start,
    /// How long a delivery may stay unsettled before it comes again.
    pub ack_wait: Duration,
    /// Most unsettled deliveries.
    pub max_ack_pending: u32,
    /// After how long without a pull it is removed; `None`: never for a durable,
    /// 5 s otherwise.
    pub inactive_threshold: Option<Duration>,
    /// Copies; `None`: as the stream.
    pub replicas: Option<u32>,
}

impl WantedConsumer {
    /// A durable consumer of `stream` that takes `filter` from the beginning, with
    /// 30 s to settle each of at most 1 000 deliveries.
    #[must_use]
    pub fn durable(
        stream: impl Into<String>,
        name: impl Into<String>,
        filter: impl Into<String>,
    ) -> Self {
        Self {
            stream: stream.into(),
            name: name.into(),
            durable: true,
            filters: vec![filter.into()],
            start: Start::All,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1_000,
            inactive_threshold: None,
            replicas: None,
        }
    }

    /// Checks all rules.
    ///
    /// # Errors
    /// Names the first value that breaks a rule.
    pub fn check(&self) -> Result<(), NameError> {
        check_stream(&self.stream)?;
        check_consumer(&self.name)?;
        let refuse =
            |what, value: &dyn Debug, rule| Err(NameError::new(what, &format!("{value:?}"), rule));
        for (n, filter) in self.filters.iter().enumerate() {
            check_pattern(filter)?;
            if self
                .filters
                .iter()
                .skip(n + 1)
                .any(|other| overlap(filter, other))
            {
                return refuse("filters", &self.filters, "filters do not overlap");
            }
        }
        if self.start == Start::Sequence(0) {
            return refuse("start", &self.start, "sequences begin at 1");
        }
        for (what, time) in [
            ("ack_wait", Some(self.ack_wait)),
            ("inactive_threshold", self.inactive_threshold),
        ] {
            if time.is_some_and(|time| time.is_zero() || i64::try_from(time.as_nanos()).is_err()) {
                return refuse(
                    what,
                    &time,
                    "it is longer than zero and less than 292 years",
                );
            }
        }
        if self.max_ack_pending == 0 {
            return refuse("max_ack_pending", &self.max_ack_pending, "it is at least 1");
        }
        if self.replicas.is_some_and(|n| !(1..=5).contains(&n)) {
            return refuse("replicas", &self.replicas, "there are 1 to 5 copies");
        }
        Ok(())
    }

    /// What the server is asked for, without the mark.
    #[must_use]
    pub fn config(&self) -> ConsumerConfig {
        let (deliver_policy, opt_start_seq, opt_start_time) = match self.start {
            Start::All => (DeliverPolicy::All, None, None),
            Start::New => (DeliverPolicy::New, None, None),
            Start::Sequence(seq) => (DeliverPolicy::ByStartSequence, Some(seq), None),
            Start::Time(time) => (DeliverPolicy::ByStartTime, None, Some(time)),
        };
        let (filter_subject, filter_subjects) = match &*self.filters {
            [one] => (Some(one.clone()), Vec::new()),
            many => (None, many.to_vec()),
        };
        ConsumerConfig {
            name: Some(self.name.clone()),
            durable_name: self.durable.then(|| self.name.clone()),
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy: AckPolicy::Explicit,
            ack_wait: nanos(self.ack_wait),
            max_deliver: -1,
            filter_subject,
            filter_subjects,
            max_ack_pending: self.max_ack_pending.into(),
            inactive_threshold: self.inactive_threshold.map_or(0, nanos),
            num_replicas: self.replicas.unwrap_or(0),
            ..ConsumerConfig::default()
        }
    }
}

/// What is to be done about a consumer.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerPlan {
    /// Create it so.
    Create(ConsumerConfig),
    /// Change it to this.
    Update(ConsumerConfig, Vec<Difference>),
    /// Use it as it is, and tell this.
    Use(Option<ProvisionEvent>),
    /// Fail.
    Refuse(ProvisionError),
}

/// Plans what is to be done, given the consumer of this name as the server has it.
#[must_use]
pub fn plan_consumer(
    wanted: &WantedConsumer,
    mark: &Mark,
    found: Option<&ConsumerConfig>,
) -> ConsumerPlan {
    let mut config = wanted.config();
    // Where it started is no other configuration: it counts only when it is created.
    let hash = hash(&ConsumerConfig {
        deliver_policy: DeliverPolicy::All,
        opt_start_seq: None,
        opt_start_time: None,
        ..config.clone()
    });
    let Some(found) = found else {
        mark.write(&hash, &mut config.metadata);
        return ConsumerPlan::Create(config);
    };

    let differences = differences(&config, found);
    let has = |change| differences.iter().any(|d| d.change == change);
    let owned = mark.read(&hash, &found.metadata);
    let outcome = match owned {
        _ if has(Change::Impossible) => None,
        Owned::Foreign if has(Change::Safe) => None,
        Owned::Foreign => Some(Outcome::Adopted),
        Owned::Newer { version } => Some(Outcome::Yielded { to: version }),
        Owned::Ours { same } if !same || has(Change::Safe) => {
            let mut config = changed(&config, found);
            mark.write(&hash, &mut config.metadata);
            return ConsumerPlan::Update(config, differences);
        }
        Owned::Ours { .. } if differences.is_empty() => return ConsumerPlan::Use(None),
        Owned::Ours { .. } => Some(Outcome::Kept),
    };
    let name = wanted.name.clone();
    match outcome {
        None => ConsumerPlan::Refuse(ProvisionError::Conflict {
            asset: Asset::Consumer,
            name,
            differences,
        }),
        Some(outcome) => ConsumerPlan::Use(Some(ProvisionEvent {
            asset: Asset::Consumer,
            name,
            outcome,
            differences,
        })),
    }
}

/// `found`, with every field that may change as wanted and the rest as it is.
fn changed(wanted: &ConsumerConfig, found: &ConsumerConfig) -> ConsumerConfig {
    ConsumerConfig {
        name: wanted.name.clone(),
        ack_wait: wanted.ack_wait,
        max_deliver: wanted.max_deliver,
        backoff: Vec::new(),
        max_ack_pending: wanted.max_ack_pending,
        inactive_threshold: wanted.inactive_threshold,
        num_replicas: match wanted.num_replicas {
            0 => found.num_replicas,
            wanted => wanted,
        },
        ..found.clone()
    }
}

fn differences(wanted: &ConsumerConfig, found: &ConsumerConfig) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut compare = |field, change, wanted: &dyn Debug, found: &dyn Debug| {
        let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
        if wanted != found {
            list.push(Difference {
                field,
                wanted,
                found,
                change,
            });
        }
    };

    compare(
        "durable_name",
        Change::Impossible,
        &wanted.durable_name.as_deref().unwrap_or_default(),
        &found.durable_name.as_deref().unwrap_or_default(),
    );
    // Widening the filter of a live consumer does not go back to what it passed.
    compare(
        "filter_subjects",
        Change::Impossible,
        &filters(wanted),
        &filters(found),
    );
    compare(
        "ack_policy",
        Change::Impossible,
        &wanted.ack_policy,
        &found.ack_policy,
    );
    compare(
        "deliver_policy",
        Change::AtCreation,
        &wanted.deliver_policy,
        &found.deliver_policy,
    );
    compare(
        "opt_start_seq",
        Change::AtCreation,
        &wanted.opt_start_seq.unwrap_or_default(),
        &found.opt_start_seq.unwrap_or_default(),
    );
    let time = |config: &ConsumerConfig| {
        config
            .opt_start_time
            .map_or_else(String::new, |time| time.to_string())
    };
    compare(
        "opt_start_time",
        Change::AtCreation,
        &time(wanted),
        &time(found),
    );
    let ack_wait = |config: &ConsumerConfig| match config.ack_wait {
        0 => Duration::from_nanos(DEFAULT_ACK_WAIT),
        wait => Duration::from_nanos(wait),
    };
    compare(
        "ack_wait",
        Change::Safe,
        &ack_wait(wanted),
        &ack_wait(found),
    );
    let deliveries = |config: &ConsumerConfig| match config.max_deliver {
        n if n <= 0 => -1,
        n => n,
    };
    compare(
        "max_deliver",
        Change::Safe,
        &deliveries(wanted),
        &deliveries(found),
    );
    compare("backoff", Change::Safe, &wanted.backoff, &found.backoff);
    let pending = |config: &ConsumerConfig| match config.max_ack_pending {
        0 => DEFAULT_ACK_PENDING,
        n => n,
    };
    compare(
        "max_ack_pending",
        Change::Safe,
        &pending(wanted),
        &pending(found),
    );
    // The server puts its own threshold where an ephemeral gives none.
    if wanted.inactive_threshold != 0 || wanted.durable_name.is_some() {
        let threshold = |config: &ConsumerConfig| Duration::from_nanos(config.inactive_threshold);
        compare(
            "inactive_threshold",
            Change::Safe,
            &threshold(wanted),
            &threshold(found),
        );
    }
    if wanted.num_replicas != 0 {
        compare(
            "num_replicas",
            Change::Safe,
            &wanted.num_replicas,
            &found.num_replicas,
        );
    }
    // What makes it another kind of consumer.
    for field in ["deliver_subject", "headers_only", "priority_groups"] {
        let set = match found.other.get(field) {
            None | Some(Value::Null | Value::Bool(false)) => continue,
            Some(Value::String(text)) if text.is_empty() => continue,
            Some(value) => value.to_string(),
        };
        list.push(Difference {
            field,
            wanted: "none".into(),
            found: set,
            change: Change::Impossible,
        });
    }
    list
}

fn filters(config: &ConsumerConfig) -> BTreeSet<&str> {
    let one = config.filter_subject.as_deref().filter(|f| !f.is_empty());
    let many = config.filter_subjects.iter().map(String::as_str);
    one.into_iter().chain(many).collect()
}
