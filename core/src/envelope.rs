//! The envelope: an event and what is said about it, as one JSON object.
//!
//! ```json
//! {"event_id":"0190…","aggregate_id":"order-7","event_type":"OrderPlaced",
//!  "event_version":1,"timestamp":"2026-11-22T11:48:01Z","payload":{…},
//!  "trace_id":"…","correlation_id":"…","tenant_id":3}
//! ```
//!
//! The last three are optional. Readers ignore fields that they do not know, take
//! the last of fields given twice and `null` for absent (all but `payload`), as
//! Go's `encoding/json` does on the other side of the same streams.

mod id;
mod read;
mod text;
mod write;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::headers::HeaderError;
use crate::subject::NameError;
use crate::{Headers, Timestamp};

pub use id::{EventId, event_id};
pub use read::{DecodeError, decode, decode_owned};
pub use text::Text;
pub use write::{EncodeError, encode, encode_raw};

/// The header with the key of a message that is no envelope.
pub const KEY_HEADER: &str = "X-Aggregate-ID";

/// The longest aggregate id, in bytes.
pub const MAX_AGGREGATE_ID: usize = 256;

/// What an envelope says of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Which event; never blank.
    pub event_id: &'a str,
    /// The key: events of one aggregate are handled in order. At most
    /// [`MAX_AGGREGATE_ID`] bytes of `A-Za-z0-9:_-./`, at least one.
    pub aggregate_id: &'a str,
    /// What happened; never blank.
    pub event_type: &'a str,
    /// The version of the event; at least 1.
    pub event_version: i64,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The trace it belongs to.
    pub trace_id: Option<&'a str>,
    /// What it belongs to in the application.
    pub correlation_id: Option<&'a str>,
    /// The tenant; 0 for none.
    pub tenant_id: i64,
}

/// An envelope that borrows from the bytes it was read from. Made by [`decode`],
/// so its fields keep their rules.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// See [`Fields::event_id`].
    pub event_id: Cow<'a, str>,
    /// See [`Fields::aggregate_id`].
    pub aggregate_id: Cow<'a, str>,
    /// See [`Fields::event_type`].
    pub event_type: Cow<'a, str>,
    /// See [`Fields::event_version`].
    pub event_version: i64,
    /// When it happened. Times before 1678 and after 2262 (Go's zero time is one)
    /// become the first or the last representable.
    pub timestamp: Timestamp,
    /// The event itself: valid JSON.
    pub payload: &'a RawValue,
    /// See [`Fields::trace_id`].
    pub trace_id: Option<Cow<'a, str>>,
    /// See [`Fields::correlation_id`].
    pub correlation_id: Option<Cow<'a, str>>,
    /// See [`Fields::tenant_id`].
    pub tenant_id: i64,
}

impl Envelope<'_> {
    /// Everything but the payload.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            event_id: &self.event_id,
            aggregate_id: &self.aggregate_id,
            event_type: &self.event_type,
            event_version: self.event_version,
            timestamp: self.timestamp,
            trace_id: self.trace_id.as_deref(),
            correlation_id: self.correlation_id.as_deref(),
            tenant_id: self.tenant_id,
        }
    }
}

/// An envelope that shares the memory of the message it was read from: made by
/// [`decode_owned`] without a copy. Keeping any field keeps the whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// See [`Fields::event_id`].
    pub event_id: Text,
    /// See [`Fields::aggregate_id`].
    pub aggregate_id: Text,
    /// See [`Fields::event_type`].
    pub event_type: Text,
    /// See [`Fields::event_version`].
    pub event_version: i64,
    /// See [`Envelope::timestamp`].
    pub timestamp: Timestamp,
    /// The event itself: valid JSON.
    pub payload: Bytes,
    /// See [`Fields::trace_id`].
    pub trace_id: Option<Text>,
    /// See [`Fields::correlation_id`].
    pub correlation_id: Option<Text>,
    /// See [`Fields::tenant_id`].
    pub tenant_id: i64,
}

impl Event {
    /// Everything but the payload.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            event_id: &self.event_id,
            aggregate_id: &self.aggregate_id,
            event_type: &self.event_type,
            event_version: self.event_version,
            timestamp: self.timestamp,
            trace_id: self.trace_id.as_deref(),
            correlation_id: self.correlation_id.as_deref(),
            tenant_id: self.tenant_id,
        }
    }
}

impl Fields<'_> {
    /// Checks the rules of all fields.
    ///
    /// # Errors
    /// Names the first field that breaks its rule, its value, and the rule.
    pub fn check(&self) -> Result<(), NameError> {
        check_filled("event_id", self.event_id)?;
        check_aggregate_id(self.aggregate_id)?;
        check_filled("event_type", self.event_type)?;
        if self.event_version < 1 {
            return Err(NameError::new(
                "event_version",
                &self.event_version.to_string(),
                "it is at least 1",
            ));
        }
        Ok(())
    }

    /// Repeats the fields as headers `X-Event-ID`, `X-Aggregate-ID`,
    /// `X-Event-Type`, `X-Event-Version`, and where present `X-Trace-ID`,
    /// `X-Correlation-ID`, `X-Tenant-ID`, for readers that do not parse the body.
    ///
    /// # Errors
    /// When a value could not be sent as a header.
    pub fn mirror(&self, headers: &mut Headers) -> Result<(), HeaderError> {
        headers.insert("X-Event-ID", self.event_id)?;
        headers.insert(KEY_HEADER, self.aggregate_id)?;
        headers.insert("X-Event-Type", self.event_type)?;
        headers.insert("X-Event-Version", &self.event_version.to_string())?;
        if let Some(id) = self.trace_id {
            headers.insert("X-Trace-ID", id)?;
        }
        if let Some(id) = self.correlation_id {
            headers.insert("X-Correlation-ID", id)?;
        }
        if self.tenant_id != 0 {
            headers.insert("X-Tenant-ID", &self.tenant_id.to_string())?;
        }
        Ok(())
    }
}

/// Checks an aggregate id.
///
/// # Errors
/// When it is blank, longer than [`MAX_AGGREGATE_ID`] bytes, or holds another
/// character than `A-Za-z0-9:_-./`.
pub fn check_aggregate_id(id: &str) -> Result<(), NameError> {
    check_filled("aggregate_id", id)?;
    let refuse = |rule| Err(NameError::new("aggregate_id", id, rule));
    if id.len() > MAX_AGGREGATE_ID {
        return refuse("it has at most 256 bytes");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":_-./".contains(&b);
    if !id.bytes().all(allowed) {
        return refuse("it holds only characters of `A-Za-z0-9:_-./`");
    }
    Ok(())
}

fn check_filled(field: &'static str, value: &str) -> Result<(), NameError> {
    if value.trim().is_empty() {
        return Err(NameError::new(field, value, "it must not be blank"));
    }
    Ok(())
}

/// The key of a message that is no envelope: its header [`KEY_HEADER`], unless
/// that is blank. The key of an envelope is its `aggregate_id`.
#[must_use]
pub fn raw_key(headers: &Headers) -> Option<&str> {
    headers
        .get(KEY_HEADER)
        .map(str::trim)
        .filter(|key| !key.is_empty())
}

/// The same, sharing the headers' memory.
#[must_use]
pub fn raw_key_bytes(headers: &Headers) -> Option<Bytes> {
    raw_key(headers).map(|key| headers.share(key))
}

/// The message id (`Nats-Msg-Id`) of an event on a topic, `<event_id>/<topic>`:
/// the server drops duplicates per stream, and one event may go to two topics of
/// a stream.
#[must_use]
pub fn message_id(event_id: &str, topic: &str) -> String {
    [event_id, "/", topic].concat()
}

/// Cuts what came from outside to what a log line bears.
fn shown(error: &dyn fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some((at, _)) = text.char_indices().nth(300) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

#[cfg(all(test, not(loom)))]
mod tests;
