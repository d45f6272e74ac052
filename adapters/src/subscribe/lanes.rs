//! What the driver of a subscription shares with its workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_channel::mpsc;
use jetbus_core::Time;
use jetbus_core::delivery::{self, DeliveryEvent, JobId, Outcome};
use jetbus_core::shared::counters::{Counters, Handle};
use jetbus_core::shared::handoff::{Handoff, Worker};

use super::delivery::Item;
use super::gauges::Gauges;
use super::options::Handling;
use super::subscription::{Control, SubscriptionStats};
use super::watch::Posts;
use super::wishes::Wishes;
use crate::bus::{Inner, Running};
use crate::news::{News, PullNews};

/// An event to be handled now.
pub(crate) type Job = delivery::Job<Arc<Item>>;

/// Events on their way to a worker. What one worker takes it gives one word on, with a
/// part for each event.
#[derive(Debug)]
pub(crate) enum Work {
    One(Job),
    Many(Vec<Job>),
}

impl Work {
    /// What it consists of.
    pub(super) fn ids(&self) -> Vec<JobId> {
        match self {
            Self::One(job) => vec![job.id],
            Self::Many(jobs) => jobs.iter().map(|job| job.id).collect(),
        }
    }
}

/// The word of whoever handled events.
#[derive(Debug)]
pub(crate) enum Done {
    One(JobId, Outcome),
    Many(Vec<(JobId, Outcome)>),
}

/// Work on its way to workers, and their word on its way back.
#[derive(Debug)]
pub(crate) struct Lanes {
    handoff: Arc<Handoff<Work, Done>>,
    /// Reaches the driver.
    control: mpsc::Sender<Control>,
    /// What handles wish of the driver.
    pub(super) wishes: Wishes,
    pub(crate) bus: Arc<Inner>,
    /// The topic or pattern.
    pub(crate) topic: Arc<str>,
    pub(super) handling: Handling,
    /// What workers do at the moment.
    pub(super) posts: Posts,
    /// Workers that there are.
    hired: AtomicUsize,
    counters: Arc<Counters<3, 1>>,
    pub(super) gauges: Gauges,
}

/// A worker's place, free again when it is dropped.
pub(super) struct Hired(Arc<Lanes>);

impl Hired {
    pub(super) const fn lanes(&self) -> &Arc<Lanes> {
        &self.0
    }
}

impl Drop for Hired {
    fn drop(&mut self) {
        // Relaxed: a count of its own.
        self.0.hired.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Work that was taken. It is given back, with a word that says so, if its worker is
/// dropped before it has a word on it.
pub(super) struct Taken<'a> {
    lanes: &'a Lanes,
    ids: Ids,
}

enum Ids {
    One(JobId),
    Many(Vec<JobId>),
    Told,
}

impl<'a> Taken<'a> {
    pub(super) const fn one(lanes: &'a Lanes, id: JobId) -> Self {
        let ids = Ids::One(id);
        Self { lanes, ids }
    }

    pub(super) fn many(lanes: &'a Lanes, jobs: &[Job]) -> Self {
        let ids = Ids::Many(jobs.iter().map(|job| job.id).collect());
        Self { lanes, ids }
    }

    pub(super) fn done(mut self, done: Done) {
        self.ids = Ids::Told;
        self.lanes.settle(done);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.lanes
            .settle(match std::mem::replace(&mut self.ids, Ids::Told) {
                Ids::One(id) => Done::One(id, Outcome::Returned),
                Ids::Many(ids) => {
                    let returned = ids.into_iter().map(|id| (id, Outcome::Returned));
                    Done::Many(returned.collect())
                }
                Ids::Told => return,
            });
    }
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
        handling: Handling,
        control: mpsc::Sender<Control>,
    ) -> Self {
        Self {
            handoff: Arc::new(Handoff::new(held)),
            control,
            wishes: Wishes::default(),
            bus,
            topic,
            handling,
            posts: Posts::default(),
            hired: AtomicUsize::new(0),
            counters: Arc::new(Counters::new(SHARDS)),
            gauges: Gauges::default(),
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

    /// Tells the driver. Never refused for want of room, for each clone has a place of
    /// its own: what is told comes once for each handle, or once until it is heard.
    pub(super) fn control(&self, control: Control) {
        // Closed: the driver has ended.
        let _ = self.control.clone().try_send(control);
    }

    /// Renews the lease of what a handle holds.
    pub(super) fn renew(&self, id: JobId) {
        if self.wishes.renew(id) {
            self.control(Control::Renew);
        }
    }

    /// Pauses the subscription, or lets it go on.
    pub(super) fn pause(&self, paused: bool) {
        if self.wishes.pause(paused) {
            self.control(Control::Pause);
        }
    }

    /// A worker that takes events of these lanes.
    pub(crate) fn worker(&self) -> Worker<Work, Done> {
        Handoff::worker(&self.handoff)
    }

    /// A place for one more worker.
    pub(super) fn hire(this: &Arc<Self>) -> Hired {
        this.hired.fetch_add(1, Ordering::Relaxed);
        Hired(Arc::clone(this))
    }

    /// How many workers there are.
    pub(super) fn hired(&self) -> usize {
        self.hired.load(Ordering::Relaxed)
    }

    /// Brings the word on what was taken back.
    pub(crate) fn settle(&self, done: Done) {
        let kept = self.handoff.done(done);
        debug_assert!(kept.is_ok(), "one word for each time something is taken");
    }

    /// Tells that handling failed.
    pub(crate) fn failed(&self, job: &Job, error: &str) {
        self.bus.news.tell(&News::HandlerFailed {
            topic: job.item.message.subject.as_str().into(),
            sequence: job.item.sequence(&job.meta),
            attempt: job.attempt,
            error: error.into(),
        });
    }

    /// Tells that a handler blocks its thread.
    pub(super) fn tell_stuck(&self, sequence: u64, running_for: Duration) {
        self.bus.news.tell(&News::HandlerStuck {
            topic: Arc::clone(&self.topic),
            sequence,
            running_for,
        });
    }

    /// Tells that another process reads for the same group.
    pub(super) fn tell_shared(&self) {
        self.bus.news.tell(&News::SharedConsumer {
            topic: Arc::clone(&self.topic),
        });
    }

    /// Tells that an event is not delivered again.
    pub(super) fn tell_discarded(&self, sequence: u64, reason: &str) {
        self.bus.news.tell(&News::Discarded {
            topic: Arc::clone(&self.topic),
            sequence,
            reason: reason.into(),
        });
    }

    /// Tells that the outcomes of a batch are not as many as its events.
    pub(super) fn tell_outcomes(&self, sequence: u64, events: usize, outcomes: usize) {
        self.bus.news.tell(&News::WrongOutcomes {
            topic: Arc::clone(&self.topic),
            sequence,
            events,
            outcomes,
        });
    }

    /// Tells of handlers that block their threads. When to look again.
    pub(super) fn look(&self, now: Time) -> Time {
        self.posts
            .look(now, self.handling.timeout, |sequence, running_for| {
                self.tell_stuck(sequence, running_for);
            })
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
        let now = self.gauges.read();
        SubscriptionStats {
            received,
            handled,
            failed,
            held: now.held,
            running: now.running,
            parked: now.parked,
            lag: now.lag,
            paused: now.paused,
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
            DeliveryEvent::Discarded { stream_seq, reason } => {
                let reason = reason.as_deref().unwrap_or("no reason was given");
                self.tell_discarded(*stream_seq, reason);
                return;
            }
            DeliveryEvent::Suspect {
                stream_seq,
                deliveries,
            } => News::Suspect {
                topic: Arc::clone(&self.topic),
                sequence: *stream_seq,
                deliveries: *deliveries,
            },
            DeliveryEvent::KeyBacklogged { stream_seq, held } => News::KeyBacklogged {
                topic: Arc::clone(&self.topic),
                sequence: *stream_seq,
                held: *held,
            },
            event => News::Pull {
                topic: Arc::clone(&self.topic),
                what: format!("{event:?}").into(),
            },
        };
        self.bus.news.tell(&news);
    }

    /// Tells what the machine that pulls found.
    pub(crate) fn tell_pull(&self, what: PullNews) {
        self.bus.news.tell(&News::Pull {
            topic: Arc::clone(&self.topic),
            what,
        });
    }
}
