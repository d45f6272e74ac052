//! Where a dead letter comes from: what it keeps through every redrive.

use super::header;
use super::names::topic;
use super::read::{Unreadable, number, required, time};
use super::record::put;
use crate::names::{check_group, durable};
use crate::subject::check_pattern;
use crate::{Headers, Subject, Timestamp};

/// Where an event was, and who gave it up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The group that gave it up.
    pub group: String,
    /// The topic or pattern that the group subscribed to.
    pub subscription: String,
    /// Where the event was published.
    pub subject: Subject,
    /// The stream that stored it.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
    /// When it was stored there.
    pub stored_at: Timestamp,
    /// How often it was redriven.
    pub redrives: u32,
    /// When it failed for the first time, if it did.
    pub first_failed: Option<Timestamp>,
}

impl Origin {
    /// Of an event that was never a dead letter before.
    #[must_use]
    pub fn new(
        group: &str,
        subscription: &str,
        subject: Subject,
        stream: &str,
        sequence: u64,
        stored_at: Timestamp,
    ) -> Self {
        Self {
            group: group.into(),
            subscription: subscription.into(),
            subject,
            stream: stream.into(),
            sequence,
            stored_at,
            redrives: 0,
            first_failed: None,
        }
    }

    /// The topic of the event.
    #[must_use]
    pub fn topic(&self) -> &str {
        topic(self.subject.as_str())
    }

    /// What the server knows a dead letter or a redrive again by. The time of storing
    /// tells a stream from one that was made again under its name.
    pub(super) fn message_id(&self, what: &str) -> String {
        let Self {
            stream,
            sequence,
            redrives,
            ..
        } = self;
        let subscription = durable(&self.group, &self.subscription, None);
        // Both were checked when the subscription was made, or read.
        let subscription = subscription.unwrap_or_default();
        let stored = self.stored_at.as_unix_nanos();
        format!("{what}/{subscription}/{stream}/{sequence}/{stored}/{redrives}")
    }

    /// Adds what is said of it to `headers`.
    pub(super) fn write(&self, headers: &mut Headers) {
        put(headers, header::GROUP, &self.group);
        put(headers, header::SUBSCRIPTION, &self.subscription);
        put(headers, header::SUBJECT, self.subject.as_str());
        put(headers, header::STREAM, &self.stream);
        put(headers, header::SEQUENCE, &self.sequence.to_string());
        put(headers, header::STORED, &self.stored_at.to_string());
        put(headers, header::REDRIVES, &self.redrives.to_string());
        if let Some(at) = self.first_failed {
            put(headers, header::FIRST_FAILED, &at.to_string());
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(headers: &Headers) -> Result<Self, Unreadable> {
        let group = required(headers, header::GROUP)?;
        check_group(group).map_err(|_| Unreadable::new(header::GROUP))?;
        let subscription = required(headers, header::SUBSCRIPTION)?;
        check_pattern(subscription).map_err(|_| Unreadable::new(header::SUBSCRIPTION))?;
        let subject = required(headers, header::SUBJECT)?;
        if !is_subject(subject) {
            return Err(Unreadable::new(header::SUBJECT));
        }
        Ok(Self {
            group: group.into(),
            subscription: subscription.into(),
            subject: subject.into(),
            stream: required(headers, header::STREAM)?.into(),
            sequence: number(headers, header::SEQUENCE)?
                .ok_or(Unreadable::new(header::SEQUENCE))?,
            stored_at: time(headers, header::STORED)?.ok_or(Unreadable::new(header::STORED))?,
            redrives: number(headers, header::REDRIVES)?.unwrap_or(0),
            first_failed: time(headers, header::FIRST_FAILED)?,
        })
    }
}

/// Whether something can be published to `text`; looser than the rules for topics, for
/// others may have published it.
fn is_subject(text: &str) -> bool {
    let token = |token: &str| !token.is_empty() && token != "*" && token != ">";
    text.split('.').all(token) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}
