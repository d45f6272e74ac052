//! What handles wish of their driver. What is wished again before the driver has looked
//! is one wish: handles may call as often as they like, and nothing grows.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jetbus_core::delivery::JobId;

/// Wishes that the driver has not taken. Touched when a handle calls, never per message.
#[derive(Debug, Default)]
pub(super) struct Wishes(Mutex<Wished>);

#[derive(Debug, Default)]
struct Wished {
    /// Events that take longer, each once.
    renewals: BTreeSet<JobId>,
    /// Whether to be paused; `None`: as it is.
    paused: Option<bool>,
}

impl Wishes {
    /// Renew the lease of this. Says whether the driver has to be told: it has not been
    /// since it took the last.
    pub(super) fn renew(&self, id: JobId) -> bool {
        let renewals = &mut self.wished().renewals;
        let first = renewals.is_empty();
        renewals.insert(id);
        first
    }

    /// Pause, or go on: the last wish counts. Says whether the driver has to be told.
    pub(super) fn pause(&self, paused: bool) -> bool {
        self.wished().paused.replace(paused).is_none()
    }

    pub(super) fn take_renewals(&self) -> BTreeSet<JobId> {
        std::mem::take(&mut self.wished().renewals)
    }

    pub(super) fn take_pause(&self) -> Option<bool> {
        self.wished().paused.take()
    }

    fn wished(&self) -> MutexGuard<'_, Wished> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wish_counts_and_is_told_once() {
        let wishes = Wishes::default();
        assert!(wishes.pause(true));
        assert!(!wishes.pause(false));
        assert!(!wishes.pause(true));
        assert_eq!(wishes.take_pause(), Some(true));
        assert_eq!(wishes.take_pause(), None);
        assert!(wishes.pause(false));
    }
}
