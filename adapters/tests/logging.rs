//! What the log says of events that are published and handled: nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jetbus::{Bus, Delivery, Event, Topic};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

/// Counts lines by where they come from.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<BTreeMap<String, usize>>>);

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let whence = event.metadata().name().to_owned();
        *self.0.lock().unwrap().entry(whence).or_default() += 1;
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

async fn publish(orders: &Topic, count: u32) {
    for n in 0..count {
        let event = Event::new("order-1", "OrderPlaced", n);
        orders.publish(&event).await.unwrap();
    }
}

#[tokio::test]
async fn events_that_are_published_and_handled_leave_no_line() {
    const EVENTS: u32 = 1_000;
    let lines = Lines::default();
    tracing::dispatcher::set_global_default(lines.clone().into()).unwrap();
    let bus = Bus::embedded().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let (done, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let told = done.send(event.payload).map_err(|_| "nobody waits");
            async move { told }
        })
        .await
        .unwrap();
    publish(&orders, EVENTS).await;
    for n in 0..EVENTS {
        assert_eq!(handled.recv().await, Some(n));
    }
    subscription.stop().await;
    bus.close().await;
    // That a stream and a consumer were made is worth one; an event is not.
    let lines = lines.0.lock().unwrap();
    assert!(!lines.is_empty(), "nobody listened");
    assert!(lines.values().all(|count| *count < 10), "{lines:?}");
}
