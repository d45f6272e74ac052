//! A link with the faults of a network, by seed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::future::BoxFuture;
use jetbus::link::{Inbox, Link, LinkError, LinkEvent, Refused, ServerInfo};
use jetbus::runtime::Runtime;
use jetbus_core::{Message, Outbound, Publish, Subject, Time};

use super::rng::Rng;
use super::runtime::Sim;

mod inbound;
mod outbound;

use inbound::{FaultyInbox, Subscription};

/// How often what goes wrong; chances are in a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A message of ours never arrives.
    pub lose_out: u32,
    /// A message to us never arrives, as when the client drops it; the inbox counts it.
    pub lose_in: u32,
    /// A message arrives twice, either way.
    pub duplicate: u32,
    /// A message is late, either way. It is never overtaken by one of the same
    /// direction and, to us, of the same subscription.
    pub delay: u32,
    /// How late at most.
    pub late: Duration,
    /// Nothing is taken for the moment.
    pub busy: u32,
    /// A message that is on its way when the connection breaks never arrives.
    pub cut: u32,
    /// How long the server keeps a connection that broke, at most: what it sends over it
    /// meanwhile never arrives.
    pub linger: Duration,
}

impl Faults {
    /// No faults.
    pub const CALM: Self = Self {
        lose_out: 0,
        lose_in: 0,
        duplicate: 0,
        delay: 0,
        late: Duration::ZERO,
        busy: 0,
        cut: 0,
        linger: Duration::ZERO,
    };
}

/// What a watcher of a link sees.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    /// The bus hands over a message, whatever becomes of it.
    Handed(Publish<'a>),
    /// The bus took this message out of an inbox.
    Arrived(&'a Message),
    /// What was handed over was not taken.
    Refused(Publish<'a>),
    /// This message to the bus never arrives.
    Lost(&'a Message),
    /// The connection broke.
    Down,
    /// It is back.
    Up,
}

/// Who watches a link.
pub type Watcher = Arc<dyn Fn(Sight<'_>) + Send + Sync>;

/// Most messages on their way out; more are refused as [`Refused::Busy`].
const ON_THE_WAY: usize = 1_024;

/// Any link, behind a network that loses, delays and repeats messages and breaks.
///
/// While it is down it behaves as the contract of [`Link`] says: nothing is taken,
/// subscriptions are unknown to the server, and what was on its way arrives or not.
pub struct FaultyLink(Arc<Wire>);

struct Wire {
    inner: Arc<dyn Link>,
    sim: Sim,
    watcher: Watcher,
    state: Mutex<State>,
}

struct State {
    faults: Faults,
    rng: Rng,
    server: ServerInfo,
    up: bool,
    closed: bool,
    /// Counts breaks.
    breaks: u64,
    news: VecDeque<LinkEvent>,
    listener: Option<Waker>,
    /// On the way out, with the time of arrival, which only grows.
    out: VecDeque<(Time, Outbound)>,
    /// Messages that went into `out`, and out of it.
    entered: u64,
    left: u64,
    carrier: Option<Waker>,
    flushing: Vec<Waker>,
    subscriptions: BTreeMap<u64, Subscription>,
    next_subscription: u64,
}

impl FaultyLink {
    /// `inner` behind a network without faults so far. What comes of `seed` decides
    /// what goes wrong.
    #[must_use]
    pub fn new(inner: Arc<dyn Link>, sim: &Sim, seed: u64, watcher: Watcher) -> Self {
        let mut cx = Context::from_waker(Waker::noop());
        let mut news = VecDeque::new();
        let mut server = ServerInfo::default();
        if let Poll::Ready(Some(event)) = inner.poll_event(&mut cx) {
            if let LinkEvent::Connected(info) = &event {
                server = info.clone();
            }
            news.push_back(event);
        }
        let wire = Arc::new(Wire {
            inner,
            sim: sim.clone(),
            watcher,
            state: Mutex::new(State {
                faults: Faults::CALM,
                rng: Rng::new(seed),
                server,
                up: true,
                closed: false,
                breaks: 0,
                news,
                listener: None,
                out: VecDeque::new(),
                entered: 0,
                left: 0,
                carrier: None,
                flushing: Vec::new(),
                subscriptions: BTreeMap::new(),
                next_subscription: 0,
            }),
        });
        sim.spawn(Box::pin(outbound::carry(Arc::clone(&wire))));
        Self(wire)
    }

    /// From now on these faults. [`Faults::CALM`] ends them; what is late stays late.
    pub fn set_faults(&self, faults: Faults) {
        self.0.with(|state| state.faults = faults);
    }

    /// Breaks the connection.
    pub fn disconnect(&self) {
        self.0.disconnect();
    }

    /// Makes the connection again, and the subscriptions with it.
    pub async fn reconnect(&self) {
        self.0.reconnect().await;
    }

    /// Breaks and makes the connection, up and down for up to so long each time,
    /// until `end`. It is connected when this returns.
    pub async fn flicker(&self, end: Time, up: Duration, down: Duration) {
        loop {
            let (stay, gone) = self
                .0
                .with(|state| (state.rng.up_to(up), state.rng.up_to(down)));
            self.0.sim.sleep(stay).await;
            if self.0.sim.now() >= end || self.0.with(|state| state.closed) {
                return;
            }
            self.disconnect();
            self.0.sim.sleep(gone).await;
            self.reconnect().await;
        }
    }
}

impl Wire {
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn disconnect(self: &Arc<Self>) {
        let broken = self.with(|state| {
            if !state.up || state.closed {
                return None;
            }
            state.up = false;
            state.breaks += 1;
            state.news.push_back(LinkEvent::Disconnected);
            state.cut_out();
            let State { faults, rng, .. } = state;
            let now = self.sim.now();
            let (mut lost, mut kept) = (Vec::new(), Vec::new());
            for subscription in state.subscriptions.values_mut() {
                lost.extend(subscription.cut(now, faults, rng));
                kept.extend(subscription.inner.take());
            }
            if !faults.linger.is_zero() {
                let until = now + rng.up_to(faults.linger);
                let lingering = linger(Arc::clone(self), kept, until);
                self.sim.spawn(Box::pin(lingering));
            }
            let mut wakers = std::mem::take(&mut state.flushing);
            wakers.extend(state.listener.take());
            Some((lost, wakers))
        });
        let Some((lost, wakers)) = broken else { return };
        for message in &lost {
            (self.watcher)(Sight::Lost(message));
        }
        (self.watcher)(Sight::Down);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn reconnect(&self) {
        // The server learns of all subscriptions before anybody hears of it.
        while let Some((id, pattern, group)) = self.with(State::unmended) {
            let Ok(inbox) = self.inner.subscribe(pattern, group).await else {
                return;
            };
            let waker = self.with(|state| {
                let subscription = state.subscriptions.get_mut(&id)?;
                subscription.mend(inbox);
                subscription.reader.take()
            });
            waker.into_iter().for_each(Waker::wake);
        }
        let (changed, waker) = self.with(|state| match state.up || state.closed {
            true => (false, None),
            false => {
                state.up = true;
                state
                    .news
                    .push_back(LinkEvent::Connected(state.server.clone()));
                (true, state.listener.take())
            }
        });
        if changed {
            (self.watcher)(Sight::Up);
        }
        waker.into_iter().for_each(Waker::wake);
    }

    /// Takes nothing more; what is on its way out still goes.
    fn shut(&self) {
        let wakers = self.with(|state| {
            state.closed = true;
            state.cut_out();
            let mut wakers = std::mem::take(&mut state.flushing);
            wakers.extend(state.carrier.take());
            wakers.extend(state.listener.take());
            wakers.extend(
                state
                    .subscriptions
                    .values_mut()
                    .filter_map(|sub| sub.reader.take()),
            );
            wakers
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Completes when all that entered before has left.
    async fn left(&self) -> Result<(), LinkError> {
        let (breaks, entered) = self.with(|state| (state.breaks, state.entered));
        poll_fn(|cx| {
            self.with(|state| {
                if state.left >= entered {
                    return Poll::Ready(Ok(()));
                }
                if state.breaks != breaks {
                    return Poll::Ready(Err(LinkError::Other("the connection broke".into())));
                }
                state.flushing.push(cx.waker().clone());
                Poll::Pending
            })
        })
        .await
    }
}

/// The server still believes that there are readers of these.
async fn linger(wire: Arc<Wire>, kept: Vec<Box<dyn Inbox>>, until: Time) {
    wire.sim.sleep_until(until).await;
    let mut cx = Context::from_waker(Waker::noop());
    for mut inbox in kept {
        while let Poll::Ready(Some(message)) = inbox.poll_next(&mut cx) {
            (wire.watcher)(Sight::Lost(&message));
        }
    }
}

impl State {
    /// The connection ends: some of what is on its way out never arrives.
    fn cut_out(&mut self) {
        let Self {
            faults,
            rng,
            out,
            left,
            ..
        } = self;
        out.retain(|_| {
            let cut = rng.chance(faults.cut);
            *left += u64::from(cut);
            !cut
        });
    }

    /// A subscription that the server does not know, while there is no connection.
    fn unmended(&mut self) -> Option<(u64, Subject, Option<Subject>)> {
        if self.up || self.closed {
            return None;
        }
        let mut subscriptions = self.subscriptions.iter();
        let (id, unmended) = subscriptions.find(|(_, sub)| sub.inner.is_none())?;
        Some((*id, unmended.pattern.clone(), unmended.group.clone()))
    }
}

impl Link for FaultyLink {
    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        self.0.try_publish(message)
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        let wait = self
            .0
            .with(|state| state.rng.up_to(Duration::from_millis(5)));
        Box::pin(async move {
            self.0.sim.sleep(wait).await;
            self.0.inner.ready().await;
        })
    }

    fn subscribe(
        &self,
        pattern: Subject,
        group: Option<Subject>,
    ) -> BoxFuture<'_, Result<Box<dyn Inbox>, LinkError>> {
        Box::pin(async move {
            loop {
                let seen = self.0.with(|state| (state.up, state.breaks));
                // While it is down the subscription is only noted, as a client does.
                let inbox = match seen.0 {
                    true => Some(
                        self.0
                            .inner
                            .subscribe(pattern.clone(), group.clone())
                            .await?,
                    ),
                    false => None,
                };
                // Broken or back meanwhile: once more.
                if let Some(inbox) =
                    FaultyInbox::new(&self.0, seen, pattern.clone(), group.clone(), inbox)
                {
                    return Ok(Box::new(inbox) as _);
                }
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            match self.0.with(|state| (state.closed, state.up)) {
                (true, _) => return Err(LinkError::Closed),
                (_, false) => return Err(LinkError::Other("there is no connection".into())),
                _ => self.0.left().await?,
            }
            self.0.inner.flush().await
        })
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        let told = self.0.with(|state| {
            state.listener = Some(cx.waker().clone());
            state.news.pop_front()
        });
        if let Some(event) = told {
            return Poll::Ready(Some(event));
        }
        loop {
            match self.0.inner.poll_event(cx) {
                // Whether there is a connection is told here.
                Poll::Ready(Some(LinkEvent::Connected(_) | LinkEvent::Disconnected)) => {}
                other => return other,
            }
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.shut();
            // An error says that it broke before: nothing is on its way.
            let _ = self.0.left().await;
            self.0.inner.close().await;
        })
    }
}

impl Drop for FaultyLink {
    fn drop(&mut self) {
        self.0.shut();
    }
}

impl fmt::Debug for FaultyLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = self.0.with(|state| state.up);
        f.debug_struct("FaultyLink")
            .field("up", &up)
            .finish_non_exhaustive()
    }
}

/// A sleep that is kept while its deadline stays the same.
#[derive(Default)]
struct Until(Option<(Time, BoxFuture<'static, ()>)>);

impl Until {
    /// True when `deadline` has come; else the task is woken then.
    fn poll(&mut self, sim: &Sim, deadline: Time, cx: &mut Context<'_>) -> bool {
        if deadline <= sim.now() {
            return true;
        }
        if self.0.as_ref().is_none_or(|(at, _)| *at != deadline) {
            self.0 = Some((deadline, sim.sleep_until(deadline)));
        }
        let sleep = self.0.as_mut().map(|(_, sleep)| Pin::new(sleep).poll(cx));
        sleep.is_some_and(|sleep| sleep.is_ready())
    }
}

#[cfg(test)]
mod double;
#[cfg(test)]
mod tests;
