//! How far deliveries have come, and whether somebody else gets some of them.

use super::words::Highest;
use crate::Time;
use crate::jetstream::ack::Meta;

/// The consumer numbers its deliveries without gaps. Over one connection they come
/// in order: where one is left out, somebody else got it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    highest: Option<Highest>,
    /// A gap means nothing before this time: what was sent over the connection
    /// before, or is still sent over it, is missing for that reason.
    trusted: Time,
    shared: bool,
}

impl Seen {
    pub(super) const fn highest(&self) -> Option<Highest> {
        self.highest
    }

    pub(super) const fn shared(&self) -> bool {
        self.shared
    }

    /// A message was received. Says whether it is the first from which the consumer
    /// is known to be shared.
    pub(super) fn received(&mut self, now: Time, meta: &Meta) -> bool {
        let expected = self
            .highest
            .map(|highest| highest.consumer_seq.saturating_add(1));
        let gap = expected.is_some_and(|expected| meta.consumer_seq > expected);
        self.delivered(meta);
        let first = gap && !self.shared && now >= self.trusted;
        self.shared |= first;
        first
    }

    /// A message was delivered, here or not.
    pub(super) fn delivered(&mut self, meta: &Meta) {
        let before = self.highest.unwrap_or(Highest {
            stream_seq: 0,
            consumer_seq: 0,
        });
        self.highest = Some(Highest {
            stream_seq: before.stream_seq.max(meta.stream_seq),
            consumer_seq: before.consumer_seq.max(meta.consumer_seq),
        });
    }

    /// The consumer's sequence starts anew.
    pub(super) const fn renewed(&mut self) {
        self.highest = None;
    }

    /// The connection is another one. The server may take the one before for good
    /// until `trusted`.
    pub(super) const fn reconnected(&mut self, trusted: Time) {
        self.trusted = trusted;
    }
}
