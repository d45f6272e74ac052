//! Leases: the server is kept from delivering again what is held here.

use std::time::Duration;

use super::Delivery;
use super::held::State;
use crate::Time;
use crate::jetstream::ack;
use crate::keyed::Id;

impl<T: Clone> Delivery<T> {
    pub(super) fn reconnected(&mut self, now: Time) {
        self.connected = true;
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        for id in all {
            match self.keyed.item(id).map(|held| &held.state) {
                Some(State::Here(_)) => self.renew(now, id),
                // It could not come back while the link was lost.
                Some(State::Away { due: true }) => {
                    self.keyed.park(id, now + self.absence());
                }
                Some(State::Away { due: false }) | None => {}
            }
        }
    }

    /// Renews all leases that are about half as old as they may get, so that they are
    /// renewed together, and looks at the others when the oldest is due.
    pub(super) fn renew_leases(&mut self, now: Time) {
        let mut oldest = Time::NEVER;
        let mut due = Vec::new();
        for (id, held) in self.keyed.iter().filter(|(_, held)| !held.is_away()) {
            if planted!(LapsedLease) && !self.keyed.is_out(id) {
                continue;
            }
            if now.since(held.renewed) >= self.lease() / 2 {
                due.push(id);
                oldest = oldest.min(now);
            } else {
                oldest = oldest.min(held.renewed);
            }
        }
        for id in due {
            self.renew(now, id);
        }
        self.lease_at = oldest + self.lease();
    }

    pub(super) fn renew(&mut self, now: Time, id: Id) {
        if !self.connected {
            return;
        }
        if let Some(held) = self.keyed.item_mut(id) {
            held.renewed = now;
            let reply = held.reply.clone();
            self.publish(reply, ack::progress());
        }
    }

    pub(super) fn lease(&self) -> Duration {
        self.config.ack_wait / 3
    }

    /// How long a message that was given back is awaited once it is due. A redelivery
    /// that was lost is repeated after `ack_wait`: it must not come a moment late.
    pub(super) fn absence(&self) -> Duration {
        self.config.ack_wait + self.lease()
    }
}
