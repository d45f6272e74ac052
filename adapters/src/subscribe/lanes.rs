//! What the driver of a subscription shares with its workers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_channel::mpsc;
use jetbus_core::delivery::{DeliveryEvent, Job, JobId, Outcome};
use jetbus_core::shared::handoff::{Handoff, Worker};

use super::delivery::Item;
use super::subscription::{Control, SubscriptionStats};
use crate::bus::Inner;
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
    received: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
}

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
            received: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(crate) fn handoff(&self) -> &Handoff<Work, Done> {
        &self.handoff
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
        // Relaxed, here and below: counts of their own.
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.bus.news.tell(&News::HandlerFailed {
            topic: job.item.message.subject.as_str().into(),
            sequence: job.meta.stream_seq,
            attempt: job.attempt,
            error: error.into(),
        });
    }

    pub(crate) fn count_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> SubscriptionStats {
        SubscriptionStats {
            received: self.received.load(Ordering::Relaxed),
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Tells what the machine that orders and settles found.
    pub(crate) fn tell_delivery(&self, event: &DeliveryEvent) {
        let news = match event {
            // Told with the error, where that is known.
            DeliveryEvent::Retrying { .. } => return,
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
