//! Reading a dead letter back, whatever somebody may have stored in its place.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::record::is_special;
use super::{Origin, Reason, SOURCE, header};
use crate::jetstream::admin::StoredMessage;
use crate::{Headers, Timestamp};

/// A dead letter.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its sequence among the dead letters: what it is called by.
    pub sequence: u64,
    /// When it became a dead letter.
    pub stored_at: Timestamp,
    /// Where it comes from.
    pub origin: Origin,
    /// The key of the event, if it has one.
    pub key: Option<String>,
    /// The id of the event, if it is known.
    pub event_id: Option<String>,
    /// Why it was given up.
    pub reason: Reason,
    /// The last error; empty when there was none.
    pub error: String,
    /// Attempts of the process that gave it up.
    pub attempts: u32,
    /// How often the server had delivered it, in the stream that it was last in.
    pub deliveries: u64,
    /// When it failed last, if it did.
    pub last_failed: Option<Timestamp>,
    /// The length of the event's payload, when it was cut for want of room. A letter
    /// that was cut cannot be redriven.
    pub cut_from: Option<u64>,
    /// How many headers of the event were left out for want of room.
    pub headers_left_out: u64,
    /// The headers of the event.
    pub headers: Headers,
    /// The payload of the event.
    pub payload: Bytes,
}

/// Why a message is no dead letter, or no redriven one: a header is not there, or not
/// as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    header: &'static str,
}

impl DeadLetter {
    /// Reads a message of the stream of dead letters.
    ///
    /// # Errors
    /// When a header is missing or wrong: somebody else stored it.
    pub fn read(message: &StoredMessage) -> Result<Self, Unreadable> {
        let headers = &message.headers;
        let reason = required(headers, header::REASON)?;
        Ok(Self {
            sequence: message.seq,
            stored_at: message.time,
            origin: Origin::read(headers)?,
            key: headers.get(header::KEY).map(Into::into),
            event_id: headers.get(header::EVENT_ID).map(Into::into),
            reason: Reason::parse(reason).ok_or(Unreadable::new(header::REASON))?,
            error: headers.get(header::ERROR).unwrap_or_default().into(),
            attempts: number(headers, header::ATTEMPTS)?.unwrap_or(0),
            deliveries: number(headers, header::DELIVERIES)?.unwrap_or(0),
            last_failed: time(headers, header::LAST_FAILED)?,
            cut_from: number(headers, header::CUT)?,
            headers_left_out: number(headers, header::LEFT_OUT)?.unwrap_or(0),
            headers: of_source(headers),
            payload: message.payload.clone(),
        })
    }

    /// The topic of the event.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.origin.topic()
    }

    /// The group that gave it up.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.origin.group
    }

    /// Whether something of the event was left out for want of room.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut_from.is_some() || self.headers_left_out > 0
    }
}

/// The payload may be secret: only its length is shown.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("sequence", &self.sequence)
            .field("origin", &self.origin)
            .field("key", &self.key)
            .field("reason", &self.reason)
            .field("error", &self.error)
            .field("attempts", &self.attempts)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish_non_exhaustive()
    }
}

impl Unreadable {
    pub(super) const fn new(header: &'static str) -> Self {
        Self { header }
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &'static str {
        self.header
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no dead letter: header {} is missing or wrong",
            self.header
        )
    }
}

impl std::error::Error for Unreadable {}

/// The headers of the source, under their own names.
pub(super) fn of_source(headers: &Headers) -> Headers {
    let mut source = Headers::new();
    for (name, value) in headers.iter() {
        let kept = name.strip_prefix(SOURCE);
        let kept = kept.or_else(|| (!is_special(name)).then_some(name));
        if let Some(name) = kept {
            // What is left of a foreign name may be none: it is no header then.
            let _ = source.append(name, value);
        }
    }
    source
}

pub(super) fn required<'a>(
    headers: &'a Headers,
    name: &'static str,
) -> Result<&'a str, Unreadable> {
    let value = headers.get(name).filter(|value| !value.is_empty());
    value.ok_or_else(|| Unreadable::new(name))
}

/// `None` when there is no such header.
pub(super) fn number<T: FromStr>(
    headers: &Headers,
    name: &'static str,
) -> Result<Option<T>, Unreadable> {
    let parse = |text: &str| {
        // `str::parse` alone would also take a sign.
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match headers.get(name) {
        None => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| Unreadable::new(name)),
    }
}

/// `None` when there is no such header.
pub(super) fn time(headers: &Headers, name: &'static str) -> Result<Option<Timestamp>, Unreadable> {
    match headers.get(name) {
        None => Ok(None),
        Some(text) => Timestamp::parse(text)
            .map(Some)
            .ok_or_else(|| Unreadable::new(name)),
    }
}
