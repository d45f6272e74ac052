//! How a publish ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::error::PublishError;

/// A publish that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The server has stored the message.
    Stored {
        /// The stream.
        stream: Arc<str>,
        /// Its sequence there, from 1.
        sequence: u64,
    },
    /// The stream already held a message of this id; nothing was stored again.
    Duplicate {
        /// The stream.
        stream: Arc<str>,
        /// The sequence of the message that is stored.
        sequence: u64,
    },
    /// Handed to the connection; nobody says whether it arrived. Ephemeral topics
    /// only.
    Unconfirmed,
}

impl Outcome {
    /// The sequence in the stream, for stored and duplicate messages.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        match self {
            Self::Stored { sequence, .. } | Self::Duplicate { sequence, .. } => Some(*sequence),
            Self::Unconfirmed => None,
        }
    }
}

/// The outcome of a publish that is on its way: a future.
///
/// # Cancel safety
/// Dropping it does not take the message back. If the publish then fails,
/// [`News::PublishFailed`](crate::News::PublishFailed) tells.
#[derive(Debug)]
#[must_use = "a receipt tells whether the event is stored; await it"]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Known(Option<Result<Outcome, PublishError>>),
    Pending(oneshot::Receiver<Result<Outcome, PublishError>>),
}

impl Receipt {
    pub(crate) const fn known(result: Result<Outcome, PublishError>) -> Self {
        Self(State::Known(Some(result)))
    }

    pub(crate) const fn pending(
        receiver: oneshot::Receiver<Result<Outcome, PublishError>>,
    ) -> Self {
        Self(State::Pending(receiver))
    }
}

impl Future for Receipt {
    type Output = Result<Outcome, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polled again after its end: as closed as the publish is over.
            State::Known(result) => Poll::Ready(result.take().unwrap_or(Err(PublishError::Closed))),
            State::Pending(receiver) => Pin::new(receiver)
                .poll(cx)
                // The bus went away without a close; what was in flight is not known.
                .map(|result| {
                    result.unwrap_or(Err(PublishError::Unknown {
                        waited: std::time::Duration::ZERO,
                    }))
                }),
        }
    }
}
