//! How fast dead letters are redriven.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::Time;

/// Spreads events over time: so many a second, and none sooner to make up for others
/// that were late.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    gap: Duration,
    next: Time,
}

impl Pace {
    /// A pace of so many events a second; the first may go at once.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            gap: Duration::from_secs(1) / per_second.get(),
            next: Time::ZERO,
        }
    }

    /// When the next event may go.
    pub fn next(&mut self, now: Time) -> Time {
        let at = self.next.max(now);
        self.next = at + self.gap;
        at
    }
}
