//! Why something about dead letters failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jetbus_core::dead_letter::{NotRedrivable, Unreadable};
use jetbus_core::denied::Denied;
use jetbus_core::jetstream::admin::AdminError;
use jetbus_core::subject::NameError;

use crate::error::{Class, OptionError, PublishError, StreamError};

/// Why a call about dead letters failed. Everything but
/// [`NotRemoved`](Self::NotRemoved) means that the dead letter is where it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no dead letter of this sequence.
    NotFound {
        /// The sequence.
        sequence: u64,
    },
    /// The message of this sequence is no dead letter: somebody else stored it.
    Unreadable {
        /// The sequence.
        sequence: u64,
        /// What is wrong with it.
        error: Unreadable,
    },
    /// The dead letter cannot be redriven.
    NotRedrivable {
        /// The sequence.
        sequence: u64,
        /// Why.
        error: NotRedrivable,
    },
    /// No subscription with dead letters ever started for the group and topic (or
    /// pattern) that gave the event up: nobody would handle it.
    NoSubscription {
        /// The sequence.
        sequence: u64,
        /// The group.
        group: String,
        /// The topic or pattern.
        topic: String,
    },
    /// The filter has a name that cannot be used.
    Filter(NameError),
    /// An argument is out of its bounds.
    Option(OptionError),
    /// The event to be handled again could not be stored.
    Publish(PublishError),
    /// The event is stored to be handled again, and its dead letter could not be
    /// removed. Redriven again within the dedupe window, it is not stored again.
    NotRemoved {
        /// The sequence.
        sequence: u64,
        /// Why.
        error: Box<Self>,
    },
    /// The streams of dead letters could not be made ready.
    Stream(Arc<StreamError>),
    /// The server refused.
    Server(AdminError),
    /// The server did not answer in time. A removal may have happened.
    NoAnswer {
        /// How long was waited.
        waited: Duration,
    },
    /// The server does not let this connection ask, or hear the answer.
    Denied(Denied),
    /// The bus is closing or closed.
    Closed,
}

impl DeadLetterError {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Publish(error) => error.class(),
            Self::NotRemoved { error, .. } => error.class(),
            Self::Stream(error) => error.class(),
            Self::Server(error) if error.is_transient() => Class::Retryable,
            Self::NoAnswer { .. } => Class::Unknown,
            _ => Class::Terminal,
        }
    }
}

impl fmt::Display for DeadLetterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { sequence } => write!(f, "there is no dead letter {sequence}"),
            Self::Unreadable { sequence, error } => write!(f, "message {sequence}: {error}"),
            Self::NotRedrivable { sequence, error } => {
                write!(f, "dead letter {sequence} cannot be redriven: {error}")
            }
            Self::NoSubscription {
                sequence,
                group,
                topic,
            } => write!(
                f,
                "dead letter {sequence} is not redriven: group {group:?} has no subscription to {topic:?} that would handle it"
            ),
            Self::Filter(error) => error.fmt(f),
            Self::Option(error) => error.fmt(f),
            Self::Publish(error) => write!(f, "the event is not redriven: {error}"),
            Self::NotRemoved { sequence, error } => write!(
                f,
                "the event is redriven, but its dead letter {sequence} is still there: {error}"
            ),
            Self::Stream(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
            Self::NoAnswer { waited } => {
                write!(f, "the server did not answer within {waited:?}")
            }
            Self::Denied(denied) => denied.fmt(f),
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}

impl std::error::Error for DeadLetterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::NotRedrivable { error, .. } => Some(error),
            Self::Filter(error) => Some(error),
            Self::Option(error) => Some(error),
            Self::Publish(error) => Some(error),
            Self::NotRemoved { error, .. } => Some(&**error),
            Self::Stream(error) => Some(&**error),
            Self::Server(error) => Some(error),
            Self::Denied(denied) => Some(denied),
            _ => None,
        }
    }
}
