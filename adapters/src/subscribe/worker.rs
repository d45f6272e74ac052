//! Workers: tasks that take events from a subscription's hand-off and handle them.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jetbus_core::delivery::Outcome;
use tracing::{Instrument as _, debug_span};

use super::delivery::{Decode, Delivery};
use super::handled::{Handled, IntoHandled, bounded};
use super::lanes::{HANDLING, Lanes, Work};

/// Handles one event after the other until the subscription stops.
pub(super) async fn work<T, H, F>(lanes: Arc<Lanes>, decode: Decode<T>, handler: Arc<H>)
where
    H: Fn(Delivery<T>) -> F,
    F: Future,
    F::Output: IntoHandled,
{
    let mut worker = lanes.worker();
    let counts = lanes.counts();
    let clock = &lanes.bus.runtime;
    while let Some(job) = poll_fn(|cx| worker.poll_next(cx)).await {
        let span = debug_span!(
            "handle",
            topic = job.item.message.subject.as_str(),
            key = job.item.key(),
            sequence = job.meta.stream_seq,
            attempt = job.attempt,
        );
        let began = clock.now();
        let handled = handle(&job, decode, &*handler).instrument(span).await;
        counts.record::<HANDLING>(nanos(clock.now().since(began)));
        let outcome = match handled {
            Handled::Done => Outcome::Ack,
            Handled::Retry { after, error } => {
                let outcome = Outcome::Failed {
                    retry_after: after,
                    error: error.as_str().into(),
                };
                lanes.failed(&job, error);
                outcome
            }
        };
        lanes.settle(job.id, outcome);
    }
}

/// Decodes and handles one event. A panic, of the payload's decoding too, is an
/// error of this event, not of the worker: what it may have broken is the
/// handler's own; nothing of the subscription is touched.
async fn handle<T, H, F>(job: &Work, decode: Decode<T>, handler: &H) -> Handled
where
    H: Fn(Delivery<T>) -> F,
    F: Future,
    F::Output: IntoHandled,
{
    let mut handling = pin!(async {
        match decode(&job.item) {
            Ok(payload) => handler(Delivery::new(payload, job)).await.into_handled(),
            Err(error) => Handled::retry(error),
        }
    });
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
        polled.unwrap_or_else(|panic| Poll::Ready(Handled::retry(message(&*panic))))
    })
    .await
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    bounded(&format_args!("the handler panicked: {text}"))
}
