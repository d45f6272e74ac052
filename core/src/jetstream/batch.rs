//! Many messages as one batch.
//!
//! Two machines of one shape send the messages of a batch and say how each ended:
//! [`Atomic`] stores all or none (ADR-50, servers from 2.12), [`Ingest`] stores them
//! in order, past what is refused (servers from 2.14). Both send again what was not
//! answered, with the same message ids, never past the time for which the stream
//! remembers these. All answers come to one inbox; [`Replies`] says whose they are.

mod atomic;
mod ingest;
mod wire;

use std::time::Duration;

pub use self::atomic::Atomic;
pub use self::ingest::Ingest;
pub use self::wire::{Replies, ReplyText, read_answer};
use crate::Time;
use crate::jetstream::api::ApiError;
use crate::random::mix;
use crate::retry::Retry;

/// The most messages that the server takes in an atomic batch.
pub const MOST: usize = 1_000;

/// How long an answer may take before all without one are sent again.
const ATTEMPT: Duration = Duration::from_secs(5);

/// As for single messages: an election takes 4 to 9 s.
const BACKOFF: Retry = Retry {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};

/// What a batch is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many messages, at least one; an atomic batch has at most [`MOST`].
    pub count: usize,
    /// When its caller stops waiting.
    pub deadline: Time,
    /// How long the stream remembers message ids.
    pub dedupe_window: Duration,
    /// Whether it waits for the link to work again. If not, it ends when that breaks.
    pub wait_for_link: bool,
    /// The jitter's.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Only time went by.
    Tick,
    /// An answer came.
    Answered {
        /// Which attempt it answers.
        attempt: u32,
        /// The place in the attempt of what it answers: [`Part::seq`].
        seq: u64,
        /// What it says.
        answer: Answer,
    },
    /// The link did not take what was last to be sent; it is still to be sent. Say
    /// [`Busy`](Self::Busy) or [`Lost`](Self::Lost) too, or it is given again at once.
    Back,
    /// The link will never take what was last to be sent.
    Unsendable,
    /// The server does not let this connection publish it: of the running attempt nothing
    /// is stored, nor would be of another.
    Denied,
    /// The link works.
    Connected,
    /// The link broke.
    Lost,
    /// The link takes nothing for now.
    Busy,
    /// The link takes messages again.
    Free,
}

/// The question of an atomic batch after its first message.
const FIRST: u64 = 0;
/// The question of an atomic batch after its last message.
const LAST: u64 = u64::MAX;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It is taken, and not stored yet.
    Taken,
    /// The batch, or the single message, is stored.
    Stored {
        /// The sequence of its last message.
        seq: u64,
        /// How many messages of it; 0 for what is no batch.
        count: u64,
        /// Whether it is a single message whose id was known.
        duplicate: bool,
    },
    /// All up to this message of the attempt are stored, or known by their ids.
    Reached {
        /// The message, from 1; 0 for none.
        seq: u64,
        /// How many messages the server takes between two of these answers.
        every: u64,
    },
    /// A message is missing; the end of the attempt is told next.
    Gap,
    /// This message is refused; the end of the attempt is told next.
    Failed {
        /// The message, from 1.
        seq: u64,
        /// Why.
        error: ApiError,
    },
    /// What it answers is refused, and nothing of its attempt goes on.
    Refused(ApiError),
    /// Nobody listens: no stream, or an election.
    NoResponders,
    /// It says nothing that could be understood.
    Malformed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Hand this over.
    Send(Part),
    /// Tell how a message ended.
    End {
        /// Which, from 0.
        index: usize,
        /// How.
        end: End,
    },
}

/// A message of a batch, as it is sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which message, from 0.
    pub index: usize,
    /// Which attempt.
    pub attempt: u32,
    /// Its place in the attempt, from 1; of questions, 0 for that after the first
    /// message and the highest number for that after the last.
    pub seq: u64,
    /// What it is there.
    pub role: Role,
}

/// What a message is in its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of an atomic batch.
    Atomic {
        /// Whether the batch is to be stored now.
        commit: bool,
    },
    /// Not to be stored: asks whether its id is known.
    Question,
    /// Part of a batch that is stored on the way.
    Ingest {
        /// What it does.
        op: Op,
        /// After how many messages the server is to say how far it is.
        flow: u32,
    },
}

/// What a message does to a batch that is stored on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Begins it.
    Start,
    /// Goes on with it.
    Add,
    /// Ends it.
    Commit,
}

/// How a message of a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It is stored at this sequence.
    Stored(u64),
    /// It is stored at this sequence, and was so before it was sent again.
    Duplicate(u64),
    /// It is stored, or one of its id was; the server does not say where.
    Ingested,
    /// It is not stored: the server says why.
    Refused(ApiError),
    /// The link will never take it, or the server does not permit it.
    Unsendable,
    /// It is not stored: its time is over, or there is no link.
    NotSent,
    /// It is not sent: one before it is unknown.
    Behind,
    /// Whether it is stored is unknown.
    Unknown,
}

/// When to give up: what may be stored already is sent again only while its id is
/// remembered.
fn limit(config: &Config, doubtful: bool, began: Option<Time>) -> Time {
    match began {
        // What is handed over waits a while in the client: keep an eighth for it.
        Some(began) if doubtful => {
            let window = config.dedupe_window;
            config.deadline.min(began + (window - window / 8))
        }
        _ => config.deadline,
    }
}

fn delay(config: &Config, failures: u32) -> Duration {
    BACKOFF.delay(failures, mix(config.seed ^ u64::from(failures)))
}
