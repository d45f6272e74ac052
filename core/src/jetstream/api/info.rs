//! Answers of `$JS.API`, as far as this crate reads them.

use serde::{Deserialize, Deserializer, Serialize};

use super::{ConsumerConfig, StreamConfig};

/// A stream as it is (`STREAM.INFO`, and the answer to a create or update).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its configuration.
    pub config: StreamConfig,
    /// What it holds.
    #[serde(default)]
    pub state: StreamState,
}

/// What a stream holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamState {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sequence of the first; one more than `last_seq` when it is empty.
    pub first_seq: u64,
    /// The sequence of the last ever stored.
    pub last_seq: u64,
    /// Consumers.
    pub consumer_count: u64,
}

/// A page of names of streams (`STREAM.NAMES`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamNames {
    /// All that there are.
    pub total: u64,
    /// Where this page begins.
    pub offset: u64,
    /// The names on this page.
    #[serde(deserialize_with = "null_is_empty")]
    pub streams: Vec<String>,
}

/// A page of names of consumers (`CONSUMER.NAMES`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerNames {
    /// All that there are.
    pub total: u64,
    /// Where this page begins.
    pub offset: u64,
    /// The names on this page.
    #[serde(deserialize_with = "null_is_empty")]
    pub consumers: Vec<String>,
}

/// The answer to a delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Whether it is done.
    pub success: bool,
}

/// The answer to a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Whether it is done.
    pub success: bool,
    /// Removed messages.
    #[serde(default)]
    pub purged: u64,
}

/// A consumer as it is (`CONSUMER.INFO`, and the answer to a create or update).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerInfo {
    /// The stream it reads.
    pub stream_name: String,
    /// Its name.
    pub name: String,
    /// When it was created, as the server writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its configuration.
    pub config: ConsumerConfig,
    /// The last delivery.
    #[serde(default)]
    pub delivered: Position,
    /// Everything up to here is settled. Not to be used for lag: it may stay at 0
    /// after deliveries ran out.
    #[serde(default)]
    pub ack_floor: Position,
    /// Deliveries that are not settled.
    #[serde(default)]
    pub num_ack_pending: u64,
    /// How many of them are not the first delivery of their message.
    #[serde(default)]
    pub num_redelivered: u64,
    /// Waiting pulls.
    #[serde(default)]
    pub num_waiting: u64,
    /// Messages that are still to be delivered.
    #[serde(default)]
    pub num_pending: u64,
}

impl ConsumerInfo {
    /// Everything up to this sequence of the stream is settled, of what was delivered.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let floor = self.ack_floor.stream_seq;
        match self.num_ack_pending {
            0 => floor.max(self.delivered.stream_seq),
            _ => floor,
        }
    }
}

/// A place in a consumer and in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// Counts deliveries.
    pub consumer_seq: u64,
    /// Counts messages.
    pub stream_seq: u64,
}

/// What the account uses (`INFO`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountInfo {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes in files.
    pub storage: u64,
    /// Streams.
    pub streams: u64,
    /// Consumers.
    pub consumers: u64,
    /// The domain it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
