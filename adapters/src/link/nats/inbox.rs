//! Messages of one subscription.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use async_nats::Subscriber;
use atomic_waker::AtomicWaker;
use futures_core::Stream;
use jetbus_core::Message;

use crate::link::Inbox;
use crate::link::news::Level;

use super::convert::Texts;
use super::events::Shared;
use super::once;

/// The tasks that read inboxes: while it reconnects, the client would not tell
/// them that the link was closed.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Weak<AtomicWaker>>>);

impl Readers {
    fn add(&self) -> Arc<AtomicWaker> {
        let reader = Arc::new(AtomicWaker::new());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|reader| reader.strong_count() > 0);
        all.push(Arc::downgrade(&reader));
        reader
    }

    pub(super) fn wake(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in all.iter().filter_map(Weak::upgrade) {
            reader.wake();
        }
    }
}

#[derive(Debug)]
pub(super) struct NatsInbox {
    subscriber: Subscriber,
    texts: Texts,
    shared: Arc<Shared>,
    reader: Arc<AtomicWaker>,
    /// The connection that it was made on.
    connection: Option<u64>,
    /// Messages read so far.
    read: u64,
    /// Messages that the client had dropped before.
    dropped: u64,
}

impl NatsInbox {
    pub(super) fn new(subscriber: Subscriber, shared: Arc<Shared>) -> Self {
        Self {
            subscriber,
            texts: Texts::default(),
            reader: shared.readers.add(),
            connection: shared.news.connection(),
            read: 0,
            dropped: shared.dropped.load(Ordering::Relaxed),
            shared,
        }
    }
}

impl Inbox for NatsInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        match Pin::new(&mut self.subscriber).poll_next(cx) {
            Poll::Ready(message) => {
                self.read += u64::from(message.is_some());
                Poll::Ready(message.map(|m| self.texts.message(m)))
            }
            Poll::Pending => {
                // Registered before the look, so that the end is not missed.
                self.reader.register(cx.waker());
                match self.shared.news.level() {
                    Level::Closed => Poll::Ready(None),
                    Level::Down | Level::Up => Poll::Pending,
                }
            }
        }
    }

    fn end_after(&mut self, more: u64) -> bool {
        // While it reconnects, the client does not listen, and nothing is on its way.
        let now = self.shared.news.connection();
        let asked = if now.is_none() {
            return false;
        } else if now == self.connection {
            once(self.subscriber.unsubscribe_after(self.read + more))
        } else {
            // The server counts anew with each connection, the client does not.
            once(self.subscriber.drain())
        };
        asked == Poll::Ready(Ok(()))
    }

    /// The client tells by an event, which may come a moment late.
    fn dropped(&self) -> u64 {
        let all = self.shared.dropped.load(Ordering::Relaxed);
        all.saturating_sub(self.dropped)
    }
}
