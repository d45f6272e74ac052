//! What somebody else takes away underneath comes back.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jetbus::{Builder, Bus, Delivery, News, Subscription, Topic};
use jetbus_core::jetstream::ack::Meta;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::{Spy, Trick};
use jetbus_tests::support::{Door, Seen, in_order, news, publish, publish_all};
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

pub(crate) async fn what_waits_for_lost_messages_keeps_its_lease(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    let (seen, door) = (Seen::new(), Door::shut());
    let (noted, pass) = (seen.clone(), door.clone());
    // Alone: what it is not given was lost.
    let subscription = bus
        .subscribe("orders.placed")
        .start(jetbus::Start::Beginning)
        .ack_wait(Duration::from_secs(3))
        .window(1)
        .handle(move |event: Delivery<u32>| {
            noted.note(event.payload);
            let pass = pass.clone();
            async move { pass.pass().await }
        })
        .await
        .unwrap();
    seen.reaches(1, &env).await;

    // The second message goes astray, and for now nobody says so.
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let consumer = admin.only_consumer(&stream).await;
    let name = consumer["name"].as_str().unwrap();
    let mut elsewhere = admin.listen("elsewhere").await;
    let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
    admin.publish(&pull, Some("elsewhere"), r#"{"batch":1}"#);
    env.soon("the delivery", elsewhere.next()).await;
    spy.trick(Trick::Swallow, "CONSUMER.INFO");
    let mut words = admin.listen("$JS.ACK.>").await;
    publish(&orders, "order-1", 3).await;
    door.open();
    env.soon("a sign of life of the third", async {
        loop {
            let word = words.next().await;
            let meta = Meta::parse(&word.subject).unwrap();
            if meta.stream_seq == 3 && word.payload == "+WPI" {
                return;
            }
        }
    })
    .await;
    assert_eq!(seen.all(), [1]);

    spy.be_honest();
    seen.reaches(3, &env).await;
    subscription.stop().await;
    assert_eq!(seen.all(), [1, 2, 3]);
    bus.close().await;
}
