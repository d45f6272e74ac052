//! The handle of a running subscription.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use jetbus_core::delivery::JobId;

use super::lanes::Lanes;
use crate::bus::Bus;

/// A running subscription.
///
/// Dropping it stops the subscription: nothing more is started, what runs is
/// finished and settled, what was only waiting is given back to the server. Its
/// consumer stays, and with it the group's place in the stream.
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
    /// An event takes longer: renew its lease now.
    Progress(JobId),
    /// Stop, and say when everything held is settled or given back.
    Stop(Option<oneshot::Sender<()>>),
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

    /// Stops it as dropping does, and waits until all it held is settled or given
    /// back. Handlers that run are waited for without a limit; drop the future to
    /// stop waiting.
    pub async fn stop(self) {
        let (done, stopped) = oneshot::channel();
        // Full: a stop is under way already, and the channel closes after it.
        if self
            .lanes
            .control
            .clone()
            .try_send(Control::Stop(Some(done)))
            .is_ok()
        {
            // An error says that the driver has ended: it is stopped.
            let _ = stopped.await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Full or closed: a stop is under way already.
        let _ = self.lanes.control.clone().try_send(Control::Stop(None));
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
