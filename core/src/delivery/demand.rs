//! How much is asked for: what there is room for, and what is waited for.

use std::time::Duration;

use super::{AtShare, Delivery, most_held};
use crate::Time;

/// How long nothing is asked for after something was refused, while there is room for
/// nothing but what is waited for: it would come again at once, and again.
pub(super) const REST: Duration = Duration::from_millis(100);

impl<T: Clone> Delivery<T> {
    /// How many messages may be asked for: the free places. While a key holds its
    /// share and stalls the others, only for what is waited for; and for that always,
    /// also when others took its place, or what they wait for could never come. So it is
    /// with what could not be acknowledged. When there is room for nothing else and
    /// something else came, not at once.
    #[must_use]
    pub fn free(&self) -> usize {
        if self.rests().is_some() {
            return 0;
        }
        let held = self.held();
        let mut free = self.config.window.saturating_sub(held);
        if self.config.at_share == AtShare::Stall && self.shares.any_full() {
            free = free.min(self.vacant);
        }
        let awaiting = self.vacant > 0 || self.unconfirmed > 0;
        let room = held < self.config.window.saturating_mul(2);
        free.max(usize::from(awaiting && room))
    }

    /// Until when nothing is asked for.
    pub(super) fn rests(&self) -> Option<Time> {
        let full = self.keyed.len() >= most_held(self.config.window);
        self.rests_until.filter(|_| full)
    }

    /// There is no room for something that came: it would come again at once, and again.
    pub(super) fn refused(&mut self, now: Time) {
        self.rests_until = Some(now + REST);
    }
}
