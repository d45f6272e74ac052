//! Writing an envelope into one buffer.

use std::fmt;
use std::io;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use bytes::Bytes;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::{Fields, shown};
use crate::Timestamp;
use crate::subject::NameError;

/// Why an envelope was not written. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A field breaks its rule.
    Field(NameError),
    /// The payload is no JSON, or could not be written as JSON: why.
    Payload(String),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(error) => error.fmt(f),
            Self::Payload(why) => write!(f, "payload is refused: it must be JSON: {why}"),
        }
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Field(error) => Some(error),
            Self::Payload(_) => None,
        }
    }
}

impl From<NameError> for EncodeError {
    fn from(error: NameError) -> Self {
        Self::Field(error)
    }
}

/// Writes an envelope around `payload`, which is serialised straight into it.
///
/// # Errors
/// When a field breaks its rule, or `payload` does not serialise.
pub fn encode<T: Serialize + ?Sized>(
    fields: &Fields<'_>,
    payload: &T,
) -> Result<Bytes, EncodeError> {
    write(fields, 256, |body| serde_json::to_writer(body, payload))
}

/// Writes an envelope around a payload that is JSON already; it is checked and
/// copied as it is.
///
/// # Errors
/// When a field breaks its rule, or `payload` is no JSON.
pub fn encode_raw(fields: &Fields<'_>, payload: &[u8]) -> Result<Bytes, EncodeError> {
    write(fields, payload.len(), |body| {
        // Ignoring a value skips its strings: their UTF-8 is checked here.
        let text = std::str::from_utf8(payload).map_err(serde::de::Error::custom)?;
        serde_json::from_str::<IgnoredAny>(text)?;
        body.extend_from_slice(payload);
        Ok(())
    })
}

fn write(
    fields: &Fields<'_>,
    payload_len: usize,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<Bytes, EncodeError> {
    fields.check()?;
    // The event id travels in a header too.
    if fields.event_id.chars().any(char::is_control) {
        let rule = "it holds no control character";
        return Err(NameError::new("event_id", fields.event_id, rule).into());
    }
    let ids = fields.trace_id.map_or(0, str::len) + fields.correlation_id.map_or(0, str::len);
    let names = fields.event_id.len() + fields.aggregate_id.len() + fields.event_type.len();
    let mut body = Vec::with_capacity(224 + names + ids + payload_len);

    body.extend_from_slice(b"{\"event_id\":");
    string(&mut body, fields.event_id)?;
    body.extend_from_slice(b",\"aggregate_id\":");
    string(&mut body, fields.aggregate_id)?;
    body.extend_from_slice(b",\"event_type\":");
    string(&mut body, fields.event_type)?;
    body.extend_from_slice(b",\"event_version\":");
    integer(&mut body, fields.event_version)?;
    body.extend_from_slice(b",\"timestamp\":\"");
    time(&mut body, fields.timestamp)?;
    body.extend_from_slice(b"\",\"payload\":");
    payload(&mut body).map_err(refused)?;
    if let Some(id) = fields.trace_id.filter(|id| !id.is_empty()) {
        body.extend_from_slice(b",\"trace_id\":");
        string(&mut body, id)?;
    }
    if let Some(id) = fields.correlation_id.filter(|id| !id.is_empty()) {
        body.extend_from_slice(b",\"correlation_id\":");
        string(&mut body, id)?;
    }
    if fields.tenant_id != 0 {
        body.extend_from_slice(b",\"tenant_id\":");
        integer(&mut body, fields.tenant_id)?;
    }
    body.push(b'}');
    Ok(Bytes::from(body))
}

fn string(body: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    serde_json::to_writer(body, text).map_err(refused)
}

fn integer(body: &mut Vec<u8>, number: i64) -> Result<(), EncodeError> {
    serde_json::to_writer(body, &number).map_err(refused)
}

fn time(body: &mut Vec<u8>, time: Timestamp) -> Result<(), EncodeError> {
    let written = OffsetDateTime::from_unix_timestamp_nanos(time.as_unix_nanos().into())
        .map_err(io::Error::other)
        .and_then(|time| time.format_into(body, &Rfc3339).map_err(io::Error::other));
    match written {
        Ok(_) => Ok(()),
        Err(_) => Err(EncodeError::Field(NameError::new(
            "timestamp",
            &time.as_unix_nanos().to_string(),
            "it is a time that RFC 3339 can write",
        ))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: serde_json::Error) -> EncodeError {
    EncodeError::Payload(shown(&error))
}
