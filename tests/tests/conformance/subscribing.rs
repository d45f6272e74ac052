//! Subscribing: what is delivered, to whom, and from where on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_lite::StreamExt as _;
use jetbus::{
    Delivery, Event, Headers, News, Persistence, Raw, Start, Stream, SubscribeError, Timestamp,
    TopicConfig,
};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Meeting, Seen, news, publish, publish_all};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    total: u32,
    lines: Vec<String>,
}

pub(crate) async fn an_event_is_handled_once_with_all_it_says_of_itself(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let order = Order {
        total: 12,
        lines: vec!["tea".into(), "grün \"quoted\"".into()],
    };
    let happened = Timestamp::parse("2026-11-22T11:48:01.299331067Z").unwrap();
    let event = Event::new("order-42", "OrderPlaced", &order)
        .id("0190-my-id")
        .version(3)
        .timestamp(happened)
        .trace_id("trace")
        .correlation_id("conversation")
        .tenant(7);
    let before = env.runtime().wall();
    orders.publish(&event).await.unwrap();
    publish_orders(&orders, 2).await;

    let (seen, deliveries) = async_channel::unbounded();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .concurrency(1)
        .handle(move |event: Delivery<Order>| {
            let seen = seen.clone();
            async move { seen.send(event).await.unwrap() }
        })
        .await
        .unwrap();
    let first = env.soon("the first", deliveries.recv()).await.unwrap();
    assert_eq!(first.payload, order);
    assert_eq!(first.topic(), "orders.placed");
    assert_eq!(first.key(), Some("order-42"));
    assert_eq!((first.sequence(), first.deliveries()), (1, 1));
    assert_eq!(first.attempt(), 1);
    assert_eq!(first.lag(), 2);
    assert!(!first.stream().is_empty());
    // Clocks of one machine; a server's may tick more coarsely.
    let stored_at = first.stored_at().as_unix_nanos();
    assert!(stored_at > before.as_unix_nanos() - 1_000_000_000);
    assert_eq!(
        first.headers().get("Nats-Msg-Id"),
        Some("0190-my-id/orders.placed")
    );
    let fields = first.event().unwrap();
    assert_eq!(&*fields.event_id, "0190-my-id");
    assert_eq!(&*fields.aggregate_id, "order-42");
    assert_eq!(&*fields.event_type, "OrderPlaced");
    assert_eq!(fields.event_version, 3);
    assert_eq!(fields.timestamp, happened);
    assert_eq!(fields.trace_id.as_deref(), Some("trace"));
    assert_eq!(fields.correlation_id.as_deref(), Some("conversation"));
    assert_eq!(fields.tenant_id, 7);
    assert_eq!(
        serde_json::from_slice::<Order>(&fields.payload).unwrap(),
        order
    );
    let shown = format!("{first:?}");
    assert!(
        shown.contains("order-42") && !shown.contains("tea"),
        "{shown}"
    );

    // What is not said is absent.
    let second = env.soon("the second", deliveries.recv()).await.unwrap();
    let fields = second.event().unwrap();
    assert_eq!((&fields.trace_id, &fields.correlation_id), (&None, &None));
    assert_eq!((fields.tenant_id, fields.event_version), (0, 1));
    assert_eq!((second.sequence(), second.lag()), (2, 1));
    let third = env.soon("the third", deliveries.recv()).await.unwrap();
    assert_eq!((third.sequence(), third.lag()), (3, 0));

    // Once each: a later event is the next thing to come, and all there is.
    publish_orders(&orders, 1).await;
    let last = env.soon("the last", deliveries.recv()).await.unwrap();
    assert_eq!(last.sequence(), 4);
    env.until("four are handled", || subscription.stats().handled == 4)
        .await;
    let stats = subscription.stats();
    assert_eq!((stats.received, stats.failed), (4, 0));
    assert_eq!(subscription.topic(), "orders.placed");
    subscription.stop().await;
    bus.close().await;
}

async fn publish_orders(topic: &jetbus::Topic, count: u32) {
    for total in 0..count {
        let lines = Vec::new();
        let order = Order { total, lines };
        let event = Event::new("order-43", "OrderPlaced", &order);
        topic.publish(&event).await.unwrap();
    }
}

pub(crate) async fn raw_bytes_come_with_their_headers(env: Env) {
    let bus = env.bus().await;
    let blobs = bus.topic("blobs").unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    let mut headers = Headers::new();
    headers.append("X-Aggregate-ID", "blob-1").unwrap();
    headers.append("X-Kind", "one").unwrap();
    headers.append("X-Kind", "two").unwrap();
    let keyed = Raw::new(bytes.clone()).headers(headers).id("blob-id");
    blobs.publish_raw(keyed).await.unwrap();
    blobs.publish_raw(Raw::new(Bytes::new())).await.unwrap();

    let mut deliveries = bus
        .subscribe("blobs")
        .group("archive")
        .deliveries_raw()
        .await
        .unwrap();
    let (first, settle) = env.soon("the first", deliveries.next()).await.unwrap();
    settle.ack();
    assert_eq!(first.payload, bytes);
    assert_eq!(first.key(), Some("blob-1"));
    assert!(first.event().is_none());
    assert_eq!(first.headers().get("Nats-Msg-Id"), Some("blob-id"));
    let kinds: Vec<_> = first
        .headers()
        .iter()
        .filter(|(name, _)| *name == "X-Kind")
        .map(|(_, value)| value)
        .collect();
    assert_eq!(kinds, ["one", "two"]);
    let (second, settle) = env.soon("the second", deliveries.next()).await.unwrap();
    settle.ack();
    assert!(second.payload.is_empty());
    assert_eq!(second.key(), None);
    drop(deliveries);
    bus.close().await;
}

pub(crate) async fn a_pattern_gets_all_topics_that_it_covers(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let deep = Seen::new();
    let flat = Seen::new();
    let subscribe = async |pattern: &str, seen: &Seen<(String, String, u32)>| {
        let seen = seen.clone();
        bus.subscribe(pattern)
            .group("audit")
            .handle(move |event: Delivery<u32>| {
                let place = (event.topic().to_owned(), event.stream().to_owned());
                seen.note((place.0, place.1, event.payload));
                async {}
            })
            .await
            .unwrap()
    };
    let subscriptions = (
        subscribe("orders.>", &deep).await,
        subscribe("orders.*", &flat).await,
    );
    for (n, topic) in ["orders.placed", "orders.paid", "orders.eu.placed"]
        .into_iter()
        .enumerate()
    {
        let topic = bus.topic(topic).unwrap();
        publish(&topic, &format!("order-{n}"), n as u32).await;
    }
    deep.reaches(3, &env).await;
    flat.reaches(2, &env).await;
    let expected = |topics: &[(&str, u32)]| -> BTreeSet<(String, String, u32)> {
        topics
            .iter()
            .map(|&(topic, n)| (topic.to_owned(), "ORDERS".to_owned(), n))
            .collect()
    };
    let all = [
        ("orders.placed", 0),
        ("orders.paid", 1),
        ("orders.eu.placed", 2),
    ];
    assert_eq!(BTreeSet::from_iter(deep.all()), expected(&all));
    assert_eq!(BTreeSet::from_iter(flat.all()), expected(&all[..2]));
    subscriptions.0.stop().await;
    subscriptions.1.stop().await;
    bus.close().await;
}

pub(crate) async fn replicas_of_a_group_share_its_events(env: Env) {
    let buses = [env.bus().await, env.bus().await];
    let mut heard = [buses[0].news(), buses[1].news()];
    let orders = buses[0].topic("orders.placed").unwrap();
    let seen = Seen::new();
    // One place each, and neither goes on before the other has something.
    let meeting = Meeting::of(2);
    let mut subscriptions = Vec::new();
    for (replica, bus) in buses.iter().enumerate() {
        let (seen, meeting) = (seen.clone(), meeting.clone());
        let subscription = bus
            .subscribe("orders.placed")
            .group("billing")
            .window(1)
            .handle(move |event: Delivery<u32>| {
                let (seen, meeting) = (seen.clone(), meeting.clone());
                async move {
                    meeting.join().await;
                    seen.note((replica, event.payload));
                }
            })
            .await
            .unwrap();
        subscriptions.push(subscription);
    }
    publish_all(&orders, (0..100).map(|n| (format!("order-{n}"), n))).await;
    seen.reaches(100, &env).await;
    let mut numbers: Vec<u32> = seen.all().into_iter().map(|(_, n)| n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    let replicas: BTreeSet<usize> = seen.all().into_iter().map(|(replica, _)| replica).collect();
    assert_eq!(replicas.len(), 2);
    for subscription in subscriptions {
        subscription.stop().await;
    }
    for bus in buses {
        bus.close().await;
    }
    for news in &mut heard {
        let mut told = 0;
        while let Some(news) = news.next().await {
            told += usize::from(matches!(news, News::SharedConsumer { .. }));
        }
        assert_eq!(told, 1, "once, though there were many gaps");
    }
}

pub(crate) async fn without_a_group_every_instance_gets_every_event(env: Env) {
    let buses = [env.bus().await, env.bus().await];
    let orders = buses[0].topic("orders.placed").unwrap();
    // Before anybody listens: not for those who start at new events.
    publish(&orders, "order-1", 0).await;
    let mut subscriptions = Vec::new();
    for bus in &buses {
        let seen = Seen::new();
        let noted = seen.clone();
        // Twice in one bus is fine without a group.
        for _ in 0..2 {
            let noted = noted.clone();
            let subscription = bus
                .subscribe("orders.placed")
                .handle(move |event: Delivery<u32>| {
                    noted.note(event.payload);
                    async {}
                })
                .await
                .unwrap();
            subscriptions.push((subscription, seen.clone()));
        }
    }
    publish_all(&orders, (1..=50).map(|n| ("order-1", n))).await;
    for (subscription, seen) in subscriptions {
        seen.reaches(100, &env).await;
        let mut numbers = seen.all();
        numbers.sort_unstable();
        let twice: Vec<u32> = (1..=50).flat_map(|n| [n, n]).collect();
        assert_eq!(numbers, twice);
        subscription.stop().await;
    }
    for bus in buses {
        bus.close().await;
    }
}

pub(crate) async fn a_subscription_starts_where_it_is_told(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    for n in 1..=10 {
        publish(&orders, "order-1", n).await;
    }
    let from = async |group: Option<&str>, start: Option<Start>| {
        let seen = Seen::new();
        let noted = seen.clone();
        let mut subscribe = bus.subscribe("orders.placed");
        if let Some(group) = group {
            subscribe = subscribe.group(group);
        }
        if let Some(start) = start {
            subscribe = subscribe.start(start);
        }
        let subscription = subscribe
            .handle(move |event: Delivery<u32>| {
                noted.note((event.payload, event.stored_at()));
                async {}
            })
            .await
            .unwrap();
        (subscription, seen)
    };
    let beginning = from(Some("a"), Some(Start::Beginning)).await;
    beginning.1.reaches(10, &env).await;
    let sixth = beginning.1.all()[5].1;
    let rest = [
        (1, from(Some("b"), None).await),
        (1, from(None, Some(Start::Beginning)).await),
        (11, from(Some("c"), Some(Start::New)).await),
        (11, from(None, None).await),
        (4, from(Some("d"), Some(Start::Sequence(4))).await),
        (4, from(None, Some(Start::Sequence(4))).await),
        (6, from(Some("e"), Some(Start::Time(sixth))).await),
        (6, from(None, Some(Start::Time(sixth))).await),
    ];
    publish(&orders, "order-1", 11).await;
    for (first, (subscription, seen)) in [(1, beginning)].into_iter().chain(rest) {
        let expected: Vec<u32> = (first..=11).collect();
        seen.reaches(expected.len(), &env).await;
        let numbers: Vec<u32> = seen.all().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, expected);
        subscription.stop().await;
    }
    bus.close().await;
}

pub(crate) async fn a_group_goes_on_where_it_was(env: Env) {
    for round in 0..3 {
        let bus = env.bus().await;
        let orders = bus.topic("orders.placed").unwrap();
        let numbers = round * 10..(round + 1) * 10;
        publish_all(&orders, numbers.clone().map(|n| ("order-1", n))).await;
        let seen = Seen::new();
        let noted = seen.clone();
        let subscription = bus
            .subscribe("orders.placed")
            .group("billing")
            // Of a new group only.
            .start(Start::Beginning)
            .handle(move |event: Delivery<u32>| {
                noted.note(event.payload);
                async {}
            })
            .await
            .unwrap();
        seen.reaches(10, &env).await;
        subscription.stop().await;
        bus.close().await;
        assert_eq!(seen.all(), numbers.collect::<Vec<_>>());
    }
}

pub(crate) async fn a_second_subscription_to_topic_and_group_is_refused(env: Env) {
    let bus = env.bus().await;
    let subscribe = async |topic: &str, group: &str| {
        bus.subscribe(topic)
            .group(group)
            .handle(async |_: Delivery<u32>| {})
            .await
    };
    let first = subscribe("orders.placed", "billing").await.unwrap();
    let Err(SubscribeError::Twice { topic, group }) = subscribe("orders.placed", "billing").await
    else {
        panic!("it is not refused")
    };
    assert_eq!((&*topic, &*group), ("orders.placed", "billing"));
    let others = [
        subscribe("orders.placed", "shipping").await.unwrap(),
        subscribe("orders.paid", "billing").await.unwrap(),
    ];
    first.stop().await;
    let again = subscribe("orders.placed", "billing").await.unwrap();
    again.stop().await;
    for other in others {
        other.stop().await;
    }
    bus.close().await;
}

pub(crate) async fn what_cannot_be_decoded_is_told_and_not_lost(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let bad = Event::new("order-0", "OrderPlaced", "no number");
    orders.publish(&bad).await.unwrap();
    orders
        .publish_raw(Raw::new(&b"no envelope"[..]))
        .await
        .unwrap();
    // The key of the bad one waits; the others do not.
    publish(&orders, "order-0", 1).await;
    publish_all(&orders, (1..=20).map(|n| ("order-1", n))).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .dead_letters(false)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    // Given up at once, without another attempt and without a handler.
    let mut given_up = BTreeMap::new();
    while given_up.len() < 2 {
        let (sequence, reason) = news(&env, "both are told", &mut heard, |news| match news {
            News::Discarded {
                sequence, reason, ..
            } => Some((sequence, reason)),
            News::HandlerFailed { .. } => panic!("{news:?}"),
            _ => None,
        })
        .await;
        assert!(reason.starts_with("undecodable: "), "{reason}");
        assert!(!reason.contains("no number"), "{reason}");
        assert!(given_up.insert(sequence, reason).is_none());
    }
    assert_eq!(given_up.into_keys().collect::<Vec<_>>(), [1, 2]);
    seen.reaches(21, &env).await;
    let numbers = [("order-0", vec![1]), ("order-1", (1..=20).collect())];
    let expected = numbers.map(|(key, numbers)| (key.to_owned(), numbers));
    let expected = BTreeMap::from(expected);
    assert_eq!(seen.by_key(), expected);
    env.until("all are counted", || subscription.stats().handled == 21)
        .await;
    assert_eq!(subscription.stats().failed, 2);
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin.all_is_settled("jetbus~orders~placed").await;
    bus.close().await;
}

pub(crate) async fn ephemeral_topics_reach_whoever_listens(env: Env) {
    let bus = env
        .builder()
        .persistence(Persistence::Ephemeral)
        .open()
        .await
        .unwrap();
    let other = env.bus().await;
    let config = TopicConfig::new().persistence(Persistence::Ephemeral);
    other.configure("ticks.seconds", config).await.unwrap();
    let mut all = Vec::new();
    let shared = Seen::new();
    for bus in [&bus, &other] {
        let seen = Seen::new();
        let noted = seen.clone();
        let alone = bus
            .subscribe("ticks.seconds")
            .handle(move |event: Delivery<u32>| {
                assert_eq!(event.stream(), "");
                noted.note(event.payload);
                async {}
            })
            .await
            .unwrap();
        let noted = shared.clone();
        let grouped = bus
            .subscribe("ticks.seconds")
            .group("clocks")
            .handle(move |event: Delivery<u32>| {
                noted.note(event.payload);
                async {}
            })
            .await
            .unwrap();
        all.push((alone, grouped, seen));
    }
    // Core NATS takes interest note of its own connection's first.
    let topic = bus.topic("ticks.seconds").unwrap();
    let mut n = 0;
    env.soon("all listen", async {
        while all.iter().any(|(_, _, seen)| seen.is_empty()) {
            n += 1;
            publish(&topic, "tick", n).await;
            let again = env.runtime().now() + std::time::Duration::from_millis(5);
            env.runtime().sleep_until(again).await;
        }
    })
    .await;
    let begun = n;
    publish_all(&topic, (begun + 1..=begun + 100).map(|n| ("tick", n))).await;
    for (alone, grouped, seen) in all {
        let last = begun + 100;
        env.until("the last comes", || seen.all().last() == Some(&last))
            .await;
        let numbers = seen.all();
        // From the first that was heard, none is missing.
        let expected: Vec<u32> = (numbers[0]..=last).collect();
        assert_eq!(numbers, expected);
        env.until("the group has the last", || shared.all().contains(&last))
            .await;
        alone.stop().await;
        grouped.stop().await;
    }
    let mut numbers = shared.all();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]));
    bus.close().await;
    other.close().await;
}
