//! The place of a result: reserved before a publish begins, settled when it ends.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jetbus_core::Time;
use jetbus_core::shared::results::{self, Channel, NotRegistered, Overflow, Reader, Refused};

use super::PublishResult;
use crate::bus::Inner;
use crate::error::PublishError;
use crate::news::{News, Newsroom};
use crate::publish::Outcome;
use crate::runtime::Runtime;

/// Who wants the results of whom. Dropped, it ends all streams.
#[derive(Debug)]
pub(crate) struct Registrar {
    registered: Arc<results::Results<Unread>>,
    undelivered: Arc<Undelivered>,
}

impl Registrar {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, news: Arc<Newsroom>) -> Self {
        Self {
            registered: Arc::new(results::Results::new()),
            undelivered: Arc::new(Undelivered {
                runtime,
                news,
                count: AtomicU64::new(0),
            }),
        }
    }

    pub(super) fn register(
        &self,
        tenant: i64,
        places: NonZeroU16,
        overflow: Overflow,
    ) -> Result<Reader<Unread>, NotRegistered> {
        results::Results::register(&self.registered, tenant, places, overflow)
    }

    /// What a result of `tenant` has to say, if somebody wants it.
    pub(crate) fn wanted(&self, tenant: i64, say: impl FnOnce() -> Wanted) -> Option<Box<Wanted>> {
        self.registered.of(tenant).map(|_| Box::new(say()))
    }

    /// The tenants whose results somebody reads, in order.
    pub(crate) fn tenants(&self) -> Vec<i64> {
        let mut tenants = self.registered.tenants();
        tenants.retain(|tenant| *tenant != 0);
        tenants
    }

    /// How many results nobody read.
    pub(crate) fn undelivered(&self) -> u64 {
        // Relaxed: a count of its own.
        self.undelivered.count.load(Ordering::Relaxed)
    }

    /// Reserves no place any more, and tells who waits for one.
    pub(crate) fn close(&self) {
        self.registered.close();
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a result says before there is one.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) event_id: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) event_type: Option<Arc<str>>,
    pub(crate) tenant: i64,
}

impl Inner {
    /// How many events of `tenant` may go together: each waits for the place of its
    /// result. `None` for as many as one likes.
    pub(crate) fn result_places(&self, tenant: i64) -> Option<usize> {
        self.results.registered.of(tenant)?.most()
    }

    /// Reserves the place of a result where somebody wants it, waiting for it in order
    /// until `deadline`.
    ///
    /// Before anything else is taken or asked for: whoever waits here holds up nobody
    /// but those whose results the same reader does not read.
    pub(crate) async fn admit(
        &self,
        wanted: Option<Box<Wanted>>,
        began: Time,
        deadline: Time,
    ) -> Result<Option<Box<Place>>, PublishError> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let registered = &self.results.registered;
        let mut closed = None;
        while let Some(channel) = registered.of(wanted.tenant) {
            if is_same(closed.as_ref(), &channel) {
                break;
            }
            match self.find_place(&channel, began, deadline).await? {
                Found::Place(place) => return Ok(Some(self.place_of(place, wanted))),
                Found::Counted => return Ok(None),
                Found::Closed => closed = Some(channel),
            }
        }
        self.without_reader().map(|()| None)
    }

    /// As [`admit`](Self::admit), for all the results of a batch that one reader reads,
    /// in turn with the other batches that want places there.
    pub(crate) async fn admit_together(
        &self,
        tenant: i64,
        mut seats: Vec<Seat<'_>>,
        began: Time,
        deadline: Time,
    ) -> Result<(), PublishError> {
        let registered = &self.results.registered;
        let mut closed = None;
        while let Some(channel) = registered.of(tenant) {
            if is_same(closed.as_ref(), &channel) {
                break;
            }
            let turn = self.until(deadline, channel.turn()).await;
            let turn = turn.ok_or_else(|| self.unread(began))?;
            loop {
                let Some((place, wanted)) = seats.pop() else {
                    return Ok(());
                };
                match self.find_place(&channel, began, deadline).await? {
                    Found::Place(found) => *place = Some(self.place_of(found, wanted)),
                    Found::Counted => {}
                    Found::Closed => {
                        seats.push((place, wanted));
                        break;
                    }
                }
            }
            drop(turn);
            closed = Some(channel);
        }
        self.without_reader()
    }

    /// A place in this channel, in order with all who want one there.
    async fn find_place(
        &self,
        channel: &Arc<Channel<Unread>>,
        began: Time,
        deadline: Time,
    ) -> Result<Found, PublishError> {
        Ok(match Channel::try_reserve(channel) {
            Ok(place) => Found::Place(place),
            Err(Refused::Counted) => Found::Counted,
            Err(Refused::Closed) => Found::Closed,
            Err(Refused::Full) => {
                let reserved = self.until(deadline, Channel::reserve(channel)).await;
                let reserved = reserved.ok_or_else(|| self.unread(began))?;
                reserved.map_or(Found::Closed, Found::Place)
            }
        })
    }

    fn place_of(&self, place: results::Place<Unread>, wanted: Box<Wanted>) -> Box<Place> {
        Box::new(Place {
            place: Some(place),
            wanted: Some(wanted),
            is_sent: false,
            undelivered: Arc::clone(&self.results.undelivered),
        })
    }

    fn unread(&self, began: Time) -> PublishError {
        PublishError::ResultsUnread {
            waited: self.runtime.now().since(began),
        }
    }

    /// Nobody is there to read a result, which is an error once the bus is closed.
    fn without_reader(&self) -> Result<(), PublishError> {
        match self.results.registered.is_closed() {
            true => Err(PublishError::Closed),
            false => Ok(()),
        }
    }
}

/// What a channel had for who wanted a place there.
enum Found {
    Place(results::Place<Unread>),
    /// All are taken, and it goes without.
    Counted,
    Closed,
}

/// Where the place of a result belongs, and what that result says.
pub(crate) type Seat<'a> = (&'a mut Option<Box<Place>>, Box<Wanted>);

/// Whether it is the one that was closed: its reader is just going, and no other has come.
fn is_same(closed: Option<&Arc<Channel<Unread>>>, channel: &Arc<Channel<Unread>>) -> bool {
    closed.is_some_and(|closed| Arc::ptr_eq(closed, channel))
}

/// The place of one publish's result. Exactly one comes of it, also when it is dropped.
pub(crate) struct Place {
    /// Gone, both, once it is settled.
    place: Option<results::Place<Unread>>,
    wanted: Option<Box<Wanted>>,
    /// Whether the link took the message.
    is_sent: bool,
    undelivered: Arc<Undelivered>,
}

impl Place {
    /// Whether the link took the message, for the case that nobody says more.
    pub(crate) const fn set_sent(&mut self, sent: bool) {
        self.is_sent = sent;
    }

    /// This is how it ended.
    pub(crate) fn settle(mut self, outcome: Result<Outcome, PublishError>) {
        self.end(outcome);
    }

    /// Nothing was admitted after all: no result comes of it.
    pub(crate) fn give_up(mut self) {
        self.wanted = None;
        drop(self.place.take());
    }

    fn end(&mut self, outcome: Result<Outcome, PublishError>) {
        let (Some(place), Some(wanted)) = (self.place.take(), self.wanted.take()) else {
            return;
        };
        let wanted = *wanted;
        let result = PublishResult {
            event_id: wanted.event_id,
            topic: wanted.topic,
            key: wanted.key,
            event_type: wanted.event_type,
            tenant: wanted.tenant,
            outcome,
            time: self.undelivered.runtime.wall(),
        };
        place.settle(Unread {
            result: Some(result),
            undelivered: Arc::clone(&self.undelivered),
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.end(Err(match self.is_sent {
                // The bus went away without a close.
                true => PublishError::Unknown {
                    waited: Duration::ZERO,
                },
                false => PublishError::Recalled,
            }));
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Where results go that nobody reads.
pub(super) struct Undelivered {
    runtime: Arc<dyn Runtime>,
    news: Arc<Newsroom>,
    count: AtomicU64,
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A result on its way to its reader. Dropped unread, wherever that is, it is counted,
/// and a failure becomes news.
pub(super) struct Unread {
    /// Gone once it is read.
    result: Option<PublishResult>,
    undelivered: Arc<Undelivered>,
}

impl Unread {
    pub(super) fn read(mut self) -> Option<PublishResult> {
        self.result.take()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(result) = self.result.take() else {
            return;
        };
        self.undelivered.count.fetch_add(1, Ordering::Relaxed);
        match result.outcome {
            // Whoever left knows.
            Ok(_) | Err(PublishError::Recalled) => {}
            Err(error) => self.undelivered.news.tell(&News::PublishFailed {
                topic: result.topic,
                error: Arc::new(error),
            }),
        }
    }
}
