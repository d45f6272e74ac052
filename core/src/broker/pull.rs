//! Pull requests waiting at a consumer.

use std::collections::VecDeque;

use serde::Deserialize;

use super::stream_config::nanos;
use crate::{Subject, Time};

/// What a pull asks for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    pub(super) batch: i64,
    pub(super) max_bytes: i64,
    pub(super) no_wait: bool,
    pub(super) expires: i64,
    pub(super) idle_heartbeat: i64,
}

impl Request {
    /// Reads the body of a pull: JSON, a number, or nothing (one message).
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let body = body.trim_ascii();
        if body.first() == Some(&b'{') {
            let request: Self = serde_json::from_slice(body).map_err(|error| {
                let words = super::json::syntax(&error, body);
                let end = words.find(" at offset").unwrap_or(words.len());
                match words.get(..end) {
                    Some("unexpected EOF") => "unexpected end of JSON input".to_owned(),
                    Some(words) => words.to_owned(),
                    None => String::new(),
                }
            })?;
            let beat = request.idle_heartbeat;
            if beat > 0 && beat.saturating_mul(2) > request.expires {
                return Err("heartbeat value too large".to_owned());
            }
            return Ok(request);
        }
        let batch = std::str::from_utf8(body).ok().and_then(|n| n.parse().ok());
        Ok(Self {
            batch: batch.unwrap_or(1),
            ..Self::default()
        })
    }
}

/// A pull that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: Subject,
    /// Messages still owed.
    pub(super) messages: i64,
    /// Bytes left, 0 when it set no limit or used it up.
    pub(super) bytes: i64,
    pub(super) delivered: u64,
    pub(super) no_wait: bool,
    pub(super) expires: Option<Time>,
    pub(super) heartbeat: i64,
    pub(super) next_heartbeat: Option<Time>,
}

impl Waiting {
    pub(super) fn new(now: Time, reply: Subject, request: &Request) -> Self {
        Self {
            reply,
            messages: request.batch,
            bytes: request.max_bytes,
            delivered: 0,
            no_wait: request.no_wait,
            expires: (request.expires != 0).then(|| now + nanos(request.expires)),
            heartbeat: request.idle_heartbeat,
            next_heartbeat: (request.idle_heartbeat > 0)
                .then(|| now + nanos(request.idle_heartbeat)),
        }
    }

    pub(super) fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    fn deadline(&self) -> Time {
        let expires = self.expires.unwrap_or(Time::NEVER);
        expires.min(self.next_heartbeat.unwrap_or(Time::NEVER))
    }
}

/// The pulls in the order they are served.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) pulls: VecDeque<Waiting>,
    /// No pull has a deadline before this.
    pub(super) deadline: Option<Time>,
    /// How many go at the end of the stream.
    pub(super) no_waits: usize,
    /// Up to which loss of interest they were checked.
    pub(super) losses: u64,
}

impl Queue {
    pub(super) fn push(&mut self, pull: Waiting) {
        let at = pull.deadline();
        if at != Time::NEVER {
            self.deadline = Some(self.deadline.map_or(at, |d| d.min(at)));
        }
        self.no_waits += usize::from(pull.no_wait);
        self.pulls.push_back(pull);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let pull = self.pulls.pop_front()?;
        self.no_waits = self.no_waits.saturating_sub(usize::from(pull.no_wait));
        Some(pull)
    }

    /// Computes the deadline and counts anew, after pulls were removed.
    pub(super) fn settle(&mut self) {
        let at = self.pulls.iter().map(Waiting::deadline).min();
        self.deadline = at.filter(|at| *at != Time::NEVER);
        self.no_waits = self.pulls.iter().filter(|p| p.no_wait).count();
    }
}
