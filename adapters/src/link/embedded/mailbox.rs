//! Messages on their way from the broker to one subscription's reader.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use crossbeam_queue::SegQueue;
use jetbus_core::{Message, Subject};

use super::hub::{Conn, Hub, Leave};
use crate::link::news::Level;
use crate::link::{Inbox, LinkEvent};

/// Messages that wait for a reader; later ones are dropped, as for a slow consumer
/// of a server.
const CAPACITY: usize = 65_536;

/// A queue with one writer at a time (whoever works for the hub) and one reader.
pub(super) struct Mailbox {
    pub(super) conn: Arc<Conn>,
    pub(super) sid: u64,
    pub(super) pattern: Subject,
    pub(super) group: Option<Subject>,
    queue: SegQueue<Message>,
    /// Never less than what the queue holds: raised before a push, lowered after a
    /// pop. It bounds; nothing is read on its account.
    len: AtomicUsize,
    /// Messages for which there was no room.
    dropped: AtomicU64,
    /// Nothing is put there any more.
    ended: AtomicBool,
    pub(super) reader: AtomicWaker,
}

impl Mailbox {
    pub(super) const fn new(
        conn: Arc<Conn>,
        sid: u64,
        pattern: Subject,
        group: Option<Subject>,
    ) -> Self {
        Self {
            conn,
            sid,
            pattern,
            group,
            queue: SegQueue::new(),
            len: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// Adds a message; the reader is woken later, once for many.
    pub(super) fn put(&self, message: Message) {
        if self.len.fetch_add(1, Ordering::Relaxed) >= CAPACITY {
            self.len.fetch_sub(1, Ordering::Relaxed);
            // Seen by whoever takes what is pushed later: the queue orders them.
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.conn.news.note(LinkEvent::SlowConsumer);
            return;
        }
        self.queue.push(message);
    }

    /// To be called after the last [`put`](Self::put), and before waking the reader.
    pub(super) fn end(&self) {
        // Pairs with the load in `is_over`: who sees the end sees what was put.
        self.ended.swap(true, Ordering::AcqRel);
    }

    fn is_over(&self) -> bool {
        // Pairs with `end`.
        self.ended.load(Ordering::Acquire) || self.conn.news.level() == Level::Closed
    }

    fn take(&self) -> Option<Message> {
        let message = self.queue.pop()?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }
}

pub(super) struct EmbeddedInbox {
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
}

impl EmbeddedInbox {
    pub(super) const fn new(hub: Arc<Hub>, mailbox: Arc<Mailbox>) -> Self {
        Self { hub, mailbox }
    }
}

impl Inbox for EmbeddedInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.mailbox.take() {
            return Poll::Ready(Some(message));
        }
        self.mailbox.reader.register(cx.waker());
        // Looked at before the queue: what was put there before the end is read.
        let over = self.mailbox.is_over();
        match self.mailbox.take() {
            Some(message) => Poll::Ready(Some(message)),
            None if over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn end_after(&mut self, _: u64) -> bool {
        // What was put here stays here.
        self.hub.leave(Leave::Mailbox(Arc::clone(&self.mailbox)));
        true
    }

    fn dropped(&self) -> u64 {
        self.mailbox.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for EmbeddedInbox {
    fn drop(&mut self) {
        self.hub.leave(Leave::Mailbox(Arc::clone(&self.mailbox)));
    }
}

impl fmt::Debug for EmbeddedInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedInbox")
            .field("waiting", &self.mailbox.len)
            .finish_non_exhaustive()
    }
}
