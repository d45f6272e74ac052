//! The consumers that subscriptions read.

use std::time::Duration;

use jetbus::{Bus, Delivery, News, Subscription};
use jetbus_core::names;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, in_turns, news, publish_all};
use serde_json::json;

async fn listen(bus: &Bus, seen: &Seen<(String, u32)>) -> Subscription {
    let noted = seen.clone();
    bus.subscribe("orders.placed")
        .group("billing")
        .ack_wait(Duration::from_secs(77))
        .window(2_000)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap()
}

pub(crate) async fn a_consumer_is_as_asked_and_there_is_no_other(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(5, 2)).await;
    let seen = Seen::new();
    let subscription = listen(&bus, &seen).await;
    seen.reaches(10, &env).await;
    let admin = Admin::connect(&env).await;
    // The server's word, not what the bus believes.
    let consumer = admin.only_consumer(&admin.only_stream().await).await;
    let durable = names::durable("billing", "orders.placed", None).unwrap();
    for (field, value) in [
        ("durable_name", json!(durable)),
        ("ack_policy", json!("explicit")),
        ("ack_wait", json!(77_000_000_000_u64)),
        ("max_ack_pending", json!(2_000)),
        ("max_deliver", json!(-1)),
        ("deliver_policy", json!("all")),
        ("filter_subject", json!("orders.placed")),
    ] {
        assert_eq!(consumer["config"][field], value, "{field}");
    }
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn instances_that_share_a_group_are_told_so(env: Env) {
    let buses = [env.bus().await, env.bus().await];
    let (mut heard, seen) = (buses[0].news(), Seen::new());
    let subscriptions = [
        listen(&buses[0], &seen).await,
        listen(&buses[1], &seen).await,
    ];
    let orders = buses[1].topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(50, 20)).await;
    seen.reaches(1_000, &env).await;
    let topic = news(&env, "it is told", &mut heard, |news| match news {
        News::SharedConsumer { topic } => Some(topic),
        _ => None,
    })
    .await;
    assert_eq!(&*topic, "orders.placed");
    for subscription in subscriptions {
        subscription.stop().await;
    }
    for bus in buses {
        bus.close().await;
    }
}
