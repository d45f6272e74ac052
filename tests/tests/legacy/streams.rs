//! Which stream keeps what, and for how long.

use jetbus::{Bus, Delivery, Retention, Stream, Subscription};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, in_order, in_turns, publish_all};

async fn listen(bus: &Bus, topic: &str, group: &str) -> (Subscription, Seen<(String, u32)>) {
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe(topic)
        .group(group)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    (subscription, seen)
}

pub(crate) async fn publishers_and_subscribers_meet_in_one_stream_whoever_comes_first(env: Env) {
    let declared = Stream::new("SHOP", ["shop.>"]);
    let bus = env.builder().stream(declared).open().await.unwrap();
    // Knows nothing of the declared stream.
    let stranger = env.bus().await;
    let mut handled = Vec::new();
    for (topic, stream) in [
        ("shop.orders", "SHOP"),
        ("orders.placed", "jetbus~orders~placed"),
    ] {
        for (n, (sender, receiver)) in [(&bus, &stranger), (&stranger, &bus), (&bus, &bus)]
            .into_iter()
            .enumerate()
        {
            let topic = format!("{topic}.{n}");
            let stream = match stream {
                "SHOP" => stream.to_owned(),
                own => format!("{own}~{n}"),
            };
            let sender = sender.topic(&topic).unwrap();
            // Of the streams that are declared, those who declare come first.
            if stream == "SHOP" {
                publish_all(&bus.topic("shop.opened").unwrap(), in_turns(1, 1)).await;
            }
            let early = listen(receiver, &topic, "early").await;
            publish_all(&sender, in_turns(5, 4)).await;
            let late = listen(receiver, &topic, "late").await;
            for (subscription, seen) in [early, late] {
                seen.reaches(20, &env).await;
                assert_eq!(seen.by_key(), in_order(5, 4), "{topic}");
                subscription.stop().await;
            }
            handled.push((topic, stream));
        }
    }
    let outside = env.outside().await;
    let mut streams: Vec<_> = handled.into_iter().map(|(_, stream)| stream).collect();
    streams.dedup();
    streams.sort();
    let dead = |name: &String| !["jetbus-dead", "jetbus-redrive"].contains(&&**name);
    let found: Vec<_> = outside.streams().await.into_iter().filter(dead).collect();
    assert_eq!(found, streams);
    for bus in [bus, stranger] {
        bus.close().await;
    }
}

pub(crate) async fn more_unread_events_than_ten_thousand_are_kept(env: Env) {
    const ALL: u32 = 12_000;
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(100, ALL / 100)).await;
    let outside = env.outside().await;
    assert_eq!(
        outside.messages("jetbus~orders~placed").await,
        u64::from(ALL)
    );
    let (subscription, seen) = listen(&bus, "orders.placed", "billing").await;
    seen.reaches(ALL as usize, &env).await;
    assert_eq!(seen.by_key(), in_order(100, ALL / 100));
    subscription.stop().await;
    bus.close().await;
}

/// A consumer that nobody reads would keep everything for ever.
pub(crate) async fn streams_that_keep_what_is_not_handled_are_empty_when_all_is(env: Env) {
    for retention in [Retention::Interest, Retention::WorkQueue] {
        let stream = Stream::new("ORDERS", ["orders.>"]).retention(retention);
        let bus = env.builder().stream(stream).open().await.unwrap();
        let orders = bus.topic("orders.placed").unwrap();
        let (subscription, seen) = listen(&bus, "orders.placed", "billing").await;
        publish_all(&orders, in_turns(5, 10)).await;
        seen.reaches(50, &env).await;
        let admin = Admin::connect(&env).await;
        admin.all_is_settled("ORDERS").await;
        let outside = env.outside().await;
        env.soon("nothing is kept", async {
            while outside.messages("ORDERS").await > 0 {}
        })
        .await;
        assert_eq!(seen.by_key(), in_order(5, 10));
        subscription.stop().await;
        bus.close().await;
        outside.delete_stream("ORDERS").await;
    }
}
