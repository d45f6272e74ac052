//! Errors, one small enum per operation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jetbus_core::denied::Denied;
use jetbus_core::envelope::EncodeError;
use jetbus_core::headers::HeaderError;
use jetbus_core::jetstream::admin::AdminError;
use jetbus_core::jetstream::api::{ApiError, codes};
use jetbus_core::provision::ProvisionError;
use jetbus_core::subject::NameError;

use crate::link::LinkError;
use crate::runtime::NoRuntime;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// Nothing happened; the same call may succeed later.
    Retryable,
    /// Nothing happened, and the same call fails again until something is changed.
    Terminal,
    /// It may or may not have happened. Publishing again with the same id is safe
    /// within the stream's dedupe window.
    Unknown,
}

/// Why a publish was not confirmed.
///
/// Everything but [`Unknown`](Self::Unknown) means that nothing was stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The event breaks a rule; nothing was sent.
    Invalid(Invalid),
    /// The bus is closing or closed; nothing was sent.
    Closed,
    /// There is no connection, and the bus was told not to wait for one; nothing
    /// was sent.
    Disconnected,
    /// It could not be handed over in time: the window stayed full or the connection
    /// down. Nothing was sent.
    NotSent {
        /// How long was waited.
        waited: Duration,
    },
    /// The topic's stream could not be made ready; nothing was sent.
    Stream(Arc<StreamError>),
    /// The server refused it, at every attempt; nothing was stored.
    Refused(ApiError),
    /// The server does not let this connection publish there; nothing was stored.
    Denied(Denied),
    /// The stream, or its topic there, does not end where the publish expected;
    /// nothing was stored.
    Conflict {
        /// What the server says.
        error: ApiError,
        /// Where it ends; `None` when another write is under way just now.
        last: Option<u64>,
    },
    /// An option of the publish cannot be kept here; nothing was sent.
    Unsupported(Unsupported),
    /// The event of the same key before it may or may not be stored. This one waited
    /// behind it and was not sent: their order would not be known.
    PredecessorUnknown,
    /// There was no room for its result: those before it were not read in time. Nothing
    /// was sent, and there is no result. See [`Bus::results`](crate::Bus::results).
    ResultsUnread {
        /// How long was waited.
        waited: Duration,
    },
    /// Its caller went away before it was sent; nothing was sent. Only a
    /// [`PublishResult`](crate::PublishResult) says so.
    Recalled,
    /// It was handed over and not answered: the server may or may not have stored
    /// it.
    Unknown {
        /// Since it was published.
        waited: Duration,
    },
}

/// Why an option of a publish cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// The server is too old.
    Server {
        /// The option.
        option: &'static str,
        /// The first version that can: major, minor, patch.
        since: (u32, u32, u32),
        /// The server's version.
        version: (u32, u32, u32),
    },
    /// The topic's stream does not allow it.
    Stream {
        /// The option of the publish.
        option: &'static str,
        /// The stream.
        stream: Arc<str>,
        /// The option of the stream that allows it.
        needs: &'static str,
    },
    /// Nothing of the topic is stored.
    Ephemeral {
        /// The option.
        option: &'static str,
    },
}

/// The rule that an event or message breaks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Invalid {
    /// The topic.
    Topic(NameError),
    /// A field of the envelope.
    Envelope(EncodeError),
    /// A header.
    Header(HeaderError),
    /// The id of a raw message.
    Id(NameError),
    /// An option of the publish.
    Option(NameError),
    /// Headers and payload are larger than the server takes.
    TooLarge {
        /// Bytes of headers and payload.
        len: usize,
        /// The server's limit, in bytes.
        max: usize,
    },
    /// More events than are stored as one batch.
    BatchTooLarge {
        /// How many.
        len: usize,
        /// The most: 1 000, the bus's window, or the places for the results of a tenant.
        max: usize,
    },
    /// The link cannot send its subject or one of its headers.
    Unsendable,
    /// One more topic than a bus knows.
    TooManyTopics {
        /// The most.
        limit: usize,
    },
}

impl PublishError {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Invalid(_) | Self::Closed | Self::Unsupported(_) | Self::Denied(_) => {
                Class::Terminal
            }
            Self::Disconnected
            | Self::NotSent { .. }
            | Self::PredecessorUnknown
            | Self::ResultsUnread { .. }
            | Self::Recalled => Class::Retryable,
            Self::Stream(error) => error.class(),
            Self::Refused(error) | Self::Conflict { error, .. } => {
                if jetbus_core::jetstream::publish::transient(error.err_code) {
                    Class::Retryable
                } else {
                    Class::Terminal
                }
            }
            Self::Unknown { .. } => Class::Unknown,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => write!(f, "not sent: {invalid}"),
            Self::Closed => f.write_str("not sent: the bus is closed"),
            Self::Disconnected => f.write_str("not sent: there is no connection"),
            Self::NotSent { waited } => {
                write!(f, "not sent: it could not be handed over within {waited:?}")
            }
            Self::Stream(error) => write!(f, "not sent: {error}"),
            Self::Refused(error) => write!(f, "refused by the server: {error}"),
            Self::Denied(denied) => write!(f, "not stored: {denied}"),
            Self::Conflict { error, .. } => {
                write!(f, "not stored, something else is there: {error}")
            }
            Self::Unsupported(unsupported) => write!(f, "not sent: {unsupported}"),
            Self::PredecessorUnknown => {
                f.write_str("not sent: the event of its key before it may or may not be stored")
            }
            Self::ResultsUnread { waited } => write!(
                f,
                "not sent: there was no room for its result within {waited:?}"
            ),
            Self::Recalled => f.write_str("not sent: its caller went away"),
            Self::Unknown { waited } => write!(
                f,
                "not answered within {waited:?}: it may or may not be stored"
            ),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(invalid) => Some(invalid),
            Self::Stream(error) => Some(&**error),
            Self::Refused(error) | Self::Conflict { error, .. } => Some(error),
            Self::Denied(denied) => Some(denied),
            Self::Unsupported(unsupported) => Some(unsupported),
            _ => None,
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server {
                option,
                since: (major, minor, patch),
                version: (has_major, has_minor, has_patch),
            } => write!(
                f,
                "option `{option}` needs a server of version {major}.{minor}.{patch}, this one has {has_major}.{has_minor}.{has_patch}"
            ),
            Self::Stream {
                option,
                stream,
                needs,
            } => write!(
                f,
                "option `{option}` needs a stream with `{needs}`, which {stream} is not"
            ),
            Self::Ephemeral { option } => write!(
                f,
                "option `{option}` needs a topic that is stored, and this one is ephemeral"
            ),
        }
    }
}

impl std::error::Error for Unsupported {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::Envelope(error) => error.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Id(error) | Self::Option(error) => error.fmt(f),
            Self::TooLarge { len, max } => write!(
                f,
                "headers and payload have {len} bytes, the server takes at most {max}"
            ),
            Self::BatchTooLarge { len, max } => {
                write!(
                    f,
                    "{len} events are more than one batch takes: at most {max}"
                )
            }
            Self::Unsendable => f.write_str("a header or the subject cannot be sent by this link"),
            Self::TooManyTopics { limit } => write!(f, "more than {limit} topics are known"),
        }
    }
}

impl std::error::Error for Invalid {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Topic(error) => Some(error),
            Self::Envelope(error) => Some(error),
            Self::Header(error) => Some(error),
            Self::Id(error) | Self::Option(error) => Some(error),
            Self::TooLarge { .. }
            | Self::BatchTooLarge { .. }
            | Self::Unsendable
            | Self::TooManyTopics { .. } => None,
        }
    }
}

/// Why a stream or consumer could not be made ready. Nothing was changed, or what
/// was changed is as wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// It is not as wanted, cannot be made so, or the server refuses.
    Provision(ProvisionError),
    /// The server did not answer in time.
    NoAnswer {
        /// What was asked.
        subject: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The server does not let this connection ask, or hear the answer.
    Denied(Denied),
    /// Too many different streams are in use.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The bus is closing or closed.
    Closed,
}

impl StreamError {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        if self.is_transient() {
            Class::Retryable
        } else {
            Class::Terminal
        }
    }

    /// Whether the stream that was asked about is not there.
    pub(crate) fn is_stream_gone(&self) -> bool {
        match self {
            Self::Provision(ProvisionError::Missing { .. }) => true,
            Self::Provision(ProvisionError::Admin(error)) => {
                error.err_code() == Some(codes::STREAM_NOT_FOUND)
            }
            _ => false,
        }
    }

    /// Whether nobody is there to ask: JetStream is off, or not for this account.
    pub(crate) fn is_unavailable(&self) -> bool {
        let Self::Provision(ProvisionError::Admin(error)) = self else {
            return false;
        };
        matches!(error, AdminError::NoResponders)
            || matches!(
                error.err_code(),
                Some(codes::NOT_ENABLED_FOR_ACCOUNT | codes::NOT_ENABLED)
            )
    }

    /// Whether the server could not create a consumer, for a reason of its own.
    pub(crate) fn is_creation_failure(&self) -> bool {
        matches!(self, Self::Provision(ProvisionError::Admin(error))
            if error.err_code() == Some(codes::CONSUMER_CREATE))
    }

    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Provision(error) => error.is_transient(),
            _ => false,
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provision(error) => error.fmt(f),
            Self::NoAnswer { subject, waited } => {
                write!(f, "the server did not answer {subject} within {waited:?}")
            }
            Self::Denied(denied) => denied.fmt(f),
            Self::TooMany { limit } => write!(f, "more than {limit} streams are in use"),
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Provision(error) => Some(error),
            Self::Denied(denied) => Some(denied),
            _ => None,
        }
    }
}

/// Why a bus could not be opened. Nothing runs, nothing was changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// No runtime was given and none was found.
    Runtime(NoRuntime),
    /// The link could not connect, or was refused.
    Link(LinkError),
    /// An option cannot be used.
    Option(OptionError),
    /// A declared stream, or the streams of dead letters, have a name or option that
    /// cannot be used.
    Name(NameError),
}

/// An option outside of its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    pub(crate) option: &'static str,
    pub(crate) value: String,
    pub(crate) rule: &'static str,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            value,
            rule,
        } = self;
        write!(f, "option `{option}` cannot be {value}: {rule}")
    }
}

impl std::error::Error for OptionError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
            Self::Option(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Runtime(error) => Some(error),
            Self::Link(error) => Some(error),
            Self::Option(error) => Some(error),
            Self::Name(error) => Some(error),
        }
    }
}

/// Why a topic could not be resolved or configured. Nothing was changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TopicError {
    /// The topic's name, or a value of its configuration, cannot be used.
    Name(NameError),
    /// A declared stream keeps this topic; the options belong there.
    DeclaredStream {
        /// The topic.
        topic: String,
        /// The declared stream that covers it.
        stream: String,
    },
    /// Nothing of this topic is stored, so there is nothing to set options for.
    Ephemeral {
        /// The topic.
        topic: String,
    },
    /// Somebody else configured the topic at the same time; nothing of this
    /// configuration was applied.
    Lost {
        /// The topic.
        topic: String,
    },
    /// Too many topics are known.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The topic's stream could not be made ready.
    Stream(Arc<StreamError>),
    /// The bus is closing or closed.
    Closed,
}

impl TopicError {
    /// The same, as what publishing says.
    pub(crate) fn into_publish(self) -> PublishError {
        match self {
            Self::Name(error) => PublishError::Invalid(Invalid::Topic(error)),
            Self::Stream(error) => PublishError::Stream(error),
            Self::TooMany { limit } => PublishError::Invalid(Invalid::TooManyTopics { limit }),
            // The others are of configuring.
            _ => PublishError::Closed,
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::DeclaredStream { topic, stream } => write!(
                f,
                "topic {topic:?} is kept by the declared stream {stream:?}: its options are set there"
            ),
            Self::Ephemeral { topic } => write!(
                f,
                "topic {topic:?} is ephemeral: nothing is stored, and there are no limits to set"
            ),
            Self::Lost { topic } => {
                write!(
                    f,
                    "topic {topic:?} was configured by somebody else at the same time"
                )
            }
            Self::TooMany { limit } => write!(f, "more than {limit} topics are known"),
            Self::Stream(error) => error.fmt(f),
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}

impl std::error::Error for TopicError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Stream(error) => Some(&**error),
            _ => None,
        }
    }
}

/// Why a subscription could not be made. Nothing is received.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic, pattern or group has a name that cannot be used.
    Name(NameError),
    /// An option cannot be used.
    Option(OptionError),
    /// This bus already handles the topic for the group.
    Twice {
        /// The topic or pattern.
        topic: String,
        /// The group.
        group: String,
    },
    /// The topic cannot be resolved.
    Topic(TopicError),
    /// The stream or consumer could not be made ready.
    Stream(Arc<StreamError>),
    /// The link refused.
    Link(LinkError),
    /// The bus is closing or closed.
    Closed,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Option(error) => error.fmt(f),
            Self::Twice { topic, group } => {
                write!(f, "this bus already handles {topic:?} for group {group:?}")
            }
            Self::Topic(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Option(error) => Some(error),
            Self::Topic(error) => Some(error),
            Self::Stream(error) => Some(&**error),
            Self::Link(error) => Some(error),
            _ => None,
        }
    }
}
