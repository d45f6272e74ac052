//! Workers: tasks that take events from a subscription's hand-off and handle them.

use std::future::{Future, poll_fn};
use std::sync::Arc;

use jetbus_core::dead_letter::Reason;
use jetbus_core::delivery::Outcome;
use tracing::{Instrument as _, debug_span};

use super::attempt::{Bench, caught};
use super::confirm::SettleError;
use super::delivery::{Decode, Delivery};
use super::handled::{Handled, bounded};
use super::lanes::{Done, Hired, Job, Taken, Work};
use super::service::Service;

/// How events are handled: one by one, or many at a time.
pub(super) trait Craft: Send + Sync + 'static {
    /// Handles one event; the word on it.
    fn one(&self, bench: &mut Bench, job: &Job) -> impl Future<Output = Outcome> + Send;

    /// Handles many; the word on each.
    fn many(&self, bench: &mut Bench, jobs: &[Job]) -> impl Future<Output = Vec<Outcome>> + Send;
}

/// Takes events and handles them until the subscription stops.
pub(super) async fn work<C: Craft>(hired: Hired, craft: Arc<C>) {
    let lanes = hired.lanes();
    let mut worker = lanes.worker();
    let mut bench = Bench::new(lanes);
    while let Some(work) = poll_fn(|cx| worker.poll_next(cx)).await {
        match work {
            Work::One(job) => {
                let taken = Taken::one(lanes, job.id);
                let outcome = craft.one(&mut bench, &job).await;
                taken.done(Done::One(job.id, outcome));
            }
            Work::Many(jobs) => {
                let taken = Taken::many(lanes, &jobs);
                let outcomes = craft.many(&mut bench, &jobs).await;
                let ids = jobs.iter().map(|job| job.id);
                taken.done(Done::Many(ids.zip(outcomes).collect()));
            }
        }
    }
}

/// Events are handled one by one.
pub(super) struct Singly<T, S> {
    pub(super) decode: Decode<T>,
    /// The handler, with its layers around it.
    pub(super) service: S,
}

impl<T, S> Craft for Singly<T, S>
where
    T: Send + 'static,
    S: Service<Delivery<T>>,
{
    async fn one(&self, bench: &mut Bench, job: &Job) -> Outcome {
        let span = debug_span!(
            "handle",
            topic = job.item.message.subject.as_str(),
            key = job.item.key(),
            sequence = job.item.sequence(&job.meta),
            attempt = job.attempt,
        );
        if span.is_disabled() {
            // As most are: nothing to enter and leave at each poll.
            return self.attempt(bench, job).await;
        }
        self.attempt(bench, job).instrument(span).await
    }

    async fn many(&self, bench: &mut Bench, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.one(bench, job).await);
        }
        outcomes
    }
}

impl<T, S> Singly<T, S>
where
    T: Send + 'static,
    S: Service<Delivery<T>>,
{
    async fn attempt(&self, bench: &mut Bench, job: &Job) -> Outcome {
        let delivery = match read(bench, self.decode, job) {
            Ok(delivery) => delivery,
            Err(undecodable) => return undecodable,
        };
        let spent = bench.lanes().handling.at_most_once;
        if spent {
            let lanes = Arc::clone(bench.lanes());
            if let Err(error) = lanes.spend(job).await {
                return unconfirmed(bench, job, &error);
            }
        }
        // The call is part of the future: it may panic too.
        let handling = async { self.service.call(delivery).await };
        let handled = bench.attempt(job.item.sequence(&job.meta), handling).await;
        word(bench, job, handled.unwrap_or_else(Handled::retry), spent)
    }
}

/// Makes a delivery of a job. What cannot be decoded never will be: it is not tried
/// again.
pub(super) fn read<T>(bench: &Bench, decode: Decode<T>, job: &Job) -> Result<Delivery<T>, Outcome> {
    let decoded = caught("decoding", || decode(&job.item));
    match decoded.and_then(|decoded| decoded) {
        Ok(payload) => Ok(Delivery::new(payload, job)),
        Err(error) => {
            bench.failed();
            Err(undecodable(&error))
        }
    }
}

/// The word on what cannot be decoded.
pub(super) fn undecodable(error: &str) -> Outcome {
    Outcome::DeadLetter {
        reason: Reason::Undecodable,
        error: bounded(&error).into(),
    }
}

/// The word on what could not be acknowledged before it was to be handled.
fn unconfirmed(bench: &Bench, job: &Job, error: &SettleError) -> Outcome {
    let error = bounded(error);
    bench.failed();
    bench.lanes().failed(job, &error);
    Outcome::Unconfirmed {
        error: error.into(),
    }
}

/// What the machine is told of what a handler said of an event, which may be
/// acknowledged already (`spent`).
pub(super) fn word(bench: &Bench, job: &Job, handled: Handled, spent: bool) -> Outcome {
    let lanes = bench.lanes();
    match &handled {
        Handled::Retry { error, .. } | Handled::Terminal { error } => {
            bench.failed();
            lanes.failed(job, error);
        }
        _ => bench.handled(),
    }
    if spent {
        // There is nothing that could still be done.
        if let Handled::DeadLetter { reason } | Handled::Discard { reason } = &handled {
            lanes.tell_discarded(job.item.sequence(&job.meta), reason);
        }
        return Outcome::Settled;
    }
    match handled {
        Handled::Done => Outcome::Ack,
        Handled::Retry { after, error } => Outcome::Failed {
            retry_after: after,
            error: error.into(),
        },
        Handled::Terminal { error } => Outcome::DeadLetter {
            reason: Reason::Terminal,
            error: error.into(),
        },
        Handled::DeadLetter { reason } => Outcome::DeadLetter {
            reason: Reason::Asked,
            error: reason.into(),
        },
        Handled::Discard { reason } => Outcome::Term {
            reason: Some(reason.into()),
        },
    }
}
