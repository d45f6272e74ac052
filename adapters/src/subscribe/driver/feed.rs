//! One source of a subscription: its inbox, the pulls that fill it, and what becomes
//! of both when the connection or the consumer is lost or the subscription ends.

mod ending;
mod readers;
mod recalling;
mod repair;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::jetstream::api::ConsumerInfo;
use jetbus_core::jetstream::pull::{self, Pull, PullEvent, Received};
use jetbus_core::jetstream::recall::{Beyond, Line, Place, Watch};
use jetbus_core::{Message, Outbound, Subject, Time};

use self::readers::Readers;
pub(super) use self::recalling::Missing;
use self::recalling::Moved;
use self::repair::repairing;
use super::super::consumer::{self, Source};
use super::super::lanes::Lanes;
use crate::bus::Inner;
use crate::error::{StreamError, SubscribeError};
use crate::link::Inbox;
use crate::provision;

pub(super) struct Feed {
    bus: Arc<Inner>,
    source: Arc<Source>,
    /// Of consumers; core NATS pushes by itself.
    stream: Option<Pulled>,
    inbox: Option<Box<dyn Inbox>>,
    phase: Phase,
    /// Pulls on their way to the link. Good for one connection only.
    pulls: VecDeque<Outbound>,
    /// The most messages that are asked for at once. The server may send twice as many,
    /// when it answers pulls that were believed lost.
    window: usize,
    /// Whether messages are events, whose key is in their envelope.
    events: bool,
    /// Numbers messages of core NATS, which have no sequence.
    received: u64,
}

/// What a feed has that pulls from a consumer.
struct Pulled {
    pull: Pull,
    line: Line,
    /// Received beyond a gap.
    held: Beyond,
    /// The others who read the consumer, if others can know of it.
    readers: Option<Readers>,
    /// Whether it was connected before.
    begun: bool,
    /// Its stream was made again, and nobody was told yet.
    replaced: bool,
    watch: Watch,
    /// The consumer being looked at.
    looking: Option<BoxFuture<'static, Option<ConsumerInfo>>>,
    /// The consumer being looked after or made again.
    repair: Option<BoxFuture<'static, Result<Place, Arc<StreamError>>>>,
}

enum Phase {
    /// Messages come as they are asked for.
    Open,
    /// Nothing more was asked for; what is on its way still comes. Then what was lost
    /// is recalled.
    Leaving {
        /// What has not come by then is not waited for any more.
        by: Time,
    },
    /// What was lost is found out.
    Recalling(BoxFuture<'static, Option<Moved>>),
    /// The subscription stops, and what is on its way still comes; the server still
    /// knows of the pulls.
    Draining {
        /// What has not come by then is not waited for any more: a link that dropped
        /// messages never counts to the end.
        by: Time,
    },
    /// The server is being made to forget the pulls.
    Forgetting(BoxFuture<'static, ()>),
    /// Nothing comes any more.
    Over,
}

impl Phase {
    const fn is_stopped(&self) -> bool {
        matches!(
            self,
            Self::Draining { .. } | Self::Forgetting(_) | Self::Over
        )
    }
}

impl Feed {
    /// Reads `source`, with room for `window` messages.
    pub(super) async fn open(
        bus: &Arc<Inner>,
        source: Source,
        window: usize,
        events: bool,
    ) -> Result<Self, SubscribeError> {
        let inbox_name = bus.inbox();
        let (pattern, group, stream) = match &source {
            Source::Core { pattern, group } => (pattern.clone(), group.clone(), None),
            Source::Stream {
                request,
                place,
                wanted,
                ..
            } => {
                let config = pull::Config {
                    request: request.clone(),
                    inbox: inbox_name.as_str().into(),
                    expires: consumer::EXPIRES,
                    heartbeat: consumer::HEARTBEAT,
                    max_batch: window,
                };
                let readers = match place.own {
                    true => None,
                    false => {
                        let joined = Readers::join(bus, &place.stream, &place.consumer);
                        Some(joined.await.map_err(SubscribeError::Link)?)
                    }
                };
                let pulled = Pulled {
                    pull: Pull::new(config, bus.random()),
                    line: Line::new(place.clone()),
                    held: Beyond::new(wanted.ack_wait),
                    readers,
                    begun: false,
                    replaced: false,
                    watch: Watch::new(bus.random()),
                    looking: None,
                    repair: None,
                };
                let pattern = Subject::from(format!("{inbox_name}.*"));
                (pattern, None, Some(pulled))
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
            stream,
            inbox: Some(inbox),
            phase: Phase::Open,
            pulls: VecDeque::new(),
            window,
            events,
            received: 0,
        })
    }

    /// Whether its messages are dead letters that are tried again.
    pub(super) fn redriven(&self) -> bool {
        matches!(&*self.source, Source::Stream { redrives: true, .. })
    }

    /// Whether its messages are acknowledged; those of core NATS are not.
    pub(super) const fn acknowledged(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether messages that nobody asked for any more may still come, or be sent for
    /// what is given back.
    pub(super) const fn is_draining(&self) -> bool {
        self.phase.is_stopped() && !matches!(self.phase, Phase::Over)
    }

    pub(super) const fn pulls(&mut self) -> &mut VecDeque<Outbound> {
        &mut self.pulls
    }

    pub(super) fn connected(&mut self, now: Time) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if self.phase.is_stopped() {
            return;
        }
        stream.held.connected();
        if !std::mem::replace(&mut stream.begun, true) {
            return stream.pull.handle(now, pull::Input::Connected);
        }
        if stream.line.is_shared() && matches!(self.phase, Phase::Open) {
            // What did not come may be another's.
            return stream.pull.handle(now, pull::Input::Connected);
        }
        // What was received before is read; what was not is lost.
        self.phase = Phase::Leaving { by: Time::ZERO };
        if self.inbox.is_none() {
            self.recall(now);
        }
    }

    pub(super) fn disconnected(&mut self, now: Time, stopping: bool) {
        self.pulling(now, pull::Input::Disconnected);
        self.pulls.clear();
        if let Some(stream) = &mut self.stream {
            stream.line.broke();
            stream.held.disconnected();
        }
        if stopping {
            // Nothing is on its way any more.
            self.inbox = None;
            self.phase = Phase::Over;
        }
    }

    pub(super) fn pause(&mut self, now: Time, paused: bool) {
        self.pulling(
            now,
            match paused {
                true => pull::Input::Pause,
                false => pull::Input::Resume,
            },
        );
    }

    /// Answers others who ask whether they read the consumer alone. Says whether there may
    /// be more to hear.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>) -> bool {
        let readers = self
            .stream
            .as_mut()
            .and_then(|stream| stream.readers.as_mut());
        readers.is_some_and(|readers| readers.answer(&self.bus, cx))
    }

    fn pulling(&mut self, now: Time, input: pull::Input) {
        if let Some(stream) = &mut self.stream {
            stream.pull.handle(now, input);
        }
    }

    /// Some of what was sent has not come: nothing more is asked for until it is known
    /// what.
    fn leave(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        let by = self.end_inbox(now);
        self.pulling(now, pull::Input::Left);
        self.phase = Phase::Leaving {
            by: by.unwrap_or(Time::ZERO),
        };
        if self.inbox.is_none() {
            self.recall(now);
        }
    }

    /// The next message. `None` when all has come and nothing more will: the feed was
    /// stopped, or the link is closed for good.
    pub(super) fn poll_next(&mut self, now: Time, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Some(inbox) = &mut self.inbox else {
            return Poll::Pending;
        };
        let by = match self.phase {
            Phase::Leaving { by } | Phase::Draining { by } => by,
            _ => Time::NEVER,
        };
        let next = match inbox.poll_next(cx) {
            Poll::Pending if now >= by => Poll::Ready(None),
            next => next,
        };
        if let Poll::Ready(None) = next {
            self.inbox = None;
            if matches!(self.phase, Phase::Leaving { .. }) {
                self.recall(now);
                return Poll::Pending;
            }
        }
        next
    }

    /// A message, and what is known of it; `None` for a word of the server, and for
    /// what is held back until it is known what it has overtaken.
    pub(super) fn read(&mut self, now: Time, message: Message) -> Option<(Meta, Message)> {
        let Some(stream) = &mut self.stream else {
            if message.status.is_some() {
                return None;
            }
            self.received += 1;
            let meta = consumer::local_meta(self.received, self.bus.runtime.wall());
            return Some((meta, message));
        };
        if message.status.is_none() {
            stream.watch.heard(now);
        }
        let dropped = self.inbox.as_ref().is_some_and(|inbox| inbox.dropped() > 0);
        let Received::Delivery(meta) = stream.pull.receive(now, &message) else {
            if message.status.is_some() && stream.line.lacks(&message, dropped) {
                self.leave(now);
            }
            return None;
        };
        if !stream.line.received(&meta, &message, dropped) || self.phase.is_stopped() {
            return Some((meta, message));
        }
        stream.held.hold(now, meta, message);
        self.leave(now);
        None
    }

    /// A message was lost, and comes again.
    pub(super) fn awaits(&mut self, meta: &Meta) {
        if let Some(stream) = &mut self.stream {
            stream.line.awaits(meta);
        }
    }

    /// Something is said of a message to the server.
    pub(super) fn said(&mut self, word: &Outbound) {
        if let Some(stream) = &mut self.stream {
            stream.line.said(word);
        }
    }

    /// What is to be said so that no lease of what is held back runs out.
    pub(super) fn renewals(&mut self, now: Time) -> Vec<Outbound> {
        let stream = self.stream.as_mut();
        stream.map_or_else(Vec::new, |stream| stream.held.renewals(now))
    }

    /// Asks for what there is room for; `unsettled` is the lowest sequence held. Says
    /// whether there is something new to wait for.
    pub(super) fn demand(
        &mut self,
        now: Time,
        free: usize,
        unsettled: impl FnOnce() -> Option<u64>,
        lanes: &Lanes,
    ) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        stream.pull.handle(now, pull::Input::Tick);
        stream
            .pull
            .handle(now, pull::Input::Free(free.min(self.window)));
        let (mut lost, mut from) = (false, now);
        while let Some(output) = stream.pull.poll() {
            match output {
                pull::Output::Publish(message) => self.pulls.push_back(message),
                pull::Output::Event(event) => {
                    lost |= matches!(event, PullEvent::ConsumerGone | PullEvent::ConsumerMissing);
                    stream.line.heard(&event);
                    if event == PullEvent::ConsumerGone {
                        from = now + provision::DELETION;
                    }
                    lanes.tell_pull(event.into());
                }
            }
        }
        let repairs = lost && stream.repair.is_none();
        if repairs {
            let floor = stream.line.floor(unsettled());
            let place = stream.line.place();
            stream.repair = Some(repairing(&self.bus, &self.source, place, floor, from));
        }
        repairs
    }

    /// Whether its stream is another one than when this was asked before.
    pub(super) fn was_replaced(&mut self) -> bool {
        let stream = self.stream.as_mut();
        stream.is_some_and(|stream| std::mem::take(&mut stream.replaced))
    }

    /// Whether others were seen to read its consumer, and this was not said before.
    pub(super) fn turned_shared(&mut self) -> bool {
        let stream = self.stream.as_mut();
        stream.is_some_and(|stream| stream.line.turned_shared())
    }

    /// When it is to be looked at next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let stream = self.stream.as_ref();
        let pull = stream.and_then(|stream| stream.pull.deadline());
        let lease = stream.and_then(|stream| stream.held.deadline());
        let watch = self.watch_at();
        let by = match self.phase {
            Phase::Leaving { by } | Phase::Draining { by } => Some(by),
            _ => None,
        };
        [pull, lease, watch, by].into_iter().flatten().min()
    }
}
