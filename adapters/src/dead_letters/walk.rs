//! Going through the dead letters, one request each: no more than one is held.

use std::sync::Arc;
use std::time::Duration;

use jetbus_core::Message;
use jetbus_core::dead_letter::Filter;
use jetbus_core::jetstream::admin::{
    self, AdminError, Answer, Request, StoredMessage, answer, stored_message,
};
use jetbus_core::jetstream::api::{StreamInfo, Success};

use super::error::DeadLetterError;
use super::place::Place;
use crate::bus::{Inner, NoAnswer};

/// How long after a refusal that passes the server is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// What is asked of the streams of dead letters.
pub(super) struct Desk {
    pub(super) bus: Arc<Inner>,
    pub(super) place: Place,
    /// The stream of dead letters.
    pub(super) stream: String,
    /// The stream of redrives.
    pub(super) redrives: String,
}

impl Desk {
    pub(super) fn open(bus: &Arc<Inner>) -> Result<Self, DeadLetterError> {
        let place = Place::of(bus).map_err(DeadLetterError::Stream)?;
        Ok(Self {
            bus: Arc::clone(bus),
            stream: place.names.dead_stream().name,
            redrives: place.names.redrive_stream().name,
            place,
        })
    }

    /// The answer to a request; `None` when what it asks about is not there. What
    /// passes is asked again until the request timeout is over.
    pub(super) async fn ask<T>(
        &self,
        request: &Request,
        read: fn(&Message) -> Result<T, AdminError>,
    ) -> Result<Option<T>, DeadLetterError> {
        let deadline = self.bus.runtime.now() + self.bus.settings.request_timeout;
        loop {
            let message = self.bus.request(&request.subject, &request.payload).await;
            let message = message.map_err(|error| match error {
                NoAnswer::Timeout { waited } => DeadLetterError::NoAnswer { waited },
                NoAnswer::Denied(denied) => DeadLetterError::Denied(denied),
                NoAnswer::Closed => DeadLetterError::Closed,
            })?;
            let again = self.bus.runtime.now() + AGAIN;
            match read(&message) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if error.is_transient() && again < deadline => {
                    self.bus.runtime.sleep_until(again).await;
                }
                Err(error) => return Err(DeadLetterError::Server(error)),
            }
        }
    }

    /// As [`ask`](Self::ask), for answers in JSON.
    pub(super) async fn asked<T: Answer>(
        &self,
        request: &Request,
    ) -> Result<Option<T>, DeadLetterError> {
        self.ask(request, answer::<T>).await
    }

    /// What the stream of dead letters holds; `None` when there is none.
    pub(super) async fn info(&self) -> Result<Option<StreamInfo>, DeadLetterError> {
        self.asked(&admin::stream_info(&self.bus.api, &self.stream))
            .await
    }

    /// The message of a sequence.
    pub(super) async fn message(&self, sequence: u64) -> Result<StoredMessage, DeadLetterError> {
        // Of sequence 0 the server says that the request is wrong.
        let found = match sequence {
            0 => None,
            _ => {
                let request = admin::message_at(&self.bus.api, &self.stream, sequence);
                self.ask(&request, stored_message).await?
            }
        };
        found.ok_or(DeadLetterError::NotFound { sequence })
    }

    /// Removes the message of a sequence. `false` when it was not there.
    pub(super) async fn delete(&self, sequence: u64) -> Result<bool, DeadLetterError> {
        let request = admin::delete_message(&self.bus.api, &self.stream, sequence);
        match self.asked::<Success>(&request).await {
            Ok(done) => Ok(done.is_some()),
            // The server has several words for a message that is not there.
            Err(error @ DeadLetterError::Server(_)) => match self.message(sequence).await {
                Err(DeadLetterError::NotFound { .. }) => Ok(false),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// Goes through the messages that a filter's pattern covers, from a sequence on, up to
/// the last one that was there at the beginning.
pub(super) struct Walk<'a> {
    desk: &'a Desk,
    filter: &'a Filter,
    pattern: String,
    next: u64,
    last: u64,
}

impl<'a> Walk<'a> {
    pub(super) async fn start(
        desk: &'a Desk,
        filter: &'a Filter,
        from: u64,
    ) -> Result<Self, DeadLetterError> {
        let names = &desk.place.names;
        let pattern = filter.pattern(names).map_err(DeadLetterError::Filter)?;
        let info = desk.info().await?;
        Ok(Self {
            desk,
            filter,
            pattern,
            next: from.max(1),
            last: info.map_or(0, |info| info.state.last_seq),
        })
    }

    /// The next message, which may be no dead letter, or not one that is meant.
    pub(super) async fn next(&mut self) -> Result<Option<StoredMessage>, DeadLetterError> {
        if self.next > self.last {
            return Ok(None);
        }
        let Desk { bus, stream, .. } = self.desk;
        let request = admin::next_message(&bus.api, stream, self.next, &self.pattern);
        let found = self.desk.ask(&request, stored_message).await?;
        // They are in the order of their times.
        let found =
            found.filter(|message| message.seq <= self.last && !self.filter.is_over(message.time));
        self.next = match &found {
            Some(message) => message.seq.saturating_add(1),
            None => u64::MAX,
        };
        Ok(found)
    }
}
