//! A link that sees what passes, and can be told to take nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use jetbus::link::{Inbox, Link, LinkError, LinkEvent, Refused, ServerInfo};
use jetbus_core::{Publish, Subject};

/// The boxed future of the link's trait.
type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Wraps another link.
#[derive(Debug)]
pub struct Spy {
    inner: Arc<dyn Link>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Subjects of what was taken, in order.
    taken: Vec<String>,
    /// What nothing is taken with.
    refusal: Option<Refused>,
    refused: usize,
    /// What is done to messages with this text in their subject or payload.
    trick: Option<(Trick, String)>,
    waiting: Vec<Waker>,
    /// What is told in place of the inner link's events, and to whom.
    telling: VecDeque<LinkEvent>,
    listener: Option<Waker>,
    /// The last server that the inner link told of.
    server: ServerInfo,
}

/// What may be done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// It is taken and never sent.
    Swallow,
    /// It is sent, and its answer is not asked for.
    Mute,
    /// It is sent where nobody listens.
    Misdirect,
}

impl Spy {
    /// Sees what `inner` takes.
    #[must_use]
    pub fn on(inner: Arc<dyn Link>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            state: Mutex::default(),
        })
    }

    /// How many messages were taken whose subject starts with `prefix`.
    #[must_use]
    pub fn taken(&self, prefix: &str) -> usize {
        let state = self.state();
        let taken = state.taken.iter();
        taken.filter(|subject| subject.starts_with(prefix)).count()
    }

    /// Takes nothing from now on, for this reason; or everything, for none.
    pub fn refuse(&self, refusal: Option<Refused>) {
        let mut state = self.state();
        state.refusal = refusal;
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// Does this to messages with `text` in their subject or payload from now on.
    pub fn trick(&self, trick: Trick, text: &str) {
        self.state().trick = Some((trick, text.into()));
    }

    /// Says that the server has this version, when it connects the next time.
    pub fn pretend(&self, version: (u32, u32, u32)) {
        self.state().server.version = version;
    }

    /// Passes everything on from now on.
    pub fn be_honest(&self) {
        self.state().trick = None;
    }

    /// Says that the connection is lost, and takes nothing.
    pub fn disconnect(&self) {
        self.refuse(Some(Refused::Disconnected));
        self.tell(LinkEvent::Disconnected);
    }

    /// Says that there is a connection, and takes everything.
    pub fn connect(&self) {
        self.refuse(None);
        let server = self.state().server.clone();
        self.tell(LinkEvent::Connected(server));
    }

    fn tell(&self, event: LinkEvent) {
        let mut state = self.state();
        state.telling.push_back(event);
        if let Some(listener) = state.listener.take() {
            listener.wake();
        }
    }

    /// How many messages were not taken because of [`refuse`](Self::refuse).
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Spy {
    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        let mut state = self.state();
        if let Some(refusal) = state.refusal {
            state.refused += 1;
            return Err(refusal);
        }
        let trick = state.trick.as_ref().and_then(|(trick, text)| {
            let within = |bytes: &[u8]| bytes.windows(text.len()).any(|w| w == text.as_bytes());
            let meant = within(message.subject.as_bytes()) || within(message.payload);
            meant.then_some(*trick)
        });
        let nowhere = Subject::from("nobody.is.here");
        match trick {
            None => self.inner.try_publish(message)?,
            Some(Trick::Swallow) => {}
            Some(Trick::Mute) => self.inner.try_publish(Publish {
                reply: None,
                ..message
            })?,
            Some(Trick::Misdirect) => self.inner.try_publish(Publish {
                subject: &nowhere,
                ..message
            })?,
        }
        state.taken.push(message.subject.to_string());
        Ok(())
    }

    fn ready(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            std::future::poll_fn(|cx| {
                let mut state = self.state();
                if state.refusal.is_none() {
                    return Poll::Ready(());
                }
                state.waiting.push(cx.waker().clone());
                Poll::Pending
            })
            .await;
            self.inner.ready().await;
        })
    }

    fn subscribe(
        &self,
        pattern: Subject,
        group: Option<Subject>,
    ) -> Boxed<'_, Result<Box<dyn Inbox>, LinkError>> {
        self.inner.subscribe(pattern, group)
    }

    fn flush(&self) -> Boxed<'_, Result<(), LinkError>> {
        self.inner.flush()
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        if let Some(event) = self.state().telling.pop_front() {
            return Poll::Ready(Some(event));
        }
        let event = self.inner.poll_event(cx);
        let mut state = self.state();
        match &event {
            Poll::Ready(Some(LinkEvent::Connected(server))) => state.server = server.clone(),
            Poll::Pending => state.listener = Some(cx.waker().clone()),
            Poll::Ready(_) => {}
        }
        event
    }

    fn close(&self) -> Boxed<'_, ()> {
        self.inner.close()
    }
}
