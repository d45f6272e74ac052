//! A resolved topic: what publishing starts from.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;
use jetbus_core::envelope::{self, Fields};
use jetbus_core::jetstream::publish;
use jetbus_core::shared::session::Current;
use jetbus_core::subject::NameError;
use jetbus_core::{Headers, Outbound, Publish, Subject, Time, Timestamp};
use serde::Serialize;
use tracing::{Instrument as _, Span, debug_span};

use super::outcome::{Outcome, Receipt};
use super::window::Flight;
use crate::bus::{Bus, Inner};
use crate::error::{Invalid, PublishError, TopicError};
use crate::event::{Event, Raw};
use crate::link::Refused;
use crate::streams::StreamEntry;
use crate::topics::{Kept, TopicState};

/// The header by which the server knows a message again.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// A topic, resolved: publishing to it needs no lookup. Clones are cheap.
#[derive(Clone)]
pub struct Topic {
    bus: Bus,
    subject: Subject,
    state: Arc<TopicState>,
}

impl Topic {
    pub(crate) fn resolve(bus: &Bus, name: &str) -> Result<Self, TopicError> {
        let state = crate::topics::resolve(bus.inner(), name)?;
        Ok(Self {
            bus: bus.clone(),
            subject: jetbus_core::names::subject(name, None),
            state,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.subject.as_str()
    }

    /// Publishes an event and waits until the server has stored it.
    ///
    /// `Ok` means stored (or [`Outcome::Unconfirmed`] for an ephemeral topic), not
    /// handled. A full window, a missing connection and refusals that pass (an
    /// election, ...) are waited out, up to the bus's publish timeout.
    ///
    /// # Errors
    /// See [`PublishError`]: everything but [`PublishError::Unknown`] means that
    /// nothing was stored.
    ///
    /// # Cancel safety
    /// Dropped before it is handed over, nothing is sent; afterwards it goes on,
    /// and [`News::PublishFailed`](crate::News::PublishFailed) tells if it fails.
    pub async fn publish<T: Serialize>(
        &self,
        event: &Event<'_, T>,
    ) -> Result<Outcome, PublishError> {
        self.send(event).await?.await
    }

    /// Publishes an event; the receipt, awaited later, gives the outcome. Returns
    /// when the event is handed over, so that many can be on their way.
    ///
    /// They are stored in the order in which they are sent, unless the server refuses
    /// some for a while (an election, a stream that is made again): these are sent
    /// again, and may be stored after later ones. Where order must hold even then,
    /// wait for the outcome of one event of a key before sending the next.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), for what is known by then.
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn send<T: Serialize>(&self, event: &Event<'_, T>) -> Result<Receipt, PublishError> {
        let wall = self.bus.inner().runtime.wall();
        let made;
        let id = match &event.id {
            Some(id) => id,
            None => {
                made = new_id(self.bus.inner(), wall);
                &*made
            }
        };
        let fields = Fields {
            event_id: id,
            aggregate_id: &event.key,
            event_type: &event.kind,
            event_version: event.version,
            timestamp: event.timestamp.unwrap_or(wall),
            trace_id: event.trace_id.as_deref(),
            correlation_id: event.correlation_id.as_deref(),
            tenant_id: event.tenant,
        };
        let body = envelope::encode(&fields, &event.payload)
            .map_err(|error| invalid(Invalid::Envelope(error)))?;
        let mut headers = Headers::new();
        headers
            .append(MESSAGE_ID, &envelope::message_id(id, self.name()))
            .map_err(|error| invalid(Invalid::Header(error)))?;
        self.dispatch(headers, body).instrument(self.span()).await
    }

    /// Publishes bytes and headers, without an envelope, and waits until the
    /// server has stored them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn publish_raw(&self, message: Raw) -> Result<Outcome, PublishError> {
        self.send_raw(message).await?.await
    }

    /// Publishes bytes and headers; the receipt, awaited later, gives the outcome.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), for what is known by then.
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn send_raw(&self, message: Raw) -> Result<Receipt, PublishError> {
        let Raw {
            payload,
            mut headers,
            id,
        } = message;
        let named = match id {
            Some(id) => headers.insert(MESSAGE_ID, &id),
            None if headers.get(MESSAGE_ID).is_some() => Ok(()),
            None => {
                let wall = self.bus.inner().runtime.wall();
                headers.append(MESSAGE_ID, &new_id(self.bus.inner(), wall))
            }
        };
        named.map_err(|error| invalid(Invalid::Header(error)))?;
        if let Some(id) = headers.get(MESSAGE_ID)
            && id.trim().is_empty()
        {
            // The server would take it for none, and store a repeated publish twice.
            let blank = NameError::new(MESSAGE_ID, id, "it must not be blank");
            return Err(invalid(Invalid::Id(blank)));
        }
        self.dispatch(headers, payload)
            .instrument(self.span())
            .await
    }

    /// Of handing a message over; the payload is not in it.
    fn span(&self) -> Span {
        debug_span!("publish", topic = self.name())
    }

    async fn dispatch(&self, headers: Headers, payload: Bytes) -> Result<Receipt, PublishError> {
        let bus = self.bus.inner();
        let _open = bus.publishing.enter().map_err(|_| PublishError::Closed)?;
        let began = bus.runtime.now();
        let deadline = began + bus.settings.publish_timeout;
        let Kept::In(stream) = self.state.with(|version| version.stream.clone()) else {
            return self.unacknowledged(headers, payload).await;
        };
        let message = Outbound {
            headers,
            ..Outbound::new(self.subject.clone(), payload)
        };
        bus.send(stream, message, began, deadline).await
    }

    /// Core NATS: handed to the link, and that is all there is to know.
    async fn unacknowledged(
        &self,
        headers: Headers,
        payload: Bytes,
    ) -> Result<Receipt, PublishError> {
        let bus = self.bus.inner();
        let began = bus.runtime.now();
        let deadline = began + bus.settings.publish_timeout;
        loop {
            let refused = match bus.link.try_publish(Publish {
                subject: &self.subject,
                reply: None,
                headers: &headers,
                payload: &payload,
            }) {
                Ok(()) => return Ok(Receipt::known(Outcome::Unconfirmed)),
                Err(refused) => refused,
            };
            bus.wait_out(refused, began, deadline).await?;
        }
    }
}

impl Inner {
    /// Stores a message in a stream, once that is ready, and waits until the server
    /// says so. The message has an id: it may be sent more than once.
    pub(crate) async fn store(
        self: &Arc<Self>,
        stream: &Arc<StreamEntry>,
        message: Outbound,
        began: Time,
        deadline: Time,
    ) -> Result<Outcome, PublishError> {
        let _open = self.publishing.enter().map_err(|_| PublishError::Closed)?;
        let receipt = self.send(Arc::clone(stream), message, began, deadline);
        receipt.await?.await
    }

    /// Hands a message over that is to be stored in a stream, once that is ready.
    async fn send(
        self: &Arc<Self>,
        stream: Arc<StreamEntry>,
        message: Outbound,
        began: Time,
        deadline: Time,
    ) -> Result<Receipt, PublishError> {
        let dedupe_window = match stream.dedupe_window() {
            Some(window) => window,
            None => {
                self.check_sendable(&message.headers, &message.payload)?;
                stream
                    .ensure(self, deadline)
                    .await
                    .map_err(PublishError::Stream)?
                    .dedupe_window
            }
        };
        let permit = self.place(began, deadline).await?;
        let (done, outcome) = oneshot::channel();
        let flight = Flight {
            stream,
            subject: message.subject,
            headers: message.headers,
            payload: message.payload,
            began,
            retry: publish::Flight::new(0, self.next_order(), began, deadline, dedupe_window),
            refusal: None,
            done,
        };
        self.launch(permit, flight).await?;
        Ok(Receipt::pending(outcome))
    }

    /// Refuses what could not be handed over as things are, before a stream is
    /// made for it.
    fn check_sendable(&self, headers: &Headers, payload: &Bytes) -> Result<(), PublishError> {
        let len = headers.wire_len().saturating_add(payload.len());
        self.session.with(|current| match current {
            Current::Up(session) if len > session.link.max_payload => {
                let max = session.link.max_payload;
                Err(invalid(Invalid::TooLarge { len, max }))
            }
            Current::Down if !self.settings.wait_for_connection => Err(PublishError::Disconnected),
            _ => Ok(()),
        })
    }

    /// Waits until a refused message is worth another try.
    pub(super) async fn wait_out(
        &self,
        refused: Refused,
        began: Time,
        deadline: Time,
    ) -> Result<(), PublishError> {
        let late = || PublishError::NotSent {
            waited: self.runtime.now().since(began),
        };
        if self.runtime.now() >= deadline {
            return Err(late());
        }
        match refused {
            Refused::Busy => self
                .until(deadline, self.link.ready())
                .await
                .ok_or_else(late),
            Refused::Disconnected if self.settings.wait_for_connection => {
                match self.until(deadline, self.reconnected()).await {
                    Some(Ok(())) => Ok(()),
                    Some(Err(_)) => Err(PublishError::Closed),
                    None => Err(late()),
                }
            }
            Refused::Disconnected => Err(PublishError::Disconnected),
            Refused::TooLarge { len, max } => Err(invalid(Invalid::TooLarge { len, max })),
            Refused::Invalid => Err(invalid(Invalid::Unsendable)),
            Refused::Closed => Err(PublishError::Closed),
        }
    }
}

const fn invalid(what: Invalid) -> PublishError {
    PublishError::Invalid(what)
}

fn new_id(bus: &Inner, wall: Timestamp) -> envelope::EventId {
    envelope::event_id(wall, [bus.random(), bus.random()])
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
