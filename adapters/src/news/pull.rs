//! News of how a subscription gets its events.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jetbus_core::jetstream::pull::PullEvent;

use crate::error::StreamError;

/// What a subscription found when it asked for events. It looks after all of this by
/// itself; see [`News::Pull`](crate::News::Pull).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PullNews {
    /// Its consumer was deleted, perhaps with its stream. Both are made again, as far as
    /// the bus's [`Strategy`](crate::Strategy) goes.
    ConsumerDeleted,
    /// Nobody serves its consumer: it does not exist, or has no leader at the moment.
    /// It is looked for, and made again if it is gone.
    ConsumerMissing,
    /// Another server of the cluster leads its consumer from now on.
    LeaderChanged,
    /// Stream or consumer could not be made ready again. It is tried once more in a
    /// moment.
    NotRepaired {
        /// Why.
        error: Arc<StreamError>,
    },
    /// Its stream was deleted and another one made: what the old one still held is
    /// gone. The new one is read from its beginning.
    StreamReplaced {
        /// The stream's name.
        stream: Arc<str>,
    },
    /// The server refused to deliver. It is asked again after a growing delay.
    Refused {
        /// The status.
        code: u16,
        /// What the server says of it.
        description: Arc<str>,
    },
    /// Events were asked for, and neither they nor a sign of life came in time. They
    /// are asked for anew.
    Silent {
        /// How many were asked for.
        owed: usize,
        /// How long nothing was heard.
        silence: Duration,
    },
    /// The server has events and signs of life, and delivers nothing. They are asked
    /// for anew.
    Stuck {
        /// How many events it has to deliver.
        pending: u64,
        /// How long nothing came.
        waited: Duration,
    },
    /// Deliveries were lost on their way, with a connection or because messages came
    /// too fast. They were given back and come again at once; later events of their
    /// keys wait for them.
    Lost {
        /// How many.
        count: u64,
    },
    /// It could not be found out which deliveries were lost on their way: they come
    /// again after `ack_wait`, and later events of their keys may be handled before
    /// them.
    NotRecalled {
        /// Why.
        why: Arc<str>,
    },
    /// Anything else, in words.
    Other(Arc<str>),
}

impl From<PullEvent> for PullNews {
    fn from(event: PullEvent) -> Self {
        match event {
            PullEvent::ConsumerGone => Self::ConsumerDeleted,
            PullEvent::ConsumerMissing => Self::ConsumerMissing,
            PullEvent::LeaderChanged => Self::LeaderChanged,
            PullEvent::Refused { code, description } => Self::Refused {
                code,
                description: description.into(),
            },
            PullEvent::Silent { owed, silence } => Self::Silent { owed, silence },
            other => other.to_string().into(),
        }
    }
}

impl From<String> for PullNews {
    fn from(words: String) -> Self {
        Self::Other(words.into())
    }
}

impl fmt::Display for PullNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsumerDeleted => f.write_str("the consumer was deleted"),
            Self::ConsumerMissing => f.write_str("nobody serves the consumer"),
            Self::LeaderChanged => f.write_str("another server leads the consumer"),
            Self::NotRepaired { error } => {
                write!(f, "the consumer could not be made ready again: {error}")
            }
            Self::StreamReplaced { stream } => write!(
                f,
                "stream {stream} was deleted and made again: what it held is gone"
            ),
            Self::Refused { code, description } => {
                write!(f, "a pull was refused with status {code} {description:?}")
            }
            Self::Silent { owed, silence } => write!(
                f,
                "{owed} messages were owed, and nothing was heard for {silence:?}"
            ),
            Self::Stuck { pending, waited } => write!(
                f,
                "the consumer has {pending} messages and delivered nothing for {waited:?}"
            ),
            Self::Lost { count } => write!(f, "{count} deliveries were lost on their way"),
            Self::NotRecalled { why } => {
                write!(f, "what was lost on its way could not be found out: {why}")
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}
