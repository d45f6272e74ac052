//! One attempt to handle something: with a time limit, and without consequences
//! beyond it when it panics.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use jetbus_core::Time;
use jetbus_core::shared::counters;

use super::handled::bounded;
use super::lanes::{FAILED, HANDLED, HANDLING, Lanes};
use super::watch::Post;
use crate::runtime::Runtime;

/// Where a worker makes its attempts, one after the other.
pub(super) struct Bench {
    lanes: Arc<Lanes>,
    post: Arc<Post>,
    alarm: Alarm,
    counts: counters::Handle<3, 1>,
}

impl Bench {
    pub(super) fn new(lanes: &Arc<Lanes>) -> Self {
        Self {
            lanes: Arc::clone(lanes),
            post: lanes.posts.open(),
            alarm: Alarm::default(),
            counts: lanes.counts(),
        }
    }

    pub(super) const fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Counts an attempt that ended well.
    pub(super) fn handled(&self) {
        self.counts.add::<HANDLED>(1);
    }

    /// Counts an attempt that failed.
    pub(super) fn failed(&self) {
        self.counts.add::<FAILED>(1);
    }

    /// Runs `handling`, of the event with this sequence or of a batch that begins with
    /// it, to its end, but not for longer than the timeout. A panic, also of dropping it,
    /// is an error: what it may have broken is the handler's own; nothing of the
    /// subscription is touched. Whatever happened, `handling` is dropped when this
    /// returns.
    pub(super) async fn attempt<F: Future>(
        &mut self,
        sequence: u64,
        handling: F,
    ) -> Result<F::Output, String> {
        let Self { lanes, post, .. } = self;
        let alarm = &mut self.alarm;
        let clock = &*lanes.bus.runtime;
        let timeout = lanes.handling.timeout;
        let began = clock.now();
        let deadline = began + timeout;
        // When the latest poll began, and whether it was told of.
        let mut polled = None;
        let mut handling = pin!(Some(handling));
        let ended = poll_fn(|cx| {
            let Some(handling) = handling.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            let since = polled.map_or(began, |_| clock.now());
            post.begin(since, sequence);
            let ended = caught("the handler", || handling.poll(cx));
            polled = Some((since, post.end()));
            match ended {
                Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
                Ok(Poll::Pending) if alarm.rings(clock, deadline, cx) => {
                    Poll::Ready(Err(format!("the handler did not end within {timeout:?}")))
                }
                Ok(Poll::Pending) => Poll::Pending,
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        let dropped = caught("the handler", || handling.set(None));
        let now = clock.now();
        self.counts.record::<HANDLING>(nanos(now.since(began)));
        if let Some((since, false)) = polled
            && now.since(since) >= timeout
        {
            lanes.tell_stuck(sequence, now.since(since));
        }
        ended.and_then(|output| dropped.map(|()| output))
    }
}

/// Wakes a worker when its attempt has taken too long. Most attempts end long before:
/// one timer serves many of them, and is set anew only when it has gone off.
#[derive(Default)]
struct Alarm {
    sleep: Option<(Time, BoxFuture<'static, ()>)>,
}

impl Alarm {
    /// Whether the deadline has come; else the task is woken then.
    fn rings(&mut self, clock: &dyn Runtime, deadline: Time, cx: &mut Context<'_>) -> bool {
        loop {
            let (_, sleep) = match &mut self.sleep {
                Some(earlier) if earlier.0 <= deadline => earlier,
                later => later.insert((deadline, clock.sleep_until(deadline))),
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.sleep = None;
            if clock.now() >= deadline {
                return true;
            }
        }
    }
}

/// Runs `run`; what a panic of `who` said if it panics.
pub(super) fn caught<T>(who: &str, run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = message(who, &*panic);
        // What was thrown may panic when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
        text
    })
}

/// What a panic said.
fn message(who: &str, panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    bounded(&format_args!("{who} panicked: {text}"))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
