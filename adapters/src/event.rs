//! What is published: typed events, and raw messages.

use std::borrow::Cow;
use std::time::Duration;

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
    pub(crate) options: Options,
}

/// What a publish asks for beside being stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) ttl: Option<Duration>,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) last_subject_sequence: Option<u64>,
    pub(crate) deliver_at: Option<Timestamp>,
    pub(crate) unordered: bool,
}

impl Options {
    /// Whether the server is asked for nothing more.
    pub(crate) const fn is_plain(&self) -> bool {
        self.ttl.is_none()
            && self.deliver_at.is_none()
            && self.last_sequence.is_none()
            && self.last_subject_sequence.is_none()
    }
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
            options: Options::default(),
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

    /// The tenant it belongs to; 0 for none. Its result goes to who reads those of that
    /// tenant. Default: 0.
    pub fn tenant(mut self, tenant: i64) -> Self {
        self.tenant = tenant;
        self
    }
}

/// A message of bytes and headers, without an envelope.
///
/// Its key is the header `X-Aggregate-ID`; without one it has none, and is stored
/// and handled in no particular order.
#[derive(Clone, Debug, Default)]
#[must_use = "a message does nothing until it is published"]
pub struct Raw {
    pub(crate) payload: Bytes,
    pub(crate) headers: Headers,
    pub(crate) id: Option<String>,
    pub(crate) tenant: i64,
    pub(crate) options: Options,
}

impl Raw {
    /// A message of these bytes.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            headers: Headers::new(),
            id: None,
            tenant: 0,
            options: Options::default(),
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

    /// The tenant whose results ([`Bus::tenant_results`](crate::Bus::tenant_results)) tell
    /// how it ends; nothing of it is sent. 0 for none. Default: 0.
    pub const fn tenant(mut self, tenant: i64) -> Self {
        self.tenant = tenant;
        self
    }
}

macro_rules! publish_options {
    ($($owner:tt)*) => {
        impl $($owner)* {
            /// Lets it overtake others of its key and topic, and be overtaken: it is
            /// sent at once, without waiting until those before it are stored.
            /// Default: in order, unless the topic is
            /// [`unordered`](crate::TopicConfig::unordered).
            pub const fn unordered(mut self) -> Self {
                self.options.unordered = true;
                self
            }

            /// How long the server keeps it: whole seconds, at least one. The stream
            /// must allow it ([`Stream::message_ttl`](crate::Stream::message_ttl)),
            /// and the server be 2.11 or newer (ADR-43). Default: as long as the
            /// stream keeps all.
            pub const fn ttl(mut self, ttl: Duration) -> Self {
                self.options.ttl = Some(ttl);
                self
            }

            /// Stores it only if the last sequence of the stream is this one, 0 for
            /// an empty stream; else it fails with
            /// [`PublishError::Conflict`](crate::PublishError::Conflict).
            pub const fn expect_last_sequence(mut self, sequence: u64) -> Self {
                self.options.last_sequence = Some(sequence);
                self
            }

            /// Stores it only if the last sequence of its topic is this one, 0 for
            /// none; else it fails with
            /// [`PublishError::Conflict`](crate::PublishError::Conflict).
            pub const fn expect_last_subject_sequence(mut self, sequence: u64) -> Self {
                self.options.last_subject_sequence = Some(sequence);
                self
            }

            /// Stores it now and lets the server publish it to its topic then. The
            /// outcome is that of storing it; the topic's stream must allow it
            /// ([`Stream::schedules`](crate::Stream::schedules)), and the server be
            /// 2.12 or newer (ADR-51). What comes due is in no order with what is
            /// published meanwhile.
            pub const fn deliver_at(mut self, at: Timestamp) -> Self {
                self.options.deliver_at = Some(at);
                self
            }
        }
    };
}

publish_options!(<T> Event<'_, T>);
publish_options!(Raw);
