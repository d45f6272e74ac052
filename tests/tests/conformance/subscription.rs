//! What a subscription's handle does: pausing, draining, numbers.

use std::time::Duration;

use futures_lite::future;
use jetbus::{Delivery, DrainReport, SubscribeError, Subscription};
use jetbus_core::names;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Door, Seen, in_order, in_turns, publish, publish_all};
use serde_json::json;

/// Handles one event after the other, each when the door is open.
struct Doorway {
    door: Door,
    begun: Seen<u32>,
    done: Seen<u32>,
}

impl Doorway {
    fn new() -> Self {
        Self {
            door: Door::shut(),
            begun: Seen::new(),
            done: Seen::new(),
        }
    }

    async fn subscribe(&self, bus: &jetbus::Bus, window: usize) -> Subscription {
        let (door, begun, done) = (self.door.clone(), self.begun.clone(), self.done.clone());
        bus.subscribe("orders.placed")
            .group("billing")
            .window(window)
            .ack_wait(Duration::from_secs(3600))
            .handle(move |event: Delivery<u32>| {
                let (door, begun, done) = (door.clone(), begun.clone(), done.clone());
                async move {
                    begun.note(event.payload);
                    door.pass().await;
                    done.note(event.payload);
                }
            })
            .await
            .unwrap()
    }
}

fn report(finished: usize, returned: usize, abandoned: usize) -> impl Fn(DrainReport) -> bool {
    move |report| {
        let counts = (report.finished, report.returned, report.abandoned);
        report.confirmed && counts == (finished, returned, abandoned)
    }
}

pub(crate) async fn a_paused_subscription_asks_for_nothing_until_it_resumes(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let doorway = Doorway::new();
    doorway.door.open();
    // One place: one event is asked for at a time.
    let subscription = doorway.subscribe(&bus, 1).await;
    publish(&orders, "order-1", 1).await;
    doorway.done.reaches(1, &env).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    env.soon("the next is asked for", async {
        while admin.only_consumer(&stream).await["num_waiting"] != 1 {}
    })
    .await;
    subscription.pause();
    env.until("it is paused", || subscription.stats().paused)
        .await;
    for n in 2..=4 {
        publish(&orders, "order-1", n).await;
    }
    // What was asked for before still comes, and nothing after it.
    doorway.done.reaches(2, &env).await;
    env.soon("nobody asks for the others", async {
        loop {
            let info = admin.only_consumer(&stream).await;
            if info["num_ack_pending"] == 0 {
                assert_eq!(info["num_pending"], 2);
                assert_eq!(info["num_waiting"], 0);
                break;
            }
        }
    })
    .await;
    assert_eq!(doorway.done.all(), [1, 2]);
    subscription.resume();
    doorway.done.reaches(4, &env).await;
    assert_eq!(doorway.done.all(), [1, 2, 3, 4]);
    assert!(!subscription.stats().paused);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn draining_finishes_what_runs_and_gives_back_what_waits_in_order(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=5).map(|n| ("order-1", n))).await;
    let doorway = Doorway::new();
    let subscription = doorway.subscribe(&bus, 10).await;
    doorway.begun.reaches(1, &env).await;
    env.until("all are held", || subscription.stats().held == 5)
        .await;
    let stats = subscription.stats();
    assert_eq!((stats.running, stats.parked, stats.lag), (1, 0, 0));
    let mut drained = Box::pin(subscription.drain(Duration::from_secs(60)));
    // From here on no handler starts.
    assert!(future::poll_once(&mut drained).await.is_none());
    doorway.door.open();
    let drained = env.soon("it is drained", drained).await;
    assert!(report(1, 4, 0)(drained), "{drained:?}");
    assert_eq!(doorway.done.all(), [1]);
    let subscription = doorway.subscribe(&bus, 10).await;
    doorway.done.reaches(5, &env).await;
    assert_eq!(doorway.done.all(), [1, 2, 3, 4, 5]);
    env.until("all is settled", || subscription.stats().held == 0)
        .await;
    let nothing = env.soon("it is drained", subscription.drain(Duration::ZERO));
    assert!(report(0, 0, 0)(nothing.await));
    bus.close().await;
}

pub(crate) async fn a_drain_ends_in_time_though_handlers_never_do(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(2, 2)).await;
    let doorway = Doorway::new();
    let subscription = doorway.subscribe(&bus, 10).await;
    doorway.begun.reaches(2, &env).await;
    env.until("all are held", || subscription.stats().held == 4)
        .await;
    let drained = subscription.drain(Duration::from_millis(200));
    let drained = env.soon("it ends", drained).await;
    assert!(report(0, 2, 2)(drained), "{drained:?}");
    // Nobody starts what waited, and nobody heeds a handler that was given up.
    doorway.door.open();
    doorway.done.reaches(2, &env).await;
    assert_eq!(doorway.begun.len(), 2);
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    assert_eq!(
        admin.only_consumer(&stream).await["num_ack_pending"],
        json!(4)
    );
    bus.close().await;
}

pub(crate) async fn a_consumer_made_again_does_not_repeat_what_was_settled(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    // So few places that most of what is settled is not remembered.
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .window(2)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    publish_all(&orders, in_turns(10, 6)).await;
    seen.reaches(60, &env).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    let name = names::durable("billing", "orders.placed", None).unwrap();
    admin.delete_consumer(&stream, &name).await;
    for n in 7..=8 {
        publish_all(&orders, (0..10).map(|key| (format!("key-{key}"), n))).await;
    }
    seen.reaches(80, &env).await;
    assert_eq!(seen.by_key(), in_order(10, 8));
    subscription.stop().await;
    admin.all_is_settled(&stream).await;
    assert_eq!(seen.len(), 80);
    bus.close().await;
}

pub(crate) async fn a_foreign_consumer_that_does_not_fit_is_refused(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let name = names::durable("billing", "orders.placed", None).unwrap();
    let config = json!({
        "name": name, "durable_name": name, "filter_subject": "orders.placed",
        "ack_policy": "explicit", "max_deliver": 3,
    });
    let body = json!({ "stream_name": stream, "config": config });
    let made = format!("CONSUMER.CREATE.{stream}.{name}.orders.placed");
    assert_eq!(admin.api(&made, &body).await["name"], json!(name));
    let refused = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(async |_: Delivery<u32>| {})
        .await;
    let Err(SubscribeError::Stream(error)) = refused.map(drop) else {
        panic!("it is refused");
    };
    assert!(error.to_string().contains("max_deliver"), "{error}");
    bus.close().await;
}
