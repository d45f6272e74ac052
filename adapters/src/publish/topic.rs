//! A resolved topic: what publishing starts from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::envelope::{self, Fields};
use jetbus_core::subject::NameError;
use jetbus_core::{Headers, Publish, Subject, Time, Timestamp};
use serde::Serialize;
use tracing::{Instrument as _, debug_span};

use super::departure::{Address, Letter};
use super::options;
use super::outcome::{Leaving, Outcome, Receipt};
use crate::bus::{Bus, Inner};
use crate::error::{Invalid, PublishError, StreamError, TopicError};
use crate::event::{Event, Options, Raw};
use crate::results::{Place, Wanted};
use crate::streams::{Ready, StreamEntry};
use crate::topics::{Kept, TopicState};

/// The header by which the server knows a message again.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The header of the W3C trace context.
const TRACE_CONTEXT: &str = "traceparent";

/// A topic, resolved: publishing to it needs no lookup. Clones are cheap.
#[derive(Clone)]
pub struct Topic {
    pub(super) bus: Bus,
    pub(super) subject: Subject,
    pub(super) state: Arc<TopicState>,
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
    /// Events of one key are stored in the order in which they are published here,
    /// also when some are refused for a while and sent again: the next is sent when
    /// the one before it has ended. That costs one round trip to the server per event
    /// of one key; other keys do not wait. See
    /// [`unordered`](crate::TopicConfig::unordered) to do without.
    ///
    /// # Errors
    /// See [`PublishError`]: everything but [`PublishError::Unknown`] means that
    /// nothing was stored.
    ///
    /// # Cancel safety
    /// Dropped before it is handed over, nothing is sent; afterwards it goes on, and
    /// [`News::PublishFailed`](crate::News::PublishFailed) tells if it fails.
    pub async fn publish<T: Serialize>(
        &self,
        event: &Event<'_, T>,
    ) -> Result<Outcome, PublishError> {
        self.whole(self.letter(event)).await
    }

    /// Publishes an event; the receipt, awaited later, gives the outcome. Returns
    /// when the event has its place in the window, so that many can be on their way.
    /// Order is as for [`publish`](Self::publish).
    ///
    /// # Errors
    /// As [`publish`](Self::publish), for what is known by then.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing is sent, or all goes on as with a dropped
    /// receipt.
    pub async fn send<T: Serialize>(&self, event: &Event<'_, T>) -> Result<Receipt, PublishError> {
        self.dispatch(self.letter(event)).await
    }

    /// Publishes bytes and headers, without an envelope, and waits until the
    /// server has stored them. Those with the header `X-Aggregate-ID` are in order
    /// with all of that key.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn publish_raw(&self, message: Raw) -> Result<Outcome, PublishError> {
        self.whole(self.letter_of(message)).await
    }

    /// Publishes bytes and headers; the receipt, awaited later, gives the outcome.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), for what is known by then.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn send_raw(&self, message: Raw) -> Result<Receipt, PublishError> {
        self.dispatch(self.letter_of(message)).await
    }

    pub(super) fn letter<T: Serialize>(
        &self,
        event: &Event<'_, T>,
    ) -> Result<Letter, PublishError> {
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
        let payload = envelope::encode(&fields, &event.payload)
            .map_err(|error| invalid(Invalid::Envelope(error)))?;
        let mut headers = Headers::new();
        headers
            .append(MESSAGE_ID, &envelope::message_id(id, self.name()))
            .map_err(|error| invalid(Invalid::Header(error)))?;
        let wanted = self.bus.inner().results.wanted(event.tenant, || Wanted {
            event_id: id.into(),
            topic: self.name().into(),
            key: Some(Arc::from(&*event.key)),
            event_type: Some(Arc::from(&*event.kind)),
            tenant: event.tenant,
        });
        let key = (!event.options.unordered).then(|| Arc::from(&*event.key));
        let letter = self.seal(headers, payload, key, event.options.clone())?;
        Ok(Letter { wanted, ..letter })
    }

    pub(super) fn letter_of(&self, message: Raw) -> Result<Letter, PublishError> {
        let Raw {
            payload,
            mut headers,
            id,
            tenant,
            options,
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
        let key: Option<Arc<str>> = headers.get(envelope::KEY_HEADER).map(Arc::from);
        let wanted = self.bus.inner().results.wanted(tenant, || Wanted {
            event_id: headers.get(MESSAGE_ID).unwrap_or_default().into(),
            topic: self.name().into(),
            key: key.clone(),
            event_type: None,
            tenant,
        });
        let key = key.filter(|_| !options.unordered);
        let letter = self.seal(headers, payload, key, options)?;
        Ok(Letter { wanted, ..letter })
    }

    /// Adds what the options and the hook of the trace context say.
    fn seal(
        &self,
        mut headers: Headers,
        payload: Bytes,
        key: Option<Arc<str>>,
        options: Options,
    ) -> Result<Letter, PublishError> {
        options::write(&options, self.name(), &mut headers)?;
        if let Some(hook) = &self.bus.inner().settings.trace_context
            && headers.get(TRACE_CONTEXT).is_none()
            && let Some(context) = hook.current()
        {
            headers
                .append(TRACE_CONTEXT, &context)
                .map_err(|error| invalid(Invalid::Header(error)))?;
        }
        Ok(Letter {
            headers,
            payload,
            key,
            options,
            began: None,
            order: None,
            recalled: false,
            wanted: None,
            admitted: None,
        })
    }

    /// Hands a message over and waits; a caller that leaves takes it back.
    async fn whole(&self, letter: Result<Letter, PublishError>) -> Result<Outcome, PublishError> {
        let bus = self.bus.inner();
        let order = bus.next_order();
        let in_line = letter.as_ref().is_ok_and(|letter| letter.key.is_some());
        let letter = letter.map(|letter| Letter {
            recalled: true,
            order: Some(order),
            ..letter
        });
        let receipt = self.dispatch(letter).await?;
        let leaving = in_line.then(|| Leaving::new(bus, order));
        // Dropped before the one above: nobody waits any more when the hub is told.
        let result = receipt.await;
        if let Some(leaving) = leaving {
            leaving.told();
        }
        result
    }

    /// Hands a message over; a publish that fails before it is in the window is
    /// counted here, all others when they are told.
    pub(super) async fn dispatch(
        &self,
        letter: Result<Letter, PublishError>,
    ) -> Result<Receipt, PublishError> {
        let bus = self.bus.inner();
        // The payload is not in it.
        let span = debug_span!("publish", topic = self.name());
        let result = match letter {
            Ok(letter) => self.hand_in(letter).instrument(span).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            bus.outcomes.count_rejected();
        }
        result
    }

    /// Reserves the place of its result, and settles it if it fails here.
    async fn hand_in(&self, mut letter: Letter) -> Result<Receipt, PublishError> {
        let bus = self.bus.inner();
        let Ok(_open) = bus.publishing.enter() else {
            letter.refuse(&PublishError::Closed);
            return Err(PublishError::Closed);
        };
        let (began, deadline) = match bus.times(letter.began) {
            Ok(times) => times,
            Err(late) => {
                letter.refuse(&late);
                return Err(late);
            }
        };
        let mut place = letter.admit(bus, began, deadline).await?;
        let receipt = self.forward(letter, &mut place, began, deadline).await;
        if let (Err(error), Some(place)) = (&receipt, place) {
            place.settle(Err(error.clone()));
        }
        receipt
    }

    /// Takes it to its stream; the place of its result goes with it.
    async fn forward(
        &self,
        letter: Letter,
        place: &mut Option<Box<Place>>,
        began: Time,
        deadline: Time,
    ) -> Result<Receipt, PublishError> {
        let bus = self.bus.inner();
        let (kept, unordered, may_be_unconfirmed) = self.state.with(|version| {
            let config = version.config.as_deref();
            (
                version.stream.clone(),
                config.is_some_and(|config| config.unordered),
                config.is_some_and(|config| config.allow_unconfirmed),
            )
        });
        let Kept::In(stream) = kept else {
            options::check_ephemeral(&letter.options)?;
            return self.unacknowledged(&letter, place, began, deadline).await;
        };
        let len = letter.len();
        bus.check_sendable(len)?;
        options::check_server(&letter.options, bus)?;
        let ready = match stream.with(|ready| self.address(&letter.options, ready)) {
            Some(ready) => ready?,
            None => match self.ensure(&stream, deadline, may_be_unconfirmed).await {
                Ok(ready) => self.address(&letter.options, &ready)?,
                Err(error) if may_be_unconfirmed && error.is_unavailable() => {
                    return self.unacknowledged(&letter, place, began, deadline).await;
                }
                Err(error) => return Err(PublishError::Stream(error)),
            },
        };
        let (subject, dedupe_window) = ready;
        let line = letter.key.clone().filter(|_| !unordered);
        let line = line.map(|key| (self.subject.clone(), key));
        let address = Address {
            stream,
            subject,
            dedupe_window,
            may_be_unconfirmed,
        };
        bus.depart(letter, place, line, address, (began, deadline))
            .await
    }

    /// Where a message goes, and how long its id is remembered there.
    pub(super) fn address(
        &self,
        options: &Options,
        ready: &Ready,
    ) -> Result<(Subject, Duration), PublishError> {
        options::check_stream(options, ready)?;
        let bus = self.bus.inner();
        let id = || new_id(bus, bus.runtime.wall()).to_string();
        let subject = options::subject(options, &self.subject, ready, id);
        Ok((subject, ready.dedupe_window))
    }

    /// Makes the stream ready. Who may do without is told at once that nobody is
    /// there to ask.
    async fn ensure(
        &self,
        stream: &StreamEntry,
        deadline: Time,
        may_do_without: bool,
    ) -> Result<Ready, Arc<StreamError>> {
        let ends = |error: &StreamError| may_do_without && error.is_unavailable();
        stream.ensure_unless(self.bus.inner(), deadline, ends).await
    }

    /// Core NATS: handed to the link, and that is all there is to know.
    async fn unacknowledged(
        &self,
        letter: &Letter,
        place: &mut Option<Box<Place>>,
        began: Time,
        deadline: Time,
    ) -> Result<Receipt, PublishError> {
        let bus = self.bus.inner();
        loop {
            let refused = match bus.link.try_publish(Publish {
                subject: &self.subject,
                reply: None,
                headers: &letter.headers,
                payload: &letter.payload,
            }) {
                Ok(()) => {
                    bus.outcomes.count(&Ok(Outcome::Unconfirmed));
                    if let Some(place) = place.take() {
                        place.settle(Ok(Outcome::Unconfirmed));
                    }
                    return Ok(Receipt::known(Outcome::Unconfirmed));
                }
                Err(refused) => refused,
            };
            bus.wait_out(refused, began, deadline).await?;
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
