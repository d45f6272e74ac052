//! Giving messages back to the server: one by one, and all of them at the end.

use std::time::Duration;

use super::Delivery;
use super::held::{Held, State};
use super::words::DeliveryEvent;
use crate::Time;
use crate::keyed::Id;

impl<T: Clone> Delivery<T> {
    /// Gives back a message that ran.
    pub(super) fn give_back(&mut self, now: Time, id: Id, after: Option<Duration>) {
        if self.stopping {
            // One that came late is behind what ran already.
            let (mut given, mut next) = (Vec::new(), Some(id));
            while let Some(id) = next {
                next = self.keyed.behind(id);
                given.extend(self.remove(id));
            }
            self.give_back_all(given, after);
            return;
        }
        let keyless = self.keyed.key(id).is_none();
        let crowded = self.vacant >= self.config.window;
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        let (reply, stream_seq) = (held.reply.clone(), held.meta.stream_seq);
        held.state = State::Away { due: false };
        self.nak(reply, after);
        if keyless || crowded {
            if let Some(held) = self.remove(id) {
                self.pardon(&held);
            }
            if crowded && !keyless {
                self.tell(DeliveryEvent::NotReturned { stream_seq });
            }
            return;
        }
        self.keyed.park(id, now + after.unwrap_or_default());
    }

    /// Given back or lost, and no place waits for it: remembers that its next delivery
    /// is no sign of a crash.
    pub(super) fn pardon(&mut self, held: &Held<T>) {
        let pardoned = held.pardoned.saturating_add(1);
        self.pardoned.remember(held.identity(), pardoned);
    }

    /// It is not waited for any longer.
    pub(super) fn not_returned(&mut self, id: Id) {
        let Some(held) = self.remove(id) else {
            return;
        };
        self.pardon(&held);
        let stream_seq = held.meta.stream_seq;
        self.tell(DeliveryEvent::NotReturned { stream_seq });
    }

    /// When stopping: gives back what could run, and what can when that has gone, in
    /// stream order.
    pub(super) fn give_back_ready(&mut self) {
        let mut given = Vec::new();
        while let Some(id) = self.keyed.next_ready() {
            given.extend(self.remove(id));
        }
        self.give_back_all(given, None);
    }

    fn give_back_all(&mut self, mut given: Vec<Held<T>>, after: Option<Duration>) {
        given.sort_by_key(|held| held.meta.stream_seq);
        if planted!(GivenBackInReverse) {
            given.reverse();
        }
        for held in given {
            self.nak(held.reply, after);
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        for id in all {
            if self.keyed.item(id).is_some_and(Held::is_away) {
                self.remove(id);
            } else if !self.keyed.is_out(id) {
                self.keyed.release(id);
            }
        }
        self.give_back_ready();
    }

    /// Gives up what runs. What waits behind it is given back, but not to come before
    /// the leases of what ran are over.
    pub(super) fn abandon(&mut self) {
        self.stop();
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        let mut given = Vec::new();
        for id in all {
            let runs = self.keyed.is_out(id);
            let held = self.remove(id);
            if runs {
                self.report.abandoned += 1;
            } else {
                given.extend(held);
            }
        }
        self.running = 0;
        self.alone = false;
        self.batches.clear();
        self.give_back_all(given, Some(self.absence()));
    }
}
