//! Stands in for the core's broker until that is there: plain subjects only.

use std::collections::VecDeque;

use jetbus_core::subject::covers;
use jetbus_core::{Message, Outbound, Subject, Time};

/// Limits; none yet.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnId(u64);

#[derive(Default)]
pub(super) struct Broker {
    conns: u64,
    subscriptions: Vec<(ConnId, u64, Subject)>,
    outputs: VecDeque<Output>,
}

pub(super) enum Input {
    Subscribe {
        conn: ConnId,
        sid: u64,
        pattern: Subject,
        group: Option<Subject>,
    },
    Unsubscribe {
        conn: ConnId,
        sid: u64,
    },
    Publish {
        conn: ConnId,
        message: Outbound,
    },
    Disconnect {
        conn: ConnId,
    },
    Tick,
}

pub(super) enum Output {
    Deliver {
        conn: ConnId,
        sid: u64,
        message: Message,
    },
}

impl Broker {
    pub(super) fn new(_: Config) -> Self {
        Self::default()
    }

    pub(super) const fn connect(&mut self, _: Time) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }

    pub(super) fn handle(&mut self, _: Time, input: Input) {
        match input {
            Input::Subscribe {
                conn, sid, pattern, ..
            } => self.subscriptions.push((conn, sid, pattern)),
            Input::Unsubscribe { conn, sid } => {
                self.subscriptions.retain(|s| (s.0, s.1) != (conn, sid));
            }
            Input::Disconnect { conn } => self.subscriptions.retain(|s| s.0 != conn),
            Input::Publish { conn: _, message } => {
                for (conn, sid, pattern) in &self.subscriptions {
                    if covers(pattern.as_str(), message.subject.as_str()) {
                        self.outputs.push_back(Output::Deliver {
                            conn: *conn,
                            sid: *sid,
                            message: Message {
                                subject: message.subject.clone(),
                                reply: message.reply.clone(),
                                headers: message.headers.clone(),
                                status: None,
                                payload: message.payload.clone(),
                            },
                        });
                    }
                }
            }
            Input::Tick => {}
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) const fn deadline(&self) -> Option<Time> {
        None
    }
}
