//! News: everything that changes or fails without a caller to tell.

mod pull;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::mpsc;
use futures_core::Stream;
use jetbus_core::dead_letter::Reason;
use jetbus_core::denied::Denied;
use tracing::{error, info, warn};

pub use self::pull::PullNews;
use crate::link::ServerInfo;

/// How many unread news a listener may have before it misses some.
const BACKLOG: usize = 1_024;

/// Something happened that no call returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum News {
    /// The link is connected, for the `generation`th time.
    Connected {
        /// Counts connections, from 1.
        generation: u64,
        /// What the server said of itself.
        server: ServerInfo,
    },
    /// The connection is lost; publishing waits, handling goes on with what is held.
    Disconnected,
    /// The server will shut down soon; the link moves on by itself.
    LameDuck,
    /// A subscription of core NATS was too slow: messages of an ephemeral topic
    /// were dropped.
    SlowConsumer,
    /// The server does not let this connection do something: its user may not. Whoever
    /// waits for that is told, too. Acknowledgements that are denied have nobody to tell:
    /// their events are delivered again.
    Denied {
        /// What, and where.
        denied: Denied,
    },
    /// The link has ended, and nobody has closed the bus: what the server said brought
    /// the client down. The bus does nothing more; close it and open another.
    LinkEnded,
    /// The server or the client complains.
    LinkError {
        /// In words.
        reason: Arc<str>,
    },
    /// A stream was created, changed or adopted, or differs from what is wanted.
    Stream {
        /// Its name.
        stream: Arc<str>,
        /// What was done or found.
        what: Arc<str>,
    },
    /// A consumer was created, changed, lost or made again.
    Consumer {
        /// The stream it reads.
        stream: Arc<str>,
        /// Its name.
        consumer: Arc<str>,
        /// What was done or found.
        what: Arc<str>,
    },
    /// A subscription does not get its events as it should, and looks after that.
    Pull {
        /// Its topic or pattern.
        topic: Arc<str>,
        /// What was found.
        what: PullNews,
    },
    /// A handler failed. Its key waits while the event runs again after a delay or is
    /// stored as a dead letter.
    HandlerFailed {
        /// The topic of the event.
        topic: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
        /// How often it was tried in this process.
        attempt: u32,
        /// The error, or the panic's message; cut to a bounded length.
        error: Arc<str>,
    },
    /// An event was given up: it is stored as a dead letter, and settled. Later events
    /// of its key go on.
    DeadLettered {
        /// The topic of the event.
        topic: Arc<str>,
        /// The group that gave it up.
        group: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
        /// Why.
        reason: Reason,
        /// The last error; cut to a bounded length.
        error: Arc<str>,
    },
    /// An event was given up and could not be stored as a dead letter. Its key waits;
    /// it is tried again after a delay that grows.
    DeadLetterFailed {
        /// The topic of the event.
        topic: Arc<str>,
        /// The group that gave it up.
        group: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
        /// Why it could not be stored.
        error: Arc<crate::PublishError>,
    },
    /// A handler blocks its thread for longer than its time and cannot be stopped. Told
    /// once for each attempt; when nothing else of the runtime runs, only afterwards.
    HandlerStuck {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
        /// The event's sequence in its stream; of a batch, its first event's.
        sequence: u64,
        /// For how long it has not yielded.
        running_for: Duration,
    },
    /// A handler of batches gave too many or too few outcomes: what is missing counts
    /// as failed, what is too many was ignored.
    WrongOutcomes {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
        /// The first event's sequence in its stream.
        sequence: u64,
        /// How many events the batch had.
        events: usize,
        /// How many outcomes there were.
        outcomes: usize,
    },
    /// An event was discarded: its handler said so, or it would be a dead letter and
    /// the subscription keeps none. It is not delivered to its group again.
    Discarded {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
        /// Why.
        reason: Arc<str>,
    },
    /// An event was delivered so often that its handler may be what brings the process
    /// down: it runs alone.
    Suspect {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
        /// How often it was delivered without another known cause.
        deliveries: u64,
    },
    /// A key holds its share of the subscription's places. What happens then is up to
    /// [`Subscribe::key_share`](crate::Subscribe::key_share).
    KeyBacklogged {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
        /// The sequence in its stream of the event that the others wait for.
        sequence: u64,
        /// How many events of the key are held.
        held: usize,
    },
    /// Another process reads for the same group: events of a key are in order within
    /// each process, and not between them. Told once for each subscription.
    SharedConsumer {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
    },
    /// The handle of an event was dropped unsettled, or the task that handled it; its
    /// message was given back.
    Unsettled {
        /// The topic of the event.
        topic: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
    },
    /// An event that was given back did not come again in time: another process may
    /// have it. Or there was no room to wait for it. Later events of its key go on.
    Overtaken {
        /// The topic or pattern of the subscription.
        topic: Arc<str>,
        /// The event's sequence in its stream.
        sequence: u64,
    },
    /// A publish failed, and nobody waits for its outcome or reads its result any more.
    PublishFailed {
        /// The topic.
        topic: Arc<str>,
        /// Why.
        error: Arc<crate::PublishError>,
    },
    /// This listener was too slow and missed news.
    Missed {
        /// How many.
        count: u64,
    },
}

impl News {
    /// The same, for those who listen by `tracing`.
    fn trace(&self) {
        match self {
            Self::Connected { .. }
            | Self::Stream { .. }
            | Self::Consumer { .. }
            | Self::SharedConsumer { .. } => info!(news = ?self),
            Self::Disconnected
            | Self::LameDuck
            | Self::SlowConsumer
            | Self::Denied { .. }
            | Self::LinkError { .. }
            | Self::Pull { .. }
            | Self::HandlerFailed { .. }
            | Self::DeadLettered { .. }
            | Self::HandlerStuck { .. }
            | Self::WrongOutcomes { .. }
            | Self::Discarded { .. }
            | Self::Suspect { .. }
            | Self::KeyBacklogged { .. }
            | Self::Unsettled { .. }
            | Self::Overtaken { .. } => warn!(news = ?self),
            Self::PublishFailed { .. } | Self::DeadLetterFailed { .. } | Self::LinkEnded => {
                error!(news = ?self);
            }
            // Told by the listener who missed them.
            Self::Missed { .. } => {}
        }
    }
}

/// A bounded stream of [`News`]; see [`Bus::news`](crate::Bus::news).
#[derive(Debug)]
pub struct NewsStream {
    receiver: mpsc::Receiver<News>,
    missed: Arc<AtomicU64>,
}

impl Stream for NewsStream {
    type Item = News;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<News>> {
        // Relaxed: a count of its own; the news themselves travel by channel.
        let count = self.missed.swap(0, Ordering::Relaxed);
        if count > 0 {
            return Poll::Ready(Some(News::Missed { count }));
        }
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

#[derive(Debug, Default)]
struct Listeners {
    all: Vec<(mpsc::Sender<News>, Arc<AtomicU64>)>,
    closed: bool,
}

/// Tells all listeners. Rare by nature, so a lock is simple enough.
#[derive(Debug, Default)]
pub(crate) struct Newsroom {
    listeners: Mutex<Listeners>,
}

impl Newsroom {
    pub(crate) fn listen(&self) -> NewsStream {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let missed = Arc::new(AtomicU64::new(0));
        let mut listeners = self.listeners();
        // Those that went before there was any news.
        listeners.all.retain(|(sender, _)| !sender.is_closed());
        if !listeners.closed {
            listeners.all.push((sender, Arc::clone(&missed)));
        }
        drop(listeners);
        NewsStream { receiver, missed }
    }

    pub(crate) fn tell(&self, news: &News) {
        news.trace();
        self.listeners()
            .all
            .retain_mut(|(sender, missed)| match sender.try_send(news.clone()) {
                Ok(()) => true,
                Err(error) if error.is_full() => {
                    missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(_) => false,
            });
    }

    /// Ends all streams after what they hold, and later ones at once.
    pub(crate) fn close(&self) {
        let mut listeners = self.listeners();
        listeners.closed = true;
        listeners.all.clear();
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_left_are_forgotten_without_any_news() {
        let room = Newsroom::default();
        let _stays = room.listen();
        for _ in 0..100 {
            drop(room.listen());
        }
        assert!(room.listeners().all.len() <= 2);
    }
}
