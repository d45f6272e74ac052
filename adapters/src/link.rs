//! Links: how messages get to a server and back.
//!
//! A [`Link`] publishes, subscribes, flushes, closes and tells news. Everything else,
//! JetStream included, is decided by the core on top of that. Two come with the crate: a
//! connection to nats-server (feature `nats`) and the embedded broker. To add one,
//! implement the traits below and hand it to the builder.

use std::fmt;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use jetbus_core::denied::Denied;

pub use jetbus_core::{Message, Publish, Status, Subject};

mod embedded;
#[cfg(feature = "nats")]
mod nats;
mod news;

pub use self::embedded::{Embedded, EmbeddedBroker};
pub use jetbus_core::broker::Config as BrokerConfig;

#[cfg(feature = "nats")]
pub use self::nats::{Nats, NatsOptions};

/// One connection to a server, or to something that behaves like one.
pub trait Link: fmt::Debug + Send + Sync + 'static {
    /// Hands over a message without ever waiting.
    ///
    /// `Ok` means that the message was taken and will be sent while the
    /// connection lasts; not that the server has it.
    ///
    /// # Errors
    /// When nothing was taken; see [`Refused`].
    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused>;

    /// Completes when a message refused as [`Refused::Busy`] is worth another try.
    fn ready(&self) -> BoxFuture<'_, ()>;

    /// Receives what is published to `pattern` from now on, until the inbox is
    /// dropped. Survives reconnects. Of all subscriptions with the same `group` one
    /// gets each message.
    ///
    /// # Errors
    /// When the link is closed or the subscription could not be handed over.
    fn subscribe(
        &self,
        pattern: Subject,
        group: Option<Subject>,
    ) -> BoxFuture<'_, Result<Box<dyn Inbox>, LinkError>>;

    /// Completes when everything handed over before has left the process.
    ///
    /// # Errors
    /// When the link is closed or lost before.
    fn flush(&self) -> BoxFuture<'_, Result<(), LinkError>>;

    /// The next piece of news about the connection; `None` once it is closed for
    /// good. One task listens. The first is [`LinkEvent::Connected`] when the link
    /// is already connected. Connects and disconnects are never lost; of two in a
    /// row that nobody read, the newer may stand for both.
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>>;

    /// The first tokens of the subjects on which the bus is answered. Whoever shares an
    /// account with others may be allowed to subscribe to its own only.
    fn inbox_prefix(&self) -> &str {
        "_INBOX"
    }

    /// Ends the connection, its tasks and threads. Inboxes end after what they
    /// already hold. May be called more than once.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Messages of one subscription. Dropping it ends the subscription.
pub trait Inbox: fmt::Debug + Send {
    /// The next message; `None` once the link is closed and all were read.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>>;

    /// Asks for at most `more` messages than were read so far; after them the inbox
    /// ends. So nothing is lost that is on its way, if there are no more of them:
    /// who wants an early end publishes to the inbox what is missing, which comes
    /// after the request. A link that can end the inbox without losing anything may
    /// do so earlier; so does one that cannot count, and may lose what is on its way.
    ///
    /// `false` when nothing can be asked at the moment; then there is only dropping.
    fn end_after(&mut self, more: u64) -> bool {
        let _ = more;
        false
    }

    /// How many messages were dropped because they were read too slowly. Known before
    /// what came after them is read, as far as the link can. It may count those of
    /// other inboxes too. A link that drops nothing has nothing to count.
    fn dropped(&self) -> u64 {
        0
    }
}

/// Why a link took nothing. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Its queue is full; wait for [`Link::ready`].
    Busy,
    /// It has no connection at the moment.
    Disconnected,
    /// Headers and payload are larger than the server takes.
    TooLarge {
        /// Bytes of headers and payload.
        len: usize,
        /// The server's limit, in bytes.
        max: usize,
    },
    /// Its subject, its reply or a header cannot be sent: empty, or with a space or
    /// control character where none may be.
    Invalid,
    /// It was closed.
    Closed,
}

/// Why an operation of a link failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// The link was closed.
    Closed,
    /// The first connection could not be made, or was refused.
    Connect(ConnectError),
    /// The server does not let this connection do that.
    Denied(Denied),
    /// Anything else that the link says of itself.
    Other(std::sync::Arc<str>),
}

/// Why no connection could be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server refuses the credentials.
    Authorization {
        /// The servers that were tried, without credentials.
        servers: String,
    },
    /// A server's certificate is not trusted, ours was refused, or TLS failed
    /// otherwise.
    Tls {
        /// The servers that were tried, without credentials.
        servers: String,
        /// In words.
        reason: String,
    },
    /// No server could be reached in time.
    Unreachable {
        /// The servers that were tried, without credentials.
        servers: String,
        /// In words.
        reason: String,
    },
    /// An option cannot be used: the option, its value (never a secret), and why.
    Option {
        /// Which option.
        option: &'static str,
        /// Its value; a secret is shown as `[redacted]`.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
}

/// News about a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// Connected, for the first time or again.
    Connected(ServerInfo),
    /// The connection is lost; the link is looking for another.
    Disconnected,
    /// The server will shut down soon.
    LameDuck,
    /// A subscription was too slow and messages were dropped.
    SlowConsumer,
    /// The server did not let this connection do something. All that it has on its way
    /// to the same subject is refused as well: what a connection may do does not change
    /// while it lasts. A link that is not sure that it was the present connection says
    /// [`Error`](Self::Error).
    Denied(Denied),
    /// The server or the client complains.
    Error(std::sync::Arc<str>),
}

/// What a server says of itself when a connection is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Its name.
    pub name: String,
    /// Its version: major, minor, patch.
    pub version: (u32, u32, u32),
    /// The largest message it takes (headers and payload), in bytes.
    pub max_payload: usize,
    /// Whether it takes batches that it stores on the way (nats-server from 2.14).
    pub fast_ingest: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the link's queue is full"),
            Self::Disconnected => f.write_str("there is no connection"),
            Self::TooLarge { len, max } => write!(
                f,
                "headers and payload have {len} bytes, the server takes at most {max}"
            ),
            Self::Invalid => {
                f.write_str("the subject, the reply or a header holds what cannot be sent")
            }
            Self::Closed => f.write_str("the link is closed"),
        }
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the link is closed"),
            Self::Connect(error) => error.fmt(f),
            Self::Denied(denied) => denied.fmt(f),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for LinkError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization { servers } => {
                write!(f, "{servers} refused the credentials")
            }
            Self::Tls { servers, reason } => write!(f, "TLS with {servers} failed: {reason}"),
            Self::Unreachable { servers, reason } => {
                write!(f, "{servers} could not be reached: {reason}")
            }
            Self::Option {
                option,
                value,
                rule,
            } => write!(f, "option `{option}` cannot be {value:?}: {rule}"),
        }
    }
}

impl std::error::Error for ConnectError {}
