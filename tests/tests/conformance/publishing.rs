//! Publishing and its outcomes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jetbus::link::Refused;
use jetbus::{
    Builder, Class, Event, Headers, Outcome, PublishError, Raw, Start, Stream, Timestamp,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Spy;
use serde_json::{Value, json};

pub(crate) fn stored(outcome: Outcome) -> (String, u64) {
    match outcome {
        Outcome::Stored { stream, sequence } => (stream.to_string(), sequence),
        other => panic!("not stored: {other:?}"),
    }
}

pub(crate) async fn a_publish_is_stored_in_order(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    for n in 1..=10 {
        let outcome = orders
            .publish(&Event::new("order-1", "OrderPlaced", n))
            .await
            .unwrap();
        assert_eq!(stored(outcome), ("jetbus~orders~placed".into(), n));
    }
    bus.close().await;
}

pub(crate) async fn the_stored_event_is_the_legacy_envelope(env: Env) {
    let bus = env.bus().await;
    let outside = env.outside().await;
    let topic = bus.topic("orders.placed").unwrap();
    let when = Timestamp::parse("2026-11-22T11:48:01.25Z").unwrap();
    let full = Event::new(
        "order:7/a.b_c-D",
        "OrderPlaced",
        json!({"total": 12, "é": "ü"}),
    )
    .id("event-1")
    .version(3)
    .timestamp(when)
    .trace_id("trace")
    .correlation_id("correlation")
    .tenant(42);
    topic.publish(&full).await.unwrap();
    let least = Event::new("order-8", "OrderPlaced", Vec::<u8>::new());
    topic.publish(&least).await.unwrap();

    let first = outside.stored("jetbus~orders~placed", 1).await;
    assert_eq!(first.subject.as_str(), "orders.placed");
    let body: Value = serde_json::from_slice(&first.payload).unwrap();
    let wanted = json!({
        "event_id": "event-1", "aggregate_id": "order:7/a.b_c-D", "event_type": "OrderPlaced",
        "event_version": 3, "timestamp": "2026-11-22T11:48:01.25Z",
        "payload": {"total": 12, "é": "ü"},
        "trace_id": "trace", "correlation_id": "correlation", "tenant_id": 42,
    });
    assert_eq!(body, wanted);
    // One header, by which the server knows the event again.
    let headers: Vec<_> = first.headers.iter().collect();
    assert_eq!(headers, [("Nats-Msg-Id", "event-1/orders.placed")]);

    let second = outside.stored("jetbus~orders~placed", 2).await;
    let body: BTreeMap<String, Value> = serde_json::from_slice(&second.payload).unwrap();
    let fields: Vec<&str> = body.keys().map(String::as_str).collect();
    let least = [
        "aggregate_id",
        "event_id",
        "event_type",
        "event_version",
        "payload",
        "timestamp",
    ];
    assert_eq!(fields, least, "what is absent is not written");
    assert_eq!(body["event_version"], 1);
    let id = body["event_id"].as_str().unwrap();
    // A UUID of version 7, in the usual form.
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
    assert_eq!(
        id.match_indices('-').map(|(at, _)| at).collect::<Vec<_>>(),
        [8, 13, 18, 23]
    );
    assert_eq!(
        second.headers.get("Nats-Msg-Id"),
        Some(&*format!("{id}/orders.placed"))
    );
    let timestamp = body["timestamp"].as_str().unwrap();
    assert!(Timestamp::parse(timestamp).unwrap() > when, "{timestamp}");
    bus.close().await;
}

pub(crate) async fn one_event_id_is_stored_once_per_topic(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let event = Event::new("order-1", "OrderPlaced", 1).id("the-one");
    let first = bus.publish("orders.placed", &event).await.unwrap();
    assert_eq!(stored(first), ("ORDERS".into(), 1));
    let again = bus.publish("orders.placed", &event).await.unwrap();
    let duplicate = Outcome::Duplicate {
        stream: "ORDERS".into(),
        sequence: 1,
    };
    assert_eq!(again, duplicate);
    // Another topic of the same stream is another message.
    let other = bus.publish("orders.copied", &event).await.unwrap();
    assert_eq!(stored(other), ("ORDERS".into(), 2));

    // A raw message's id is the stream's: once for all topics.
    let raw = |text: &'static str| Raw::new(text).id("raw-one");
    let raws = bus.topic("orders.raw").unwrap();
    assert_eq!(stored(raws.publish_raw(raw("a")).await.unwrap()).1, 3);
    let again = raws.publish_raw(raw("b")).await.unwrap();
    assert_eq!(again.sequence(), Some(3));
    assert!(matches!(again, Outcome::Duplicate { .. }));
    // Without an id each is another one.
    for sequence in 4..7 {
        let outcome = raws.publish_raw(Raw::new("same")).await.unwrap();
        assert_eq!(stored(outcome).1, sequence);
    }
    assert_eq!(env.outside().await.messages("ORDERS").await, 6);
    bus.close().await;
}

pub(crate) async fn receipts_resolve_in_the_order_of_storage(env: Env) {
    const MANY: u64 = 3_000;
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut receipts = Vec::new();
    for n in 0..MANY {
        receipts.push(
            orders
                .send(&Event::new("order-1", "OrderPlaced", n))
                .await
                .unwrap(),
        );
    }
    for (n, receipt) in (1..).zip(receipts) {
        let outcome = env.soon("a receipt", receipt).await.unwrap();
        assert_eq!(stored(outcome).1, n);
    }
    // What nobody waits for is stored all the same.
    for n in 0..500 {
        drop(
            orders
                .send(&Event::new("order-1", "OrderPlaced", n))
                .await
                .unwrap(),
        );
    }
    bus.close().await;
    assert_eq!(
        env.outside().await.messages("jetbus~orders~placed").await,
        MANY + 500
    );
}

pub(crate) async fn bytes_and_headers_come_through_unchanged(env: Env) {
    let bus = env.bus().await;
    let topic = bus.topic("files.changed").unwrap();
    let payload: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let mut headers = Headers::new();
    for (name, value) in [
        ("A-Name", "first"),
        ("A-Name", "second: with colon"),
        ("B-Empty", ""),
        ("X-Aggregate-ID", "file-1"),
        ("Z-Umlaut", "größer"),
    ] {
        headers.append(name, value).unwrap();
    }
    let message = Raw::new(payload.clone())
        .headers(headers.clone())
        .id("id-1");
    assert_eq!(stored(topic.publish_raw(message).await.unwrap()).1, 1);
    let empty = topic.publish_raw(Raw::new("")).await.unwrap();
    assert_eq!(stored(empty).1, 2);

    let kept = env.outside().await.stored("jetbus~files~changed", 1).await;
    assert_eq!(kept.payload, payload);
    headers.append("Nats-Msg-Id", "id-1").unwrap();
    let sorted = |headers: &Headers| {
        let mut all: Vec<(String, String)> =
            headers.iter().map(|(n, v)| (n.into(), v.into())).collect();
        // The client may reorder names, never the values of one.
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    };
    assert_eq!(sorted(&kept.headers), sorted(&headers));

    let mut deliveries = bus
        .subscribe("files.changed")
        .start(Start::Beginning)
        .deliveries_raw()
        .await
        .unwrap();
    let mut next = async || {
        use futures_lite::StreamExt as _;
        env.soon("a delivery", deliveries.next()).await.unwrap()
    };
    let (first, settle) = next().await;
    assert_eq!(first.payload, payload);
    assert_eq!(sorted(first.headers()), sorted(&headers));
    assert_eq!(first.key(), Some("file-1"));
    assert!(first.event().is_none());
    settle.ack();
    let (second, settle) = next().await;
    assert_eq!((second.payload.len(), second.key()), (0, None));
    settle.ack();
    bus.close().await;
}

pub(crate) async fn a_full_window_makes_publishers_wait_in_order(env: Env) {
    let bus = env.builder().window(4).open().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let mut receipts = Vec::new();
    for n in 0..200 {
        receipts.push(
            orders
                .send(&Event::new("order-1", "OrderPlaced", n))
                .await
                .unwrap(),
        );
    }
    for (n, receipt) in (1..).zip(receipts) {
        assert_eq!(stored(env.soon("a receipt", receipt).await.unwrap()).1, n);
    }
    // Many callers share the four places: each keeps its own order, none starves.
    let all = env.at_once(
        "all publishers",
        (0..8).map(|caller| {
            let orders = orders.clone();
            async move {
                let mut sequences = Vec::new();
                for n in 0..50 {
                    let key = format!("order-{caller}");
                    let outcome = orders.publish(&Event::new(key, "OrderPlaced", n)).await;
                    sequences.push(stored(outcome.unwrap()).1);
                }
                sequences
            }
        }),
    );
    let mut all = all.await;
    assert!(all.iter().all(|one| one.is_sorted()));
    all.sort();
    let mut all: Vec<u64> = all.concat();
    all.sort_unstable();
    assert_eq!(all, (201..=600).collect::<Vec<_>>());
    bus.close().await;
}

pub(crate) async fn what_cannot_be_handed_over_is_not_sent(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .publish_timeout(Duration::from_secs(1))
        .window(1)
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let event = Event::new("order-1", "OrderPlaced", 1);
    orders.publish(&event).await.unwrap();
    for refusal in [Refused::Busy, Refused::Disconnected] {
        spy.refuse(Some(refusal));
        let error = env
            .soon("a timeout", orders.publish(&event))
            .await
            .unwrap_err();
        assert!(
            matches!(error, PublishError::NotSent { .. }),
            "{refusal}: {error:?}"
        );
        assert_eq!(error.class(), Class::Retryable);
        // Its place in the window of one is free again, and nothing is sent late.
        spy.refuse(None);
        orders.publish(&event).await.unwrap();
    }
    assert_eq!(spy.taken("orders.placed"), 3);

    // One whose caller goes away while it waits is not sent, and leaves its place.
    spy.refuse(Some(Refused::Busy));
    let before = spy.refused();
    let given_up = futures_lite::future::poll_once(orders.publish(&event)).await;
    assert!(given_up.is_none());
    // One that waits goes as soon as the link takes it.
    let (waited, ()) = futures_lite::future::zip(orders.publish(&event), async {
        env.until("it was refused", || spy.refused() > before).await;
        spy.refuse(None);
    })
    .await;
    assert_eq!(stored(waited.unwrap()).1, 4);
    bus.close().await;
}

/// Told not to wait for a connection, publishing fails at once without one.
pub(crate) async fn without_a_connection_publishing_fails_when_told_so(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .wait_for_connection(false)
        .open()
        .await
        .unwrap();
    let event = Event::new("order-1", "OrderPlaced", 1);
    assert!(bus.is_connected());
    bus.publish("orders.placed", &event).await.unwrap();
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    // Known and new topics alike.
    for topic in ["orders.placed", "orders.new"] {
        let error = env
            .soon(topic, bus.publish(topic, &event))
            .await
            .unwrap_err();
        assert!(
            matches!(error, PublishError::Disconnected),
            "{topic}: {error:?}"
        );
    }
    spy.connect();
    env.until("the bus knows", || bus.is_connected()).await;
    bus.publish("orders.new", &event).await.unwrap();
    bus.close().await;
}

/// Headers that the server acts on are for raw messages to use.
pub(crate) async fn a_raw_message_may_say_what_it_expects(env: Env) {
    let bus = env.bus().await;
    let topic = bus.topic("ledger.entries").unwrap();
    let expecting = |name: &str, value: &str| {
        let mut headers = Headers::new();
        headers.append(name, value).unwrap();
        topic.publish_raw(Raw::new("entry").headers(headers))
    };
    let after = "Nats-Expected-Last-Sequence";
    assert_eq!(stored(expecting(after, "0").await.unwrap()).1, 1);
    assert_eq!(stored(expecting(after, "1").await.unwrap()).1, 2);
    let error = expecting(after, "1").await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Conflict { last: Some(2), .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Terminal);
    let error = expecting("Nats-Expected-Stream", "OTHER")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PublishError::Refused(e) if e.err_code == 10_060),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Terminal);
    let stream = "jetbus~ledger~entries";
    assert_eq!(env.outside().await.messages(stream).await, 2);
    bus.close().await;
}
