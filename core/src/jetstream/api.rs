//! The JSON of `$JS.API`: configurations and answers, as nats-server writes them.
//!
//! Names and meanings: ADR-31 and nats-server's `StreamConfig`, `ConsumerConfig`.
//! Durations are nanoseconds, limits are -1 when there is none. Fields this crate
//! does not know are kept, so that an update does not erase what somebody else set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Timestamp;

mod info;

pub use info::{
    AccountInfo, ConsumerInfo, ConsumerNames, Position, Purged, StreamInfo, StreamNames,
    StreamState, Success,
};

/// When a stored message may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// When a limit is reached.
    #[default]
    Limits,
    /// When every consumer that is interested has acknowledged it.
    Interest,
    /// When its one consumer has acknowledged it.
    WorkQueue,
}

/// What a full stream does with the next message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// Removes the oldest.
    #[default]
    Old,
    /// Refuses the new one.
    New,
}

/// Where a stream keeps its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In files.
    #[default]
    File,
    /// In memory: gone when the server restarts (with one replica).
    Memory,
}

/// How a file stream is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With S2.
    S2,
}

/// The configuration of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamConfig {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The subjects it stores, patterns allowed.
    pub subjects: Vec<String>,
    /// When messages go.
    pub retention: Retention,
    /// Most consumers; 0 or -1: any number.
    pub max_consumers: i64,
    /// Most messages; 0 or -1: any number.
    pub max_msgs: i64,
    /// Most bytes; 0 or -1: any number.
    pub max_bytes: i64,
    /// Oldest age in nanoseconds; 0: any.
    pub max_age: u64,
    /// Most messages of one subject; 0 or -1: any number.
    pub max_msgs_per_subject: i64,
    /// Largest message in bytes, headers included; 0 or -1: any.
    pub max_msg_size: i64,
    /// What happens when it is full.
    pub discard: Discard,
    /// With [`Discard::New`]: also when a subject is full.
    #[serde(skip_serializing_if = "is_false")]
    pub discard_new_per_subject: bool,
    /// Where it is kept.
    pub storage: Storage,
    /// Copies; 0 means 1.
    pub num_replicas: u32,
    /// How long message ids are remembered, in nanoseconds; 0: the server's
    /// default of two minutes.
    pub duplicate_window: u64,
    /// How files are compressed.
    pub compression: Compression,
    /// Whether messages may have a time to live of their own (ADR-43, server 2.11).
    #[serde(skip_serializing_if = "is_false")]
    pub allow_msg_ttl: bool,
    /// Whether messages may be stored to be published later (ADR-51, server 2.12).
    #[serde(skip_serializing_if = "is_false")]
    pub allow_msg_schedules: bool,
    /// Whether batches may be stored whole or not at all (ADR-50, server 2.12).
    #[serde(skip_serializing_if = "is_false")]
    pub allow_atomic: bool,
    /// Whether batches may be stored on the way, in order (server 2.14).
    #[serde(skip_serializing_if = "is_false")]
    pub allow_batched: bool,
    /// Free text of users and tools; keys starting `_nats.` are the server's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Everything else that the server said.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Where a consumer starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// At the first stored message.
    #[default]
    All,
    /// At the last stored message.
    Last,
    /// At the next message to be stored.
    New,
    /// At a sequence.
    ByStartSequence,
    /// At a time.
    ByStartTime,
    /// At the last message of each subject.
    LastPerSubject,
}

/// What an acknowledgement covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckPolicy {
    /// Nothing is acknowledged.
    #[default]
    None,
    /// The message and all before it.
    All,
    /// The message.
    Explicit,
}

/// The configuration of a pull consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerConfig {
    /// Its name; set for durable and for named ephemeral consumers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of a durable consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it starts.
    pub deliver_policy: DeliverPolicy,
    /// With [`DeliverPolicy::ByStartSequence`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_seq: Option<u64>,
    /// With [`DeliverPolicy::ByStartTime`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<Timestamp>,
    /// What an acknowledgement covers.
    pub ack_policy: AckPolicy,
    /// How long a delivery may stay unsettled, in nanoseconds; 0: 30 s.
    #[serde(skip_serializing_if = "is_zero")]
    pub ack_wait: u64,
    /// How often a message is delivered at most; 0 or -1: for ever.
    #[serde(skip_serializing_if = "is_zero_i")]
    pub max_deliver: i64,
    /// Waits before redeliveries in nanoseconds; overrides `ack_wait`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backoff: Vec<u64>,
    /// The one pattern it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_subject: Option<String>,
    /// The patterns it takes, in place of `filter_subject`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_subjects: Vec<String>,
    /// Most unsettled deliveries; 0: 1 000, -1: any number.
    #[serde(skip_serializing_if = "is_zero_i")]
    pub max_ack_pending: i64,
    /// Most waiting pulls; 0: 512.
    #[serde(skip_serializing_if = "is_zero_i")]
    pub max_waiting: i64,
    /// After how long without interest it goes, in nanoseconds; 0: never for a
    /// durable, 5 s for an ephemeral.
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive_threshold: u64,
    /// Copies; 0: as the stream.
    pub num_replicas: u32,
    /// Whether its state is kept in memory.
    #[serde(skip_serializing_if = "is_false")]
    pub mem_storage: bool,
    /// Free text of users and tools; keys starting `_nats.` are the server's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Everything else that the server said.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An error as the server says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiError {
    /// As in HTTP.
    pub code: u16,
    /// Which error exactly; see [`codes`].
    pub err_code: u32,
    /// In words.
    pub description: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

impl std::error::Error for ApiError {}

/// The server's error codes that this crate acts on (nats-server `errors.json`).
pub mod codes {
    /// JetStream is temporarily unavailable.
    pub const UNAVAILABLE: u32 = 10008;
    /// The new consumer differs where an update may not.
    pub const CONSUMER_CREATE: u32 = 10012;
    /// A consumer of this name has another configuration.
    pub const CONSUMER_NAME_IN_USE: u32 = 10013;
    /// No such consumer.
    pub const CONSUMER_NOT_FOUND: u32 = 10014;
    /// No such message.
    pub const MESSAGE_NOT_FOUND: u32 = 10037;
    /// A changed stream configuration that cannot be applied.
    pub const STREAM_UPDATE: u32 = 10052;
    /// The message is larger than the stream allows.
    pub const MESSAGE_TOO_LARGE: u32 = 10054;
    /// A stream of this name has another configuration.
    pub const STREAM_EXISTS: u32 = 10058;
    /// No such stream.
    pub const STREAM_NOT_FOUND: u32 = 10059;
    /// The message belongs to another stream than expected.
    pub const EXPECTED_STREAM: u32 = 10060;
    /// The subjects overlap with another stream's.
    pub const SUBJECT_OVERLAP: u32 = 10065;
    /// The message could not be stored: a full stream that discards the new, ...
    pub const STORE_FAILED: u32 = 10077;
    /// Another last message id than expected.
    pub const WRONG_LAST_ID: u32 = 10070;
    /// Another last sequence than expected.
    pub const WRONG_LAST_SEQUENCE: u32 = 10071;
    /// This server leads nothing that could answer.
    pub const NOT_LEADER: u32 = 10009;
    /// A consumer to be created is there already.
    pub const CONSUMER_EXISTS: u32 = 10148;
    /// A consumer to be updated is not there.
    pub const CONSUMER_DOES_NOT_EXIST: u32 = 10149;
    /// JetStream is not enabled for the account.
    pub const NOT_ENABLED_FOR_ACCOUNT: u32 = 10039;
    /// JetStream is not enabled.
    pub const NOT_ENABLED: u32 = 10076;
    /// A message with this id is being stored.
    pub const DUPLICATE_IN_PROCESS: u32 = 10158;
    /// Another write to the subject is being stored.
    pub const WRONG_LAST_SEQUENCE_BUSY: u32 = 10164;
    /// The server asks to slow down.
    pub const TOO_MANY_REQUESTS: u32 = 10167;
    /// The stream takes no atomic batches.
    pub const BATCH_DISABLED: u32 = 10174;
    /// Messages of an atomic batch are missing, or it was forgotten.
    pub const BATCH_INCOMPLETE: u32 = 10176;
    /// A message id of an atomic batch is known.
    pub const BATCH_DUPLICATE: u32 = 10201;
    /// The stream takes no fast-ingest batches.
    pub const INGEST_DISABLED: u32 = 10205;
    /// The server knows no such fast-ingest batch.
    pub const INGEST_UNKNOWN: u32 = 10208;
    /// Too many atomic batches are under way.
    pub const TOO_MANY_BATCHES: u32 = 10210;
    /// Too many fast-ingest batches are under way.
    pub const TOO_MANY_INGESTS: u32 = 10211;
}

const fn is_false(value: &bool) -> bool {
    !*value
}

const fn is_zero(value: &u64) -> bool {
    *value == 0
}

const fn is_zero_i(value: &i64) -> bool {
    *value == 0
}
