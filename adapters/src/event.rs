//! What is published: typed events, and raw messages.

use std::borrow::Cow;

use bytes::Bytes;
use jetbus_core::{Headers, Timestamp};

/// An event to publish: a payload, the key that orders it, and what it is.
///
/// ```
/// use jetbus::Event;
///
/// let total = 12;
/// let event = Event::new("order-42", "OrderPlaced", &total).version(2).tenant(7);
/// ```
#[derive(Clone, Debug)]
#[must_use = "an event does nothing until it is published"]
pub struct Event<'a, T> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) kind: Cow<'a, str>,
    pub(crate) version: i64,
    pub(crate) payload: T,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) trace_id: Option<Cow<'a, str>>,
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    pub(crate) tenant: i64,
}

impl<'a, T> Event<'a, T> {
    /// An event of type `kind` about the aggregate `key`: at most 256 bytes of
    /// `A-Za-z0-9:_-./`. Events of one key are handled in the order in which they
    /// were stored. `payload` is anything serde can write, borrowed or owned.
    pub fn new(key: impl Into<Cow<'a, str>>, kind: impl Into<Cow<'a, str>>, payload: T) -> Self {
        Self {
            key: key.into(),
            kind: kind.into(),
            version: 1,
            payload,
            id: None,
            timestamp: None,
            trace_id: None,
            correlation_id: None,
            tenant: 0,
        }
    }

    /// The version of the aggregate or of the event's form, from 1. Default: 1.
    pub fn version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// The id of the event. Publishing one id to one topic twice within the
    /// stream's dedupe window stores it once. Default: a new UUIDv7.
    pub fn id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// When it happened. Default: now.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The trace it belongs to.
    pub fn trace_id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        self.trace_id = Some(id.into());
        self
    }

    /// The conversation it belongs to.
    pub fn correlation_id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The tenant it belongs to; 0 for none. Default: 0.
    pub fn tenant(mut self, tenant: i64) -> Self {
        self.tenant = tenant;
        self
    }
}

/// A message of bytes and headers, without an envelope.
///
/// Its key is the header `X-Aggregate-ID`; without one it has none, and is
/// handled in no particular order.
#[derive(Clone, Debug, Default)]
#[must_use = "a message does nothing until it is published"]
pub struct Raw {
    pub(crate) payload: Bytes,
    pub(crate) headers: Headers,
    pub(crate) id: Option<String>,
}

impl Raw {
    /// A message of these bytes.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            headers: Headers::new(),
            id: None,
        }
    }

    /// Its headers, in place of those before.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Its message id, sent as `Nats-Msg-Id`. Publishing one id twice to one stream
    /// within its dedupe window stores it once. Default: the header if it is set,
    /// else a new UUIDv7, so that a publish can be tried again safely.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}
