//! Many events at once.

use jetbus_core::jetstream::batch::MOST;
use serde::Serialize;
use tracing::{Instrument as _, debug_span};

use super::boarding::Way;
use super::departure::Letter;
use super::outcome::{Outcome, Receipt};
use super::topic::Topic;
use crate::error::PublishError;
use crate::event::{Event, Raw};
use crate::topics::Kept;

/// How many events at once are published. The outcomes are of the same kind whichever
/// way it is, one for each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BatchPath {
    /// [`FastIngest`](Self::FastIngest) where server and stream take it, else
    /// [`Pipelined`](Self::Pipelined).
    #[default]
    Auto,
    /// All are stored, at sequences one after the other, or none. Never anything less:
    /// where that cannot be had, all fail with [`PublishError::Unsupported`], and
    /// nothing is sent. When one is refused, all fail with its error.
    ///
    /// Needs a server from 2.12.1 and a stream with
    /// [`atomic_batches`](crate::Stream::atomic_batches); the embedded broker has it
    /// too. At most 1 000 events, and no more than the bus's window, nor of one tenant
    /// than the reader of their results has places. A known message id
    /// fails the whole batch (error 10201), unless all of it is stored already, as one
    /// batch: then its events are [duplicates](Outcome::Duplicate). The last sequence of the stream may be
    /// expected by the first event only (10164). What is stored has the headers
    /// `Nats-Batch-Id`, `-Sequence` and `-Commit`.
    Atomic,
    /// In order, with one answer for many. Where one is missing or refused, the server
    /// stops, and those behind it go on in a new batch. Nothing overtakes, of whatever
    /// key.
    ///
    /// The outcome is [`Outcome::Ingested`]: the server does not say at which sequence,
    /// nor whether the id was known. Needs a server from 2.14 and a stream with
    /// [`fast_ingest`](crate::Stream::fast_ingest); else all fail with
    /// [`PublishError::Unsupported`].
    FastIngest,
    /// Each on its own, as with [`Topic::send`]: everywhere.
    Pipelined,
}

pub(super) type Results = Vec<Result<Outcome, PublishError>>;

impl Topic {
    /// Publishes many events and waits for all their outcomes, which are in the order
    /// of the events. [`BatchPath::Auto`] says how.
    ///
    /// Events of one key are stored in their order here, behind what was published of
    /// that key before. Each has its own outcome: one that fails does not stop the
    /// others, unless its fate is [unknown](PublishError::Unknown).
    ///
    /// # Cancel safety
    /// Dropped, what has its place in the window goes on; of a batch that is one for the
    /// server, everything. [`News::PublishFailed`](crate::News::PublishFailed) tells
    /// what fails. The rest is not sent.
    pub async fn publish_all<T: Serialize>(
        &self,
        events: &[Event<'_, T>],
    ) -> Vec<Result<Outcome, PublishError>> {
        self.publish_batch(BatchPath::Auto, events).await
    }

    /// As [`publish_all`](Self::publish_all), along this path.
    ///
    /// # Cancel safety
    /// As [`publish_all`](Self::publish_all).
    pub async fn publish_batch<T: Serialize>(
        &self,
        path: BatchPath,
        events: &[Event<'_, T>],
    ) -> Vec<Result<Outcome, PublishError>> {
        let letters = events.iter().map(|event| self.letter(event));
        self.publish_letters(path, letters.collect()).await
    }

    /// As [`publish_batch`](Self::publish_batch), of bytes and headers without an
    /// envelope.
    ///
    /// # Cancel safety
    /// As [`publish_all`](Self::publish_all).
    pub async fn publish_raw_batch(
        &self,
        path: BatchPath,
        messages: Vec<Raw>,
    ) -> Vec<Result<Outcome, PublishError>> {
        let letters = messages.into_iter().map(|message| self.letter_of(message));
        self.publish_letters(path, letters.collect()).await
    }

    pub(super) async fn publish_letters(
        &self,
        path: BatchPath,
        letters: Vec<Result<Letter, PublishError>>,
    ) -> Results {
        // The payloads are not in it.
        let span = debug_span!("publish_all", topic = self.name(), events = letters.len());
        async {
            match path {
                BatchPath::Pipelined => self.one_by_one(letters).await,
                BatchPath::FastIngest => self.ingest(letters).await,
                BatchPath::Atomic => self.atomic(letters).await,
                BatchPath::Auto => match self.takes_ingest(&letters).await {
                    Ok(true) => self.ingest(letters).await,
                    Ok(false) => self.one_by_one(letters).await,
                    Err(error) => self.refuse_all(letters, &error).await,
                },
            }
        }
        .instrument(span)
        .await
    }

    async fn refuse_all(
        &self,
        letters: Vec<Result<Letter, PublishError>>,
        why: &PublishError,
    ) -> Results {
        let mut results = Vec::with_capacity(letters.len());
        for letter in letters {
            self.bus.inner().outcomes.count_rejected();
            results.push(Err(match letter {
                Ok(letter) => self.unsent(letter, why).await,
                // What breaks a rule breaks it anyway.
                Err(error) => error,
            }));
        }
        results
    }

    async fn one_by_one(&self, letters: Vec<Result<Letter, PublishError>>) -> Results {
        let mut receipts = Vec::with_capacity(letters.len());
        for letter in letters {
            receipts.push(self.dispatch(letter).await);
        }
        let mut results = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            results.push(match receipt {
                Ok(receipt) => receipt.await,
                Err(error) => Err(error),
            });
        }
        results
    }

    /// All or none.
    async fn atomic(&self, letters: Vec<Result<Letter, PublishError>>) -> Results {
        let bus = self.bus.inner();
        let count = letters.len();
        if let Some(Err(error)) = letters.iter().find(|letter| letter.is_err()) {
            let error = error.clone();
            let mut results = self.refuse_all(letters, &error).await;
            // One error for all, but for those whose results nobody reads in time.
            results.iter_mut().for_each(|result| {
                if !matches!(result, Err(PublishError::ResultsUnread { .. })) {
                    *result = Err(error.clone());
                }
            });
            return results;
        }
        let all = letters.into_iter().flatten().collect();
        match self.depart_together(Way::Atomic, all).await {
            Ok(receipts) => collect(receipts).await,
            Err(error) => {
                (0..count).for_each(|_| bus.outcomes.count_rejected());
                vec![Err(error); count]
            }
        }
    }

    /// As many at once as the window holds, and one such batch after the other.
    async fn ingest(&self, letters: Vec<Result<Letter, PublishError>>) -> Results {
        let bus = self.bus.inner();
        // No more than have room for their results: what is read makes room for others.
        let wanted = letters.iter().flatten().filter_map(|l| l.wanted.as_ref());
        let most = wanted
            .filter_map(|wanted| bus.result_places(wanted.tenant))
            .fold(bus.window.slots().min(MOST), usize::min);
        let mut results: Results = Vec::with_capacity(letters.len());
        let mut letters = letters.into_iter().peekable();
        let mut is_unknown = false;
        while letters.peek().is_some() {
            let count = most.min(letters.len());
            let mut batch = Vec::with_capacity(count);
            let mut errors = Vec::with_capacity(count);
            for letter in letters.by_ref().take(most) {
                match letter {
                    Ok(letter) if is_unknown => {
                        let why = PublishError::PredecessorUnknown;
                        errors.push(Some(self.unsent(letter, &why).await));
                    }
                    Ok(letter) => {
                        errors.push(None);
                        batch.push(letter);
                    }
                    Err(error) => errors.push(Some(error)),
                }
            }
            let departed = match batch.is_empty() {
                true => Ok(Vec::new()),
                false => self.depart_together(Way::Ingest, batch).await,
            };
            let (receipts, refused) = match departed {
                Ok(receipts) => (receipts, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let mut receipts = receipts.into_iter();
            for error in errors {
                let result = match (error.or_else(|| refused.clone()), &mut receipts) {
                    (None, receipts) => match receipts.next() {
                        Some(receipt) => receipt.await,
                        // Not reached: one for each.
                        None => Err(PublishError::Closed),
                    },
                    (Some(error), _) => {
                        bus.outcomes.count_rejected();
                        Err(error)
                    }
                };
                is_unknown |= matches!(result, Err(PublishError::Unknown { .. }));
                results.push(result);
            }
        }
        results
    }

    /// An event that is not sent at all has a result too. Says what its caller is told.
    async fn unsent(&self, mut letter: Letter, why: &PublishError) -> PublishError {
        let bus = self.bus.inner();
        let began = bus.runtime.now();
        let deadline = began + bus.settings.publish_timeout;
        match letter.admit(bus, began, deadline).await {
            Ok(place) => {
                if let Some(place) = place {
                    place.settle(Err(why.clone()));
                }
                why.clone()
            }
            Err(unread) => unread,
        }
    }

    /// Whether the topic's stream takes batches on the way.
    async fn takes_ingest(
        &self,
        letters: &[Result<Letter, PublishError>],
    ) -> Result<bool, PublishError> {
        let (kept, may_be_unconfirmed) = self.state.with(|version| {
            let config = version.config.as_deref();
            let may = config.is_some_and(|config| config.allow_unconfirmed);
            (version.stream.clone(), may)
        });
        let (Kept::In(stream), false) = (kept, may_be_unconfirmed) else {
            return Ok(false);
        };
        let bus = self.bus.inner();
        match stream.with(|ready| ready.fast_ingest) {
            Some(takes) => Ok(takes),
            None => {
                let _open = bus.publishing.enter().map_err(|_| PublishError::Closed)?;
                bus.check_sendable(0)?;
                let oldest = Letter::oldest(letters.iter().flatten());
                let (_, deadline) = bus.times(oldest)?;
                let ready = stream.ensure(bus, deadline).await;
                let ready = ready.map_err(PublishError::Stream)?;
                Ok(ready.fast_ingest)
            }
        }
    }
}

async fn collect(receipts: Vec<Receipt>) -> Results {
    let mut results = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        results.push(receipt.await);
    }
    results
}
