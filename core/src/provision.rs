//! Streams and consumers as they are wanted, against what the server has.
//!
//! Everything here that this crate made carries a mark in its metadata: who owns
//! it, which version of its configuration it has, and the hash of that
//! configuration. What has no mark, or another owner's, is used as it is when it
//! fits and never changed. Of two versions of one owner the older yields: a
//! rolling deploy does not fight over a configuration when the version grows with
//! it (with equal versions, the last to start wins).
//!
//! The machines here ask one thing at a time and know no time: poll a request,
//! send it, hand in its answer or that none came. They end at the first failure;
//! to try again, start a new one: every request is safe to repeat.

mod consumer;
mod ensure_consumer;
mod ensure_stream;
mod mark;
mod resolve;
mod stream;

use std::fmt;

use crate::jetstream::admin::{AdminError, Request};
use crate::subject::NameError;

pub use consumer::{ConsumerPlan, Start, WantedConsumer, plan_consumer};
pub use ensure_consumer::{ConsumerReady, EnsureConsumer};
pub use ensure_stream::{EnsureStream, StreamReady};
pub use mark::Mark;
pub use resolve::{Resolution, ResolveTopic};
pub use stream::{StreamPlan, WantedStream, plan_stream};

/// What may be done to a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Create it when it is not there; never change it.
    CreateOnly,
    /// Create it, or change it when it is ours.
    #[default]
    CreateOrUpdate,
    /// Only compare.
    ValidateOnly,
    /// Ask nothing: it is taken to be as wanted. Only which stream stores a topic
    /// that no declared stream covers is looked up.
    Skip,
}

/// What to do about differences that are not to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMismatch {
    /// Use the stream as it is and say so in an event.
    #[default]
    Log,
    /// Fail with [`ProvisionError::Conflict`].
    Refuse,
}

/// How streams are provisioned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What may be done.
    pub strategy: Strategy,
    /// What to do about differences otherwise.
    pub on_mismatch: OnMismatch,
    /// Consent to changes that lose messages or safety: smaller limits, fewer
    /// subjects or replicas, another retention, a shorter dedupe window, discarding
    /// the old. Without it they are a conflict.
    pub allow_destructive: bool,
    /// Whose streams are ours.
    pub mark: Mark,
}

/// What a difference would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It can be changed and loses nothing.
    Safe,
    /// It can be changed, and loses messages or safety.
    Destructive,
    /// The server cannot change it, or not without skipping messages.
    Impossible,
    /// It counts only when the consumer is created.
    AtCreation,
}

/// A field whose wanted value the server does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which, as the server calls it.
    pub field: &'static str,
    /// Its wanted value.
    pub wanted: String,
    /// Its value on the server.
    pub found: String,
    /// What it would take.
    pub change: Change,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            wanted,
            found,
            ..
        } = self;
        write!(f, "{field}: wanted {wanted}, found {found}")?;
        match self.change {
            Change::Safe => Ok(()),
            Change::Destructive => f.write_str(" (destructive)"),
            Change::Impossible => f.write_str(" (cannot be changed)"),
            Change::AtCreation => f.write_str(" (counts at creation only)"),
        }
    }
}

/// A stream or a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asset {
    /// A stream.
    Stream,
    /// A consumer.
    Consumer,
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Consumer => "consumer",
        })
    }
}

/// What came of provisioning, where it is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionEvent {
    /// A stream or a consumer.
    pub asset: Asset,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What differed: for [`Outcome::Updated`] before, for all others still.
    pub differences: Vec<Difference>,
}

/// See [`ProvisionEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// It is somebody else's, or a stream of another name that stores the subjects;
    /// it is used as it is.
    Adopted,
    /// A newer version of its owner configured it; it is used as it is.
    Yielded {
        /// The newer version.
        to: u64,
    },
    /// It is ours, differs, and is used as it is.
    Kept,
}

impl fmt::Display for ProvisionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asset, name, .. } = self;
        match self.outcome {
            Outcome::Created => write!(f, "{asset} {name} was created")?,
            Outcome::Updated => write!(f, "{asset} {name} was updated")?,
            Outcome::Adopted => write!(f, "{asset} {name} was adopted as it is")?,
            Outcome::Yielded { to } => write!(
                f,
                "{asset} {name} has the newer configuration version {to} and is used as it is"
            )?,
            Outcome::Kept => write!(f, "{asset} {name} differs and is used as it is")?,
        }
        list(&self.differences, f)
    }
}

fn list(differences: &[Difference], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (n, difference) in differences.iter().enumerate() {
        f.write_str(if n == 0 { ": " } else { "; " })?;
        fmt::Display::fmt(difference, f)?;
    }
    Ok(())
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailed {
    /// None came in time.
    Timeout,
    /// The link is broken.
    Disconnected,
}

/// Why a stream or consumer is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvisionError {
    /// What is wanted breaks a rule. Nothing was sent.
    Wanted(NameError),
    /// The stream is not there and may not be made.
    Missing {
        /// Which.
        stream: String,
    },
    /// It differs, and may not be changed or used as it is. Nothing was changed.
    Conflict {
        /// A stream or a consumer.
        asset: Asset,
        /// Its name.
        name: String,
        /// In what.
        differences: Vec<Difference>,
    },
    /// Other streams store some of its subjects, and none stores all.
    Overlap {
        /// The wanted stream, or the topic.
        name: String,
        /// The others.
        others: Vec<String>,
    },
    /// It was changed and removed by others under our hands, again and again.
    Unsettled {
        /// Its name.
        name: String,
    },
    /// The server refused, or could not be understood.
    Admin(AdminError),
    /// No answer; whether the request was done is unknown.
    Request(RequestFailed),
}

impl ProvisionError {
    /// Whether trying again a little later may help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unsettled { .. } | Self::Request(_) => true,
            Self::Admin(error) => error.is_transient(),
            _ => false,
        }
    }
}

impl fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted(error) => error.fmt(f),
            Self::Missing { stream } => write!(f, "there is no stream {stream}"),
            Self::Conflict {
                asset,
                name,
                differences,
            } => {
                write!(f, "{asset} {name} is not as wanted")?;
                list(differences, f)
            }
            Self::Overlap { name, others } => write!(
                f,
                "subjects of {name} are stored by {}, and one stream must store them all",
                others.join(", ")
            ),
            Self::Unsettled { name } => {
                write!(f, "{name} is being changed by others")
            }
            Self::Admin(error) => error.fmt(f),
            Self::Request(RequestFailed::Timeout) => f.write_str("no answer from the server"),
            Self::Request(RequestFailed::Disconnected) => {
                f.write_str("the connection broke before the server answered")
            }
        }
    }
}

impl std::error::Error for ProvisionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wanted(error) => Some(error),
            Self::Admin(error) => Some(error),
            _ => None,
        }
    }
}

/// What a machine of this module wants next.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Output<T> {
    /// Send this and hand in the answer.
    Request(Request),
    /// The end.
    Done(Result<T, ProvisionError>),
}

/// How often a machine reads again what others changed under its hands.
const ROUNDS: u8 = 5;

#[cfg(all(test, not(loom)))]
mod tests;
