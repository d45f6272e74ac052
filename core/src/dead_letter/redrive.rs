//! Redriving: a dead letter on its way back to its subscription.

use std::fmt;

use super::read::of_source;
use super::record::{put, renamed};
use super::{DeadLetter, Names, Origin, Unreadable, header};
use crate::subject::{MAX_LEN, NameError};
use crate::{Headers, Outbound};

/// Why a dead letter cannot be redriven. It stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotRedrivable {
    /// A part of the event was left out for want of room.
    Cut {
        /// The length of the event's payload, in bytes.
        len: u64,
        /// What is kept of it, in bytes.
        kept: u64,
        /// How many of its headers were left out.
        headers_left_out: u64,
    },
    /// The subject of the event is longer than a topic may be.
    Subject {
        /// Its length in bytes.
        len: usize,
    },
    /// Its group or subscription has a name that cannot be used.
    Name(NameError),
}

impl DeadLetter {
    /// The message by which it is handled again: its payload and headers, and its
    /// origin with one redrive more. The id of the message is its own, and the same
    /// however often this dead letter is redriven.
    ///
    /// # Errors
    /// When something of the event is missing, or its subject is too long.
    pub fn redrive(&self, names: &Names) -> Result<Outbound, NotRedrivable> {
        if self.is_cut() {
            let kept = self.payload.len() as u64;
            return Err(NotRedrivable::Cut {
                len: self.cut_from.unwrap_or(kept),
                kept,
                headers_left_out: self.headers_left_out,
            });
        }
        let origin = Origin {
            redrives: self.origin.redrives.saturating_add(1),
            ..self.origin.clone()
        };
        let subject = origin.subject.as_str();
        let to = names
            .redrive(&origin.group, &origin.subscription, subject)
            .map_err(NotRedrivable::Name)?
            .ok_or(NotRedrivable::Subject { len: subject.len() })?;
        let mut headers = Headers::new();
        put(
            &mut headers,
            header::MESSAGE_ID,
            &origin.message_id("redrive"),
        );
        origin.write(&mut headers);
        for (name, value) in self.headers.iter() {
            put(&mut headers, &renamed(name), value);
        }
        Ok(Outbound {
            headers,
            ..Outbound::new(to, self.payload.clone())
        })
    }
}

/// What a redriven message says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Where the event comes from, with this redrive counted.
    pub origin: Origin,
    /// The headers of the event.
    pub headers: Headers,
}

impl Redriven {
    /// Reads the headers of a message of the stream of redrives.
    ///
    /// # Errors
    /// When a header is missing or wrong: somebody else published it.
    pub fn read(headers: &Headers) -> Result<Self, Unreadable> {
        Ok(Self {
            origin: Origin::read(headers)?,
            headers: of_source(headers),
        })
    }
}

impl fmt::Display for NotRedrivable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut {
                len,
                kept,
                headers_left_out,
            } => write!(
                f,
                "the dead letter is not whole: it has {kept} of {len} bytes, and {headers_left_out} headers were left out"
            ),
            Self::Subject { len } => write!(
                f,
                "the subject of the event has {len} bytes, and a topic at most {MAX_LEN}"
            ),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotRedrivable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            _ => None,
        }
    }
}
