//! The driver of a subscription: one task that owns its machines.
//!
//! It decides nothing. It moves messages from the inbox to the machines, work
//! from the machines to the lanes, words from the lanes to the machines, and what
//! the machines want published to the link; then it sleeps until the earliest
//! deadline.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use futures_core::Stream as _;
use futures_core::future::BoxFuture;
use jetbus_core::delivery::{self, Delivery, JobId, Outcome};
use jetbus_core::jetstream::pull::{self, Pull, PullEvent, Received};
use jetbus_core::retry::Retry;
use jetbus_core::shared::counters::Handle;
use jetbus_core::{Message, Outbound, Subject, Time, envelope};

use super::builder::Options;
use super::consumer::{self, Source};
use super::delivery::Item;
use super::lanes::{FAILED, HANDLED, Lanes, RECEIVED, Work};
use super::subscription::{Control, Subscription};
use crate::bus::{Bus, Claim, Inner};
use crate::error::{StreamError, SubscribeError};
use crate::link::{Inbox, Refused};

/// Makes a worker: the task that handles events of these lanes.
pub(super) type Hire = Box<dyn Fn(Arc<Lanes>) -> BoxFuture<'static, ()> + Send>;

/// How many messages and words are taken in before the task lets others run.
const BUDGET: usize = 256;

/// More words of the server than are ever on their way to one inbox: heartbeats, and
/// the ends of pulls.
const WORDS: usize = 64;

/// Starts a subscription: its stream and consumer are ready and its driver runs
/// when this returns.
pub(super) async fn start(
    bus: &Bus,
    options: Options,
    hire: Option<Hire>,
) -> Result<(Subscription, Arc<Lanes>), SubscribeError> {
    let inner = bus.inner();
    let _open = inner.life.enter().map_err(|_| SubscribeError::Closed)?;
    let topic: Arc<str> = options.topic.as_str().into();
    let claim = inner
        .subscriptions
        .claim(&options.topic, options.group.as_deref())?;
    let source = consumer::prepare(inner, &options).await?;
    let inbox_name = inner.inbox();
    let (pattern, group, pull) = match &source {
        Source::Core { pattern, group } => (pattern.clone(), group.clone(), None),
        Source::Stream { request, .. } => {
            let config = pull::Config {
                request: request.clone(),
                inbox: inbox_name.as_str().into(),
                expires: consumer::EXPIRES,
                heartbeat: consumer::HEARTBEAT,
                max_batch: options.window,
            };
            let pattern = Subject::from(format!("{inbox_name}.*"));
            (pattern, None, Some(Pull::new(config, inner.random())))
        }
    };
    let inbox = inner
        .link
        .subscribe(pattern, group)
        .await
        .map_err(SubscribeError::Link)?;

    let (control, controls) = mpsc::channel(8);
    // The machine holds up to twice its window.
    let held = options.window.saturating_mul(2);
    let lanes = Arc::new(Lanes::new(Arc::clone(inner), topic, held, control));
    claim.run(lanes.running());
    let delivery = Delivery::new(delivery::Config {
        window: options.window,
        ack_wait: options.ack_wait,
        retry: Retry::default(),
        attempts: None,
        key_share: usize::MAX,
        at_share: delivery::AtShare::Stall,
        suspect_after: 5,
        crash_limit: 10,
        batch: None,
        seed: inner.random(),
    });
    let driver = Driver {
        bus: Arc::clone(inner),
        counts: lanes.counts(),
        lanes: Arc::clone(&lanes),
        controls,
        inbox: Some(inbox),
        draining: false,
        drain_by: Time::NEVER,
        forgetting: None,
        source: Arc::new(source),
        pull,
        delivery,
        hire,
        hired: 0,
        options,
        generation: 0,
        received: 0,
        acks: VecDeque::new(),
        pulls: VecDeque::new(),
        link_ready: None,
        repair: None,
        sleep: None,
        stopping: false,
        refused: Vec::new(),
        waiting: Vec::new(),
        _claim: claim,
    };
    inner.runtime.spawn(Box::pin(driver.run()));
    Ok((Subscription::new(Arc::clone(&lanes), bus.clone()), lanes))
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

struct Driver {
    bus: Arc<Inner>,
    lanes: Arc<Lanes>,
    counts: Handle<3, 1>,
    controls: mpsc::Receiver<Control>,
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
    source: Arc<Source>,
    /// Of consumers; core NATS pushes by itself.
    pull: Option<Pull>,
    delivery: Delivery<Arc<Item>>,
    hire: Option<Hire>,
    hired: usize,
    options: Options,
    /// The session that the machines know of; 0 for none.
    generation: u64,
    /// Numbers messages of core NATS, which have no sequence.
    received: u64,
    /// Acknowledgements and the like on their way to the link. Still good after a
    /// reconnect.
    acks: VecDeque<Outbound>,
    /// Pulls on their way to the link. Good for one connection only.
    pulls: VecDeque<Outbound>,
    link_ready: Option<BoxFuture<'static, ()>>,
    /// The consumer being looked at or made again.
    repair: Option<BoxFuture<'static, Result<(), Arc<StreamError>>>>,
    sleep: Option<(Time, BoxFuture<'static, ()>)>,
    stopping: bool,
    /// Jobs that the lanes would not take any more.
    refused: Vec<JobId>,
    waiting: Vec<oneshot::Sender<()>>,
    _claim: Claim,
}

impl Driver {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        // What was settled leaves the process before anybody hears of the end.
        let _ = self.bus.link.flush().await;
        // Who waits may subscribe again at once.
        drop(self._claim);
        for waiting in self.waiting {
            // Nobody waits any more: nothing to tell.
            let _ = waiting.send(());
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.bus.runtime.now();
        let mut again = self.controls(cx);
        again |= self.session(now);
        again |= self.words(now, cx);
        again |= self.messages(now, cx);
        again |= self.repair(now, cx);
        again |= self.forgetting(cx);
        self.delivery.handle(now, delivery::Input::Tick);
        again |= self.outputs(now);
        again |= self.publish(cx);
        let settled = self.delivery.idle() && self.acks.is_empty();
        if self.stopping && !self.draining && settled {
            return Poll::Ready(());
        }
        if again || self.slept(now, cx) {
            // Others run first; then on from here.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// What handles and the bus want.
    fn controls(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(control) = Pin::new(&mut self.controls).poll_next(cx) {
            any = true;
            match control {
                Some(Control::Link) => {}
                Some(Control::Progress(id)) => {
                    let now = self.bus.runtime.now();
                    self.delivery.handle(now, delivery::Input::Progress { id });
                }
                Some(Control::Stop(waiting)) => {
                    self.waiting.extend(waiting);
                    self.stop();
                }
                // The bus and all handles are gone.
                None => {
                    self.stop();
                    return false;
                }
            }
        }
        any
    }

    fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        let now = self.bus.runtime.now();
        if let Some(pull) = &mut self.pull {
            pull.handle(now, pull::Input::Stop);
        }
        self.drain();
        // What no worker took is as good as never handed out.
        self.lanes.handoff().close();
        while let Some(job) = self.lanes.handoff().take_back() {
            self.delivery.take_back(job.id);
        }
        for id in self.refused.drain(..) {
            self.delivery.take_back(id);
        }
        self.delivery.handle(now, delivery::Input::Stop);
    }

    /// Ends the inbox, without losing what is on its way. Nothing is given back
    /// before it has ended: what pulls still owe would come here again.
    fn drain(&mut self) {
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
        self.drain_by = self.bus.runtime.now() + self.bus.settings.request_timeout;
        let end = Outbound::new(pull.end(), Bytes::new());
        self.pulls.clear();
        self.pulls.extend(std::iter::repeat_n(end, more));
    }

    /// All has come.
    fn drained(&mut self) {
        let settled = self.delivery.idle() && self.acks.is_empty();
        if !self.draining || settled {
            self.draining = false;
            return;
        }
        let (bus, source) = (Arc::clone(&self.bus), Arc::clone(&self.source));
        self.forgetting = Some(Box::pin(async move {
            consumer::forget_pulls(&bus, &source).await;
        }));
    }

    fn forgetting(&mut self, cx: &mut Context<'_>) -> bool {
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

    /// Tells the machines when the link came or went.
    fn session(&mut self, now: Time) -> bool {
        let generation = self.bus.session.generation().unwrap_or(0);
        if generation == self.generation {
            return false;
        }
        if self.generation != 0 {
            self.delivery.handle(now, delivery::Input::Disconnected);
            self.pulling(now, pull::Input::Disconnected);
            self.pulls.clear();
            if self.stopping {
                // Nothing is on its way any more.
                self.inbox = None;
                self.draining = false;
                self.forgetting = None;
            }
        }
        if generation != 0 {
            self.delivery.handle(now, delivery::Input::Connected);
            self.pulling(now, pull::Input::Connected);
        }
        self.generation = generation;
        true
    }

    fn pulling(&mut self, now: Time, input: pull::Input) {
        if let Some(pull) = &mut self.pull {
            pull.handle(now, input);
        }
    }

    /// What handlers said.
    fn words(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUDGET {
            let Poll::Ready(done) = self.lanes.handoff().poll_done(cx) else {
                return false;
            };
            let (id, outcome) = done;
            match outcome {
                Outcome::Ack | Outcome::Settled => self.counts.add::<HANDLED>(1),
                Outcome::Failed { .. } => self.counts.add::<FAILED>(1),
                _ => {}
            }
            self.delivery
                .handle(now, delivery::Input::Done { id, outcome });
        }
        true
    }

    /// What the server sent.
    fn messages(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUDGET {
            // Core NATS has no demand: what does not fit waits in the link's inbox,
            // which tells when it overflows.
            if self.pull.is_none() && self.delivery.free() == 0 {
                return false;
            }
            let Some(inbox) = &mut self.inbox else {
                return false;
            };
            let next = match inbox.poll_next(cx) {
                Poll::Pending if now >= self.drain_by => Poll::Ready(None),
                next => next,
            };
            match next {
                Poll::Pending => return false,
                Poll::Ready(Some(message)) => self.receive(now, message),
                Poll::Ready(None) => {
                    // All has come, or the link is closed for good.
                    self.inbox = None;
                    self.stop();
                    self.drained();
                    return true;
                }
            }
        }
        true
    }

    fn receive(&mut self, now: Time, message: Message) {
        let meta = match &mut self.pull {
            Some(pull) => match pull.receive(now, &message) {
                Received::Delivery(meta) => meta,
                Received::Control => return,
            },
            None if message.status.is_some() => return,
            None => {
                self.received += 1;
                consumer::local_meta(self.received, self.bus.runtime.wall())
            }
        };
        self.counts.add::<RECEIVED>(1);
        let event = self
            .options
            .events
            .then(|| envelope::decode_owned(&message.payload).map_err(|error| error.to_string()));
        let reply = message
            .reply
            .clone()
            .unwrap_or_else(|| message.subject.clone());
        let item = Arc::new(Item { message, event });
        let key = item.key().map(|key| Bytes::copy_from_slice(key.as_bytes()));
        self.delivery.handle(
            now,
            delivery::Input::Received {
                meta,
                key,
                item,
                reply,
                redriven: false,
            },
        );
    }

    /// What the machines want. Says whether there is something new to wait for.
    fn outputs(&mut self, now: Time) -> bool {
        let mut repairs = false;
        while let Some(output) = self.delivery.poll() {
            match output {
                delivery::Output::Run(job) => self.run_job(job),
                delivery::Output::RunBatch(jobs) => {
                    for job in jobs {
                        self.run_job(job);
                    }
                }
                delivery::Output::Publish(message) => {
                    // Core NATS has nothing to acknowledge.
                    if self.pull.is_some() {
                        self.acks.push_back(message);
                    }
                }
                delivery::Output::Event(event) => self.lanes.tell_delivery(&event),
            }
        }
        let free = self.delivery.free();
        let Some(pull) = &mut self.pull else {
            return false;
        };
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
                    self.lanes.tell_pull(&event);
                }
            }
        }
        repairs
    }

    fn run_job(&mut self, job: Work) {
        let handoff = self.lanes.handoff();
        if let Err(job) = handoff.push(job) {
            // The bus is closing: told to stop in a moment. (The lanes have room for
            // all that is held.)
            self.refused.push(job.id);
            return;
        }
        if let Some(hire) = &self.hire
            && self.hired < self.options.concurrency
            && handoff.waiting().jobs > handoff.waiting().idle
        {
            self.hired += 1;
            self.bus.runtime.spawn(hire(Arc::clone(&self.lanes)));
        }
    }

    /// Looks after a consumer that was lost.
    fn repair(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
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
                self.lanes.tell_pull(error);
                let (bus, source) = (&self.bus, &self.source);
                self.repair = Some(repairing(bus, source, now + consumer::REPAIR));
            }
        }
        true
    }

    /// Hands over what waits to be published.
    fn publish(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(ready) = &mut self.link_ready {
            if ready.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.link_ready = None;
        }
        let acks = match self.draining {
            true => &mut VecDeque::new(),
            false => &mut self.acks,
        };
        for queue in [acks, &mut self.pulls] {
            while let Some(message) = queue.front() {
                match self.bus.link.try_publish(message.as_publish()) {
                    Ok(()) => _ = queue.pop_front(),
                    Err(Refused::Busy) => {
                        let link = Arc::clone(&self.bus.link);
                        self.link_ready = Some(Box::pin(async move { link.ready().await }));
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

    /// Whether the machines' next deadline has come; else wakes the task then.
    fn slept(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let pull = self.pull.as_ref().and_then(Pull::deadline);
        let drain = self.inbox.as_ref().map(|_| self.drain_by);
        let drain = drain.filter(|at| *at != Time::NEVER);
        let deadlines = [self.delivery.deadline(), pull, drain];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            self.sleep = None;
            return false;
        };
        if deadline <= now {
            return true;
        }
        if self.sleep.as_ref().is_none_or(|(at, _)| *at != deadline) {
            self.sleep = Some((deadline, self.bus.runtime.sleep_until(deadline)));
        }
        self.sleep
            .as_mut()
            .is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready())
    }
}
