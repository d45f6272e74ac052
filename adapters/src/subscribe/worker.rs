//! Workers: tasks that take events from a subscription's hand-off and handle them.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use jetbus_core::delivery::Outcome;

use super::delivery::{Decode, Delivery};
use super::handled::{Handled, IntoHandled, bounded};
use super::lanes::{Lanes, Work};

/// Handles one event after the other until the subscription stops.
pub(super) async fn work<T, H, F>(lanes: Arc<Lanes>, decode: Decode<T>, handler: Arc<H>)
where
    H: Fn(Delivery<T>) -> F,
    F: Future,
    F::Output: IntoHandled,
{
    let mut worker = lanes.worker();
    while let Some(job) = poll_fn(|cx| worker.poll_next(cx)).await {
        let id = job.id;
        let outcome = match handle(&job, decode, &*handler).await {
            Handled::Done => {
                lanes.count_handled();
                Outcome::Ack
            }
            Handled::Retry { after, error } => {
                lanes.failed(&job, error);
                Outcome::Failed { retry_after: after }
            }
        };
        lanes.settle(id, outcome);
    }
}

async fn handle<T, H, F>(job: &Work, decode: Decode<T>, handler: &H) -> Handled
where
    H: Fn(Delivery<T>) -> F,
    F: Future,
    F::Output: IntoHandled,
{
    let payload = match decode(&job.item) {
        Ok(payload) => payload,
        Err(error) => return Handled::retry(error),
    };
    let delivery = Delivery::new(payload, job);
    // A panic is an error of this event, not of the worker: the handler's own
    // state may be broken by it, the subscription's is not touched.
    let future = match catch_unwind(AssertUnwindSafe(|| handler(delivery))) {
        Ok(future) => future,
        Err(panic) => return Handled::retry(message(&*panic)),
    };
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(said)) => Poll::Ready(said.into_handled()),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Handled::retry(message(&*panic))),
        },
    )
    .await
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
