//! Deliveries as a stream, each with a handle to settle it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use jetbus_core::Subject;
use jetbus_core::delivery::{JobId, Outcome};
use jetbus_core::shared::handoff::Worker;

use super::confirm::{SettleError, ack_subject};
use super::delivery::{Decode, Delivery};
use super::handled::bounded;
use super::lanes::{Done, Lanes, Taken, Work};
use super::subscription::{DrainReport, Subscription};
use super::worker::undecodable;

/// A stream of deliveries, each with its [`Settle`] handle.
///
/// The next event of a key comes after the one before it is settled. What cannot be
/// decoded goes to the dead letters and is not seen here.
///
/// Dropping the stream stops the subscription: what was not taken is given back.
pub struct Deliveries<T> {
    lanes: Arc<Lanes>,
    worker: Worker<Work, Done>,
    decode: Decode<T>,
    subscription: Subscription,
}

impl<T> Deliveries<T> {
    pub(super) fn new(lanes: Arc<Lanes>, decode: Decode<T>, subscription: Subscription) -> Self {
        Self {
            worker: lanes.worker(),
            lanes,
            decode,
            subscription,
        }
    }

    /// The subscription that this stream reads.
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Ends the stream as dropping does, and waits until all that the subscription
    /// held is settled or given back: also until each [`Settle`] handle that is out
    /// is used or dropped.
    pub async fn stop(self) {
        self.subscription.stop().await;
    }

    /// Ends the stream as [`Subscription::drain`] does: each [`Settle`] handle that is
    /// out counts as a handler that runs.
    pub async fn drain(self, deadline: Duration) -> DrainReport {
        self.subscription.drain(deadline).await
    }
}

impl<T> Stream for Deliveries<T> {
    type Item = (Delivery<T>, Settle);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let job = match ready!(this.worker.poll_next(cx)) {
                Some(Work::One(job)) => job,
                // There are no batches without a handler of batches.
                Some(Work::Many(jobs)) => {
                    drop(Taken::many(&this.lanes, &jobs));
                    continue;
                }
                None => return Poll::Ready(None),
            };
            // Made first: if decoding panics, it gives the event back.
            let mut settle = Settle {
                lanes: Arc::clone(&this.lanes),
                id: Some(job.id),
                reply: ack_subject(&job).cloned(),
            };
            match (this.decode)(&job.item) {
                Ok(payload) => return Poll::Ready(Some((Delivery::new(payload, &job), settle))),
                Err(error) => settle.settle(undecodable(&error)),
            }
        }
    }
}

impl<T> fmt::Debug for Deliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("topic", &self.lanes.topic)
            .finish_non_exhaustive()
    }
}

/// Settles one delivery. The lease of an event is renewed for as long as its
/// handle lives.
///
/// Dropped unsettled, it gives the message back, and
/// [`News::Unsettled`](crate::News::Unsettled) tells so.
#[must_use = "an event that is not settled comes again"]
pub struct Settle {
    lanes: Arc<Lanes>,
    id: Option<JobId>,
    /// Where it is acknowledged; ephemeral events are not.
    reply: Option<Subject>,
}

impl Settle {
    /// The event is done.
    pub fn ack(mut self) {
        self.settle(Outcome::Ack);
    }

    /// The event failed: it runs again here after `after` (`None`: after a delay
    /// that grows), the later events of its key wait.
    pub fn retry(mut self, after: Option<Duration>) {
        self.settle(Outcome::Failed {
            retry_after: after,
            error: "its handle asked for another attempt".into(),
        });
    }

    /// Gives the event back to the server, which delivers it again, perhaps to
    /// another process, not before `after`.
    pub fn nak(mut self, after: Option<Duration>) {
        self.settle(Outcome::Nak { after });
    }

    /// The event is never delivered to this group again.
    pub fn term(mut self, reason: impl fmt::Display) {
        self.settle(Outcome::Term {
            reason: Some(bounded(&reason).into()),
        });
    }

    /// It takes longer: renews the lease at once. Leases are renewed by themselves
    /// too; call it before something that may stop the whole process.
    pub fn progress(&self) {
        if let Some(id) = self.id {
            self.lanes.renew(id);
        }
    }

    /// The event is done, and the server has said that it knows.
    ///
    /// # Errors
    /// When that was not said in time. The event then counts as failed here: it
    /// runs again after a delay.
    ///
    /// # Cancel safety
    /// Dropping the future counts as dropping the handle: the event is given back,
    /// unless the server took the acknowledgement already.
    pub async fn ack_confirmed(mut self) -> Result<(), SettleError> {
        let result = match &self.reply {
            Some(reply) => self.lanes.acknowledge(reply).await,
            None => Ok(()),
        };
        self.settle(match &result {
            Ok(()) if self.reply.is_none() => Outcome::Ack,
            Ok(()) => Outcome::Settled,
            Err(error) => Outcome::Failed {
                retry_after: None,
                error: error.to_string().into(),
            },
        });
        result
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(id) = self.id.take() {
            self.lanes.settle(Done::One(id, outcome));
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.settle(Outcome::Returned);
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle")
            .field("topic", &self.lanes.topic)
            .field("settled", &self.id.is_none())
            .finish_non_exhaustive()
    }
}
