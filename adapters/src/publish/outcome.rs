//! How a publish ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::oneshot;
use jetbus_core::Subject;
use jetbus_core::shared::counters::{Counters, Handle};

use crate::bus::Inner;
use crate::error::PublishError;
use crate::news::News;

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
    /// The stream has the message: stored now, or known by its id before. At which
    /// sequence is not said to a [batch](crate::BatchPath::FastIngest) that is stored on
    /// the way.
    Ingested {
        /// The stream.
        stream: Arc<str>,
    },
    /// Handed to the connection; nobody says whether it arrived. Only for ephemeral
    /// topics, and for those that
    /// [consent](crate::TopicConfig::allow_unconfirmed) while JetStream is not there.
    Unconfirmed,
}

impl Outcome {
    /// The sequence in the stream, for stored and duplicate messages.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        match self {
            Self::Stored { sequence, .. } | Self::Duplicate { sequence, .. } => Some(*sequence),
            Self::Ingested { .. } | Self::Unconfirmed => None,
        }
    }
}

/// How the publishes of a bus have ended so far: each in exactly one way. Those that
/// are on their way, and those whose caller went away before they were sent, are in
/// none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishStats {
    /// [`Outcome::Stored`] and [`Outcome::Ingested`].
    pub stored: u64,
    /// [`Outcome::Duplicate`].
    pub duplicate: u64,
    /// [`Outcome::Unconfirmed`].
    pub unconfirmed: u64,
    /// Failed with anything but [`PublishError::Unknown`]: nothing is stored.
    pub rejected: u64,
    /// [`PublishError::Unknown`].
    pub unknown: u64,
    /// Results of which the stream was dropped before they were read. Those of publishes
    /// under way at that time are counted once all of them have ended.
    pub results_undelivered: u64,
}

const STORED: usize = 0;
const DUPLICATE: usize = 1;
const UNCONFIRMED: usize = 2;
const REJECTED: usize = 3;
const UNKNOWN: usize = 4;

/// Counts outcomes.
pub(crate) struct Outcomes {
    counters: Arc<Counters<5, 0>>,
    /// Of the hub mostly, which tells nearly all outcomes.
    counts: Handle<5, 0>,
}

impl Outcomes {
    pub(crate) fn new() -> Self {
        let counters = Arc::new(Counters::new(1));
        Self {
            counts: Counters::handle(&counters),
            counters,
        }
    }

    pub(crate) fn count(&self, result: &Result<Outcome, PublishError>) {
        match result {
            Ok(Outcome::Stored { .. } | Outcome::Ingested { .. }) => self.counts.add::<STORED>(1),
            Ok(Outcome::Duplicate { .. }) => self.counts.add::<DUPLICATE>(1),
            Ok(Outcome::Unconfirmed) => self.counts.add::<UNCONFIRMED>(1),
            Err(PublishError::Unknown { .. }) => self.counts.add::<UNKNOWN>(1),
            Err(_) => self.counts.add::<REJECTED>(1),
        }
    }

    /// A publish that failed before it was in the window.
    pub(crate) fn count_rejected(&self) {
        self.counts.add::<REJECTED>(1);
    }

    pub(crate) fn stats(&self) -> PublishStats {
        let counts = self.counters.totals().counts;
        PublishStats {
            stored: counts[STORED],
            duplicate: counts[DUPLICATE],
            unconfirmed: counts[UNCONFIRMED],
            rejected: counts[REJECTED],
            unknown: counts[UNKNOWN],
            results_undelivered: 0,
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
    Known(Option<Outcome>),
    Pending(oneshot::Receiver<Result<Outcome, Failed>>),
}

/// A publish that failed, on its way to whoever waits. Dropped unread, wherever
/// that is, it becomes news.
pub(super) struct Failed {
    error: Option<PublishError>,
    /// Whether a result tells it, however it is read.
    has_result: bool,
    topic: Subject,
    bus: Arc<Inner>,
}

impl Failed {
    pub(super) fn new(
        bus: &Arc<Inner>,
        topic: Subject,
        error: PublishError,
        has_result: bool,
    ) -> Self {
        Self {
            error: Some(error),
            has_result,
            topic,
            bus: Arc::clone(bus),
        }
    }

    fn read(mut self) -> PublishError {
        // There is one until it is read, which happens once.
        self.error.take().unwrap_or(PublishError::Closed)
    }
}

impl Drop for Failed {
    fn drop(&mut self) {
        if let Some(error) = self.error.take()
            && !self.has_result
        {
            self.bus.news.tell(&News::PublishFailed {
                topic: self.topic.as_str().into(),
                error: Arc::new(error),
            });
        }
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

/// Of a publish whose caller may leave: tells the hub, which takes it back if it was
/// not sent yet.
pub(super) struct Leaving {
    bus: Arc<Inner>,
    /// Its number among all publishes.
    order: Option<u64>,
}

impl Leaving {
    pub(super) fn new(bus: &Arc<Inner>, order: u64) -> Self {
        let bus = Arc::clone(bus);
        let order = Some(order);
        Self { bus, order }
    }

    /// The publish was told how it ended.
    pub(super) fn told(mut self) {
        self.order = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(order) = self.order {
            self.bus.entrance.leave(order);
        }
    }
}

impl Receipt {
    pub(super) const fn known(outcome: Outcome) -> Self {
        Self(State::Known(Some(outcome)))
    }

    pub(super) const fn pending(receiver: oneshot::Receiver<Result<Outcome, Failed>>) -> Self {
        Self(State::Pending(receiver))
    }
}

impl Future for Receipt {
    type Output = Result<Outcome, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polled again after its end: as closed as the publish is over.
            State::Known(outcome) => Poll::Ready(outcome.take().ok_or(PublishError::Closed)),
            State::Pending(receiver) => Pin::new(receiver)
                .poll(cx)
                // The bus went away without a close; what was in flight is not known.
                .map(|result| match result {
                    Ok(result) => result.map_err(Failed::read),
                    Err(_) => Err(PublishError::Unknown {
                        waited: std::time::Duration::ZERO,
                    }),
                }),
        }
    }
}
