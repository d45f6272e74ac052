//! An event as its handler gets it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jetbus_core::dead_letter::Origin;
use jetbus_core::delivery::Job;
use jetbus_core::envelope::{self, Event};
use jetbus_core::jetstream::ack::{self, Meta};
use jetbus_core::{Headers, Message, Timestamp};
use serde::de::DeserializeOwned;

/// An event delivered to a handler.
///
/// `T` is the payload; raw subscriptions get [`Bytes`].
#[derive(Clone)]
pub struct Delivery<T> {
    /// The payload.
    pub payload: T,
    item: Arc<Item>,
    meta: Meta,
    attempt: u32,
}

/// What a subscription holds of a message, shared by its attempts.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) message: Message,
    /// Of subscriptions to events: the envelope's fields, or why there are none.
    pub(crate) event: Option<Result<Event, String>>,
    /// Of redriven events: where they were before they became dead letters.
    pub(crate) origin: Option<Box<Origin>>,
}

impl<T> Delivery<T> {
    /// The topic it was published to.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.item.message.subject.as_str()
    }

    /// The fields of the envelope; `None` for raw messages.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        self.item
            .event
            .as_ref()
            .and_then(|event| event.as_ref().ok())
    }

    /// The key that orders it, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.item.key()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.item.message.headers
    }

    /// The stream that keeps it, or that kept it when it was published; empty for
    /// ephemeral topics.
    #[must_use]
    pub fn stream(&self) -> &str {
        match &self.item.origin {
            Some(origin) => &origin.stream,
            None => self.item.stream(),
        }
    }

    /// Its sequence in the stream, from 1; for ephemeral topics a count of this
    /// subscription's own.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.item.sequence(&self.meta)
    }

    /// When the server stored it; for ephemeral topics when it was received.
    #[must_use]
    pub fn stored_at(&self) -> Timestamp {
        match &self.item.origin {
            Some(origin) => origin.stored_at,
            None => self.meta.timestamp,
        }
    }

    /// How often it was a dead letter of the group and was redriven.
    #[must_use]
    pub fn redrives(&self) -> u32 {
        self.item
            .origin
            .as_ref()
            .map_or(0, |origin| origin.redrives)
    }

    /// How often the server has delivered it to the group, this time included; of a
    /// redriven event, since it was redriven.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.meta.delivered
    }

    /// Which attempt of this process to handle it this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many more messages the stream held for the group when it was delivered.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.meta.pending
    }

    /// The same delivery with another payload.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Delivery<U> {
        Delivery {
            payload: convert(self.payload),
            item: self.item,
            meta: self.meta,
            attempt: self.attempt,
        }
    }
}

/// The payload may be secret: only what surrounds it is shown.
impl<T> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("topic", &self.topic())
            .field("key", &self.key())
            .field("stream", &self.stream())
            .field("sequence", &self.sequence())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Item {
    /// Of a message as it was delivered.
    pub(crate) fn new(message: Message, events: bool, origin: Option<Box<Origin>>) -> Self {
        let decode = || envelope::decode_owned(&message.payload);
        let event = events.then(|| decode().map_err(|error| error.to_string()));
        Self {
            message,
            event,
            origin,
        }
    }

    /// The stream that it was read from; empty for ephemeral topics.
    pub(crate) fn stream(&self) -> &str {
        let reply = self.message.reply.as_ref();
        let names = reply.and_then(ack::names);
        names.map_or("", |(stream, _)| stream)
    }

    /// Its sequence in the stream that it was published to.
    pub(crate) fn sequence(&self, meta: &Meta) -> u64 {
        let origin = self.origin.as_ref();
        origin.map_or(meta.stream_seq, |origin| origin.sequence)
    }

    /// The id of the event, if it has an envelope.
    pub(crate) fn event_id(&self) -> Option<&str> {
        match &self.event {
            Some(Ok(event)) => Some(&event.event_id),
            _ => None,
        }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        match &self.event {
            Some(Ok(event)) => Some(&event.aggregate_id),
            Some(Err(_)) => None,
            None => envelope::raw_key(&self.message.headers),
        }
    }

    /// The same, sharing the memory of the message.
    pub(crate) fn key_bytes(&self) -> Option<Bytes> {
        match &self.event {
            Some(Ok(event)) => Some(event.aggregate_id.as_bytes().clone()),
            Some(Err(_)) => None,
            None => envelope::raw_key_bytes(&self.message.headers),
        }
    }
}

/// Makes the payload of a delivery. Called by whoever handles it, so that a large
/// payload is parsed beside others and not in their way.
pub(crate) type Decode<T> = fn(&Item) -> Result<T, String>;

/// Typed payloads: the JSON of the envelope's `payload`.
pub(crate) fn typed<T: DeserializeOwned>(item: &Item) -> Result<T, String> {
    match &item.event {
        Some(Ok(event)) => serde_json::from_slice(&event.payload).map_err(|error| {
            // Not what serde says: that quotes the payload, which may be secret.
            let (line, column) = (error.line(), error.column());
            format!("the payload is not of the handler's type: line {line}, column {column}")
        }),
        Some(Err(error)) => Err(error.clone()),
        None => Err("the message has no envelope".into()),
    }
}

/// Raw payloads: the body as it is.
pub(crate) fn raw(item: &Item) -> Result<Bytes, String> {
    Ok(item.message.payload.clone())
}

impl<T> Delivery<T> {
    pub(crate) fn new(payload: T, job: &Job<Arc<Item>>) -> Self {
        Self {
            payload,
            item: Arc::clone(&job.item),
            meta: job.meta,
            attempt: job.attempt,
        }
    }
}
