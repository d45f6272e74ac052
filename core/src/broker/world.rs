//! What all parts of the broker share: time, subscribers, outputs, memory, ids.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::core_nats::{self, Router};
use super::{Config, Output};
use crate::random::Random;
use crate::shared::router::Table;
use crate::{Headers, Message, Outbound, Status, Subject, Time, Timestamp};

/// JSON as Go writes it: `<`, `>` and `&` only escaped.
pub(super) fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Deliveries put out in one go before the driver gets a turn.
pub(super) const BURST: usize = 256;

/// A stream, or one of its consumers.
pub(super) type Key = (Arc<str>, Option<Arc<str>>);

#[derive(Debug)]
pub(super) struct World {
    pub(super) config: Config,
    pub(super) now: Time,
    pub(super) router: Router,
    /// Which stream stores a subject.
    pub(super) captured: Table<Arc<str>>,
    pub(super) out: VecDeque<Output>,
    /// Advisories that went out and that a stream stores too.
    pub(super) advisories: VecDeque<Outbound>,
    /// Consumers that stopped at [`BURST`]: stream and name.
    pub(super) ready: BTreeSet<(Arc<str>, Arc<str>)>,
    /// When whom to look after: a stream, or one of its consumers.
    pub(super) timers: BTreeSet<(Time, Key)>,
    pub(super) random: Random,
    /// Bytes that streams and duplicate windows hold.
    pub(super) used: u64,
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        Self {
            now: Time::ZERO,
            router: Router::new(config.seed),
            captured: Table::new(config.seed, usize::MAX),
            out: VecDeque::new(),
            advisories: VecDeque::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            random: Random::new(config.seed ^ 0x6a65_7462_7573),
            used: 0,
            config,
        }
    }

    /// Now on the wall.
    pub(super) fn wall(&self) -> Timestamp {
        self.config.wall.plus(self.now.since(Time::ZERO))
    }

    /// When on the broker's clock the wall shows `at`.
    pub(super) const fn time_of(&self, at: Timestamp) -> Time {
        let since = at
            .as_unix_nanos()
            .saturating_sub(self.config.wall.as_unix_nanos());
        Time::from_nanos(if since < 0 { 0 } else { since.unsigned_abs() })
    }

    /// Makes `due` the time to look after `key`, which was to be at `armed`. A timer
    /// only moves forward when it fires: a later deadline costs nothing meanwhile.
    pub(super) fn arm(&mut self, key: impl FnOnce() -> Key, armed: &mut Time, due: Option<Time>) {
        let due = due.unwrap_or(Time::NEVER);
        if due < *armed {
            let key = key();
            if *armed != Time::NEVER {
                self.timers.remove(&(*armed, key.clone()));
            }
            self.timers.insert((due, key));
            *armed = due;
        }
    }

    pub(super) const fn is_full(&self, more: u64) -> bool {
        self.used.saturating_add(more) > self.config.max_bytes
    }

    /// Sends a body to whoever listens at `to`.
    pub(super) fn respond(&mut self, to: &Subject, payload: impl Into<Bytes>) {
        let message = Message {
            subject: to.clone(),
            reply: None,
            headers: Headers::new(),
            status: None,
            payload: payload.into(),
        };
        self.router.deliver(to.as_str(), message, &mut self.out);
    }

    /// Sends a status with headers.
    pub(super) fn status(
        &mut self,
        to: &Subject,
        code: u16,
        description: &str,
        headers: &[(&str, &str)],
    ) {
        let mut all = Headers::new();
        for (name, value) in headers {
            // A value with a line break cannot come here but through a subject that
            // held one; then the header is left out.
            let _ = all.append(name, value);
        }
        let message = Message {
            subject: to.clone(),
            reply: None,
            headers: all,
            status: Some(Status {
                code,
                description: description.into(),
            }),
            payload: Bytes::new(),
        };
        self.router.deliver(to.as_str(), message, &mut self.out);
    }

    /// Says that nobody is there to answer `subject`.
    pub(super) fn no_responders(&mut self, subject: &str, reply: Option<&Subject>) {
        if let Some(reply) = reply {
            self.status(reply, 503, "", &[("Nats-Subject", subject)]);
        }
    }

    /// Publishes an advisory, if anybody would hear it: `kind` is the last part of
    /// its type, `fields` what it says beside id and time.
    pub(super) fn advise(&mut self, subject: String, kind: &str, fields: &[(&str, Value)]) {
        let captured = self.captured.covers(&subject);
        if !captured && !self.router.has_interest(&subject) {
            return;
        }
        let mut body = json!({
            "type": format!("io.nats.jetstream.advisory.v1.{kind}"),
            "id": core_nats::id(&mut self.random, 22),
            "timestamp": self.wall(),
        });
        if let Some(body) = body.as_object_mut() {
            for (name, value) in fields {
                body.insert((*name).to_owned(), value.clone());
            }
        }
        let message = Outbound::new(subject, go_json(&body));
        self.respond(&message.subject, message.payload.clone());
        if captured {
            self.advisories.push_back(message);
        }
    }
}
