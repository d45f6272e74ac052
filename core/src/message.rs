//! Messages as a link carries them.

use bytes::Bytes;

use crate::{Headers, Subject};

/// A message received from a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published; for a status, the inbox that it answers.
    pub subject: Subject,
    /// Where an answer (for a delivery: its acknowledgement) goes.
    pub reply: Option<Subject>,
    /// Its headers.
    pub headers: Headers,
    /// Set when the server speaks, not a publisher (100, 404, 408, 409, 503, ...).
    pub status: Option<Status>,
    /// Its body.
    pub payload: Bytes,
}

/// The status line of a message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code, as in HTTP.
    pub code: u16,
    /// What the server says of it; may be empty.
    pub description: Box<str>,
}

/// A message to publish, borrowed: what a link is handed.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Where to.
    pub subject: &'a Subject,
    /// Where an answer goes. Text, so that a caller can write it on its stack.
    pub reply: Option<&'a str>,
    /// Its headers.
    pub headers: &'a Headers,
    /// Its body.
    pub payload: &'a Bytes,
}

/// A message to publish, owned: what machines put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Where to.
    pub subject: Subject,
    /// Where an answer goes.
    pub reply: Option<Subject>,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

impl Outbound {
    /// A message without reply and headers.
    #[must_use]
    pub fn new(subject: impl Into<Subject>, payload: impl Into<Bytes>) -> Self {
        Self {
            subject: subject.into(),
            reply: None,
            headers: Headers::new(),
            payload: payload.into(),
        }
    }

    /// The same, with `reply`.
    #[must_use]
    pub fn with_reply(mut self, reply: impl Into<Subject>) -> Self {
        self.reply = Some(reply.into());
        self
    }

    /// What a link is handed.
    #[must_use]
    pub fn as_publish(&self) -> Publish<'_> {
        Publish {
            subject: &self.subject,
            reply: self.reply.as_ref().map(Subject::as_str),
            headers: &self.headers,
            payload: &self.payload,
        }
    }
}
