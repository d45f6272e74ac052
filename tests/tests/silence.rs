//! A consumer that has events and delivers none, seen on the embedded broker in virtual
//! time.
//!
//! The server's signs of life show only that it knows of a pull.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_lite::{StreamExt as _, future};
use jetbus::link::{EmbeddedBroker, Inbox, Link, LinkError, LinkEvent, Refused};
use jetbus::runtime::Runtime;
use jetbus::{Builder, Delivery, News, NewsStream, PullNews, Stream};
use jetbus_core::{Publish, Subject};
use jetbus_tests::sim::runtime::Sim;
use jetbus_tests::support::publish;

/// Where the subscription pulls, and a consumer that never has anything to deliver.
const PULLED: &str = "$JS.API.CONSUMER.MSG.NEXT.ORDERS.billing~orders~placed";
const IDLE: &str = "$JS.API.CONSUMER.MSG.NEXT.ORDERS.billing~orders~none";

/// Longer than a pull stays open, and than a consumer may be silent unnoticed.
const LONG: Duration = Duration::from_secs(60);

/// A link that can lead pulls to the idle consumer: they are open, the server says so
/// again and again, and nothing comes.
#[derive(Debug)]
struct Astray {
    inner: Arc<dyn Link>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leads: bool,
    /// The inboxes that pulls came from.
    inboxes: BTreeSet<String>,
}

impl Astray {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lead(&self, leads: bool) {
        self.state().leads = leads;
    }

    fn inboxes(&self) -> usize {
        self.state().inboxes.len()
    }
}

impl Link for Astray {
    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        if message.subject != PULLED {
            return self.inner.try_publish(message);
        }
        let mut state = self.state();
        // The inbox, and the pull's number.
        if let Some((inbox, _)) = message.reply.and_then(|reply| reply.rsplit_once('.')) {
            state.inboxes.insert(inbox.to_owned());
        }
        let idle = Subject::from(IDLE);
        let subject = if state.leads { &idle } else { message.subject };
        self.inner.try_publish(Publish { subject, ..message })
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.inner.ready()
    }

    fn subscribe(
        &self,
        pattern: Subject,
        group: Option<Subject>,
    ) -> BoxFuture<'_, Result<Box<dyn Inbox>, LinkError>> {
        self.inner.subscribe(pattern, group)
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), LinkError>> {
        self.inner.flush()
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        self.inner.poll_event(cx)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// How many events the consumer had when it was found stuck. Nothing else is news of
/// it.
async fn stuck(news: &mut NewsStream) -> u64 {
    loop {
        match news.next().await.expect("the bus is open") {
            News::Pull {
                what: PullNews::Stuck { pending, waited },
                ..
            } => {
                assert!(waited >= Duration::from_secs(30), "{waited:?}");
                return pending;
            }
            other => assert!(!matches!(other, News::Pull { .. }), "{other:?}"),
        }
    }
}

async fn play(sim: Sim) {
    let runtime: Arc<dyn Runtime> = Arc::new(sim.clone());
    let broker = EmbeddedBroker::new();
    let link = Arc::new(Astray {
        inner: Arc::new(broker.connect(Arc::clone(&runtime)).await),
        state: Mutex::default(),
    });
    let bus = Builder::link(Arc::clone(&link) as _)
        .runtime(runtime)
        .stream(Stream::new("ORDERS", ["orders.*"]))
        .open()
        .await
        .unwrap();
    // Leaves its consumer behind.
    let idle = bus.subscribe("orders.none").group("billing");
    let idle = idle.handle(async |_: Delivery<u32>| {}).await.unwrap();
    idle.stop().await;

    let (done, handled) = async_channel::unbounded();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let done = done.clone();
            async move {
                let _ = done.send(event.payload).await;
            }
        })
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    assert_eq!(handled.recv().await, Ok(1));

    // Silence alone is nothing: there is nothing to deliver.
    let mut heard = bus.news();
    sim.sleep(LONG * 2).await;
    assert_eq!(link.inboxes(), 1);

    // Once the pulls from before have ended, nothing comes.
    link.lead(true);
    sim.sleep(LONG).await;
    for n in 2..=4 {
        publish(&orders, "order-1", n).await;
    }
    // It is told, and asked anew, as often as it takes.
    for inboxes in 2..=3 {
        assert_eq!(stuck(&mut heard).await, 3);
        // It is told, and then looked for another inbox, long before it is told again.
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(link.inboxes(), inboxes);
    }
    assert!(handled.is_empty());
    link.lead(false);
    for n in 2..=4 {
        assert_eq!(handled.recv().await, Ok(n));
    }
    sim.sleep(LONG * 2).await;
    assert!(handled.is_empty());
    while let Some(Some(other)) = future::poll_once(heard.next()).await {
        assert!(!matches!(other, News::Pull { .. }), "{other:?}");
    }
    subscription.stop().await;
    bus.close().await;
}

#[test]
fn a_consumer_that_has_events_and_delivers_none_is_told_and_asked_anew() {
    for seed in 0..5 {
        let sim = Sim::new(seed);
        let played = sim.block_on(play(sim.clone()));
        sim.abandon();
        if let Err(stuck) = played {
            panic!("seed {seed}: {stuck}");
        }
    }
}
