//! smol.

use std::time::{Duration, Instant, SystemTime};

use ::smol::Timer;
use futures_core::future::BoxFuture;
use jetbus_core::{Time, Timestamp};

use super::Runtime;

/// smol's global executor. Its number of threads is the variable `SMOL_THREADS`
/// of the environment, 1 unless set.
#[derive(Clone, Debug)]
pub struct Smol {
    origin: Instant,
}

impl Smol {
    /// The global executor, with time counted from now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for Smol {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for Smol {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        ::smol::spawn(task).detach();
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        let after = Duration::from_nanos(deadline.as_nanos());
        match self.origin.checked_add(after) {
            Some(instant) => Box::pin(async move {
                Timer::at(instant).await;
            }),
            None => Box::pin(std::future::pending()),
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
