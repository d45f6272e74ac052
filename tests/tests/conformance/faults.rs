//! What somebody else takes away underneath comes back.

use std::ops::RangeInclusive;
use std::time::Duration;

use jetbus::{Bus, Delivery, News, Subscription, Topic};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, in_order, news, publish_all};
use serde_json::Value;

/// Notes the events of a topic, as a group or alone.
async fn listen(bus: &Bus, group: Option<&str>) -> (Subscription, Seen<(String, u32)>) {
    let seen = Seen::new();
    let noted = seen.clone();
    let mut subscribe = bus
        .subscribe("orders.placed")
        .ack_wait(Duration::from_secs(3600));
    if let Some(group) = group {
        subscribe = subscribe.group(group);
    }
    let subscription = subscribe
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    (subscription, seen)
}

/// Publishes events `numbers` of ten keys, each of a key after the one before it is
/// stored: what is in flight together may be stored in another order when it is
/// refused and tried again.
async fn ten_keys(orders: &Topic, numbers: RangeInclusive<u32>) {
    for n in numbers {
        publish_all(orders, (0..10).map(|key| (format!("key-{key}"), n))).await;
    }
}

/// Waits until all ten keys were handled up to `last`, each in order.
async fn handled_up_to(env: &Env, seen: &Seen<(String, u32)>, last: u32) {
    env.until("all are handled", || {
        let keys = seen.by_key();
        keys.len() == 10 && keys.values().all(|numbers| numbers.contains(&last))
    })
    .await;
    assert_eq!(seen.first_by_key(), in_order(10, last));
}

pub(crate) async fn a_deleted_consumer_is_made_again_and_nothing_is_missed(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let group = listen(&bus, Some("billing")).await;
    let alone = listen(&bus, None).await;
    ten_keys(&orders, 1..=5).await;
    handled_up_to(&env, &group.1, 5).await;
    handled_up_to(&env, &alone.1, 5).await;

    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    for round in 1..=3 {
        let names = admin
            .api(&format!("CONSUMER.NAMES.{stream}"), &Value::Null)
            .await;
        for name in names["consumers"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            admin.delete_consumer(&stream, name).await;
        }
        // Stored while there is no consumer, perhaps.
        let first = 5 * round + 1;
        ten_keys(&orders, first..=first + 4).await;
        handled_up_to(&env, &group.1, first + 4).await;
        handled_up_to(&env, &alone.1, first + 4).await;
        news(&env, "that it was lost is told", &mut heard, |news| {
            matches!(news, News::Pull { what, .. } if what.to_string().contains("deleted"))
                .then_some(())
        })
        .await;
    }
    // What is not settled survives the consumer too: it is here.
    group.0.stop().await;
    alone.0.stop().await;

    // Another start, chosen later, changes nothing for a group that exists.
    let again = bus
        .subscribe("orders.placed")
        .group("billing")
        .start(jetbus::Start::New)
        .handle(async |_: Delivery<u32>| {})
        .await
        .unwrap();
    again.stop().await;
    bus.close().await;
}

pub(crate) async fn a_deleted_stream_is_made_again_and_handling_goes_on(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let group = listen(&bus, Some("billing")).await;
    let alone = listen(&bus, None).await;
    ten_keys(&orders, 1..=5).await;
    handled_up_to(&env, &group.1, 5).await;
    handled_up_to(&env, &alone.1, 5).await;

    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin
        .api(&format!("STREAM.DELETE.{stream}"), &Value::Null)
        .await;
    ten_keys(&orders, 6..=10).await;
    handled_up_to(&env, &group.1, 10).await;
    handled_up_to(&env, &alone.1, 10).await;
    news(&env, "that it was made again is told", &mut heard, |news| {
        matches!(news, News::Pull { what, .. } if what.to_string().contains("deleted"))
            .then_some(())
    })
    .await;
    assert_eq!(admin.only_stream().await, stream);
    group.0.stop().await;
    alone.0.stop().await;
    bus.close().await;
}
