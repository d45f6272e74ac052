//! A message that is held or waited for.

use super::words::{Letter, Task};
use crate::dead_letter::Reason;
use crate::jetstream::ack::Meta;
use crate::{Subject, Time, Timestamp};

/// Stream sequence, time of storing, and whether it is redriven.
pub(super) type Identity = (u64, Timestamp, bool);

#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) meta: Meta,
    /// It comes from another stream.
    pub(super) redriven: bool,
    /// Its stream is gone.
    pub(super) gone: bool,
    pub(super) reply: Subject,
    /// When its lease began anew.
    pub(super) renewed: Time,
    /// Deliveries that are known to be no sign of a crash.
    pub(super) pardoned: u64,
    /// Its handler may be what brings the process down.
    pub(super) suspect: bool,
    pub(super) attempt: u32,
    /// How often it was handed out; unlike attempts, never taken back.
    pub(super) runs: u32,
    /// The number of the batch that it runs in.
    pub(super) batch: Option<u64>,
    /// The most that it may be one of.
    pub(super) together: usize,
    /// Of what failed here: how often, when first, when last, and why.
    pub(super) failures: Option<Box<Failures>>,
    /// Set when it is to be stored as a dead letter.
    pub(super) letter: Option<Reason>,
    /// How often that failed.
    pub(super) unburied: u32,
    /// It could not be acknowledged: its consumer may not have delivered it yet.
    pub(super) unconfirmed: bool,
    pub(super) state: State<T>,
}

#[derive(Debug)]
pub(super) struct Failures {
    count: u32,
    first: Time,
    last: Time,
    error: Box<str>,
}

#[derive(Debug)]
pub(super) enum State<T> {
    Here(T),
    /// Given back or missing, and waited for. When `due`, its place counts as free.
    Away {
        due: bool,
    },
}

impl<T> Held<T> {
    pub(super) const fn new(
        now: Time,
        meta: Meta,
        redriven: bool,
        reply: Subject,
        state: State<T>,
    ) -> Self {
        Self {
            meta,
            redriven,
            gone: false,
            reply,
            renewed: now,
            pardoned: 0,
            suspect: false,
            attempt: 0,
            runs: 0,
            batch: None,
            together: usize::MAX,
            failures: None,
            letter: None,
            unburied: 0,
            unconfirmed: false,
            state,
        }
    }

    pub(super) const fn identity(&self) -> Identity {
        (self.meta.stream_seq, self.meta.timestamp, self.redriven)
    }

    pub(super) const fn is_away(&self) -> bool {
        matches!(self.state, State::Away { .. })
    }

    /// Deliveries that may each have ended in a crash, but for the last.
    pub(super) const fn deliveries(&self) -> u64 {
        self.meta.delivered.saturating_sub(self.pardoned)
    }

    /// It was delivered again. Of something held here, it was not for a crash; of
    /// something given back or lost, one delivery was not.
    pub(super) fn delivered_again(&mut self, meta: Meta) {
        let more = meta.delivered.saturating_sub(self.meta.delivered);
        let pardoned = if self.is_away() { more.min(1) } else { more };
        self.pardoned = self.pardoned.saturating_add(pardoned);
        self.meta = meta;
    }

    /// A delivery of it was lost on its way, which is no sign of a crash.
    pub(super) const fn lost_again(&mut self) {
        self.meta.delivered = self.meta.delivered.saturating_add(1);
        self.pardoned = self.pardoned.saturating_add(1);
    }

    /// Whether nothing else may run while it does.
    pub(super) const fn runs_alone(&self) -> bool {
        self.suspect && self.letter.is_none()
    }

    /// Whether it may be one of a batch.
    pub(super) const fn is_plain(&self) -> bool {
        !self.suspect && self.letter.is_none()
    }

    /// Whether it may not be one of as many as there may be in a batch.
    pub(super) const fn is_odd(&self) -> bool {
        !self.is_plain() || self.together < usize::MAX
    }

    /// Its run is as good as never started.
    pub(super) const fn untried(&mut self) {
        if self.letter.is_none() {
            self.attempt = self.attempt.saturating_sub(1);
        }
    }

    /// What is to be done with it.
    pub(super) fn task(&self) -> Task {
        let Some(reason) = self.letter else {
            return Task::Handle;
        };
        let failures = self.failures.as_ref();
        Task::Bury(Box::new(Letter {
            reason,
            error: failures.map_or_else(Box::default, |failures| failures.error.clone()),
            attempts: self.attempt + u32::from(planted!(AnotherId)) * self.unburied,
            first_failed: failures.map(|failures| failures.first),
            last_failed: failures.map(|failures| failures.last),
        }))
    }

    /// How often it failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures.as_ref().map_or(0, |failures| failures.count)
    }

    /// Notes that it failed, and says how often it has. To be given back is no failure.
    pub(super) fn note_failure(&mut self, now: Time, error: Box<str>) -> u32 {
        let before = self.failures.as_ref();
        let count = self.failures().saturating_add(1);
        self.failures = Some(Box::new(Failures {
            count,
            first: before.map_or(now, |failures| failures.first),
            last: now,
            error,
        }));
        count
    }
}
