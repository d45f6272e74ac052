//! The embedded broker as a peer, in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use jetbus_core::broker::{Broker, Config, ConnId, Input, Output};
use jetbus_core::{Message, Outbound, Subject, Time, Timestamp};

use crate::peer::{Peer, Sid};

/// How long everything takes that is not waiting: what is stored one after the
/// other has times one after the other.
const STEP: Duration = Duration::from_micros(1);

/// A connection to an embedded broker of its own.
#[derive(Debug)]
pub struct Embedded {
    broker: Broker,
    conn: ConnId,
    now: Time,
    subscriptions: Sid,
    received: VecDeque<(Sid, Message)>,
}

impl Embedded {
    /// A broker without streams, on 22 November 2026.
    #[must_use]
    pub fn new() -> Self {
        let mut broker = Broker::new(Config {
            wall: Timestamp::from_unix_nanos(1_795_348_081_000_000_000),
            ..Config::default()
        });
        let conn = broker.connect(Time::ZERO);
        Self {
            broker,
            conn,
            now: Time::ZERO,
            subscriptions: 0,
            received: VecDeque::new(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.now = self.now + STEP;
        self.broker.handle(self.now, input);
        while let Some(output) = self.broker.poll() {
            let Output::Deliver { sid, message, .. } = output;
            self.received.push_back((sid, message));
        }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl Peer for Embedded {
    fn subscribe(&mut self, pattern: &str) -> Sid {
        self.subscriptions += 1;
        self.tell(Input::Subscribe {
            conn: self.conn,
            sid: self.subscriptions,
            pattern: Subject::from(pattern),
            group: None,
        });
        self.subscriptions
    }

    fn unsubscribe(&mut self, sid: Sid) {
        self.tell(Input::Unsubscribe {
            conn: self.conn,
            sid,
        });
    }

    fn publish(&mut self, message: Outbound) {
        self.tell(Input::Publish {
            conn: self.conn,
            message,
        });
    }

    fn next(&mut self, within: Duration) -> Option<(Sid, Message)> {
        let end = self.now + within;
        loop {
            if let Some(received) = self.received.pop_front() {
                return Some(received);
            }
            match self.broker.deadline() {
                Some(due) if due <= end => self.now = self.now.max(due),
                _ => {
                    self.now = end;
                    return None;
                }
            }
            self.tell(Input::Tick);
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.since(Time::ZERO)
    }
}
