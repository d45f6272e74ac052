//! Taking in what the server delivers, and what it is known to have delivered.

use super::held::{Held, State};
use super::recent::Verdict;
use super::words::{DeliveryEvent, Key};
use super::{AtShare, Delivery, most_held};
use crate::dead_letter::Reason;
use crate::jetstream::ack;
use crate::keyed::Id;
use crate::{Subject, Time};

impl<T: Clone> Delivery<T> {
    pub(super) fn received(&mut self, now: Time, key: Option<Key>, mut held: Held<T>) {
        if !self.is_new(&held) {
            let identity = held.identity();
            if let Some(id) = self.known(&identity)
                && !planted!(HeldTwice)
            {
                self.received_again(now, id, held);
                return;
            }
            if let Some(verdict) = self.settled.get(identity) {
                return self.settle_again(held.reply, verdict);
            }
            held.pardoned = self.pardoned.get(identity).unwrap_or_default();
        }
        let window = self.config.window;
        // What was waited for and comes back is never refused: up to a third window.
        if self.held() >= window.saturating_mul(2) || self.keyed.len() >= most_held(window) {
            self.refuse(now, key, held);
            return;
        }
        let id = self.insert(key, held);
        self.judge(id);
        self.lease_at = self.lease_at.min(now + self.lease());
        if self.stopping {
            self.give_back_ready();
        }
    }

    /// Whether nothing can be known of it: so it is with most, and nothing is looked
    /// up for them.
    fn is_new(&mut self, held: &Held<T>) -> bool {
        let new = !held.redriven && held.meta.stream_seq > self.newest;
        if new {
            self.newest = held.meta.stream_seq;
        }
        new
    }

    /// There is no room for it: it is given back at once. Its place in its key is kept
    /// while there is room for that; what is redriven has none.
    fn refuse(&mut self, now: Time, key: Option<Key>, mut held: Held<T>) {
        let window = self.config.window;
        let reply = held.reply.clone();
        let room = self.vacant < window && self.keyed.len() < most_held(window);
        let ordered = key.is_some() && !held.redriven && !self.stopping;
        self.refused(now);
        if ordered && room {
            held.state = State::Away { due: true };
            let id = self.insert(key, held);
            self.vacant += 1;
            self.keyed.park(id, now + self.absence());
        } else {
            let stream_seq = held.meta.stream_seq;
            // Of one that is pardoned it was told before.
            let told = held.pardoned > 0;
            self.pardon(&held);
            match ordered {
                _ if told => {}
                true => self.tell(DeliveryEvent::NotReturned { stream_seq }),
                false => self.tell(DeliveryEvent::Overflow { stream_seq }),
            }
        }
        self.nak(reply, None);
    }

    /// Something held or waited for was delivered again: only the newest reply counts.
    fn received_again(&mut self, now: Time, id: Id, new: Held<T>) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        held.delivered_again(new.meta);
        self.unconfirmed -= usize::from(std::mem::take(&mut held.unconfirmed));
        held.reply = new.reply;
        held.renewed = now;
        if let State::Away { due } = held.state {
            held.state = new.state;
            self.vacant -= usize::from(due);
            self.keyed.release(id);
            self.judge(id);
            self.lease_at = self.lease_at.min(now + self.lease());
        }
    }

    /// Was it delivered so often that its handler may be what brings the process down?
    fn judge(&mut self, id: Id) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        let (stream_seq, deliveries) = (held.meta.stream_seq, held.deliveries());
        if held.letter.is_some() {
            return;
        }
        if deliveries >= self.config.crash_limit {
            self.bury(id, Reason::CrashLoop);
        } else if deliveries >= self.config.suspect_after && !held.suspect {
            if !held.is_odd() {
                self.batches.odd();
            }
            held.suspect = true;
            self.tell(DeliveryEvent::Suspect {
                stream_seq,
                deliveries,
            });
        }
    }

    /// Something was on a connection that broke: an empty place waits for it.
    pub(super) fn missing(&mut self, now: Time, key: Option<Key>, mut held: Held<T>, back: bool) {
        let reply = std::mem::replace(&mut held.reply, Subject::from_static(""));
        let identity = held.identity();
        if let Some(here) = self.here(&identity) {
            // It came from the consumer before, or in time after all.
            here.reply = reply;
            here.lost_again();
            let unconfirmed = std::mem::take(&mut here.unconfirmed);
            self.unconfirmed -= usize::from(unconfirmed);
            return;
        }
        if let Some(verdict) = self.settled.get(identity) {
            return self.settle_again(reply, verdict);
        }
        if back {
            self.publish(reply, ack::nak(None));
        }
        if held.redriven {
            // It has no place among the others to be kept for it.
            return;
        }
        let stream_seq = held.meta.stream_seq;
        self.newest = self.newest.max(stream_seq);
        held.pardoned = self.pardoned.get(identity).unwrap_or_default();
        if let Some(known) = self.known(&identity) {
            // Waited for already.
            if let Some(away) = self.keyed.item_mut(known) {
                away.lost_again();
            }
            return;
        }
        if self.stopping {
            return;
        }
        if key.is_none() {
            self.pardon(&held);
            return;
        }
        let window = self.config.window;
        if self.vacant >= window || self.keyed.len() >= most_held(window) {
            self.pardon(&held);
            self.tell(DeliveryEvent::NotReturned { stream_seq });
            return;
        }
        let id = self.insert(key, held);
        self.vacant += 1;
        self.keyed.park(id, now + self.absence());
    }

    /// Settled before, and delivered again: its acknowledgement was lost, or crossed this
    /// delivery.
    fn settle_again(&mut self, reply: Subject, verdict: Verdict) {
        let payload = match verdict {
            Verdict::Acked => ack::ack(),
            Verdict::Termed => ack::term(None),
        };
        self.publish(reply, payload);
    }

    /// What is held is of a stream that is gone; what was given back or lost is gone with
    /// it.
    pub(super) fn replaced(&mut self) {
        // Of what is redriven, it is said again when it comes again.
        self.publishes.clear();
        let all: Vec<_> = self.keyed.iter().map(|(id, _)| id).collect();
        for id in all {
            let Some(held) = self.keyed.item_mut(id).filter(|held| !held.redriven) else {
                continue;
            };
            held.gone = true;
            held.reply = Subject::from_static("");
            if held.is_away() {
                self.remove(id);
            }
        }
    }

    /// Puts it in its key's queue: in stream order, but what is redriven is behind all
    /// and stays where it is.
    fn insert(&mut self, key: Option<Key>, held: Held<T>) -> Id {
        let (redriven, stream_seq) = (held.redriven, held.meta.stream_seq);
        let identity = held.identity();
        let id = self.keyed.insert(key, held, |other| {
            let ordinary = !redriven && !other.redriven;
            ordinary.then(|| (true, stream_seq).cmp(&(!other.gone, other.meta.stream_seq)))
        });
        self.table.add(identity, id);
        if let Some((head, held)) = self.shares.comes(&self.keyed, id) {
            self.backlogged(head, held);
        }
        if self.config.at_share == AtShare::DeadLetter && self.shares.is_full(&self.keyed, id) {
            self.bury_failing_head(id);
        }
        id
    }
}
