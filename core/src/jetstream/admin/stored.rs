//! A message as `STREAM.MSG.GET` answers it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::{AdminError, json};
use crate::{Headers, Message, Subject, Timestamp};

/// A message that a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Where it was published.
    pub subject: Subject,
    /// Its sequence in the stream.
    pub seq: u64,
    /// When the stream stored it.
    pub time: Timestamp,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

/// Reads the answer to [`message_at`](super::message_at) and
/// [`last_message`](super::last_message).
///
/// # Errors
/// As [`answer`](super::answer).
pub fn stored_message(message: &Message) -> Result<StoredMessage, AdminError> {
    #[derive(Deserialize)]
    struct Answer {
        message: Wire,
    }
    #[derive(Deserialize)]
    struct Wire {
        subject: String,
        seq: u64,
        #[serde(default)]
        hdrs: String,
        #[serde(default)]
        data: String,
        time: Timestamp,
    }

    let Answer { message: wire } = json(message)?;
    let decode = |field, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|error| AdminError::Malformed(format!("{field} is no base64: {error}")))
    };
    Ok(StoredMessage {
        subject: wire.subject.into(),
        seq: wire.seq,
        time: wire.time,
        headers: headers(&decode("hdrs", &wire.hdrs)?)
            .ok_or_else(|| AdminError::Malformed("hdrs are no headers".into()))?,
        payload: decode("data", &wire.data)?.into(),
    })
}

/// Reads `NATS/1.0` and lines of `name: value`, up to an empty line.
fn headers(wire: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    if wire.is_empty() {
        return Some(headers);
    }
    let mut lines = std::str::from_utf8(wire).ok()?.split("\r\n");
    if !lines.next()?.starts_with("NATS/1.0") {
        return None;
    }
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.append(name.trim_end(), value.trim()).ok()?;
    }
    Some(headers)
}
