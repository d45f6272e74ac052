//! Seeing handlers that block their thread.
//!
//! A handler that does not yield cannot be dropped when its time is over, and its
//! worker cannot tell. So each worker leaves a note at its post when it begins to
//! poll a handler, and a task of its own looks at the posts of a subscription. Not the
//! driver: workers wake it, and a runtime may want to run what a thread woke on that
//! thread. When all tasks share one thread the watch does not run either: then the
//! worker tells afterwards.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;
use jetbus_core::Time;

use super::lanes::Lanes;
use crate::runtime::Runtime;

/// Watches over the workers of these lanes until what is returned is dropped.
pub(super) fn start(lanes: &Arc<Lanes>) -> oneshot::Sender<Infallible> {
    let (end, ended) = oneshot::channel();
    let runtime = Arc::clone(&lanes.bus.runtime);
    let watching = watch(Arc::clone(&runtime), Arc::downgrade(lanes), ended);
    runtime.spawn(Box::pin(watching));
    end
}

async fn watch(
    clock: Arc<dyn Runtime>,
    lanes: Weak<Lanes>,
    mut ended: oneshot::Receiver<Infallible>,
) {
    while let Some(lanes) = lanes.upgrade() {
        let next = lanes.look(clock.now());
        drop(lanes);
        let mut sleep = clock.sleep_until(next);
        let over = poll_fn(|cx| match Pin::new(&mut ended).poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| false),
        });
        if over.await {
            return;
        }
    }
}

/// Where a worker notes what it polls.
///
/// Both words have one writer, the worker, but for [`TOLD`], which the watch adds.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// When the poll began, in nanoseconds and at least 1; [`TOLD`]; 0 outside of
    /// polls. Changed by read-modify-writes only.
    since: AtomicU64,
    /// The event's sequence in its stream.
    sequence: AtomicU64,
}

/// This poll was told of.
const TOLD: u64 = 1 << 63;

impl Post {
    pub(super) fn begin(&self, now: Time, sequence: u64) {
        // Relaxed: ordered by `since`, see `tell`.
        self.sequence.store(sequence, Ordering::Relaxed);
        let since = now.as_nanos().clamp(1, TOLD - 1);
        // Release pairs with the Acquire in `since`: who sees this poll sees its event.
        self.since.swap(since, Ordering::Release);
    }

    /// The poll is over; whether it was told of.
    pub(super) fn end(&self) -> bool {
        // Acquire pairs with the Release in `tell`.
        self.since.swap(0, Ordering::Acquire) & TOLD != 0
    }

    /// When the poll began that goes on and was not told of.
    fn since(&self) -> Option<u64> {
        // Acquire pairs with the Release in `begin`.
        let since = self.since.load(Ordering::Acquire);
        (since != 0 && since & TOLD == 0).then_some(since)
    }

    /// Takes it upon itself to tell of the poll that began then: its event, if it still
    /// goes on.
    fn tell(&self, since: u64) -> Option<u64> {
        // Relaxed: `since` was read before with Acquire, so this is that poll's event or
        // that of a later poll. Not of a later one when the exchange succeeds: with
        // Release it comes, by `end`'s Acquire, before everything that the worker does
        // after the poll, and so does this load before it.
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.since
            .compare_exchange(since, since | TOLD, Ordering::Release, Ordering::Relaxed)
            .is_ok()
            .then_some(sequence)
    }
}

/// The posts of a subscription's workers. Locked when one is hired and when the watch
/// looks, never per event.
#[derive(Debug, Default)]
pub(super) struct Posts(Mutex<Vec<Weak<Post>>>);

impl Posts {
    /// A post for one worker, there for as long as the worker is.
    pub(super) fn open(&self) -> Arc<Post> {
        let post = Arc::new(Post::default());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|post| post.strong_count() > 0);
        all.push(Arc::downgrade(&post));
        post
    }

    /// Calls `stuck` with the sequence of each event whose handler blocks its thread for
    /// as long as `limit`, and for how long, once for each. When to look again: a handler
    /// that begins to block later is not stuck before then.
    pub(super) fn look(
        &self,
        now: Time,
        limit: Duration,
        mut stuck: impl FnMut(u64, Duration),
    ) -> Time {
        let mut next = now + limit;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for post in all.iter().filter_map(Weak::upgrade) {
            let Some(since) = post.since() else { continue };
            let began = Time::ZERO + Duration::from_nanos(since);
            if began + limit > now {
                next = next.min(began + limit);
            } else if let Some(sequence) = post.tell(since) {
                stuck(sequence, now.since(began));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_told_of_once_when_its_time_is_over() {
        let at = |secs| Time::ZERO + Duration::from_secs(secs);
        let limit = Duration::from_secs(10);
        let posts = Posts::default();
        let look = |now: u64| {
            let mut told = Vec::new();
            let next = posts.look(at(now), limit, |sequence, time| {
                told.push((sequence, time.as_secs()));
            });
            (told, next)
        };
        let (a, b) = (posts.open(), posts.open());
        assert_eq!(look(1), (vec![], at(11)));
        a.begin(at(2), 7);
        b.begin(at(5), 8);
        assert_eq!(look(6), (vec![], at(12)));
        assert_eq!(look(12), (vec![(7, 10)], at(15)));
        assert_eq!(look(13), (vec![], at(15)));
        assert!(a.end());
        // The next poll is another one.
        a.begin(at(14), 7);
        assert!(!b.end());
        assert_eq!(look(30), (vec![(7, 16)], at(40)));
        // A worker that is gone is not looked at.
        b.begin(at(31), 9);
        drop(b);
        assert_eq!(look(50), (vec![], at(60)));
    }
}
