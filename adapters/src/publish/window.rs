//! The window of unacknowledged publishes: taking a place and handing over.

use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;
use jetbus_core::jetstream::api::ApiError;
use jetbus_core::jetstream::publish::{self, ReplyBuf};
use jetbus_core::shared::credit::{Permit, Refused as NoPlace};
use jetbus_core::{Headers, Publish, Subject, Time};

use super::outcome::{Failed, Outcome};
use crate::bus::{ATTEMPT, Inner};
use crate::error::PublishError;
use crate::link::Refused;
use crate::streams::StreamEntry;

/// A publish on its way: what is needed to send it again, and whom to tell.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) stream: Arc<StreamEntry>,
    pub(crate) subject: Subject,
    pub(crate) headers: Headers,
    pub(crate) payload: Bytes,
    pub(crate) began: Time,
    pub(crate) retry: publish::Flight,
    /// How the last attempt was refused.
    pub(crate) refusal: Option<ApiError>,
    pub(super) done: oneshot::Sender<Result<Outcome, Failed>>,
}

/// A flight that the link did not take, and its place.
pub(crate) struct Back<'a> {
    pub(crate) flight: Flight,
    pub(crate) permit: Permit<'a, Flight>,
    pub(crate) refused: Refused,
}

impl Flight {
    /// Tells whoever waits; else, when it failed, the news.
    pub(crate) fn tell(self, bus: &Arc<Inner>, result: Result<Outcome, PublishError>) {
        let result = result.map_err(|error| Failed::new(bus, self.subject, error));
        // Nobody waits: a failure tells the news when it is dropped here.
        drop(self.done.send(result));
    }

    /// Why it was refused, when every attempt was.
    pub(crate) fn refused(&mut self, now: Time) -> PublishError {
        match self.refusal.take() {
            Some(error) => PublishError::Refused(error),
            None => PublishError::NotSent {
                waited: now.since(self.began),
            },
        }
    }
}

impl Inner {
    /// Waits for a place in the window, in order, until `deadline`.
    pub(super) async fn place(
        &self,
        began: Time,
        deadline: Time,
    ) -> Result<Permit<'_, Flight>, PublishError> {
        match self.window.try_take() {
            Ok(permit) => return Ok(permit),
            Err(NoPlace::Closed) => return Err(PublishError::Closed),
            Err(NoPlace::Full) => {}
        }
        match self.until(deadline, self.window.take()).await {
            Some(Ok(permit)) => Ok(permit),
            Some(Err(_)) => Err(PublishError::Closed),
            None => Err(PublishError::NotSent {
                waited: self.runtime.now().since(began),
            }),
        }
    }

    /// Hands a flight over, waiting until the link takes it or its deadline
    /// passes. From then on the place belongs to the answers.
    pub(super) async fn launch(
        &self,
        mut permit: Permit<'_, Flight>,
        mut flight: Flight,
    ) -> Result<(), PublishError> {
        loop {
            let now = self.runtime.now();
            let Err(back) = self.hand_over(permit, flight, now) else {
                return Ok(());
            };
            (flight, permit) = (back.flight, back.permit);
            self.wait_out(back.refused, flight.began, flight.retry.deadline)
                .await?;
        }
    }

    /// Puts a flight in its place and hands the message to the link; gives both
    /// back when the link takes nothing, which is rare enough for a box.
    pub(crate) fn hand_over<'a>(
        &'a self,
        permit: Permit<'a, Flight>,
        mut flight: Flight,
        now: Time,
    ) -> Result<(), Box<Back<'a>>> {
        // Cheap clones: once it is in its place, the flight may be answered, and
        // gone, before this thread looks again.
        let (subject, headers, payload) = (
            flight.subject.clone(),
            flight.headers.clone(),
            flight.payload.clone(),
        );
        let Some(session) = self.session.generation() else {
            return Err(Box::new(Back {
                flight,
                permit,
                refused: Refused::Disconnected,
            }));
        };
        let mark = (now + ATTEMPT).min(flight.retry.deadline);
        flight.refusal = None;
        let token = permit.fill(flight, mark.as_nanos());
        // Looked at again now that the place is filled: either whoever ended the
        // session sweeps this place too, or its end is seen here.
        let sent = if self.session.generation() == Some(session) {
            let mut buf = ReplyBuf::new();
            self.link.try_publish(Publish {
                subject: &subject,
                reply: Some(self.acks.reply(token.to_bits(), &mut buf)),
                headers: &headers,
                payload: &payload,
            })
        } else {
            Err(Refused::Disconnected)
        };
        match sent {
            Ok(()) => Ok(()),
            Err(refused) => match self.window.settle(token) {
                Some((flight, permit)) => Err(Box::new(Back {
                    flight,
                    permit,
                    refused,
                })),
                // Somebody settled it in between and has told the caller.
                None => Ok(()),
            },
        }
    }
}
