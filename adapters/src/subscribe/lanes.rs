//! What the driver of a subscription shares with its workers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use jetbus_core::delivery::{DeliveryEvent, Job, JobId, Outcome};
use jetbus_core::shared::counters::{Counters, Handle};
use jetbus_core::shared::handoff::{Handoff, Worker};

use super::delivery::Item;
use super::subscription::{Control, SubscriptionStats};
use crate::bus::{Inner, Running};
use crate::news::News;

/// The word of whoever handled an event.
pub(crate) type Done = (JobId, Outcome);

/// An event on its way to a worker.
pub(crate) type Work = Job<Arc<Item>>;

/// Work on its way to workers, and their word on its way back.
#[derive(Debug)]
pub(crate) struct Lanes {
    handoff: Arc<Handoff<Work, Done>>,
    /// Reaches the driver.
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) bus: Arc<Inner>,
    /// The topic or pattern.
    pub(crate) topic: Arc<str>,
    counters: Arc<Counters<3, 1>>,
}

/// Counts of a subscription: messages received, jobs that ended well, jobs that
/// failed; and how long handlers took, in nanoseconds.
pub(super) const RECEIVED: usize = 0;
pub(super) const HANDLED: usize = 1;
pub(super) const FAILED: usize = 2;
pub(super) const HANDLING: usize = 0;

/// Tasks that count into cache lines of their own; more share.
const SHARDS: usize = 8;

impl Lanes {
    /// Room for `held` events at most.
    pub(crate) fn new(
        bus: Arc<Inner>,
        topic: Arc<str>,
        held: usize,
        control: mpsc::Sender<Control>,
    ) -> Self {
        Self {
            handoff: Arc::new(Handoff::new(held)),
            control,
            bus,
            topic,
            counters: Arc::new(Counters::new(SHARDS)),
        }
    }

    pub(crate) fn handoff(&self) -> &Handoff<Work, Done> {
        &self.handoff
    }

    /// How the bus reaches them.
    pub(super) fn running(&self) -> Running {
        Running {
            control: self.control.clone(),
            handoff: Arc::clone(&self.handoff),
        }
    }

    /// A worker that takes events of these lanes.
    pub(crate) fn worker(&self) -> Worker<Work, Done> {
        Handoff::worker(&self.handoff)
    }

    /// Brings the word on a taken event back.
    pub(crate) fn settle(&self, id: JobId, outcome: Outcome) {
        let kept = self.handoff.done((id, outcome));
        debug_assert!(kept.is_ok(), "one word for each event taken");
    }

    /// Tells that handling failed.
    pub(crate) fn failed(&self, job: &Work, error: String) {
        self.bus.news.tell(&News::HandlerFailed {
            topic: job.item.message.subject.as_str().into(),
            sequence: job.item.sequence(&job.meta),
            attempt: job.attempt,
            error: error.into(),
        });
    }

    /// A handle to count with, for one task.
    pub(crate) fn counts(&self) -> Handle<3, 1> {
        Counters::handle(&self.counters)
    }

    pub(crate) fn stats(&self) -> SubscriptionStats {
        let totals = self.counters.totals();
        let [received, handled, failed] = totals.counts;
        let [handling] = totals.histograms;
        let time = |nanos: Option<u64>| nanos.map(Duration::from_nanos);
        SubscriptionStats {
            received,
            handled,
            failed,
            handling_p50: time(handling.quantile(0.5)),
            handling_p99: time(handling.quantile(0.99)),
        }
    }

    /// Tells what the machine that orders and settles found.
    pub(crate) fn tell_delivery(&self, event: &DeliveryEvent) {
        let news = match event {
            // Told with the error, where that is known.
            DeliveryEvent::Retrying { .. }
            | DeliveryEvent::DeadLettered { .. }
            | DeliveryEvent::NotBuried { .. } => return,
            DeliveryEvent::Returned { stream_seq } => News::Unsettled {
                topic: Arc::clone(&self.topic),
                sequence: *stream_seq,
            },
            DeliveryEvent::NotReturned { stream_seq } => News::Overtaken {
                topic: Arc::clone(&self.topic),
                sequence: *stream_seq,
            },
            event => News::Pull {
                topic: Arc::clone(&self.topic),
                what: format!("{event:?}").into(),
            },
        };
        self.bus.news.tell(&news);
    }

    /// Tells what the machine that pulls found.
    pub(crate) fn tell_pull(&self, what: impl fmt::Display) {
        self.bus.news.tell(&News::Pull {
            topic: Arc::clone(&self.topic),
            what: what.to_string().into(),
        });
    }
}
