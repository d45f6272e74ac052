//! From a batch that the server knows as one to its places in the window.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use jetbus_core::jetstream::batch::MOST;
use jetbus_core::jetstream::publish;
use jetbus_core::shared::credit::{Permit, Token};
use jetbus_core::shared::session::Current;
use jetbus_core::{Headers, Subject, Time};

use super::departure::Letter;
use super::entrance::{Entry, Key};
use super::options;
use super::outcome::Receipt;
use super::topic::Topic;
use super::window::{Flight, Load};
use crate::bus::Inner;
use crate::error::{Invalid, PublishError, Unsupported};
use crate::results::{Place, Seat};
use crate::streams::{Ready, StreamEntry};
use crate::topics::Kept;

/// Since when servers know message ids again within atomic batches (ADR-50).
pub(crate) const ATOMIC_SINCE: (u32, u32, u32) = (2, 12, 1);

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
    pub(crate) dedupe_window: Duration,
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
    pub(crate) payload: Bytes,
    /// Of what it is in order with.
    pub(crate) key: Option<Key>,
}

impl Topic {
    /// Reserves the places of a batch's results, all or none, and settles them if it
    /// fails after that.
    pub(super) async fn depart_together(
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
        let (began, deadline) = match bus.times(Letter::oldest(&letters)) {
            Ok(times) => times,
            Err(late) => {
                let refused = letters.into_iter();
                refused.for_each(|letter| letter.refuse(&late));
                return Err(late);
            }
        };
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
        let mut subjects = Vec::with_capacity(letters.len());
        for letter in &letters {
            let (subject, _) = self.address(&letter.options, &ready)?;
            subjects.push(subject);
        }
        let bytes = letters.iter().map(Letter::len);
        let bytes = bytes.fold(0, usize::saturating_add);
        let _turn = bus.turn(began, deadline).await?;
        let (permits, load) = bus.places(letters.len(), bytes, began, deadline).await?;
        let mut loads = Some(load);
        let last = letters.len().saturating_sub(1);
        let mut departing = Departing {
            way,
            stream: Arc::clone(&stream),
            name: Arc::clone(&ready.stream),
            deadline,
            dedupe_window: ready.dedupe_window,
            members: Vec::with_capacity(letters.len()),
        };
        let mut receipts = Vec::with_capacity(letters.len());
        let mut places = std::mem::take(places).into_iter();
        let taken = letters.into_iter().zip(subjects).zip(permits);
        for (n, ((letter, subject), permit)) in taken.enumerate() {
            let order = bus.next_order();
            let (done, outcome) = oneshot::channel();
            let load = match n == last {
                true => loads.take(),
                false => None,
            };
            let flight = Flight {
                stream: Arc::clone(&stream),
                subject: subject.clone(),
                // The batch has them, and sends them again.
                headers: Headers::new(),
                payload: Bytes::new(),
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

    /// Reserves the places of a batch's results where somebody wants them. Of one tenant
    /// after the other, in their order: no two batches wait for each other, and none waits
    /// for who reads no result of it.
    async fn admit_all(
        &self,
        letters: &mut [Letter],
        places: &mut Vec<Option<Box<Place>>>,
        began: Time,
        deadline: Time,
    ) -> Result<(), PublishError> {
        places.extend(letters.iter_mut().map(|letter| letter.admitted.take()));
        let mut tenants: BTreeMap<i64, Vec<Seat<'_>>> = BTreeMap::new();
        for (place, letter) in places.iter_mut().zip(letters) {
            if let Some(wanted) = letter.wanted.take() {
                let seats = tenants.entry(wanted.tenant).or_default();
                seats.push((place, wanted));
            }
        }
        for (tenant, seats) in &tenants {
            let len = seats.len();
            // Else they would wait for each other.
            if let Some(max) = self.result_places(*tenant).filter(|max| len > *max) {
                return Err(PublishError::Invalid(Invalid::BatchTooLarge { len, max }));
            }
        }
        for (tenant, seats) in tenants {
            self.admit_together(tenant, seats, began, deadline).await?;
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
