//! Events that wait a moment for others, to go together.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use futures_core::Stream;
use jetbus_core::jetstream::batch::MOST;
use jetbus_core::shared::budget::{Budget, Refused as NoRoom};
use serde::Serialize;

use super::batch::{BatchPath, Results};
use super::departure::Letter;
use super::outcome::{Failed, Outcome, Receipt};
use super::topic::Topic;
use super::window::Load;
use crate::error::{OptionError, PublishError};
use crate::event::{Event, Raw};

/// The longest time that an event waits for others.
const LONGEST: Duration = Duration::from_secs(60);

/// How long events wait for others, and how many go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// So many events go at once, 1 to 1 000.
    pub size: usize,
    /// Fewer go when the first of them has waited so long, at most a minute; or half of
    /// the bus's [publish timeout](crate::Builder::publish_timeout), which counts from
    /// when an event was taken.
    pub linger: Duration,
    /// Which way they go. With [`BatchPath::Atomic`] all that happen to go together
    /// share their fate.
    pub path: BatchPath,
}

impl Default for Batching {
    /// 100 events or 5 ms, along [`BatchPath::Auto`].
    fn default() -> Self {
        Self {
            size: 100,
            linger: Duration::from_millis(5),
            path: BatchPath::Auto,
        }
    }
}

/// Publishes events of a topic together with those that come a moment later. Clones
/// are the same one; when the last is dropped, what waits goes at once.
///
/// One batch is on its way at a time, and as many events again wait for the next. When
/// the bus is closed, those that wait fail with [`PublishError::Closed`] at once:
/// [`flush`](Self::flush) before. Those whose time is over before their turn comes fail
/// with [`PublishError::NotSent`].
#[derive(Clone)]
pub struct BatchPublisher {
    topic: Topic,
    /// Events that were not told how they ended.
    held: Arc<Budget>,
    /// One flush is under way at a time, the others wait in line.
    flushes: Arc<Budget>,
    items: mpsc::UnboundedSender<Item>,
}

/// What the task of a publisher is told. Both are bounded by their budgets.
enum Item {
    Event(Box<Waiting>),
    /// What came before goes at once; then this is told.
    Flush(Flush),
}

/// Somebody waits until all has an outcome, or has gone away meanwhile.
struct Flush {
    done: oneshot::Sender<()>,
    load: Load,
}

/// An event that waits for others.
struct Waiting {
    letter: Letter,
    waiter: Waiter,
}

/// Whom to tell how an event ended.
struct Waiter {
    done: oneshot::Sender<Result<Outcome, Failed>>,
    load: Load,
    /// Whether a result tells it too.
    has_result: bool,
}

impl Topic {
    /// A publisher that gathers events and publishes them together.
    ///
    /// # Errors
    /// When an option is outside of its bounds.
    pub fn batching(&self, options: Batching) -> Result<BatchPublisher, OptionError> {
        let refuse = |option, value: &dyn fmt::Debug, rule| {
            let value = format!("{value:?}");
            Err(OptionError {
                option,
                value,
                rule,
            })
        };
        if !(1..=MOST).contains(&options.size) {
            return refuse("size", &options.size, "it is 1 to 1000 events");
        }
        if options.linger > LONGEST {
            return refuse("linger", &options.linger, "it is at most a minute");
        }
        let (items, told) = mpsc::unbounded();
        let publisher = BatchPublisher {
            topic: self.clone(),
            held: Arc::new(Budget::new(options.size as u64 * 2)),
            flushes: Arc::new(Budget::new(1)),
            items,
        };
        let runtime = &self.bus.inner().runtime;
        runtime.spawn(Box::pin(run(self.clone(), options, told)));
        Ok(publisher)
    }
}

impl BatchPublisher {
    /// Takes an event to go with the next batch; the receipt, awaited later, gives the
    /// outcome. Waits, up to the bus's publish timeout, while too many have no outcome.
    ///
    /// # Errors
    /// As [`Topic::publish`], for what is known by then.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing is sent.
    pub async fn send<T: Serialize>(&self, event: &Event<'_, T>) -> Result<Receipt, PublishError> {
        self.take(self.topic.letter(event)).await
    }

    /// As [`send`](Self::send), of bytes and headers without an envelope.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn send_raw(&self, message: Raw) -> Result<Receipt, PublishError> {
        self.take(self.topic.letter_of(message)).await
    }

    /// Publishes what waits now, and waits until all that was sent before has an
    /// outcome.
    pub async fn flush(&self) {
        if self.flushes.take(1).await.is_err() {
            // Not reached: nobody closes it.
            return;
        }
        let load = Load::new(&self.flushes, 1);
        let (done, flushed) = oneshot::channel();
        let flush = Flush { done, load };
        if self.items.unbounded_send(Item::Flush(flush)).is_ok() {
            // An error would mean that the runtime is gone, and the publisher with it.
            let _ = flushed.await;
        }
    }

    async fn take(&self, letter: Result<Letter, PublishError>) -> Result<Receipt, PublishError> {
        let receipt = match letter {
            Ok(letter) => self.admit(letter).await,
            Err(error) => Err(error),
        };
        if receipt.is_err() {
            self.topic.bus.inner().outcomes.count_rejected();
        }
        receipt
    }

    async fn admit(&self, mut letter: Letter) -> Result<Receipt, PublishError> {
        let bus = self.topic.bus.inner();
        let _open = bus.publishing.enter().map_err(|_| PublishError::Closed)?;
        bus.check_sendable(letter.len())?;
        let began = bus.runtime.now();
        letter.began = Some(began);
        let deadline = began + bus.settings.publish_timeout;
        match self.held.try_take(1) {
            Ok(()) => {}
            Err(NoRoom::Closed) => return Err(PublishError::Closed),
            Err(NoRoom::Full) => bus
                .until(deadline, self.held.take(1))
                .await
                .ok_or_else(|| PublishError::NotSent {
                    waited: bus.runtime.now().since(began),
                })?
                .map_err(|_| PublishError::Closed)?,
        }
        let load = Load::new(&self.held, 1);
        letter.admitted = letter.admit(bus, began, deadline).await?;
        let (done, outcome) = oneshot::channel();
        let waiter = Waiter {
            done,
            load,
            has_result: letter.admitted.is_some(),
        };
        let waiting = Waiting { letter, waiter };
        match self.items.unbounded_send(Item::Event(Box::new(waiting))) {
            Ok(()) => Ok(Receipt::pending(outcome)),
            Err(unsent) => {
                if let Item::Event(event) = unsent.into_inner() {
                    event.letter.refuse(&PublishError::Closed);
                }
                Err(PublishError::Closed)
            }
        }
    }
}

/// Gathers and publishes until all handles are gone.
async fn run(topic: Topic, options: Batching, mut items: mpsc::UnboundedReceiver<Item>) {
    let bus = topic.bus.inner();
    while let Some(first) = poll_fn(|cx| Pin::new(&mut items).poll_next(cx)).await {
        // Closing waits until they are told. Once it has begun, they are refused.
        let _open = bus.publishing.enter();
        let mut closes = pin!(bus.publishing.closes());
        let mut until = bus.runtime.now() + options.linger;
        let (mut letters, mut waiting, mut flushed) = (Vec::new(), Vec::new(), None);
        let mut item = Some(first);
        loop {
            match item {
                Some(Item::Event(event)) => {
                    let Waiting { letter, waiter } = *event;
                    if let Some(began) = letter.began {
                        // What lingers still has time to go.
                        until = until.min(began + bus.settings.publish_timeout / 2);
                    }
                    letters.push(letter);
                    waiting.push(waiter);
                }
                Some(Item::Flush(flush)) => {
                    flushed = Some(flush);
                    break;
                }
                None => break,
            }
            if letters.len() >= options.size {
                break;
            }
            let next = poll_fn(|cx| match Pin::new(&mut items).poll_next(cx) {
                Poll::Pending => closes.as_mut().poll(cx).map(|()| None),
                next => next,
            });
            item = bus.until(until, next).await.flatten();
        }
        let results = depart(&topic, options.path, letters).await;
        for (waiter, result) in waiting.into_iter().zip(results) {
            // Whoever is told finds room.
            drop(waiter.load);
            let failed = |error| {
                let topic = topic.subject.clone();
                Failed::new(bus, topic, error, waiter.has_result)
            };
            // Nobody waits: a failure tells the news when it is dropped here.
            drop(waiter.done.send(result.map_err(failed)));
        }
        if let Some(Flush { done, load }) = flushed {
            // The next may begin. Whoever asked may be gone.
            drop(load);
            let _ = done.send(());
        }
    }
}

/// Publishes what has gathered, together where that leaves each most of its time: those
/// that go together have the deadline of the oldest.
async fn depart(topic: &Topic, path: BatchPath, letters: Vec<Letter>) -> Results {
    let bus = topic.bus.inner();
    let mut results = Vec::with_capacity(letters.len());
    let mut letters = letters.into_iter().peekable();
    while let Some(first) = letters.next() {
        let began = match bus.times(first.began) {
            Ok((began, _)) => began,
            Err(late) => {
                bus.outcomes.count_rejected();
                first.refuse(&late);
                results.push(Err(late));
                continue;
            }
        };
        let youngest = began + bus.settings.publish_timeout / 4;
        let mut together = vec![Ok(first)];
        while let Some(letter) = letters.next_if(|l| l.began.is_none_or(|b| b <= youngest)) {
            together.push(Ok(letter));
        }
        results.extend(topic.publish_letters(path, together).await);
    }
    results
}

impl fmt::Debug for BatchPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchPublisher")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
