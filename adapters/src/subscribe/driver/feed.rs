//! One source of a subscription: its inbox, the pulls that fill it, and what becomes
//! of both when the consumer is lost or the subscription ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::jetstream::pull::{self, Pull, PullEvent, Received};
use jetbus_core::{Message, Outbound, Subject, Time};

use super::super::consumer::{self, Source};
use super::super::lanes::Lanes;
use crate::bus::Inner;
use crate::error::{StreamError, SubscribeError};
use crate::link::Inbox;

/// More words of the server than are ever on their way to one inbox: heartbeats, and
/// the ends of pulls.
const WORDS: usize = 64;

pub(super) struct Feed {
    bus: Arc<Inner>,
    source: Arc<Source>,
    /// Of consumers; core NATS pushes by itself.
    pull: Option<Pull>,
    /// Until the subscription stops and all that was on its way has come.
    inbox: Option<Box<dyn Inbox>>,
    /// Nothing more was asked for; what is on its way still comes, and the server
    /// still knows of the pulls.
    draining: bool,
    /// When what has not come by then is not waited for any more: a link that
    /// dropped messages never counts to the end.
    drain_by: Time,
    /// The server being made to forget the pulls.
    forgetting: Option<BoxFuture<'static, ()>>,
    /// The consumer being looked at or made again.
    repair: Option<BoxFuture<'static, Result<(), Arc<StreamError>>>>,
    /// Pulls on their way to the link. Good for one connection only.
    pulls: VecDeque<Outbound>,
    /// Numbers messages of core NATS, which have no sequence.
    received: u64,
}

impl Feed {
    /// Reads `source`, with room for `window` messages.
    pub(super) async fn open(
        bus: &Arc<Inner>,
        source: Source,
        window: usize,
    ) -> Result<Self, SubscribeError> {
        let inbox_name = bus.inbox();
        let (pattern, group, pull) = match &source {
            Source::Core { pattern, group } => (pattern.clone(), group.clone(), None),
            Source::Stream { request, .. } => {
                let config = pull::Config {
                    request: request.clone(),
                    inbox: inbox_name.as_str().into(),
                    expires: consumer::EXPIRES,
                    heartbeat: consumer::HEARTBEAT,
                    max_batch: window,
                };
                let pattern = Subject::from(format!("{inbox_name}.*"));
                (pattern, None, Some(Pull::new(config, bus.random())))
            }
        };
        let inbox = bus
            .link
            .subscribe(pattern, group)
            .await
            .map_err(SubscribeError::Link)?;
        Ok(Self {
            bus: Arc::clone(bus),
            source: Arc::new(source),
            pull,
            inbox: Some(inbox),
            draining: false,
            drain_by: Time::NEVER,
            forgetting: None,
            repair: None,
            pulls: VecDeque::new(),
            received: 0,
        })
    }

    /// Whether its messages are acknowledged; those of core NATS are not.
    pub(super) const fn acknowledged(&self) -> bool {
        self.pull.is_some()
    }

    /// Whether messages that nobody asked for any more are still on their way.
    pub(super) const fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) const fn pulls(&mut self) -> &mut VecDeque<Outbound> {
        &mut self.pulls
    }

    pub(super) fn connected(&mut self, now: Time) {
        self.pulling(now, pull::Input::Connected);
    }

    pub(super) fn disconnected(&mut self, now: Time, stopping: bool) {
        self.pulling(now, pull::Input::Disconnected);
        self.pulls.clear();
        if stopping {
            // Nothing is on its way any more.
            self.inbox = None;
            self.draining = false;
            self.forgetting = None;
        }
    }

    fn pulling(&mut self, now: Time, input: pull::Input) {
        if let Some(pull) = &mut self.pull {
            pull.handle(now, input);
        }
    }

    /// Asks for nothing more, and ends the inbox without losing what is on its way.
    /// Nothing is given back before it has ended: what pulls still owe would come here
    /// again.
    pub(super) fn stop(&mut self, now: Time) {
        self.pulling(now, pull::Input::Stop);
        let (Some(inbox), Some(pull)) = (&mut self.inbox, &self.pull) else {
            self.inbox = None;
            return;
        };
        // On their way are at most what is owed, and words of the server.
        let more = pull.owed() + WORDS;
        self.draining = u64::try_from(more).is_ok_and(|more| inbox.end_after(more));
        if !self.draining {
            self.inbox = None;
            return;
        }
        self.drain_by = now + self.bus.settings.request_timeout;
        let end = Outbound::new(pull.end(), Bytes::new());
        self.pulls.clear();
        self.pulls.extend(std::iter::repeat_n(end, more));
    }

    /// The inbox has ended. When nothing is to be given back (`settled`), the server
    /// need not forget the pulls.
    pub(super) fn drained(&mut self, settled: bool) {
        if !self.draining || settled {
            self.draining = false;
            return;
        }
        let (bus, source) = (Arc::clone(&self.bus), Arc::clone(&self.source));
        self.forgetting = Some(Box::pin(async move {
            consumer::forget_pulls(&bus, &source).await;
        }));
    }

    pub(super) fn forgetting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(forgetting) = &mut self.forgetting else {
            return false;
        };
        if forgetting.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.forgetting = None;
        self.draining = false;
        true
    }

    /// The next message. `None` when the inbox has ended: all has come, or the link is
    /// closed for good.
    pub(super) fn poll_next(&mut self, now: Time, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Some(inbox) = &mut self.inbox else {
            return Poll::Pending;
        };
        let next = match inbox.poll_next(cx) {
            Poll::Pending if now >= self.drain_by => Poll::Ready(None),
            next => next,
        };
        if let Poll::Ready(None) = next {
            self.inbox = None;
        }
        next
    }

    /// What is known of a message; `None` for a word of the server.
    pub(super) fn read(&mut self, now: Time, message: &Message) -> Option<Meta> {
        match &mut self.pull {
            Some(pull) => match pull.receive(now, message) {
                Received::Delivery(meta) => Some(meta),
                Received::Control => None,
            },
            None if message.status.is_some() => None,
            None => {
                self.received += 1;
                let wall = self.bus.runtime.wall();
                Some(consumer::local_meta(self.received, wall))
            }
        }
    }

    /// Asks for what there is room for. Says whether there is something new to wait
    /// for.
    pub(super) fn demand(&mut self, now: Time, free: usize, lanes: &Lanes) -> bool {
        let Some(pull) = &mut self.pull else {
            return false;
        };
        let mut repairs = false;
        pull.handle(now, pull::Input::Tick);
        pull.handle(now, pull::Input::Free(free));
        while let Some(output) = pull.poll() {
            match output {
                pull::Output::Publish(message) => self.pulls.push_back(message),
                pull::Output::Event(event) => {
                    if matches!(event, PullEvent::ConsumerGone | PullEvent::ConsumerMissing)
                        && self.repair.is_none()
                    {
                        self.repair = Some(repairing(&self.bus, &self.source, now));
                        repairs = true;
                    }
                    lanes.tell_pull(&event);
                }
            }
        }
        repairs
    }

    /// Looks after a consumer that was lost.
    pub(super) fn repair(&mut self, now: Time, lanes: &Lanes, cx: &mut Context<'_>) -> bool {
        let Some(repair) = &mut self.repair else {
            return false;
        };
        let Poll::Ready(result) = repair.as_mut().poll(cx) else {
            return false;
        };
        self.repair = None;
        match result {
            Ok(()) => self.pulling(now, pull::Input::Restart),
            Err(error) => {
                lanes.tell_pull(error);
                let at = now + consumer::REPAIR;
                self.repair = Some(repairing(&self.bus, &self.source, at));
            }
        }
        true
    }

    /// When it is to be looked at next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let pull = self.pull.as_ref().and_then(Pull::deadline);
        let drain = self.inbox.as_ref().map(|_| self.drain_by);
        let drain = drain.filter(|at| *at != Time::NEVER);
        pull.into_iter().chain(drain).min()
    }
}

/// Makes a lost consumer ready again, from a time on.
fn repairing(
    bus: &Arc<Inner>,
    source: &Arc<Source>,
    from: Time,
) -> BoxFuture<'static, Result<(), Arc<StreamError>>> {
    let (bus, source) = (Arc::clone(bus), Arc::clone(source));
    Box::pin(async move {
        bus.runtime.sleep_until(from).await;
        consumer::again(&bus, &source).await
    })
}
