//! tokio.

use std::time::{Duration, SystemTime};

use ::tokio::runtime::Handle;
use ::tokio::time::Instant;
use futures_core::future::BoxFuture;
use jetbus_core::{Time, Timestamp};

use super::Runtime;

/// A tokio runtime: the one that was current when the value was made, never the
/// one that happens to be around later. Its time driver must be enabled.
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: Handle,
    origin: Instant,
}

impl Tokio {
    /// The runtime that this is called in; `None` outside of any.
    #[must_use]
    pub fn current() -> Option<Self> {
        let handle = Handle::try_current().ok()?;
        let origin = Instant::now();
        Some(Self { handle, origin })
    }

    #[cfg(feature = "nats")]
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Runtime for Tokio {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(task));
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        let after = Duration::from_nanos(deadline.as_nanos());
        match self.origin.checked_add(after) {
            Some(instant) => {
                let _inside = self.handle.enter();
                Box::pin(::tokio::time::sleep_until(instant))
            }
            None => Box::pin(std::future::pending()),
        }
    }

    fn now(&self) -> Time {
        // A paused clock shows only inside its runtime.
        let _inside = self.handle.enter();
        Time::ZERO + Instant::now().saturating_duration_since(self.origin)
    }

    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
