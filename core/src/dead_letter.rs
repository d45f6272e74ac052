//! Dead letters: events that a group has given up, kept to be looked at and tried
//! again.
//!
//! A dead letter is a message in a stream of its own ([`Names`]): the payload and
//! headers of its source, and headers that say where it comes from and why it is
//! there ([`Record`], read back as a [`DeadLetter`]). Redriven, it goes to a subject
//! of the subscription that gave it up, with its [`Origin`] in headers, and comes back
//! to that subscription as what it was ([`Redriven`]).
//!
//! # Headers
//!
//! All start with [`PREFIX`]. Headers of the source whose names start with it or with
//! `Nats-`, by which the server would act again, are kept under
//! [`SOURCE`] and their names; the others keep theirs.

mod filter;
mod names;
mod origin;
mod pace;
mod read;
mod record;
mod redrive;

use std::fmt;

pub use filter::Filter;
pub use names::Names;
pub use origin::Origin;
pub use pace::Pace;
pub use read::{DeadLetter, Unreadable};
pub use record::{MAX_ERROR, Record};
pub use redrive::{NotRedrivable, Redriven};

/// What the names of all headers of dead letters and redrives start with.
pub const PREFIX: &str = "Jetbus-Dead-";

/// What stands before the names of those headers of the source that would mean
/// something else under their own.
pub const SOURCE: &str = "Jetbus-Dead-Source-";

/// Names of headers.
mod header {
    /// The server knows a message again by it.
    pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
    pub(super) const GROUP: &str = "Jetbus-Dead-Group";
    pub(super) const SUBSCRIPTION: &str = "Jetbus-Dead-Subscription";
    pub(super) const SUBJECT: &str = "Jetbus-Dead-Subject";
    pub(super) const STREAM: &str = "Jetbus-Dead-Stream";
    pub(super) const SEQUENCE: &str = "Jetbus-Dead-Sequence";
    pub(super) const STORED: &str = "Jetbus-Dead-Stored";
    pub(super) const REDRIVES: &str = "Jetbus-Dead-Redrives";
    pub(super) const REASON: &str = "Jetbus-Dead-Reason";
    pub(super) const ATTEMPTS: &str = "Jetbus-Dead-Attempts";
    pub(super) const DELIVERIES: &str = "Jetbus-Dead-Deliveries";
    pub(super) const FIRST_FAILED: &str = "Jetbus-Dead-First-Failed";
    pub(super) const LAST_FAILED: &str = "Jetbus-Dead-Last-Failed";
    pub(super) const KEY: &str = "Jetbus-Dead-Key";
    pub(super) const EVENT_ID: &str = "Jetbus-Dead-Event-Id";
    pub(super) const ERROR: &str = "Jetbus-Dead-Error";
    /// The length of the source's payload, when it was cut.
    pub(super) const CUT: &str = "Jetbus-Dead-Cut";
    /// How many headers of the source were left out.
    pub(super) const LEFT_OUT: &str = "Jetbus-Dead-Left-Out";
}

/// Why an event is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Its body is no event, or its payload is not what the handler takes.
    Undecodable,
    /// All attempts failed.
    Exhausted,
    /// Its handler failed with an error that will not go away.
    Terminal,
    /// Its handler asked for it.
    Asked,
    /// It was delivered again and again without an end: its handler may bring the
    /// process down.
    CrashLoop,
    /// It kept failing while its key held its share of the window.
    Backlogged,
}

impl Reason {
    /// The word for it in headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Exhausted => "exhausted",
            Self::Terminal => "terminal",
            Self::Asked => "asked",
            Self::CrashLoop => "crash-loop",
            Self::Backlogged => "backlogged",
        }
    }

    /// The reason that `word` stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Undecodable,
            Self::Exhausted,
            Self::Terminal,
            Self::Asked,
            Self::CrashLoop,
            Self::Backlogged,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
