//! How a feed ends without losing what is on its way.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::jetstream::pull;
use jetbus_core::{Message, Outbound, Time};

use super::super::super::consumer;
use super::{Feed, Phase};

/// More words of the server than are ever on their way to one inbox: heartbeats, and
/// the ends of pulls.
const WORDS: usize = 64;

impl Feed {
    /// Asks for nothing more, and ends the inbox without losing what is on its way.
    /// Nothing is given back before it has ended: what pulls still owe would come here
    /// again. Returns what was held back, and when its lease began.
    pub(in super::super) fn stop(&mut self, now: Time) -> Vec<(Time, Meta, Message)> {
        self.pulling(now, pull::Input::Stop);
        match self.phase {
            Phase::Open => {
                self.phase = match self.end_inbox(now) {
                    Some(by) => Phase::Draining { by },
                    None => Phase::Over,
                };
            }
            Phase::Leaving { by } if self.inbox.is_some() => self.phase = Phase::Draining { by },
            Phase::Leaving { .. } | Phase::Recalling(_) => self.forget(),
            Phase::Draining { .. } | Phase::Forgetting(_) | Phase::Over => {}
        }
        let stream = self.stream.as_mut();
        stream.map_or_else(Vec::new, |stream| stream.held.take())
    }

    /// Ends the inbox after what is on its way. Says until when that is waited for;
    /// `None` when there is no way but to drop it.
    pub(in super::super) fn end_inbox(&mut self, now: Time) -> Option<Time> {
        self.pulls.clear();
        let (Some(inbox), Some(stream)) = (&mut self.inbox, &self.stream) else {
            self.inbox = None;
            return None;
        };
        // On their way are at most what is owed, and words of the server.
        let more = stream.pull.owed() + WORDS;
        if !u64::try_from(more).is_ok_and(|more| inbox.end_after(more)) {
            self.inbox = None;
            return None;
        }
        let end = Outbound::new(stream.pull.end(), Bytes::new());
        self.pulls.extend(std::iter::repeat_n(end, more));
        Some(now + self.bus.settings.request_timeout)
    }

    /// The inbox of a stopped feed has ended. When nothing is to be given back
    /// (`settled`), the server need not forget the pulls.
    pub(in super::super) fn drained(&mut self, settled: bool) {
        match self.phase {
            Phase::Draining { .. } if !settled => self.forget(),
            _ => self.phase = Phase::Over,
        }
    }

    /// No longer waits for what may still come.
    pub(in super::super) fn give_up(&mut self) {
        self.inbox = None;
        self.pulls.clear();
        self.phase = Phase::Over;
    }

    /// Asks the server something, after all that was sent before. Says whether there was
    /// an answer.
    pub(in super::super) fn round_trip(&self) -> BoxFuture<'static, bool> {
        let (bus, source) = (Arc::clone(&self.bus), Arc::clone(&self.source));
        Box::pin(async move { consumer::forget_pulls(&bus, &source).await })
    }

    /// Makes the server forget the pulls.
    fn forget(&mut self) {
        let (bus, source) = (Arc::clone(&self.bus), Arc::clone(&self.source));
        self.phase = Phase::Forgetting(Box::pin(async move {
            consumer::forget_pulls(&bus, &source).await;
        }));
    }

    pub(in super::super) fn forgetting(&mut self, cx: &mut Context<'_>) -> bool {
        let Phase::Forgetting(forgetting) = &mut self.phase else {
            return false;
        };
        if forgetting.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.phase = Phase::Over;
        true
    }
}
