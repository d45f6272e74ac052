//! From the bus to the server.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use jetbus::link::Refused;
use jetbus::runtime::Runtime;
use jetbus_core::{Outbound, Publish, Subject};

use super::{ON_THE_WAY, Sight, State, Until, Wire};

enum Fate {
    Refused(Refused),
    /// At once, so that a refusal of the link behind is the caller's.
    Straight,
    /// Lost, late or repeated.
    Noted,
}

impl Wire {
    pub(super) fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        // Seen first: the answer may come during the call.
        (self.watcher)(Sight::Handed(message));
        let taken = match self.with(|state| self.fate(state, message)) {
            Fate::Refused(refused) => Err(refused),
            Fate::Straight => self.inner.try_publish(message),
            Fate::Noted => Ok(()),
        };
        if taken.is_err() {
            (self.watcher)(Sight::Refused(message));
        }
        let carrier = self.with(|state| state.carrier.take());
        carrier.into_iter().for_each(Waker::wake);
        taken
    }

    fn fate(&self, state: &mut State, message: Publish<'_>) -> Fate {
        if state.closed {
            return Fate::Refused(Refused::Closed);
        }
        if !state.up {
            return Fate::Refused(Refused::Disconnected);
        }
        let State {
            faults, rng, out, ..
        } = state;
        if rng.chance(faults.busy) || out.len() >= ON_THE_WAY {
            return Fate::Refused(Refused::Busy);
        }
        if rng.chance(faults.lose_out) {
            return Fate::Noted;
        }
        let copies = if rng.chance(faults.duplicate) { 2 } else { 1 };
        let late = rng.chance(faults.delay);
        if copies == 1 && !late && out.is_empty() {
            return Fate::Straight;
        }
        for _ in 0..copies {
            let mut at = self.sim.now();
            if late {
                at = at + rng.up_to(faults.late);
            }
            // Nothing overtakes.
            at = out.back().map_or(at, |(last, _)| at.max(*last));
            out.push_back((at, owned(message)));
            state.entered += 1;
        }
        Fate::Noted
    }
}

fn owned(message: Publish<'_>) -> Outbound {
    Outbound {
        subject: message.subject.clone(),
        reply: message.reply.map(Subject::from),
        headers: message.headers.clone(),
        payload: message.payload.clone(),
    }
}

/// Brings late messages to the link behind, until it is closed.
pub(super) async fn carry(wire: Arc<Wire>) {
    let mut until = Until::default();
    loop {
        let next = poll_fn(|cx| {
            wire.with(|state| {
                state.carrier = Some(cx.waker().clone());
                let due = match state.out.front() {
                    Some((at, _)) => state.closed || until.poll(&wire.sim, *at, cx),
                    None if state.closed => return Poll::Ready(None),
                    None => false,
                };
                match due {
                    true => Poll::Ready(state.out.pop_front()),
                    false => Poll::Pending,
                }
            })
        });
        let Some((_, message)) = next.await else {
            break;
        };
        while wire.inner.try_publish(message.as_publish()) == Err(Refused::Busy) {
            wire.inner.ready().await;
        }
        let flushing = wire.with(|state| {
            state.left += 1;
            std::mem::take(&mut state.flushing)
        });
        for waker in flushing {
            waker.wake();
        }
    }
    wire.inner.close().await;
}
