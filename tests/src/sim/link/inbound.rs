//! From the server to the bus.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jetbus::link::Inbox;
use jetbus::runtime::Runtime;
use jetbus_core::{Message, Subject, Time};

use super::{Faults, Rng, Sight, Until, Wire};

/// What the network knows of an inbox.
pub(super) struct Subscription {
    pub(super) pattern: Subject,
    pub(super) group: Option<Subject>,
    /// Of the link behind; none while the connection is down.
    pub(super) inner: Option<Box<dyn Inbox>>,
    /// On the way in, with the time of arrival, which only grows.
    held: VecDeque<(Time, Message)>,
    pub(super) reader: Option<Waker>,
    /// Messages that never arrived though the connection held, as when a client drops
    /// them.
    dropped: u64,
}

impl Subscription {
    /// Takes in what the link behind has; says what is lost on the way.
    fn take_in(
        &mut self,
        now: Time,
        faults: &Faults,
        rng: &mut Rng,
        cx: &mut Context<'_>,
    ) -> Vec<Message> {
        let mut lost = Vec::new();
        while let Some(inner) = &mut self.inner {
            let message = match inner.poll_next(cx) {
                Poll::Ready(Some(message)) => message,
                Poll::Ready(None) => {
                    self.inner = None;
                    break;
                }
                Poll::Pending => break,
            };
            if rng.chance(faults.lose_in) {
                self.dropped += 1;
                lost.push(message);
                continue;
            }
            let mut at = now;
            if rng.chance(faults.delay) {
                at = at + rng.up_to(faults.late);
            }
            at = self.held.back().map_or(at, |(last, _)| at.max(*last));
            if rng.chance(faults.duplicate) {
                self.held.push_back((at, message.clone()));
            }
            self.held.push_back((at, message));
        }
        lost
    }

    /// The connection breaks; says what is lost with it.
    pub(super) fn cut(&mut self, now: Time, faults: &Faults, rng: &mut Rng) -> Vec<Message> {
        let mut lost = self.take_in(now, faults, rng, &mut Context::from_waker(Waker::noop()));
        // What is cut before something that still arrives leaves a gap, which counts.
        let (mut cut, mut gaps) = (0, 0);
        self.held.retain(|(_, message)| {
            if rng.chance(faults.cut) {
                lost.push(message.clone());
                cut += 1;
                return false;
            }
            gaps = cut;
            true
        });
        self.dropped += gaps;
        lost
    }

    /// The connection is back.
    pub(super) fn mend(&mut self, inner: Box<dyn Inbox>) {
        self.inner = Some(inner);
    }
}

pub(super) struct FaultyInbox {
    wire: Arc<Wire>,
    id: u64,
    until: Until,
}

impl FaultyInbox {
    /// `None` when the connection is not as it was `seen` when `inner` was made.
    pub(super) fn new(
        wire: &Arc<Wire>,
        seen: (bool, u64),
        pattern: Subject,
        group: Option<Subject>,
        inner: Option<Box<dyn Inbox>>,
    ) -> Option<Self> {
        let subscription = Subscription {
            pattern,
            group,
            inner,
            held: VecDeque::new(),
            reader: None,
            dropped: 0,
        };
        let id = wire.with(|state| {
            if (state.up, state.breaks) != seen {
                return None;
            }
            let id = state.next_subscription;
            state.next_subscription += 1;
            state.subscriptions.insert(id, subscription);
            Some(id)
        })?;
        Some(Self {
            wire: Arc::clone(wire),
            id,
            until: Until::default(),
        })
    }
}

impl Inbox for FaultyInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Self { wire, id, until } = self;
        let (lost, next) = wire.with(|state| {
            let now = wire.sim.now();
            let Some(sub) = state.subscriptions.get_mut(id) else {
                return (Vec::new(), Poll::Ready(None));
            };
            let lost = sub.take_in(now, &state.faults, &mut state.rng, cx);
            sub.reader = Some(cx.waker().clone());
            let next = match sub.held.front() {
                Some((at, _)) if until.poll(&wire.sim, *at, cx) => {
                    Poll::Ready(sub.held.pop_front().map(|(_, message)| message))
                }
                None if state.closed && sub.inner.is_none() => Poll::Ready(None),
                _ => Poll::Pending,
            };
            (lost, next)
        });
        for message in &lost {
            (wire.watcher)(Sight::Lost(message));
        }
        if let Poll::Ready(Some(message)) = &next {
            (wire.watcher)(Sight::Arrived(message));
        }
        next
    }

    fn dropped(&self) -> u64 {
        let Self { wire, id, .. } = self;
        wire.with(|state| state.subscriptions.get(id).map_or(0, |sub| sub.dropped))
    }
}

impl Drop for FaultyInbox {
    fn drop(&mut self) {
        // What is still on the way has nowhere to go.
        let now = self.wire.sim.now();
        let lost = self.wire.with(|state| {
            let mut subscription = state.subscriptions.remove(&self.id)?;
            let all = Faults {
                cut: 1_000,
                ..state.faults
            };
            Some(subscription.cut(now, &all, &mut state.rng))
        });
        for message in lost.iter().flatten() {
            (self.wire.watcher)(Sight::Lost(message));
        }
    }
}

impl fmt::Debug for FaultyInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyInbox")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
