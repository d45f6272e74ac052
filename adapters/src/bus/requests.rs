//! Requests to the server: one message there, one back.

use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot::{self, Canceled};
use jetbus_core::denied::{Denied, tag};
use jetbus_core::jetstream::publish::ReplyBuf;
use jetbus_core::shared::credit::Token;
use jetbus_core::{Headers, Message, Publish, Subject, Time};

use super::Inner;
use crate::link::Refused;

/// How soon a question without an answer is asked again; then after twice that, and so
/// on. What elects a leader answers nothing meanwhile, and publishers may wait for it.
const AGAIN: Duration = Duration::from_millis(250);

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) subject: Subject,
    pub(super) answer: oneshot::Sender<Result<Message, Denied>>,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// None came in time.
    Timeout { waited: Duration },
    /// The server does not permit the request, or that its answer is received.
    Denied(Denied),
    /// The bus or its link is closed.
    Closed,
}

impl Inner {
    /// Sends a request and waits for its answer, whatever that says. A request
    /// whose connection is lost is sent again: requests of this crate may be
    /// repeated. A question is, also while it is not answered.
    pub(crate) async fn request(
        &self,
        subject: &Subject,
        payload: &Bytes,
    ) -> Result<Message, NoAnswer> {
        let began = self.runtime.now();
        let deadline = began + self.settings.request_timeout;
        let again = self.api.is_question(subject).then_some(AGAIN);
        let timeout = || NoAnswer::Timeout {
            waited: self.runtime.now().since(began),
        };
        let taken = self.until(deadline, self.calls.take()).await;
        let mut permit = taken.ok_or_else(timeout)?.map_err(|_| NoAnswer::Closed)?;
        loop {
            let (told, mut answer) = oneshot::channel();
            let call = Call {
                subject: subject.clone(),
                answer: told,
            };
            let token = permit.fill_tagged(call, deadline.as_nanos(), tag(subject.as_str()));
            let send = || {
                let mut buf = ReplyBuf::new();
                self.link.try_publish(Publish {
                    subject,
                    reply: Some(self.replies.reply(token.to_bits(), &mut buf)),
                    headers: &Headers::new(),
                    payload,
                })
            };
            let mut forget = Forget {
                bus: self,
                token: Some(token),
            };
            // Looked at now that the call is in its place: whoever denies answers finds
            // it there, or was seen here.
            if let Some(denied) = self.denials.to_answers(self.session.generation()) {
                return Err(NoAnswer::Denied(denied));
            }
            let sent = send();
            match sent {
                Ok(()) => match self.answer(&mut answer, deadline, again, send).await {
                    Some(Ok(answer)) => {
                        forget.token = None;
                        return answer.map_err(NoAnswer::Denied);
                    }
                    // The connection was lost, or time ran out, just now.
                    Some(Err(_)) => {}
                    None => return Err(timeout()),
                },
                Err(Refused::Busy) => {
                    self.until(deadline, self.link.ready())
                        .await
                        .ok_or_else(timeout)?;
                }
                Err(Refused::Disconnected) => {}
                Err(_) => return Err(NoAnswer::Closed),
            }
            drop(forget);
            let up = self.until(deadline, self.reconnected()).await;
            up.ok_or_else(timeout)?.map_err(|_| NoAnswer::Closed)?;
            let taken = self.until(deadline, self.calls.take()).await;
            permit = taken.ok_or_else(timeout)?.map_err(|_| NoAnswer::Closed)?;
        }
    }

    /// Waits for an answer until `deadline`, asking `again` after a while; whichever
    /// question is answered first counts.
    async fn answer(
        &self,
        answer: &mut oneshot::Receiver<Result<Message, Denied>>,
        deadline: Time,
        again: Option<Duration>,
        ask: impl Fn() -> Result<(), Refused>,
    ) -> Option<Result<Result<Message, Denied>, Canceled>> {
        let mut pause = again.unwrap_or(Duration::MAX);
        loop {
            let next = (self.runtime.now() + pause).min(deadline);
            let answered = self.until(next, &mut *answer).await;
            if answered.is_some() || next == deadline {
                return answered;
            }
            // Not taken now, it is in a while; a lost connection ends the wait.
            let _ = ask();
            pause = pause.saturating_mul(2);
        }
    }
}

/// Gives a request's place back when nobody waits for the answer any more.
struct Forget<'a> {
    bus: &'a Inner,
    token: Option<Token>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            drop(self.bus.calls.settle(token));
        }
    }
}
