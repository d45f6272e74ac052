//! The hub: the one task of a bus. It reads the link's news and the answers to
//! publishes and requests, and settles what waits too long.

mod batches;
mod denied;
mod publishing;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::future::BoxFuture;
use jetbus_core::Time;
use jetbus_core::jetstream::batch;
use jetbus_core::jetstream::publish::line::Line;
use jetbus_core::jetstream::publish::{self, Failure, Publisher};
use jetbus_core::shared::credit::Token;
use jetbus_core::shared::gate::State;

use self::batches::Batches;
use super::Inner;
use crate::link::{Inbox, LinkEvent};
use crate::news::News;
use crate::publish::Key;

/// How many answers are taken in before the task lets others run.
const BUDGET: usize = 512;

/// How often the windows are searched for what waits too long.
const SCAN: Duration = Duration::from_millis(100);

/// How long an attempt to publish waits for its answer before it is repeated.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);

/// Starts the hub of a bus.
pub(super) fn start(bus: &Arc<Inner>, inboxes: Inboxes, publisher: Publisher, line: Line<Key>) {
    let mut hub = Hub {
        bus: Arc::clone(bus),
        inboxes,
        batches: Batches::default(),
        publisher,
        line,
        generation: 0,
        next_scan: Time::ZERO,
        sleep: None,
        link_ready: None,
    };
    // A link that is connected says so at once: the bus is, when it is opened.
    let mut cx = Context::from_waker(Waker::noop());
    if let Poll::Ready(Some(event)) = bus.link.poll_event(&mut cx) {
        hub.link_event(bus.runtime.now(), event);
    }
    bus.runtime.spawn(Box::pin(hub.run()));
}

/// What the server answers comes here.
pub(super) struct Inboxes {
    pub(super) acks: Box<dyn Inbox>,
    pub(super) replies: Box<dyn Inbox>,
    pub(super) batches: Box<dyn Inbox>,
}

struct Hub {
    bus: Arc<Inner>,
    inboxes: Inboxes,
    batches: Batches,
    publisher: Publisher,
    line: Line<Key>,
    /// The session that is up; 0 for none.
    generation: u64,
    next_scan: Time,
    sleep: Option<(Time, BoxFuture<'static, ()>)>,
    /// Completes when the link, which took nothing, takes messages again.
    link_ready: Option<BoxFuture<'static, ()>>,
}

impl Hub {
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        // Whoever comes later sees the end of the session; all others are told here.
        self.bus.session.close();
        self.bus.results.close();
        self.bus.batches.close();
        self.bus.window.close();
        self.bus.bytes.close();
        self.bus.tell_all(self.bus.runtime.now());
        for (token, _) in self.bus.calls.sweep() {
            drop(self.bus.calls.settle(token));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.bus.runtime.now();
        let mut again = self.entries(now, cx);
        // Answers first: what was answered before a disconnect is not unknown.
        again |= self.answers(now, cx);
        match self.bus.link.poll_event(cx) {
            Poll::Ready(Some(event)) => {
                // What is in the inbox by now was answered before the loss.
                while self.answers(now, cx) {}
                self.link_event(now, event);
                again = true;
            }
            Poll::Ready(None) => {
                if self.bus.life.state() == State::Open {
                    self.bus.news.tell(&News::LinkEnded);
                }
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }
        self.scan(now);
        self.advance(now, cx);
        again |= self.batches.had_enough();
        if again || self.slept(cx) {
            // Others run first; then on from here.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn answers(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUDGET {
            let mut any = false;
            if let Poll::Ready(Some(message)) = self.inboxes.acks.poll_next(cx) {
                self.acknowledged(now, &message);
                any = true;
            }
            if let Poll::Ready(Some(message)) = self.inboxes.replies.poll_next(cx) {
                if let Some(token) = self.bus.replies.token(message.subject.as_str())
                    && let Some((call, _place)) = self.bus.calls.settle(Token::from_bits(token))
                {
                    // Nobody waits any more: nothing to tell.
                    let _ = call.answer.send(Ok(message));
                }
                any = true;
            }
            if let Poll::Ready(Some(message)) = self.inboxes.batches.poll_next(cx) {
                self.batch_answered(now, &message);
                any = true;
            }
            if !any {
                return false;
            }
        }
        true
    }

    fn link_event(&mut self, now: Time, event: LinkEvent) {
        let news = &self.bus.news;
        match event {
            LinkEvent::Connected(server) => {
                // A connect without a disconnect before it: one was in between.
                self.lost(now);
                self.free(now);
                if let Ok(generation) = self.bus.session.connected(server.clone()) {
                    self.generation = generation;
                    self.publisher.handle(now, publish::Input::Connected);
                    self.batches_hear(now, &batch::Input::Connected);
                    self.bus.subscriptions.link_changed();
                    self.bus.news.tell(&News::Connected { generation, server });
                }
            }
            LinkEvent::Disconnected => {
                self.lost(now);
                self.bus.news.tell(&News::Disconnected);
            }
            LinkEvent::LameDuck => news.tell(&News::LameDuck),
            LinkEvent::SlowConsumer => news.tell(&News::SlowConsumer),
            LinkEvent::Denied(denied) => self.denied(now, &denied),
            LinkEvent::Error(reason) => news.tell(&News::LinkError { reason }),
        }
    }

    /// The session is over: nothing in flight is answered any more.
    fn lost(&mut self, now: Time) {
        if self.generation == 0 {
            return;
        }
        self.bus.session.disconnected(self.generation);
        self.generation = 0;
        self.bus.subscriptions.link_changed();
        self.publisher.handle(now, publish::Input::Disconnected);
        self.batches_hear(now, &batch::Input::Lost);
        let bus = Arc::clone(&self.bus);
        for (token, mark) in bus.window.sweep() {
            if mark != Time::NEVER.as_nanos()
                && let Some((flight, permit)) = bus.window.settle(token)
            {
                self.put_aside(now, flight, permit, Failure::Lost);
            }
        }
        for (token, _) in bus.calls.sweep() {
            // Dropping the call tells its caller, who asks again.
            drop(bus.calls.settle(token));
        }
    }

    /// Settles what waits too long.
    fn scan(&mut self, now: Time) {
        if now < self.next_scan {
            return;
        }
        self.next_scan = now + SCAN;
        let bus = Arc::clone(&self.bus);
        for (token, mark) in bus.window.in_flight() {
            if mark <= now.as_nanos()
                && let Some((flight, permit)) = bus.window.settle(token)
            {
                self.unanswered(now, flight, permit);
            }
        }
        for (token, mark) in bus.calls.in_flight() {
            if mark <= now.as_nanos() {
                drop(bus.calls.settle(token));
            }
        }
    }

    /// Whether the next deadline has come; else wakes the task then.
    fn slept(&mut self, cx: &mut Context<'_>) -> bool {
        let deadlines = [
            self.publisher.deadline(),
            self.line.deadline(),
            self.batches.deadline(),
        ];
        let deadline = deadlines
            .into_iter()
            .flatten()
            .fold(self.next_scan, Time::min);
        if self.sleep.as_ref().is_none_or(|(at, _)| *at != deadline) {
            self.sleep = Some((deadline, self.bus.runtime.sleep_until(deadline)));
        }
        self.sleep
            .as_mut()
            .is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready())
    }
}
