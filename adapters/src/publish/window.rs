//! The window of unacknowledged publishes: taking a place and handing over.

use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;
use jetbus_core::denied::tag;
use jetbus_core::jetstream::api::{ApiError, codes};
use jetbus_core::jetstream::publish::line::Place;
use jetbus_core::jetstream::publish::{self, ReplyBuf, Verdict};
use jetbus_core::shared::budget::{Budget, Refused as NoRoom};
use jetbus_core::shared::credit::{Permit, Refused as NoPlace};
use jetbus_core::shared::session::Current;
use jetbus_core::{Headers, Publish, Subject, Time};

use super::entrance::{Entry, Key};
use super::outcome::{Failed, Outcome};
use crate::bus::{ATTEMPT, Inner};
use crate::error::PublishError;
use crate::link::Refused;
use crate::results;
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
    /// Its place in the line of its key, once its turn has come.
    pub(crate) place: Option<Place>,
    /// Whether the link ever took it.
    pub(crate) sent: bool,
    /// Whether a caller that goes away before it is sent takes it back.
    pub(super) recalled: bool,
    /// Whether it may go without acknowledgement while JetStream is not there.
    pub(crate) may_be_unconfirmed: bool,
    pub(super) load: Load,
    /// Where its result goes, if somebody reads it.
    pub(super) result: Option<Box<results::Place>>,
    pub(super) done: oneshot::Sender<Result<Outcome, Failed>>,
}

/// Bytes taken from the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Load {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Load {
    /// What was taken from a budget.
    pub(super) fn new(budget: &Arc<Budget>, bytes: u64) -> Self {
        let budget = Arc::clone(budget);
        Self { budget, bytes }
    }

    /// No bytes.
    pub(super) fn none(budget: &Arc<Budget>) -> Self {
        Self::new(budget, 0)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
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
        bus.outcomes.count(&result);
        // Whoever is told finds room.
        drop(self.load);
        let has_result = self.result.is_some();
        if let Some(place) = self.result {
            place.settle(result.clone());
        }
        let failed = |error| Failed::new(bus, self.subject, error, has_result);
        let result = result.map_err(failed);
        // Nobody waits: a failure tells the news when it is dropped here.
        drop(self.done.send(result));
    }

    /// It fails before it is in its place: its caller is told by the call.
    fn refuse(self, error: PublishError) -> PublishError {
        if let Some(place) = self.result {
            place.settle(Err(error.clone()));
        }
        error
    }

    /// Whether the link took it, now; whether it had before.
    fn set_sent(&mut self, sent: bool) -> bool {
        if let Some(place) = &mut self.result {
            place.set_sent(sent);
        }
        std::mem::replace(&mut self.sent, sent)
    }

    /// Whether its caller left before it was sent, and so took it back.
    pub(crate) fn is_recalled(&self) -> bool {
        self.recalled && !self.sent && self.done.is_canceled()
    }

    /// What is said when it gets no further answer.
    pub(crate) fn given_up(&mut self, verdict: Verdict, now: Time) -> PublishError {
        let waited = now.since(self.began);
        match (verdict, self.refusal.take()) {
            (Verdict::Unknown, _) => PublishError::Unknown { waited },
            (Verdict::Rejected, Some(error)) => refused(error),
            (Verdict::Rejected, None) => PublishError::NotSent { waited },
        }
    }
}

/// What the server's refusal means.
pub(crate) fn refused(error: ApiError) -> PublishError {
    match error.err_code {
        codes::WRONG_LAST_SEQUENCE | codes::WRONG_LAST_SEQUENCE_BUSY => {
            // "wrong last sequence: 5", where it is known.
            let last = error.description.rsplit(' ').next();
            let last = last.and_then(|word| word.parse().ok());
            PublishError::Conflict { error, last }
        }
        _ => PublishError::Refused(error),
    }
}

impl Inner {
    /// Waits for a place in the window and for room for so many bytes, in order,
    /// until `deadline`.
    pub(super) async fn place(
        &self,
        bytes: usize,
        began: Time,
        deadline: Time,
    ) -> Result<(Permit<'_, Flight>, Load), PublishError> {
        let late = || PublishError::NotSent {
            waited: self.runtime.now().since(began),
        };
        let permit = self.permit(began, deadline).await?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self.bytes.try_take(bytes) {
            Ok(()) => {}
            Err(NoRoom::Closed) => return Err(PublishError::Closed),
            Err(NoRoom::Full) => self
                .until(deadline, self.bytes.take(bytes))
                .await
                .ok_or_else(late)?
                .map_err(|_| PublishError::Closed)?,
        }
        Ok((permit, Load::new(&self.bytes, bytes)))
    }

    /// Waits for a place in the window, in order, until `deadline`.
    pub(super) async fn permit(
        &self,
        began: Time,
        deadline: Time,
    ) -> Result<Permit<'_, Flight>, PublishError> {
        match self.window.try_take() {
            Ok(permit) => Ok(permit),
            Err(NoPlace::Closed) => Err(PublishError::Closed),
            Err(NoPlace::Full) => self
                .until(deadline, self.window.take())
                .await
                .ok_or_else(|| PublishError::NotSent {
                    waited: self.runtime.now().since(began),
                })?
                .map_err(|_| PublishError::Closed),
        }
    }

    /// Puts a flight to the end of its key's line. From then on the place belongs
    /// to the hub.
    pub(super) fn line_up(
        &self,
        permit: Permit<'_, Flight>,
        flight: Flight,
        key: Key,
    ) -> Result<(), PublishError> {
        let (order, deadline) = (flight.retry.order, flight.retry.deadline);
        // No attempt: nothing that could be unanswered.
        let token = permit.fill(flight, Time::NEVER.as_nanos());
        let entry = Entry::Enter {
            token: token.to_bits(),
            order,
            key,
            deadline,
        };
        // There is room for each place. And looked at now that the place is filled:
        // either the hub, when it ends, finds this place, or its end is seen here.
        let is_kept = self.entrance.push(entry).is_ok()
            && !self
                .session
                .with(|current| matches!(current, Current::Closed));
        if is_kept {
            return Ok(());
        }
        match self.window.settle(token) {
            // Told already.
            None => Ok(()),
            Some((flight, _permit)) => Err(flight.refuse(PublishError::Closed)),
        }
    }

    /// Tells all that are in the window how they end when nobody answers any more;
    /// how many of them are unknown.
    pub(crate) fn tell_all(self: &Arc<Self>, now: Time) -> usize {
        let mut unknown = 0;
        for (token, mark) in self.window.sweep() {
            let Some((mut flight, permit)) = self.window.settle(token) else {
                continue;
            };
            drop(permit);
            // An attempt without an answer, now or before.
            let verdict = match mark == Time::NEVER.as_nanos() {
                true => flight.retry.verdict(),
                false => Verdict::Unknown,
            };
            let error = match flight.sent {
                true => flight.given_up(verdict, now),
                false => PublishError::Closed,
            };
            unknown += usize::from(matches!(error, PublishError::Unknown { .. }));
            flight.tell(self, Err(error));
        }
        unknown
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
            let waited = self
                .wait_out(back.refused, flight.began, flight.retry.deadline)
                .await;
            if let Err(error) = waited {
                return Err(flight.refuse(error));
            }
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
        let before = flight.set_sent(true);
        if !before {
            flight.retry.begin(now);
        }
        let tag = tag(subject.as_str());
        let token = permit.fill_tagged(flight, mark.as_nanos(), tag);
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
                Some((mut flight, permit)) => {
                    flight.set_sent(before);
                    Err(Box::new(Back {
                        flight,
                        permit,
                        refused,
                    }))
                }
                // Somebody settled it in between and has told the caller.
                None => Ok(()),
            },
        }
    }
}
