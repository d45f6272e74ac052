//! The configuration of a consumer: reading, defaults, checks, changes, in the
//! server's order.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::consumer::go_duration;
use super::error::{self, Error};
use super::json::{Object, object};
use super::stream_config::{
    METADATA, StreamConfig, is_asset_name, is_subject, metadata_json, metadata_len, nanos,
};
use crate::Timestamp;
use crate::jetstream::api::{AckPolicy, DeliverPolicy, Retention};
use crate::subject::covers;

/// Whether a create request may find, or must find, the consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Action {
    #[default]
    Either,
    Create,
    Update,
}

/// A create request.
#[derive(Debug)]
pub(super) struct CreateRequest {
    pub(super) stream: String,
    pub(super) config: ConsumerConfig,
    pub(super) action: Action,
}

/// As nats-server keeps it. Durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ConsumerConfig {
    pub(super) durable: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) deliver_policy: DeliverPolicy,
    pub(super) opt_start_seq: u64,
    pub(super) opt_start_time: Option<Timestamp>,
    pub(super) ack_policy: AckPolicy,
    pub(super) ack_wait: i64,
    pub(super) max_deliver: i64,
    pub(super) backoff: Vec<i64>,
    pub(super) filter_subject: String,
    pub(super) filter_subjects: Vec<String>,
    replay_original: bool,
    rate_limit: u64,
    sample_freq: String,
    pub(super) max_waiting: i64,
    pub(super) max_ack_pending: i64,
    flow_control: bool,
    pub(super) headers_only: bool,
    pub(super) max_batch: i64,
    pub(super) max_expires: i64,
    pub(super) max_bytes: i64,
    deliver_subject: String,
    deliver_group: String,
    idle_heartbeat: i64,
    pub(super) inactive_threshold: i64,
    pub(super) num_replicas: i64,
    pub(super) mem_storage: bool,
    direct: bool,
    pub(super) metadata: BTreeMap<String, String>,
    priority_groups: Vec<String>,
    priority_policy: String,
    paused: bool,
}

impl CreateRequest {
    pub(super) fn read(payload: &[u8]) -> Result<Self, Error> {
        let mut o = object(payload, "CreateConsumerRequest")?;
        let stream = o.string("stream_name")?;
        let action = match o.raw("action") {
            None => Action::Either,
            Some(value) if value == "create" => Action::Create,
            Some(value) if value == "update" => Action::Update,
            Some(other) => {
                return Err(Error::invalid_json(format_args!(
                    "unknown consumer action: {other}"
                )));
            }
        };
        let _pedantic = o.bool("pedantic")?;
        let mut config = o.child("config", "server.ConsumerConfig")?;
        o.finish()?;
        let read = ConsumerConfig::fields(&mut config)?;
        config.finish()?;
        Ok(Self {
            stream,
            config: read,
            action,
        })
    }
}

impl ConsumerConfig {
    fn fields(o: &mut Object) -> Result<Self, Error> {
        let config = Self {
            durable: o.string("durable_name")?,
            name: o.string("name")?,
            description: o.string("description")?,
            deliver_policy: o.word(
                "deliver_policy",
                &[
                    ("all", DeliverPolicy::All),
                    ("undefined", DeliverPolicy::All),
                    ("last", DeliverPolicy::Last),
                    ("last_per_subject", DeliverPolicy::LastPerSubject),
                    ("new", DeliverPolicy::New),
                    ("by_start_sequence", DeliverPolicy::ByStartSequence),
                    ("by_start_time", DeliverPolicy::ByStartTime),
                ],
            )?,
            opt_start_seq: o.uint64("opt_start_seq")?,
            opt_start_time: o.time("opt_start_time")?,
            ack_policy: o.word(
                "ack_policy",
                &[
                    ("none", AckPolicy::None),
                    ("all", AckPolicy::All),
                    ("explicit", AckPolicy::Explicit),
                ],
            )?,
            ack_wait: o.duration("ack_wait")?,
            max_deliver: o.int("max_deliver")?,
            backoff: o.durations("backoff")?,
            filter_subject: o.string("filter_subject")?,
            filter_subjects: o.strings("filter_subjects")?,
            replay_original: o.word("replay_policy", &[("instant", false), ("original", true)])?,
            rate_limit: o.uint64("rate_limit_bps")?,
            sample_freq: o.string("sample_freq")?,
            max_waiting: o.int("max_waiting")?,
            max_ack_pending: o.int("max_ack_pending")?,
            flow_control: o.bool("flow_control")?,
            headers_only: o.bool("headers_only")?,
            max_batch: o.int("max_batch")?,
            max_expires: o.duration("max_expires")?,
            max_bytes: o.int("max_bytes")?,
            deliver_subject: o.string("deliver_subject")?,
            deliver_group: o.string("deliver_group")?,
            idle_heartbeat: o.duration("idle_heartbeat")?,
            inactive_threshold: o.duration("inactive_threshold")?,
            num_replicas: o.int("num_replicas")?,
            mem_storage: o.bool("mem_storage")?,
            direct: o.bool("direct")?,
            metadata: o.metadata()?,
            priority_groups: o.strings("priority_groups")?,
            priority_policy: o.string("priority_policy")?,
            paused: o.time("pause_until")?.is_some(),
        };
        o.duration("priority_timeout")?;
        Ok(config)
    }

    pub(super) fn is_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// The patterns it takes; none means everything.
    pub(super) fn filters(&self) -> Vec<String> {
        if self.filter_subject.is_empty() {
            self.filter_subjects.clone()
        } else {
            vec![self.filter_subject.clone()]
        }
    }

    /// How long a delivery may stay unsettled, as the `redelivered`th redelivery.
    pub(super) fn wait(&self, redelivered: u64) -> Duration {
        let step = usize::try_from(redelivered).unwrap_or(usize::MAX);
        let step = step.min(self.backoff.len().saturating_sub(1));
        nanos(self.backoff.get(step).copied().unwrap_or(self.ack_wait))
    }

    /// Fills in the server's defaults.
    pub(super) fn fill(&mut self, stream: &StreamConfig) {
        if self.max_deliver == 0 || self.max_deliver < -1 {
            self.max_deliver = -1;
        }
        if self.max_ack_pending < -1 {
            self.max_ack_pending = -1;
        }
        for floor in [
            &mut self.max_waiting,
            &mut self.max_batch,
            &mut self.max_expires,
            &mut self.max_bytes,
            &mut self.idle_heartbeat,
            &mut self.inactive_threshold,
        ] {
            *floor = (*floor).max(0);
        }
        if self.max_waiting == 0 && self.deliver_subject.is_empty() {
            self.max_waiting = 512;
        }
        if self.ack_wait == 0 && self.ack_policy != AckPolicy::None {
            self.ack_wait = 30_000_000_000;
        }
        if let Some(&first) = self.backoff.first() {
            self.ack_wait = first;
        }
        if self.max_ack_pending == 0 {
            self.max_ack_pending = stream.max_ack_pending;
        }
        if self.inactive_threshold == 0 {
            self.inactive_threshold = stream.max_inactive;
        }
        if self.max_ack_pending == 0 && self.ack_policy != AckPolicy::None {
            self.max_ack_pending = 1000;
        }
        self.metadata.remove("_nats.ver");
        self.metadata.remove("_nats.level");
        self.metadata.insert("_nats.req.level".into(), "0".into());
    }

    /// Checks what needs no other consumer.
    pub(super) fn check(&self, stream: &StreamConfig) -> Result<(), Error> {
        if self.num_replicas > 1 {
            return Err(error::REPLICAS);
        }
        if !self.name.is_empty() && !is_asset_name(&self.name) {
            return Err(Error::stream_config(
                "consumer name can not contain '.', '*', '>', '\\', '/'",
            ));
        }
        if self.num_replicas < 0 {
            return Err(error::REPLICAS_NEGATIVE);
        }
        if self.backoff.iter().any(|wait| *wait < 0) {
            return Err(error::BACKOFF_NEGATIVE);
        }
        if self.ack_wait < 0 {
            return Err(error::ACK_WAIT_NEGATIVE);
        }
        if !self.backoff.is_empty()
            && self.max_deliver != -1
            && self.backoff.len() as i64 > self.max_deliver
        {
            return Err(error::MAX_DELIVER_BACKOFF);
        }
        if self.description.len() > 4096 {
            return Err(error::CONSUMER_DESCRIPTION);
        }
        if metadata_len(&self.metadata) > METADATA {
            return Err(error::CONSUMER_METADATA);
        }
        if !self.deliver_subject.is_empty() {
            return Err(Error::consumer_create("push consumers are not supported"));
        }
        self.check_pull(stream)?;
        self.check_filters()?;
        self.check_start()?;
        self.check_unsupported()
    }

    fn check_pull(&self, stream: &StreamConfig) -> Result<(), Error> {
        let work_queue = stream.retention == Retention::WorkQueue;
        let refusals = [
            (
                self.ack_policy == AckPolicy::None && work_queue,
                error::PULL_REQUIRES_ACK,
            ),
            (self.rate_limit > 0, error::PULL_RATE_LIMIT),
            (self.idle_heartbeat > 0, error::HEARTBEAT_REQUIRES_PUSH),
            (self.flow_control, error::FLOW_REQUIRES_PUSH),
            (
                self.max_expires != 0 && self.max_expires < 1_000_000,
                error::MAX_EXPIRES_SMALL,
            ),
            (self.direct, error::DIRECT_REQUIRES_PUSH),
        ];
        if let Some((_, error)) = refusals.into_iter().find(|(refused, _)| *refused) {
            return Err(error);
        }
        let (most, longest) = (stream.max_ack_pending, stream.max_inactive);
        if most > 0 && self.max_ack_pending > most {
            return Err(Error::max_ack_pending(most));
        }
        if longest > 0 && self.inactive_threshold > longest {
            return Err(Error::inactive_threshold(&go_duration(longest)));
        }
        Ok(())
    }

    fn check_filters(&self) -> Result<(), Error> {
        if !self.filter_subject.is_empty() && !self.filter_subjects.is_empty() {
            return Err(error::DUPLICATE_FILTERS);
        }
        if self.filter_subjects.iter().any(String::is_empty) {
            return Err(error::FILTER_EMPTY);
        }
        let filters = self.filters();
        for (index, filter) in filters.iter().enumerate() {
            if !is_subject(filter) {
                return Err(Error::stream_config("invalid subject"));
            }
            let covered = filters
                .iter()
                .enumerate()
                .any(|(other, by)| other != index && covers(by, filter));
            if covered {
                return Err(error::FILTERS_OVERLAP);
            }
        }
        Ok(())
    }

    fn check_start(&self) -> Result<(), Error> {
        let seq = self.opt_start_seq > 0;
        let time = self.opt_start_time.is_some();
        macro_rules! refuse {
            ($policy:literal) => {{
                if seq {
                    return Err(Error::bad_start(concat!(
                        "consumer delivery policy is deliver ",
                        $policy,
                        ", but optional start sequence is also set"
                    )));
                }
                if time {
                    return Err(Error::bad_start(concat!(
                        "consumer delivery policy is deliver ",
                        $policy,
                        ", but optional start time is also set"
                    )));
                }
            }};
        }
        match self.deliver_policy {
            DeliverPolicy::All => refuse!("all"),
            DeliverPolicy::Last => refuse!("last"),
            DeliverPolicy::New => refuse!("new"),
            DeliverPolicy::LastPerSubject => {
                refuse!("last per subject");
                if self.filter_subject.is_empty() && self.filter_subjects.is_empty() {
                    return Err(Error::bad_start(
                        "consumer delivery policy is deliver last per subject, but optional filter subject is not set",
                    ));
                }
            }
            DeliverPolicy::ByStartSequence => {
                if !seq {
                    return Err(Error::bad_start(
                        "consumer delivery policy is deliver by start sequence, but optional start sequence is not set",
                    ));
                }
                if time {
                    return Err(Error::bad_start(
                        "consumer delivery policy is deliver by start sequence, but optional start time is also set",
                    ));
                }
            }
            DeliverPolicy::ByStartTime => {
                if !time {
                    return Err(Error::bad_start(
                        "consumer delivery policy is deliver by start time, but optional start time is not set",
                    ));
                }
                if seq {
                    return Err(Error::bad_start(
                        "consumer delivery policy is deliver by start time, but optional start start sequence is also set",
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_unsupported(&self) -> Result<(), Error> {
        if !self.sample_freq.is_empty() {
            let number = self.sample_freq.trim_end_matches('%');
            if number.parse::<i64>().is_err() {
                return Err(Error::sampling(number));
            }
            return Err(Error::consumer_create("ack sampling is not supported"));
        }
        let priority = !matches!(self.priority_policy.as_str(), "" | "none");
        match (priority, self.priority_groups.is_empty()) {
            (true, true) => return Err(error::PRIORITY_WITHOUT_GROUP),
            (false, false) => return Err(error::GROUP_WITHOUT_PRIORITY),
            (true, false) => {
                return Err(Error::consumer_create("priority groups are not supported"));
            }
            (false, true) => {}
        }
        if self.paused {
            return Err(Error::consumer_create("pausing is not supported"));
        }
        if self.replay_original {
            return Err(Error::consumer_create(
                "replay policy original is not supported",
            ));
        }
        Ok(())
    }

    /// Whether this may become `new`.
    pub(super) fn check_update(&self, new: &Self) -> Result<(), Error> {
        let refuse = |why| Err(Error::consumer_create(why));
        if self.deliver_policy != new.deliver_policy {
            return refuse("deliver policy can not be updated");
        }
        if self.opt_start_seq != new.opt_start_seq {
            return refuse("start sequence can not be updated");
        }
        if self.opt_start_time != new.opt_start_time {
            return refuse("start time can not be updated");
        }
        if self.ack_policy != new.ack_policy {
            return refuse("ack policy can not be updated");
        }
        if self.max_waiting != new.max_waiting {
            return refuse("max waiting can not be updated");
        }
        if self.mem_storage != new.mem_storage {
            return refuse("storage type can not be updated");
        }
        Ok(())
    }

    /// As the server shows it; `dynamic` adds what it says of itself.
    pub(super) fn json(&self, dynamic: bool) -> Value {
        let mut o = Map::new();
        let mut put = |key: &str, value: Value| {
            let zero = match &value {
                Value::Null => true,
                Value::Bool(yes) => !yes,
                Value::Number(n) => n.as_i64() == Some(0),
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
            };
            if !zero {
                o.insert(key.to_owned(), value);
            }
        };
        put("durable_name", json!(self.durable));
        put("name", json!(self.name));
        put("description", json!(self.description));
        put("deliver_policy", json!(self.deliver_policy));
        put("opt_start_seq", json!(self.opt_start_seq));
        put("opt_start_time", json!(self.opt_start_time));
        put("ack_policy", json!(self.ack_policy));
        put("ack_wait", json!(self.ack_wait));
        put("max_deliver", json!(self.max_deliver));
        put("backoff", json!(self.backoff));
        put("filter_subject", json!(self.filter_subject));
        put("filter_subjects", json!(self.filter_subjects));
        put("replay_policy", json!("instant"));
        put("max_waiting", json!(self.max_waiting));
        put("max_ack_pending", json!(self.max_ack_pending));
        put("headers_only", json!(self.headers_only));
        put("max_batch", json!(self.max_batch));
        put("max_expires", json!(self.max_expires));
        put("max_bytes", json!(self.max_bytes));
        put("deliver_group", json!(self.deliver_group));
        put("inactive_threshold", json!(self.inactive_threshold));
        put("mem_storage", json!(self.mem_storage));
        put("metadata", metadata_json(&self.metadata, dynamic));
        o.insert("num_replicas".into(), json!(self.num_replicas));
        Value::Object(o)
    }
}
