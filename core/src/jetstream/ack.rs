//! Acknowledgements: what a delivery's reply subject says, and what is sent to it.
//!
//! The subject's forms are those of ADR-15, the verbs those of nats-server's
//! `AckAck`, `AckNak`, `AckProgress` and `AckTerm`. An acknowledgement is no
//! fence: the server takes one of an older delivery just as well.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::{Message, Subject, Timestamp};

const PREFIX: &str = "$JS.ACK.";

/// What the server says of a delivery in its reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// How often the message was delivered, this delivery included.
    pub delivered: u64,
    /// The message's sequence in the stream: the same at every delivery.
    pub stream_seq: u64,
    /// The delivery's sequence in the consumer: another at every delivery.
    pub consumer_seq: u64,
    /// When the message was stored: the same at every delivery.
    pub timestamp: Timestamp,
    /// Messages that the consumer had still to deliver after this one.
    pub pending: u64,
}

impl Meta {
    /// Reads a reply subject: `$JS.ACK.<stream>.<consumer>.<delivered>.<stream
    /// seq>.<consumer seq>.<nanoseconds>.<pending>`, or the same with
    /// `<domain>.<account hash>` before the stream and possibly more at the end.
    /// `None` when `reply` is something else. Allocates nothing.
    #[must_use]
    pub fn parse(reply: &Subject) -> Option<Self> {
        let mut rest = names_on(reply)?;
        for _names in 0..2 {
            let name;
            (name, rest) = cut(rest)?;
            if name.is_empty() {
                return None;
            }
        }
        let mut bytes = rest.iter();
        let mut number = || number(&mut bytes);
        Some(Self {
            delivered: number()?,
            stream_seq: number()?,
            consumer_seq: number()?,
            timestamp: Timestamp::from_unix_nanos(i64::try_from(number()?).ok()?),
            pending: number()?,
        })
    }
}

/// What a reply subject says from the stream's name on.
fn names_on(reply: &Subject) -> Option<&[u8]> {
    let rest = reply.as_bytes().strip_prefix(PREFIX.as_bytes())?;
    match rest.iter().filter(|b| **b == b'.').count() + 1 {
        7 => Some(rest),
        9.. => cut(cut(rest)?.1).map(|(_, rest)| rest),
        _ => None,
    }
}

/// The token before the first dot, and what is behind it.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = text.iter().position(|b| *b == b'.')?;
    let (token, rest) = text.split_at(dot);
    Some((token, rest.split_first()?.1))
}

/// The stream and the consumer that a reply subject names.
#[must_use]
pub fn names(reply: &Subject) -> Option<(&str, &str)> {
    let (stream, rest) = cut(names_on(reply)?)?;
    let (consumer, _) = cut(rest)?;
    // Parts of a subject's text are text.
    let name = |token| std::str::from_utf8(token).ok();
    Some((name(stream)?, name(consumer)?))
}

impl Meta {
    /// The subject on which this delivery of a consumer is settled: in the form of
    /// `like`, the reply subject of another delivery of the consumer, else in the
    /// shortest.
    #[must_use]
    pub fn reply_subject(&self, stream: &str, consumer: &str, like: Option<&Subject>) -> Subject {
        let Self {
            delivered,
            stream_seq,
            consumer_seq,
            timestamp,
            pending,
        } = self;
        let tokens: Vec<&str> = like
            .and_then(|like| like.as_str().strip_prefix(PREFIX))
            .map_or_else(Vec::new, |rest| rest.split('.').collect());
        // The domain and the account before the names, and what may come at the end.
        let (before, after) = match tokens.len() {
            9.. => tokens.split_at(2),
            _ => (&[][..], &[][..]),
        };
        let mut subject = String::from(PREFIX);
        for token in before {
            subject.push_str(token);
            subject.push('.');
        }
        let time = timestamp.as_unix_nanos();
        subject.push_str(&format!(
            "{stream}.{consumer}.{delivered}.{stream_seq}.{consumer_seq}.{time}.{pending}"
        ));
        for token in after.iter().skip(7) {
            subject.push('.');
            subject.push_str(token);
        }
        subject.into()
    }
}

/// Reads a number, and the dot behind it.
fn number(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let mut number = None;
    for byte in bytes.take_while(|b| **b != b'.') {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        let before = number.unwrap_or(0_u64).checked_mul(10)?;
        number = Some(before.checked_add(u64::from(digit))?);
    }
    number
}

/// The message is done.
#[must_use]
pub const fn ack() -> Bytes {
    Bytes::from_static(b"+ACK")
}

/// The message is given back, to be delivered again at once or after `delay`.
#[must_use]
pub fn nak(delay: Option<Duration>) -> Bytes {
    match delay.map(|delay| delay.as_nanos()) {
        None | Some(0) => Bytes::from_static(b"-NAK"),
        // The server reads a signed 64-bit number.
        Some(nanos) => {
            let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
            format!("-NAK {{\"delay\": {nanos}}}").into()
        }
    }
}

/// The message is being worked on: its wait for an acknowledgement starts anew.
#[must_use]
pub const fn progress() -> Bytes {
    Bytes::from_static(b"+WPI")
}

/// The longest reason sent with [`term`], in bytes.
pub const MAX_REASON: usize = 256;

/// The message is given up: it is not delivered again. The reason goes into the
/// server's advisory; control characters become spaces, and it is cut at
/// [`MAX_REASON`] bytes.
#[must_use]
pub fn term(reason: Option<&str>) -> Bytes {
    let reason = reason.unwrap_or_default().trim();
    if reason.is_empty() {
        return Bytes::from_static(b"+TERM");
    }
    let mut payload = String::from("+TERM ");
    let limit = payload.len() + MAX_REASON;
    for c in reason.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if payload.len() + c.len_utf8() > limit {
            break;
        }
        payload.push(c);
    }
    payload.into()
}

/// Why an acknowledgement sent as a request is not known to have counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotConfirmed {
    /// The server answered with a status; 503 means that the consumer is gone, or
    /// without a leader.
    Status {
        /// The status.
        code: u16,
        /// What the server says of it.
        description: Box<str>,
    },
    /// The answer has a body, where the server's is empty.
    Answer {
        /// Its length in bytes.
        len: usize,
    },
}

impl fmt::Display for NotConfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, description } => write!(
                f,
                "the acknowledgement was answered with status {code} {description:?}"
            ),
            Self::Answer { len } => write!(
                f,
                "the acknowledgement was answered with {len} bytes where the server sends none"
            ),
        }
    }
}

impl std::error::Error for NotConfirmed {}

/// Whether the answer to an acknowledgement sent as a request confirms it.
///
/// # Errors
/// When the answer has a status or a body: only an empty one is the consumer's.
pub fn confirmed(answer: &Message) -> Result<(), NotConfirmed> {
    if let Some(status) = &answer.status
        && !planted!(AnyAnswerConfirms)
    {
        return Err(NotConfirmed::Status {
            code: status.code,
            description: status.description.clone(),
        });
    }
    match answer.payload.len() {
        0 => Ok(()),
        len => Err(NotConfirmed::Answer { len }),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
