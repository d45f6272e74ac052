//! Acknowledgements that the server confirms.

use std::fmt;
use std::time::Duration;

use jetbus_core::Subject;
use jetbus_core::denied::Denied;
use jetbus_core::jetstream::ack::{self, NotConfirmed};

use super::lanes::{Job, Lanes};
use crate::bus::NoAnswer;

/// Why a confirmed acknowledgement was not confirmed: the event may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettleError {
    /// The server did not answer in time.
    NoAnswer {
        /// How long was waited.
        waited: Duration,
    },
    /// The server answered something else: the consumer is gone, ...
    NotConfirmed(NotConfirmed),
    /// The server does not let this connection acknowledge, or hear the answer.
    Denied(Denied),
    /// The bus is closed.
    Closed,
}

/// Where an event is acknowledged; ephemeral events are not.
pub(super) fn ack_subject(job: &Job) -> Option<&Subject> {
    let reply = job.item.message.reply.as_ref();
    reply.filter(|reply| ack::names(reply).is_some())
}

impl Lanes {
    /// Acknowledges an event before it is handled. Unless that is confirmed it is not to
    /// be handled now.
    pub(super) async fn spend(&self, job: &Job) -> Result<(), SettleError> {
        match ack_subject(job) {
            Some(reply) => self.acknowledge(reply).await,
            None => Ok(()),
        }
    }

    /// Acknowledges what is acknowledged at `reply`, and waits until the server has said
    /// that it knows.
    pub(super) async fn acknowledge(&self, reply: &Subject) -> Result<(), SettleError> {
        match self.bus.request(reply, &ack::ack()).await {
            Ok(answer) => ack::confirmed(&answer).map_err(SettleError::NotConfirmed),
            Err(NoAnswer::Timeout { waited }) => Err(SettleError::NoAnswer { waited }),
            Err(NoAnswer::Denied(denied)) => Err(SettleError::Denied(denied)),
            Err(NoAnswer::Closed) => Err(SettleError::Closed),
        }
    }
}

impl fmt::Display for SettleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { waited } => {
                write!(
                    f,
                    "the server did not confirm the acknowledgement within {waited:?}"
                )
            }
            Self::NotConfirmed(error) => error.fmt(f),
            Self::Denied(denied) => denied.fmt(f),
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}

impl std::error::Error for SettleError {}
