//! What came beyond a gap, until a recall has said what is missing before it.

use std::time::Duration;

use crate::jetstream::ack::{self, Meta};
use crate::{Message, Outbound, Time};

/// Messages that were received beyond a gap and may not go on yet.
///
/// The server counts their leases from when it sent them, and a recall may take longer
/// than a lease: they are renewed meanwhile, or another process would be given what is
/// handled here in the end.
#[derive(Debug)]
pub struct Beyond {
    /// After how long a lease is renewed.
    lease: Duration,
    connected: bool,
    /// No more than was asked for: nothing more is pulled until the gap is looked after.
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    /// When its lease began anew.
    renewed: Time,
    meta: Meta,
    message: Message,
}

impl Beyond {
    /// Holds nothing; for a consumer with this `ack_wait`.
    #[must_use]
    pub fn new(ack_wait: Duration) -> Self {
        Self {
            lease: ack_wait / 3,
            connected: true,
            held: Vec::new(),
        }
    }

    /// A message came that has to wait.
    pub fn hold(&mut self, now: Time, meta: Meta, message: Message) {
        self.held.push(Held {
            renewed: now,
            meta,
            message,
        });
    }

    /// The connection broke: nothing is said until another is there.
    pub const fn disconnected(&mut self) {
        self.connected = false;
    }

    /// The connection is back, and all leases are due.
    pub fn connected(&mut self) {
        self.connected = true;
        for held in &mut self.held {
            held.renewed = Time::ZERO;
        }
    }

    /// What is to be said to the server so that no lease runs out: all that are about half
    /// as old as they may get are renewed together, once the oldest is due.
    pub fn renewals(&mut self, now: Time) -> Vec<Outbound> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let half = self.lease / 2;
        let due = |held: &&mut Held| now.since(held.renewed) >= half;
        let renew = |held: &mut Held| {
            held.renewed = now;
            let reply = held.message.reply.clone()?;
            Some(Outbound::new(reply, ack::progress()))
        };
        self.held.iter_mut().filter(due).filter_map(renew).collect()
    }

    /// When [`Beyond::renewals`] are due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let oldest = self.held.iter().map(|held| held.renewed).min();
        oldest.filter(|_| self.connected).map(|at| at + self.lease)
    }

    /// Nothing waits any more: what is held, in the order in which it came, each with the
    /// time at which its lease began.
    #[must_use]
    pub fn take(&mut self) -> Vec<(Time, Meta, Message)> {
        let held = std::mem::take(&mut self.held);
        let all = held.into_iter();
        all.map(|held| (held.renewed, held.meta, held.message))
            .collect()
    }

    /// What is held comes again.
    pub fn forget(&mut self) {
        self.held.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Headers, Subject};

    const LEASE: Duration = Duration::from_secs(1);

    fn after(seconds: f64) -> Time {
        Time::ZERO + Duration::from_secs_f64(seconds)
    }

    fn reply(seq: u64) -> Subject {
        format!("$JS.ACK.ORDERS.billing.1.{seq}.{seq}.0.0").into()
    }

    fn hold(beyond: &mut Beyond, now: Time, seq: u64) {
        let message = Message {
            subject: "orders.paid".into(),
            reply: Some(reply(seq)),
            headers: Headers::new(),
            status: None,
            payload: b"{}".as_slice().into(),
        };
        let meta = Meta::parse(&reply(seq)).expect("it is one");
        beyond.hold(now, meta, message);
    }

    /// Of which messages leases are renewed.
    fn renewed(beyond: &mut Beyond, now: Time) -> Vec<u64> {
        let renewals = beyond.renewals(now).into_iter();
        let seq = |word: Outbound| {
            assert_eq!(word.payload, ack::progress());
            Meta::parse(&word.subject).expect("a reply").stream_seq
        };
        renewals.map(seq).collect()
    }

    #[test]
    fn leases_of_what_waits_for_a_recall_are_renewed() {
        let mut beyond = Beyond::new(LEASE * 3);
        assert_eq!(beyond.deadline(), None);
        for (seq, came) in [(4, 10.0), (5, 10.4), (7, 10.8)] {
            hold(&mut beyond, after(came), seq);
        }
        assert_eq!(renewed(&mut beyond, after(10.9)), [0; 0]);
        assert_eq!(beyond.deadline(), Some(after(11.0)));
        assert_eq!(renewed(&mut beyond, after(11.0)), [4, 5], "7 is young");
        assert_eq!(beyond.deadline(), Some(after(11.8)));
        assert_eq!(renewed(&mut beyond, after(11.8)), [4, 5, 7]);
        assert_eq!(beyond.deadline(), Some(after(12.8)));
    }

    #[test]
    fn what_waited_goes_on_with_the_age_of_its_lease() {
        let mut beyond = Beyond::new(LEASE * 3);
        hold(&mut beyond, after(10.0), 4);
        assert_eq!(renewed(&mut beyond, after(11.0)), [4]);
        hold(&mut beyond, after(11.5), 5);
        let taken = beyond.take();
        let taken: Vec<_> = taken
            .iter()
            .map(|(at, meta, message)| (*at, meta.stream_seq, message.reply.clone()))
            .collect();
        let expected = [(11.0, 4), (11.5, 5)];
        assert_eq!(
            taken,
            expected.map(|(at, seq)| (after(at), seq, Some(reply(seq))))
        );
        assert_eq!(beyond.deadline(), None, "nothing is held any more");
    }

    #[test]
    fn leases_are_renewed_as_soon_as_a_connection_is_there() {
        let mut beyond = Beyond::new(LEASE * 3);
        hold(&mut beyond, after(10.0), 4);
        beyond.disconnected();
        assert_eq!(beyond.deadline(), None);
        assert_eq!(renewed(&mut beyond, after(12.0)), [0; 0]);
        beyond.connected();
        assert_eq!(renewed(&mut beyond, after(12.1)), [4]);
        assert_eq!(beyond.deadline(), Some(after(13.1)));
    }
}
