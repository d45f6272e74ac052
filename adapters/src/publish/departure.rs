//! From a message that is ready to its place in the window.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use jetbus_core::jetstream::publish;
use jetbus_core::shared::session::Current;
use jetbus_core::{Headers, Outbound, Subject, Time};

use super::entrance::Key;
use super::outcome::{Outcome, Receipt};
use super::window::Flight;
use crate::bus::Inner;
use crate::error::{Invalid, PublishError};
use crate::event::Options;
use crate::link::Refused;
use crate::results;
use crate::streams::StreamEntry;

/// A message that is ready to be handed over.
pub(super) struct Letter {
    pub(super) headers: Headers,
    pub(super) payload: Bytes,
    /// Of what it is in order with; `None` where order does not matter.
    pub(super) key: Option<Arc<str>>,
    pub(super) options: Options,
    /// When it was taken; `None`: now.
    pub(super) began: Option<Time>,
    /// Its number among all publishes, if it has one already.
    pub(super) order: Option<u64>,
    /// Whether a caller that goes away before it is sent takes it back.
    pub(super) recalled: bool,
    /// What its result says, if somebody reads it and no place is reserved for it yet.
    pub(super) wanted: Option<Box<results::Wanted>>,
    /// The place of its result.
    pub(super) admitted: Option<Box<results::Place>>,
}

/// Where a message goes.
pub(super) struct Address {
    pub(super) stream: Arc<StreamEntry>,
    pub(super) subject: Subject,
    /// How long its id is remembered there.
    pub(super) dedupe_window: Duration,
    /// Whether it may go without acknowledgement while JetStream is not there.
    pub(super) may_be_unconfirmed: bool,
}

impl Letter {
    /// Bytes of headers and payload.
    pub(super) fn len(&self) -> usize {
        self.headers.wire_len().saturating_add(self.payload.len())
    }

    /// When the first of them was taken.
    pub(super) fn oldest<'a>(letters: impl IntoIterator<Item = &'a Self>) -> Option<Time> {
        letters.into_iter().filter_map(|letter| letter.began).min()
    }

    /// The place of its result, reserved now unless it was before.
    pub(super) async fn admit(
        &mut self,
        bus: &Inner,
        began: Time,
        deadline: Time,
    ) -> Result<Option<Box<results::Place>>, PublishError> {
        match self.admitted.take() {
            Some(place) => Ok(Some(place)),
            None => bus.admit(self.wanted.take(), began, deadline).await,
        }
    }

    /// It is not sent.
    pub(super) fn refuse(self, error: &PublishError) {
        if let Some(place) = self.admitted {
            place.settle(Err(error.clone()));
        }
    }
}

impl Inner {
    /// When a publish began, now unless it did before, and when its time is over, which
    /// it is not yet.
    pub(super) fn times(&self, began: Option<Time>) -> Result<(Time, Time), PublishError> {
        let now = self.runtime.now();
        let began = began.unwrap_or(now);
        let deadline = began + self.settings.publish_timeout;
        if now < deadline {
            return Ok((began, deadline));
        }
        let waited = now.since(began);
        Err(PublishError::NotSent { waited })
    }

    /// Stores a message in a stream, once that is ready, and waits until the server
    /// says so. The message has an id: it may be sent more than once.
    pub(crate) async fn store(
        self: &Arc<Self>,
        stream: &Arc<StreamEntry>,
        message: Outbound,
        began: Time,
        deadline: Time,
    ) -> Result<Outcome, PublishError> {
        let receipt = self
            .send(Arc::clone(stream), message, began, deadline)
            .await;
        if receipt.is_err() {
            self.outcomes.count_rejected();
        }
        receipt?.await
    }

    async fn send(
        self: &Arc<Self>,
        stream: Arc<StreamEntry>,
        message: Outbound,
        began: Time,
        deadline: Time,
    ) -> Result<Receipt, PublishError> {
        let _open = self.publishing.enter().map_err(|_| PublishError::Closed)?;
        let letter = Letter {
            headers: message.headers,
            payload: message.payload,
            key: None,
            options: Options::default(),
            began: Some(began),
            order: None,
            recalled: false,
            wanted: None,
            admitted: None,
        };
        self.check_sendable(letter.len())?;
        let dedupe_window = match stream.with(|ready| ready.dedupe_window) {
            Some(window) => window,
            None => {
                let ready = stream.ensure(self, deadline).await;
                ready.map_err(PublishError::Stream)?.dedupe_window
            }
        };
        let address = Address {
            stream,
            subject: message.subject,
            dedupe_window,
            may_be_unconfirmed: false,
        };
        let nobody = &mut None;
        self.depart(letter, nobody, None, address, (began, deadline))
            .await
    }

    /// Takes a place in the window and hands the message over, or puts it to the end of
    /// its `line`. With it goes the place of its `result`, unless it fails before.
    pub(super) async fn depart(
        &self,
        letter: Letter,
        result: &mut Option<Box<results::Place>>,
        line: Option<Key>,
        address: Address,
        (began, deadline): (Time, Time),
    ) -> Result<Receipt, PublishError> {
        let (permit, load) = self.place(letter.len(), began, deadline).await?;
        let order = letter.order.unwrap_or_else(|| self.next_order());
        let (done, outcome) = oneshot::channel();
        let flight = Flight {
            stream: address.stream,
            subject: address.subject,
            headers: letter.headers,
            payload: letter.payload,
            began,
            retry: publish::Flight::new(0, order, began, deadline, address.dedupe_window),
            refusal: None,
            place: None,
            sent: false,
            recalled: letter.recalled,
            may_be_unconfirmed: address.may_be_unconfirmed,
            load,
            result: result.take(),
            done,
        };
        match line {
            Some(key) => self.line_up(permit, flight, key)?,
            None => self.launch(permit, flight).await?,
        }
        Ok(Receipt::pending(outcome))
    }

    /// Refuses what could not be handed over as things are, before a stream is
    /// made for it.
    pub(super) fn check_sendable(&self, len: usize) -> Result<(), PublishError> {
        self.session.with(|current| match current {
            Current::Up(session) if len > session.link.max_payload => {
                let max = session.link.max_payload;
                Err(PublishError::Invalid(Invalid::TooLarge { len, max }))
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
        if let Some(error) = self.for_good(refused) {
            return Err(error);
        }
        match refused {
            Refused::Busy => self
                .until(deadline, self.link.ready())
                .await
                .ok_or_else(late),
            _ => match self.until(deadline, self.reconnected()).await {
                Some(Ok(())) => Ok(()),
                Some(Err(_)) => Err(PublishError::Closed),
                None => Err(late()),
            },
        }
    }

    /// The error of a message that is not worth another try.
    pub(crate) fn for_good(&self, refused: Refused) -> Option<PublishError> {
        match refused {
            Refused::Busy => None,
            Refused::Disconnected => {
                (!self.settings.wait_for_connection).then_some(PublishError::Disconnected)
            }
            Refused::TooLarge { len, max } => {
                Some(PublishError::Invalid(Invalid::TooLarge { len, max }))
            }
            Refused::Invalid => Some(PublishError::Invalid(Invalid::Unsendable)),
            Refused::Closed => Some(PublishError::Closed),
        }
    }
}
