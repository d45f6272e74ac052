//! Events that wait a moment for others: flushing, closing, and time that runs out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_lite::future;
use jetbus::runtime::Runtime;
use jetbus::{BatchPath, Batching, Builder, Event, PublishError, Stream};
use jetbus_core::{Time, Timestamp};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Spy;

use crate::ordering::watched;
use crate::publishing::stored;
use crate::results::{rest, room};

/// The declared stream of these cases.
const ORDERS: &str = "ORDERS";

fn orders() -> Stream {
    Stream::new(ORDERS, ["orders.>"]).atomic_batches(true)
}

fn event(n: u32) -> Event<'static, u32> {
    Event::new(format!("order-{n}"), "OrderPlaced", n)
}

/// Goes on when there are so many, or when somebody says so.
fn patient(size: usize) -> Batching {
    Batching {
        size,
        linger: Duration::from_secs(60),
        path: BatchPath::Atomic,
    }
}

pub(crate) async fn flushes_that_nobody_waits_for_cut_nothing_apart(env: Env) {
    let (bus, spy) = watched(&env, |b| b.stream(orders())).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    let publisher = topic.batching(patient(10)).unwrap();
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    let mut receipts = Vec::new();
    for n in 1..=11 {
        receipts.push(publisher.send(&event(n)).await.unwrap());
        assert!(future::poll_once(publisher.flush()).await.is_none());
    }
    let mut flushes: Vec<_> = (0..100).map(|_| Box::pin(publisher.flush())).collect();
    for flush in &mut flushes {
        assert!(future::poll_once(flush).await.is_none());
    }
    spy.connect();
    for flush in flushes {
        env.soon("all that was sent is told", flush).await;
    }
    let outside = env.outside().await;
    let mut batches = BTreeSet::new();
    for (sequence, receipt) in (2..).zip(receipts) {
        let outcome = future::poll_once(receipt).await.expect("it is told");
        assert_eq!(stored(outcome.unwrap()).1, sequence);
        let message = outside.stored(ORDERS, sequence).await;
        batches.insert(message.headers.get("Nats-Batch-Id").unwrap().to_owned());
    }
    // The first, which was told to go, and all others.
    assert_eq!(batches.len(), 2);
    bus.close().await;
}

pub(crate) async fn closing_answers_what_lingers_at_once(env: Env) {
    let bus = env.builder().stream(orders()).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    let mut results = bus.results(room(10)).unwrap();
    let mut held = Vec::new();
    for path in [BatchPath::Auto, BatchPath::Atomic, BatchPath::Pipelined] {
        let publisher = topic.batching(Batching {
            path,
            ..patient(10)
        });
        let publisher = publisher.unwrap();
        let receipt = publisher.send(&event(1)).await.unwrap();
        held.push((publisher, receipt));
    }
    env.soon("closing", bus.close()).await;
    for (publisher, receipt) in held {
        let error = env.soon("an outcome", receipt).await.unwrap_err();
        assert!(matches!(error, PublishError::Closed), "{error:?}");
        let after = publisher.send(&event(2)).await.unwrap_err();
        assert!(matches!(after, PublishError::Closed), "{after:?}");
        env.soon("nothing waits", publisher.flush()).await;
    }
    let rest = rest(&env, &mut results).await;
    assert_eq!(rest.len(), 3);
    for result in rest {
        let outcome = result.outcome;
        assert!(matches!(outcome, Err(PublishError::Closed)), "{outcome:?}");
    }
}

/// A runtime that is ahead of the one beneath by so many nanoseconds.
#[derive(Debug)]
struct Ahead(Arc<dyn Runtime>, AtomicU64);

impl Runtime for Ahead {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        let left = deadline.since(self.now());
        self.0.sleep_until(self.0.now() + left)
    }

    fn now(&self) -> Time {
        self.0.now() + Duration::from_nanos(self.1.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        self.0.wall()
    }
}

pub(crate) async fn what_waited_too_long_for_its_turn_is_not_sent(env: Env) {
    const TIMEOUT: Duration = Duration::from_secs(3600);
    let spy = Spy::on(env.link().await);
    let clock = Arc::new(Ahead(Arc::clone(env.runtime()), AtomicU64::new(0)));
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(&clock) as _)
        .publish_timeout(TIMEOUT)
        .stream(orders())
        .open()
        .await
        .unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    let mut held = Vec::new();
    for path in [BatchPath::Auto, BatchPath::Atomic, BatchPath::Pipelined] {
        let publisher = topic.batching(Batching { path, ..patient(1) });
        let publisher = publisher.unwrap();
        let first = publisher.send(&event(1)).await.unwrap();
        let second = publisher.send(&event(2)).await.unwrap();
        held.push((publisher, first, second));
    }
    let ahead = u64::try_from(TIMEOUT.as_nanos()).unwrap();
    clock.1.store(ahead, Ordering::SeqCst);
    spy.connect();
    for (publisher, first, second) in held {
        // It may have been on its way.
        drop(first);
        let error = env.soon("an outcome", second).await.unwrap_err();
        assert!(
            matches!(error, PublishError::NotSent { waited } if waited >= TIMEOUT),
            "{error:?}"
        );
        let third = publisher.send(&event(3)).await.unwrap();
        env.soon("an outcome", third).await.unwrap();
    }
    bus.close().await;
}

pub(crate) async fn what_lingers_still_has_time_to_go(env: Env) {
    let builder = env.builder().publish_timeout(Duration::from_secs(4));
    let bus = builder.stream(orders()).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let publisher = topic.batching(patient(10)).unwrap();
    let receipt = publisher.send(&event(1)).await.unwrap();
    let outcome = env.soon("an outcome", receipt).await.unwrap();
    assert_eq!(stored(outcome).1, 1);
    bus.close().await;
}
