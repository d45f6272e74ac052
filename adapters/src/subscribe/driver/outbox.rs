//! What a subscription wants published, on its way to the link.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Context;

use futures_core::future::BoxFuture;
use jetbus_core::Outbound;

use super::feed::Feed;
use crate::link::{Link, Refused};

pub(super) struct Outbox {
    link: Arc<dyn Link>,
    /// Acknowledgements and the like. Still good after a reconnect.
    acks: VecDeque<Outbound>,
    /// The link was busy; this ends when it is worth another try.
    ready: Option<BoxFuture<'static, ()>>,
}

impl Outbox {
    pub(super) fn new(link: Arc<dyn Link>) -> Self {
        Self {
            link,
            acks: VecDeque::new(),
            ready: None,
        }
    }

    pub(super) fn push(&mut self, ack: Outbound) {
        self.acks.push_back(ack);
    }

    /// Whether no acknowledgement waits.
    pub(super) fn is_empty(&self) -> bool {
        self.acks.is_empty()
    }

    /// Hands over what waits, that of the feeds after the acknowledgements. Nothing is
    /// given back while a feed is drained: its pulls would take it.
    pub(super) fn publish(&mut self, feeds: &mut [Feed], cx: &mut Context<'_>) -> bool {
        if let Some(ready) = &mut self.ready {
            if ready.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.ready = None;
        }
        let held = feeds.iter().any(Feed::is_draining);
        let acks = (!held).then_some(&mut self.acks);
        for queue in acks.into_iter().chain(feeds.iter_mut().map(Feed::pulls)) {
            while let Some(message) = queue.front() {
                match self.link.try_publish(message.as_publish()) {
                    Ok(()) => _ = queue.pop_front(),
                    Err(Refused::Busy) => {
                        let link = Arc::clone(&self.link);
                        self.ready = Some(Box::pin(async move { link.ready().await }));
                        // Polled, and so waited for, in the next round.
                        return true;
                    }
                    // Kept until the link is back, which is told.
                    Err(Refused::Disconnected) => return false,
                    // Nothing is sent any more: the server delivers again.
                    Err(_) => queue.clear(),
                }
            }
        }
        false
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("acks", &self.acks.len())
            .finish_non_exhaustive()
    }
}
