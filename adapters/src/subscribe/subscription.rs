//! The handle of a running subscription.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use jetbus_core::Time;

use super::lanes::Lanes;
use crate::bus::Bus;

/// A running subscription.
///
/// Dropping it stops the subscription: nothing more is started, what runs is
/// finished and settled, what was only waiting is given back to the server. Its
/// consumer stays, and with it the group's place in the stream. Who wants to know when
/// that is over, or not to wait for handlers without end, calls [`stop`](Self::stop) or
/// [`drain`](Self::drain).
#[must_use = "a subscription stops when its handle is dropped"]
pub struct Subscription {
    lanes: Arc<Lanes>,
    /// Keeps the bus open.
    _bus: Bus,
}

/// What a driver is told by handles and by the bus.
#[derive(Debug)]
pub(crate) enum Control {
    /// The link's state changed: look at the session.
    Link,
    /// Events take longer: renew the leases that handles wish to be renewed.
    Renew,
    /// Ask for nothing more, or for events again, as the handle wishes.
    Pause,
    /// Stop, and say what became of everything held.
    Stop(Stop),
}

/// How to stop.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    /// When handlers that still run are given up; `None`: never.
    pub(crate) by: Option<Time>,
    /// Who waits for the end.
    pub(crate) done: Option<oneshot::Sender<DrainReport>>,
}

/// What became of the events that a subscription held when it was told to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Handled to their end, well or as dead letters, and acknowledged.
    pub finished: usize,
    /// Given back to the server, which delivers them again: those that were waiting,
    /// and those that failed.
    pub returned: usize,
    /// Still being handled when the time was up. Nothing was said of them to the
    /// server, which delivers them again once their lease is over. Handled at most once,
    /// an event counts from its acknowledgement on: where the server has that, it is
    /// handled to its end and does not come again.
    pub abandoned: usize,
    /// Whether the server has answered after the last of this was sent, and so has it
    /// all. Always true of ephemeral topics, which are not acknowledged.
    pub confirmed: bool,
}

/// What a subscription is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Events received from the server, redeliveries included.
    pub received: u64,
    /// Attempts to handle an event that ended well.
    pub handled: u64,
    /// Attempts to handle an event that failed.
    pub failed: u64,
    /// Events held: waiting, being handled, or waiting to be tried again.
    pub held: usize,
    /// Events being handled, or on their way to a handler.
    pub running: usize,
    /// Events that wait for a time: to be tried again, or to be delivered again after
    /// they were given back or lost. Later ones of their keys wait for them.
    pub parked: usize,
    /// How many more events the stream held for the group at the last delivery.
    pub lag: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// The time that half of all attempts did not exceed, within 1/32; `None`
    /// before the first, and for streams of deliveries.
    pub handling_p50: Option<Duration>,
    /// The time that 99 of 100 attempts did not exceed, within 1/32.
    pub handling_p99: Option<Duration>,
}

impl Subscription {
    pub(super) const fn new(lanes: Arc<Lanes>, bus: Bus) -> Self {
        Self { lanes, _bus: bus }
    }

    /// The topic or pattern that it reads.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.lanes.topic
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.lanes.stats()
    }

    /// Asks the server for nothing more until [`resume`](Self::resume). What was asked
    /// for still comes, and what is held is handled. Events of ephemeral topics wait in
    /// the link's inbox, which tells when it overflows.
    pub fn pause(&self) {
        self.lanes.pause(true);
    }

    /// Asks for events again after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.lanes.pause(false);
    }

    /// Stops it as dropping does, and waits until all it held is settled or given
    /// back. Handlers that run are waited for without a limit; drop the future to
    /// stop waiting.
    pub async fn stop(self) {
        self.end(None).await;
    }

    /// Ends it in an orderly way: nothing more is asked for or started, what only waited
    /// is given back in the order of the stream, and handlers that run may finish within
    /// `deadline`. Returns a moment after that at the latest, also when handlers never
    /// end: those are given up, go on beside what comes after, and their word counts for
    /// nothing.
    ///
    /// Events that were given up come again once their lease (`ack_wait`) is over, and
    /// those that failed after their delay, the later ones of their keys that were held
    /// not before. What the server had not delivered yet does not wait for them.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing but that nobody hears of the end.
    pub async fn drain(self, deadline: Duration) -> DrainReport {
        let by = self.lanes.bus.runtime.now() + deadline;
        self.end(Some(by)).await
    }

    async fn end(self, by: Option<Time>) -> DrainReport {
        let (done, ended) = oneshot::channel();
        self.halt(Stop {
            by,
            done: Some(done),
        });
        // An error says that the driver has ended before: there is nothing to report.
        ended.await.unwrap_or_default()
    }

    /// No handler starts any more, and the driver hears why.
    fn halt(&self, stop: Stop) {
        self.lanes.handoff().close();
        self.lanes.control(Control::Stop(stop));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.halt(Stop::default());
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.lanes.topic)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
