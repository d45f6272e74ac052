//! Many events at once.

use std::sync::Arc;

use futures_channel::oneshot;
use jetbus_core::jetstream::batch::MOST;
use jetbus_core::jetstream::publish;
use jetbus_core::shared::credit::{Permit, Token};
use jetbus_core::shared::session::Current;
use jetbus_core::{Headers, Subject, Time};
use serde::Serialize;
use tracing::{Instrument as _, debug_span};

use super::departure::Letter;
use super::entrance::{Entry, Key};
use super::options;
use super::outcome::{Outcome, Receipt};
use super::topic::Topic;
use super::window::{Flight, Load};
use crate::bus::Inner;
use crate::error::{Invalid, PublishError, Unsupported};
use crate::event::{Event, Raw};
use crate::results::Place;
use crate::streams::{Ready, StreamEntry};
use crate::topics::Kept;

/// Since when servers know message ids again within atomic batches (ADR-50).
pub(crate) const ATOMIC_SINCE: (u32, u32, u32) = (2, 12, 1);

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
    /// too. At most 1 000 events, and no more than the bus's window. A known message id
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

/// How a batch goes that the server knows as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Atomic,
    Ingest,
}

/// A batch on its way to the hub. Its messages are in their places of the window.
#[derive(Debug)]
pub(crate) struct Departing {
    pub(crate) way: Way,
    pub(crate) stream: Arc<StreamEntry>,
    /// The stream's name.
    pub(crate) name: Arc<str>,
    pub(crate) deadline: Time,
    pub(crate) dedupe_window: std::time::Duration,
    pub(crate) members: Vec<Member>,
}

/// A message of a batch.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its place in the window, as bits.
    pub(crate) token: u64,
    /// Its number among all publishes.
    pub(crate) order: u64,
    pub(crate) subject: Subject,
    pub(crate) headers: Headers,
    pub(crate) payload: bytes::Bytes,
    /// Of what it is in order with.
    pub(crate) key: Option<Key>,
}

type Results = Vec<Result<Outcome, PublishError>>;

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
                BatchPath::Auto => match self.takes_ingest().await {
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
        let all: Result<Vec<Letter>, _> = letters.into_iter().collect();
        let receipts = match all {
            Ok(letters) => self.depart_together(Way::Atomic, letters).await,
            Err(error) => Err(error),
        };
        match receipts {
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
        let most = bus.window.slots().min(MOST);
        let mut results: Results = Vec::with_capacity(letters.len());
        let mut letters = letters.into_iter().peekable();
        let mut is_unknown = false;
        while letters.peek().is_some() {
            let (mut batch, mut errors) = (Vec::new(), Vec::new());
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
    async fn takes_ingest(&self) -> Result<bool, PublishError> {
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
                let deadline = bus.runtime.now() + bus.settings.publish_timeout;
                let ready = stream.ensure(bus, deadline).await;
                let ready = ready.map_err(PublishError::Stream)?;
                Ok(ready.fast_ingest)
            }
        }
    }

    /// Reserves the places of a batch's results, all or none, and settles them if it
    /// fails after that.
    async fn depart_together(
        &self,
        way: Way,
        mut letters: Vec<Letter>,
    ) -> Result<Vec<Receipt>, PublishError> {
        let bus = self.bus.inner();
        let Ok(_open) = bus.publishing.enter() else {
            let refused = letters.into_iter();
            refused.for_each(|letter| letter.refuse(&PublishError::Closed));
            return Err(PublishError::Closed);
        };
        let began = bus.runtime.now();
        let deadline = began + bus.settings.publish_timeout;
        let mut places = Vec::with_capacity(letters.len());
        let admitted = bus.admit_all(&mut letters, &mut places, began, deadline);
        if let Err(error) = admitted.await {
            let places = places.into_iter().flatten();
            places.for_each(|place: Box<Place>| place.give_up());
            return Err(error);
        }
        let departed = self
            .board_together(way, letters, &mut places, began, deadline)
            .await;
        if let Err(error) = &departed {
            for place in places.into_iter().flatten() {
                place.settle(Err(error.clone()));
            }
        }
        departed
    }

    /// Takes the places of a batch in the window and hands it to the hub, with the
    /// places of its results. All of it or nothing.
    async fn board_together(
        &self,
        way: Way,
        letters: Vec<Letter>,
        places: &mut Vec<Option<Box<Place>>>,
        began: Time,
        deadline: Time,
    ) -> Result<Vec<Receipt>, PublishError> {
        let bus = self.bus.inner();
        let (kept, unordered) = self.state.with(|version| {
            let config = version.config.as_deref();
            let unordered = config.is_some_and(|config| config.unordered);
            (version.stream.clone(), unordered)
        });
        let Kept::In(stream) = kept else {
            let option = way.option();
            return Err(PublishError::Unsupported(Unsupported::Ephemeral { option }));
        };
        let max = bus.window.slots().min(MOST);
        if letters.len() > max {
            let len = letters.len();
            return Err(PublishError::Invalid(Invalid::BatchTooLarge { len, max }));
        }
        for letter in &letters {
            bus.check_sendable(letter.len())?;
            options::check_server(&letter.options, bus)?;
        }
        way.check_server(bus)?;
        let ready = match stream.with(Ready::clone) {
            Some(ready) => ready,
            None => {
                let ready = stream.ensure(bus, deadline).await;
                ready.map_err(PublishError::Stream)?
            }
        };
        way.check_stream(&ready)?;
        let mut addressed = Vec::with_capacity(letters.len());
        for letter in letters {
            let (subject, _) = self.address(&letter.options, &ready)?;
            addressed.push((letter, subject));
        }
        let bytes = addressed.iter().map(|(letter, _)| letter.len());
        let bytes = bytes.fold(0, usize::saturating_add);
        let _turn = bus.turn(began, deadline).await?;
        let (permits, load) = bus.places(addressed.len(), bytes, began, deadline).await?;
        let mut loads = Some(load);
        let last = addressed.len().saturating_sub(1);
        let mut departing = Departing {
            way,
            stream: Arc::clone(&stream),
            name: Arc::clone(&ready.stream),
            deadline,
            dedupe_window: ready.dedupe_window,
            members: Vec::with_capacity(addressed.len()),
        };
        let mut receipts = Vec::with_capacity(addressed.len());
        let mut places = std::mem::take(places).into_iter();
        for (n, ((letter, subject), permit)) in addressed.into_iter().zip(permits).enumerate() {
            let order = bus.next_order();
            let (done, outcome) = oneshot::channel();
            let load = match n == last {
                true => loads.take(),
                false => None,
            };
            let flight = Flight {
                stream: Arc::clone(&stream),
                subject: subject.clone(),
                headers: letter.headers.clone(),
                payload: letter.payload.clone(),
                began,
                retry: publish::Flight::new(0, order, began, deadline, ready.dedupe_window),
                refusal: None,
                place: None,
                sent: false,
                recalled: false,
                may_be_unconfirmed: false,
                // The last to be told gives back what all take.
                load: load.unwrap_or_else(|| Load::none(&bus.bytes)),
                result: places.next().flatten(),
                done,
            };
            let token = permit.fill(flight, Time::NEVER.as_nanos());
            let key = letter.key.filter(|_| !unordered);
            departing.members.push(Member {
                token: token.to_bits(),
                order,
                subject,
                headers: letter.headers,
                payload: letter.payload,
                key: key.map(|key| (self.subject.clone(), key)),
            });
            receipts.push(Receipt::pending(outcome));
        }
        bus.board(departing);
        Ok(receipts)
    }
}

async fn collect(receipts: Vec<Receipt>) -> Results {
    let mut results = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        results.push(receipt.await);
    }
    results
}

impl Way {
    /// The option of a stream that allows it.
    const fn option(self) -> &'static str {
        match self {
            Self::Atomic => "atomic_batches",
            Self::Ingest => "fast_ingest",
        }
    }

    /// Refuses what the server is too old for.
    fn check_server(self, bus: &Inner) -> Result<(), PublishError> {
        let since = match self {
            Self::Atomic => ATOMIC_SINCE,
            Self::Ingest => (2, 14, 0),
        };
        let version = bus.session.with(|current| match current {
            Current::Up(session) => Some(session.link.version),
            // Not known yet, or not told: the stream will say.
            _ => None,
        });
        match version.filter(|version| *version != (0, 0, 0)) {
            Some(version) if version < since => {
                let option = self.option();
                Err(PublishError::Unsupported(Unsupported::Server {
                    option,
                    since,
                    version,
                }))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what the topic's stream does not allow.
    fn check_stream(self, ready: &Ready) -> Result<(), PublishError> {
        let allowed = match self {
            Self::Atomic => ready.atomic_batches,
            Self::Ingest => ready.fast_ingest,
        };
        if allowed {
            return Ok(());
        }
        Err(PublishError::Unsupported(Unsupported::Stream {
            option: self.option(),
            stream: Arc::clone(&ready.stream),
            needs: self.option(),
        }))
    }
}

impl Inner {
    /// One batch at a time takes places: two that have some each would wait for each
    /// other.
    async fn turn(&self, began: Time, deadline: Time) -> Result<Permit<'_, ()>, PublishError> {
        let turn = self.until(deadline, self.batches.take()).await;
        turn.ok_or_else(|| PublishError::NotSent {
            waited: self.runtime.now().since(began),
        })?
        .map_err(|_| PublishError::Closed)
    }

    /// Reserves the places of a batch's results where somebody wants them.
    async fn admit_all(
        &self,
        letters: &mut [Letter],
        places: &mut Vec<Option<Box<Place>>>,
        began: Time,
        deadline: Time,
    ) -> Result<(), PublishError> {
        let _turn = match letters.iter().any(|letter| letter.wanted.is_some()) {
            true => Some(self.turn(began, deadline).await?),
            false => None,
        };
        for letter in letters {
            places.push(letter.admit(self, began, deadline).await?);
        }
        Ok(())
    }

    /// Waits for so many places in the window and for room for so many bytes, until
    /// `deadline`.
    async fn places(
        &self,
        count: usize,
        bytes: usize,
        began: Time,
        deadline: Time,
    ) -> Result<(Vec<Permit<'_, Flight>>, Load), PublishError> {
        let mut permits = Vec::with_capacity(count);
        for _ in 1..count {
            permits.push(self.permit(began, deadline).await?);
        }
        let (permit, load) = self.place(bytes, began, deadline).await?;
        permits.push(permit);
        Ok((permits, load))
    }

    /// Hands a batch that is in the window to the hub.
    fn board(self: &Arc<Self>, departing: Departing) {
        let tokens: Vec<u64> = departing.members.iter().map(|m| m.token).collect();
        // There is room for each place. And looked at now that the places are filled:
        // either the hub, when it ends, finds them, or its end is seen here.
        let is_kept = self
            .entrance
            .push(Entry::Batch(Box::new(departing)))
            .is_ok()
            && !self
                .session
                .with(|current| matches!(current, Current::Closed));
        if is_kept {
            return;
        }
        for token in tokens {
            if let Some((flight, permit)) = self.window.settle(Token::from_bits(token)) {
                drop(permit);
                flight.tell(self, Err(PublishError::Closed));
            }
        }
    }
}
