//! Dead letters: what a group has given up, to be looked at and tried again.

mod bury;
mod error;
mod options;
mod place;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

use jetbus_core::dead_letter::{DeadLetter, Filter, Pace};
use jetbus_core::jetstream::admin;
use jetbus_core::jetstream::api::{ConsumerInfo, Purged};
use jetbus_core::names::durable;

pub(crate) use self::bury::{Burials, Kept};
pub use self::error::DeadLetterError;
pub use self::options::DeadLetterOptions;
pub(crate) use self::place::Place;
use self::walk::{Desk, Walk};
use crate::bus::Bus;
use crate::error::OptionError;

/// Most dead letters of a page.
const PAGE: usize = 1_000;

/// A page ends with the letter that brings its payloads to so many bytes.
const PAGE_BYTES: usize = 8 << 20;

/// The dead letters of all groups: see [`Bus::dead_letters`].
///
/// An event that a group gives up (its attempts ran out, it cannot be decoded, its
/// handler says so, ...) is stored as a dead letter, with its payload and headers,
/// where it comes from and why, before it is settled in its own stream. It stays until
/// it is redriven or removed.
///
/// Redriven, it is handled again by the subscription that gave it up, after the events
/// of its key that are in hand, also if that subscription is not running at the moment.
/// Given up again, it is a dead letter again.
#[derive(Clone)]
pub struct DeadLetters {
    bus: Bus,
}

/// Some dead letters, in the order in which they were given up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeadLetterPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// Sequences of messages among them that are no dead letters: somebody else stored
    /// them. They can be removed.
    pub unreadable: Vec<u64>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<u64>,
}

/// What [`DeadLetters::redrive_all`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redriven {
    /// Dead letters that were redriven.
    pub redriven: u64,
    /// Dead letters that stay because they cannot be redriven: cut, of a subject that
    /// is too long, or messages that are no dead letters.
    pub not_redrivable: u64,
    /// Dead letters that stay because no subscription would handle them.
    pub without_subscription: u64,
}

impl DeadLetters {
    pub(crate) const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    fn desk(&self) -> Result<Desk, DeadLetterError> {
        Desk::open(self.bus.inner())
    }

    /// How many dead letters are meant. Unless all are, each one that the filter's
    /// group and topic cover is asked for: a round trip each.
    ///
    /// # Errors
    /// When the filter cannot be used, or the server refuses or does not answer.
    pub async fn count(&self, filter: &Filter) -> Result<u64, DeadLetterError> {
        let desk = self.desk()?;
        if filter.is_all() {
            let info = desk.info().await?;
            return Ok(info.map_or(0, |info| info.state.messages));
        }
        let mut walk = Walk::start(&desk, filter, 1).await?;
        let mut count = 0;
        while let Some(message) = walk.next().await? {
            let meant = DeadLetter::read(&message).is_ok_and(|letter| filter.matches(&letter));
            count += u64::from(meant);
        }
        Ok(count)
    }

    /// A page of those that are meant, from the sequence `from` on (0: from the first),
    /// of at most `limit` letters, 1 to 1 000. A page of large letters ends earlier.
    /// The next page begins at [`DeadLetterPage::next`].
    ///
    /// # Errors
    /// When an argument cannot be used, or the server refuses or does not answer.
    pub async fn list(
        &self,
        filter: &Filter,
        from: u64,
        limit: usize,
    ) -> Result<DeadLetterPage, DeadLetterError> {
        if !(1..=PAGE).contains(&limit) {
            return Err(DeadLetterError::Option(OptionError {
                option: "limit",
                value: limit.to_string(),
                rule: "a page has 1 to 1000 letters",
            }));
        }
        let desk = self.desk()?;
        let mut walk = Walk::start(&desk, filter, from).await?;
        let mut page = DeadLetterPage::default();
        let mut bytes = 0_usize;
        while let Some(message) = walk.next().await? {
            let full = page.letters.len() + page.unreadable.len() >= limit;
            if full || bytes >= PAGE_BYTES {
                page.next = Some(message.seq);
                break;
            }
            match DeadLetter::read(&message) {
                Ok(letter) if filter.matches(&letter) => {
                    bytes = bytes.saturating_add(letter.payload.len());
                    page.letters.push(letter);
                }
                Ok(_) => {}
                Err(_) => page.unreadable.push(message.seq),
            }
        }
        Ok(page)
    }

    /// The dead letter of this sequence.
    ///
    /// # Errors
    /// When there is none, or the server refuses or does not answer.
    pub async fn get(&self, sequence: u64) -> Result<DeadLetter, DeadLetterError> {
        let message = self.desk()?.message(sequence).await?;
        DeadLetter::read(&message).map_err(|error| DeadLetterError::Unreadable { sequence, error })
    }

    /// Hands an event back to the subscription that gave it up: it is stored to be
    /// handled again, then its dead letter is removed. When the process dies between
    /// the two, the letter is still there; redriven again within the dedupe window of
    /// two minutes it is not stored again, later it is handled twice.
    ///
    /// # Errors
    /// When there is no such letter, it cannot be redriven, nobody would handle it, or
    /// the server refuses or does not answer. The letter stays, unless the error says
    /// otherwise.
    pub async fn redrive(&self, sequence: u64) -> Result<(), DeadLetterError> {
        let letter = self.get(sequence).await?;
        let mut known = BTreeSet::new();
        redrive(&self.desk()?, &letter, &mut known).await
    }

    /// Redrives all that are meant and were there at the beginning, in their order, at
    /// most `per_second` a second, 1 to 100 000. What is given up again meanwhile is
    /// not redriven twice.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive), for what is wrong with the server: those that
    /// cannot be redriven are counted and stay. What was redriven before the error is
    /// redriven: the same call goes on after it.
    ///
    /// # Cancel safety
    /// Dropped, it ends; a letter whose redriving was under way may be redriven and
    /// still there, as when the process dies.
    pub async fn redrive_all(
        &self,
        filter: &Filter,
        per_second: u32,
    ) -> Result<Redriven, DeadLetterError> {
        let rate = NonZeroU32::new(per_second).filter(|rate| rate.get() <= 100_000);
        let rate = rate.ok_or_else(|| {
            DeadLetterError::Option(OptionError {
                option: "per_second",
                value: per_second.to_string(),
                rule: "it is 1 to 100000 events a second",
            })
        })?;
        let desk = self.desk()?;
        let runtime = &desk.bus.runtime;
        let mut pace = Pace::new(rate);
        let mut known = BTreeSet::new();
        let mut report = Redriven::default();
        let mut walk = Walk::start(&desk, filter, 1).await?;
        while let Some(message) = walk.next().await? {
            let Ok(letter) = DeadLetter::read(&message) else {
                report.not_redrivable += u64::from(filter.is_pattern());
                continue;
            };
            if !filter.matches(&letter) {
                continue;
            }
            let now = runtime.now();
            let at = pace.next(now);
            if at > now {
                runtime.sleep_until(at).await;
            }
            match redrive(&desk, &letter, &mut known).await {
                Ok(()) => report.redriven += 1,
                Err(DeadLetterError::NotRedrivable { .. }) => report.not_redrivable += 1,
                Err(DeadLetterError::NoSubscription { .. }) => report.without_subscription += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Removes the dead letter of this sequence; the event is gone.
    ///
    /// # Errors
    /// When there is none, or the server refuses or does not answer.
    pub async fn remove(&self, sequence: u64) -> Result<(), DeadLetterError> {
        let removed = sequence > 0 && self.desk()?.delete(sequence).await?;
        removed
            .then_some(())
            .ok_or(DeadLetterError::NotFound { sequence })
    }

    /// Removes all that are meant and were there at the beginning; the events are
    /// gone. Returns how many.
    ///
    /// # Errors
    /// When the filter cannot be used, or the server refuses or does not answer: some
    /// may be removed by then.
    pub async fn purge(&self, filter: &Filter) -> Result<u64, DeadLetterError> {
        let desk = self.desk()?;
        if filter.is_pattern() {
            let names = &desk.place.names;
            let pattern = filter.pattern(names).map_err(DeadLetterError::Filter)?;
            let request = admin::purge_stream(&desk.bus.api, &desk.stream, Some(&pattern));
            let purged = desk.asked::<Purged>(&request).await?;
            return Ok(purged.map_or(0, |purged| purged.purged));
        }
        let mut walk = Walk::start(&desk, filter, 1).await?;
        let mut removed = 0;
        while let Some(message) = walk.next().await? {
            if DeadLetter::read(&message).is_ok_and(|letter| filter.matches(&letter)) {
                removed += u64::from(desk.delete(message.seq).await?);
            }
        }
        Ok(removed)
    }
}

/// Redrives one letter. `known` are subscriptions that are there.
async fn redrive(
    desk: &Desk,
    letter: &DeadLetter,
    known: &mut BTreeSet<String>,
) -> Result<(), DeadLetterError> {
    let (bus, sequence) = (&desk.bus, letter.sequence);
    let _open = bus.life.enter().map_err(|_| DeadLetterError::Closed)?;
    let message = letter
        .redrive(&desk.place.names)
        .map_err(|error| DeadLetterError::NotRedrivable { sequence, error })?;
    let origin = &letter.origin;
    let consumer = durable(&origin.group, &origin.subscription, None);
    // Both were checked when the letter was read.
    let consumer = consumer.map_err(DeadLetterError::Filter)?;
    if !known.contains(&consumer) {
        let request = admin::consumer_info(&bus.api, &desk.redrives, &consumer);
        if desk.asked::<ConsumerInfo>(&request).await?.is_none() {
            return Err(DeadLetterError::NoSubscription {
                sequence,
                group: origin.group.clone(),
                topic: origin.subscription.clone(),
            });
        }
        known.insert(consumer);
    }
    let began = bus.runtime.now();
    let deadline = began + bus.settings.publish_timeout;
    bus.store(&desk.place.redrive, message, began, deadline)
        .await
        .map_err(DeadLetterError::Publish)?;
    match desk.delete(sequence).await {
        // Also when somebody else has just removed it.
        Ok(_) => Ok(()),
        Err(error) => Err(DeadLetterError::NotRemoved {
            sequence,
            error: Box::new(error),
        }),
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}
