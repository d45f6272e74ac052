//! The smallest link: whoever listens to a subject gets what is published there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_core::future::BoxFuture;
use jetbus::link::{Inbox, Link, LinkError, LinkEvent, Refused, ServerInfo};
use jetbus_core::{Message, Publish, Subject};

#[derive(Debug, Default)]
pub(super) struct Double(pub(super) Mutex<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) closed: bool,
    told: bool,
    boxes: Vec<(Subject, Arc<Mutex<Mailbox>>)>,
}

#[derive(Debug, Default)]
struct Mailbox {
    messages: VecDeque<Message>,
    reader: Option<Waker>,
    closed: bool,
}

impl Double {
    /// Subscriptions that somebody reads.
    pub(super) fn listeners(&self) -> usize {
        let inner = self.0.lock().unwrap();
        inner
            .boxes
            .iter()
            .filter(|(_, mailbox)| Arc::strong_count(mailbox) > 1)
            .count()
    }
}

impl Link for Double {
    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        let inner = self.0.lock().unwrap();
        if inner.closed {
            return Err(Refused::Closed);
        }
        for (pattern, mailbox) in &inner.boxes {
            if pattern == message.subject && Arc::strong_count(mailbox) > 1 {
                let mut mailbox = mailbox.lock().unwrap();
                mailbox.messages.push_back(Message {
                    subject: message.subject.clone(),
                    reply: message.reply.map(Subject::from),
                    headers: message.headers.clone(),
                    status: None,
                    payload: message.payload.clone(),
                });
                mailbox.reader.take().into_iter().for_each(Waker::wake);
            }
        }
        Ok(())
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn subscribe(
        &self,
        pattern: Subject,
        _: Option<Subject>,
    ) -> BoxFuture<'_, Result<Box<dyn Inbox>, LinkError>> {
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        self.0
            .lock()
            .unwrap()
            .boxes
            .push((pattern, Arc::clone(&mailbox)));
        Box::pin(async { Ok(Box::new(Reader(mailbox)) as _) })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn poll_event(&self, _: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let inner = &mut *self.0.lock().unwrap();
        match (std::mem::replace(&mut inner.told, true), inner.closed) {
            (false, _) => Poll::Ready(Some(LinkEvent::Connected(ServerInfo::default()))),
            (_, true) => Poll::Ready(None),
            (_, false) => Poll::Pending,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let inner = &mut *self.0.lock().unwrap();
        inner.closed = true;
        for (_, mailbox) in &inner.boxes {
            let mailbox = &mut *mailbox.lock().unwrap();
            mailbox.closed = true;
            mailbox.reader.take().into_iter().for_each(Waker::wake);
        }
        Box::pin(async {})
    }
}

#[derive(Debug)]
struct Reader(Arc<Mutex<Mailbox>>);

impl Inbox for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mailbox = &mut *self.0.lock().unwrap();
        match mailbox.messages.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None if mailbox.closed => Poll::Ready(None),
            None => {
                mailbox.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
