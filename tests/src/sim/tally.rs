//! What happened in many runs, counted.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use jetbus_core::Time;

use super::history::{Answer, Entry, History, Said};

/// Counts of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Of these, those with which something was wrong.
    pub failed: u64,
    /// Calls to publish.
    pub published: u64,
    /// Of these, stored by themselves, or by an earlier call or attempt.
    pub stored: u64,
    /// As those above, the latter only.
    pub duplicates: u64,
    /// Not stored, and said so.
    pub rejected: u64,
    /// Perhaps stored.
    pub unknown: u64,
    /// Results read.
    pub results: u64,
    /// Runs of handlers that were done.
    pub handled: u64,
    /// Runs of handlers that failed, panicked or took too long.
    pub attempts_failed: u64,
    /// Deliveries that arrived at a process again.
    pub repeated: u64,
    /// Events given up and kept.
    pub dead_letters: u64,
    /// Of these, handled once more on demand.
    pub redriven: u64,
    /// Subscriptions that were drained.
    pub drains: u64,
    /// Deliveries lost on their way.
    pub lost: u64,
    /// Connections that broke.
    pub breaks: u64,
    /// Brokers that were killed, streams that had no leader, and deleted consumers.
    pub outages: u64,
    /// How long all this took there.
    pub virtual_time: Duration,
}

impl Tally {
    /// Of one run.
    #[must_use]
    pub fn of(history: &History, failed: bool) -> Self {
        let mut tally = Self {
            seeds: 1,
            failed: failed.into(),
            ..Self::default()
        };
        let mut arrived = BTreeSet::new();
        let mut given_up = BTreeSet::new();
        for (time, entry) in &history.entries {
            tally.virtual_time = time.since(Time::ZERO);
            match entry {
                Entry::Published { .. } => tally.published += 1,
                Entry::Answered { answer, .. } => tally.answered(answer),
                Entry::Result { .. } => tally.results += 1,
                Entry::Ended { said, .. } => {
                    tally.handled += u64::from(*said == Said::Done);
                    tally.attempts_failed += u64::from(said.has_failed());
                }
                Entry::Arrived(passage) => tally.repeated += u64::from(!arrived.insert(passage)),
                Entry::DeadLettered {
                    group,
                    topic,
                    sequence,
                    ..
                } => _ = given_up.insert((group.as_str(), topic.as_str(), *sequence)),
                Entry::Redriven { count, .. } => tally.redriven += count.unwrap_or(0),
                Entry::Drained { .. } => tally.drains += 1,
                Entry::Lost(_) => tally.lost += 1,
                Entry::Down { .. } => tally.breaks += 1,
                Entry::Restarted { .. } | Entry::Leaderless { .. } | Entry::Deleted { .. } => {
                    tally.outages += 1;
                }
                _ => {}
            }
        }
        tally.dead_letters = given_up.len() as u64;
        tally
    }

    const fn answered(&mut self, answer: &Answer) {
        match answer {
            Answer::Stored { duplicate, .. } => {
                self.stored += 1;
                self.duplicates += *duplicate as u64;
            }
            Answer::Unknown => self.unknown += 1,
            Answer::Failed(_) | Answer::Unread => self.rejected += 1,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.published += other.published;
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.unknown += other.unknown;
        self.results += other.results;
        self.handled += other.handled;
        self.attempts_failed += other.attempts_failed;
        self.repeated += other.repeated;
        self.dead_letters += other.dead_letters;
        self.redriven += other.redriven;
        self.drains += other.drains;
        self.lost += other.lost;
        self.breaks += other.breaks;
        self.outages += other.outages;
        self.virtual_time += other.virtual_time;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, failed, .. } = self;
        write!(f, "{seeds} seeds, {failed} failed: ")?;
        let counts = [
            ("published", self.published),
            ("stored", self.stored),
            ("duplicates", self.duplicates),
            ("rejected", self.rejected),
            ("unknown", self.unknown),
            ("results", self.results),
            ("handled", self.handled),
            ("failed attempts", self.attempts_failed),
            ("repeated deliveries", self.repeated),
            ("dead letters", self.dead_letters),
            ("redriven", self.redriven),
            ("drains", self.drains),
            ("lost deliveries", self.lost),
            ("breaks", self.breaks),
            ("outages", self.outages),
        ];
        for (what, count) in counts {
            write!(f, "{what} {count}, ")?;
        }
        write!(f, "virtual seconds {}", self.virtual_time.as_secs())
    }
}
