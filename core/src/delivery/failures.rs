//! What follows when a message failed: another attempt, or a dead letter.

use std::time::Duration;

use super::Delivery;
use super::words::{AtShare, DeliveryEvent};
use crate::Time;
use crate::dead_letter::Reason;
use crate::keyed::Id;

impl<T: Clone> Delivery<T> {
    pub(super) fn failed(
        &mut self,
        now: Time,
        id: Id,
        retry_after: Option<Duration>,
        error: Box<str>,
    ) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        let failures = held.note_failure(now, error);
        let (stream_seq, attempt) = (held.meta.stream_seq, held.attempt);
        let random = self.random.next();
        let delay = retry_after.unwrap_or_else(|| self.config.retry.delay(failures, random));
        if self.stopping {
            self.give_back(now, id, Some(delay));
            return;
        }
        let spent = failures + u32::from(planted!(LostAttempt));
        if self.config.attempts.is_some_and(|most| spent >= most) {
            self.bury(id, Reason::Exhausted);
            return;
        }
        if self.config.at_share == AtShare::DeadLetter && self.shares.is_full(&self.keyed, id) {
            self.bury(id, Reason::Backlogged);
            return;
        }
        self.keyed.park(id, now + delay);
        self.tell(DeliveryEvent::Retrying {
            stream_seq,
            attempt,
            delay,
        });
    }

    /// Gives it up: once it is its turn, it is handed out to be stored as a dead
    /// letter.
    pub(super) fn bury(&mut self, id: Id, reason: Reason) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        if !held.is_odd() {
            self.batches.odd();
        }
        held.letter.get_or_insert(reason);
        self.keyed.release(id);
    }

    /// The key of `id` holds its share: when its head waits for another attempt, there
    /// will be none.
    pub(super) fn bury_failing_head(&mut self, id: Id) {
        let Some(head) = self.keyed.head(id) else {
            return;
        };
        let held = self.keyed.item(head);
        let failing = held.is_some_and(|held| {
            !held.is_away() && held.failures.is_some() && held.letter.is_none()
        });
        if failing && self.keyed.is_parked(head) {
            self.bury(head, Reason::Backlogged);
        }
    }

    /// Tells of a key that holds its share.
    pub(super) fn backlogged(&mut self, head: Id, held: usize) {
        if let Some(stream_seq) = self.keyed.item(head).map(|head| head.meta.stream_seq) {
            self.tell(DeliveryEvent::KeyBacklogged { stream_seq, held });
        }
    }

    /// A dead letter that could not be stored is tried again; its key waits.
    pub(super) fn not_buried(&mut self, now: Time, id: Id, error: Box<str>) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        held.unburied = held.unburied.saturating_add(1);
        let (stream_seq, failures) = (held.meta.stream_seq, held.unburied);
        let delay = self.config.retry.delay(failures, self.random.next());
        if self.stopping {
            self.give_back(now, id, Some(delay));
        } else {
            self.keyed.park(id, now + delay);
        }
        self.tell(DeliveryEvent::NotBuried {
            stream_seq,
            error,
            delay,
        });
    }
}
