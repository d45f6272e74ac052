//! Results of publishes as a stream, for services that keep an outbox: they publish
//! rows and mark them by what they read here, and need not wait for each receipt.

mod error;
mod place;

use std::fmt;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use jetbus_core::Timestamp;
use jetbus_core::shared::results::{NotRegistered, Overflow, Reader};

pub use self::error::ResultsError;
use self::place::Unread;
pub(crate) use self::place::{Place, Registrar, Seat, Wanted};
use crate::error::{OptionError, PublishError};
use crate::publish::Outcome;

/// How one publish ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishResult {
    /// The id of the event; of a raw message, its message id.
    pub event_id: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The key. A raw message may have none.
    pub key: Option<Arc<str>>,
    /// What the event is; `None` for a raw message.
    pub event_type: Option<Arc<str>>,
    /// The tenant; 0 for none.
    pub tenant: i64,
    /// The outcome, or why there is none: the same that its caller or receipt is told.
    pub outcome: Result<Outcome, PublishError>,
    /// When that was known, by this machine's clock.
    pub time: Timestamp,
}

/// How many results a stream has room for, and what happens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until they are given to `results`"]
pub struct ResultsOptions {
    capacity: usize,
    overflow: Overflow,
}

impl ResultsOptions {
    /// Room for 1 024, and publishers wait.
    pub const fn new() -> Self {
        Self {
            capacity: 1_024,
            overflow: Overflow::Wait,
        }
    }

    /// Most events whose result is not read yet: those on their way and those in the
    /// stream, 1 to 65 535. Memory for all is taken at once, a few hundred bytes each.
    /// Default: 1 024.
    pub const fn capacity(mut self, results: usize) -> Self {
        self.capacity = results;
        self
    }

    /// What happens to a publish when there is no room for its result. Default:
    /// [`Overflow::Wait`], up to the publish timeout; then it fails with
    /// [`PublishError::ResultsUnread`], unsent. With [`Overflow::Count`] it goes without
    /// a result, and [`Results::overflowed`] counts it.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    fn places(&self) -> Result<NonZeroU16, ResultsError> {
        u16::try_from(self.capacity)
            .ok()
            .and_then(NonZeroU16::new)
            .ok_or_else(|| {
                ResultsError::Option(OptionError {
                    option: "capacity",
                    value: self.capacity.to_string(),
                    rule: "it is 1 to 65535 results",
                })
            })
    }
}

impl Default for ResultsOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The results of all publishes of a tenant, or of those that belong to none, in the
/// order in which they ended: a stream. See [`Bus::results`](crate::Bus::results).
///
/// It ends when the bus is closed, or after [`unregister`](Self::unregister), once every
/// event that had a place has ended and its result is read. Dropping it unregisters it
/// too; what it did not read is counted
/// ([`PublishStats::results_undelivered`](crate::PublishStats::results_undelivered)), and
/// failures among it are told by [`News::PublishFailed`](crate::News::PublishFailed).
///
/// # Cancel safety
/// A result is taken out only by the poll that returns it.
pub struct Results(Reader<Unread>);

impl Results {
    /// Whose results these are; 0 for those of no tenant.
    #[must_use]
    pub const fn tenant(&self) -> i64 {
        self.0.tenant()
    }

    /// How many events were published without a result, for want of room. Always 0 with
    /// [`Overflow::Wait`].
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.0.overflowed()
    }

    /// Takes no further event. Those that have a place still give their results here, then
    /// the stream ends. Another stream may be opened for the tenant at once.
    pub fn unregister(&self) {
        self.0.unregister();
    }
}

impl Stream for Results {
    type Item = PublishResult;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(self.0.poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(unread) => {
                    // There is one in each until it is read.
                    if let Some(result) = unread.read() {
                        return Poll::Ready(Some(result));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("tenant", &self.tenant())
            .field("overflowed", &self.overflowed())
            .finish_non_exhaustive()
    }
}

impl Registrar {
    /// A stream of the results of `tenant`.
    pub(crate) fn open(
        &self,
        tenant: i64,
        options: ResultsOptions,
    ) -> Result<Results, ResultsError> {
        let places = options.places()?;
        match self.register(tenant, places, options.overflow) {
            Ok(reader) => Ok(Results(reader)),
            Err(NotRegistered::Twice) => Err(ResultsError::Twice { tenant }),
            Err(NotRegistered::Closed) => Err(ResultsError::Closed),
        }
    }
}
