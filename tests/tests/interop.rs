//! A foreign client on the same streams.
#![cfg(feature = "nats")]

use std::time::Duration;

use jetbus::{Delivery, Event, Stream, Timestamp};
use jetbus_core::Outbound;
use jetbus_tests::matrix::{Env, LinkKind, RuntimeKind, run};
use jetbus_tests::raw::Raw;
use jetbus_tests::support::{Seen, in_order, in_turns};
use jetbus_tests::{Peer, Server, python};
use serde_json::{Value, json};

/// What exists on any machine is enough here: one runtime.
#[cfg(feature = "tokio")]
const RUNTIME: RuntimeKind = RuntimeKind::Tokio;
#[cfg(not(feature = "tokio"))]
const RUNTIME: RuntimeKind = RuntimeKind::Smol;

#[test]
fn the_foreign_client_writes_envelopes_without_headers_and_reads_them_back() {
    let server = Server::start().unwrap();
    let mut raw = Raw::connect(&server.address()).unwrap();
    let answers = raw.subscribe("answers");
    let config = json!({"name": "orders", "subjects": ["orders.>"]}).to_string();
    raw.publish(Outbound::new("$JS.API.STREAM.CREATE.orders", config).with_reply("answers"));
    raw.next(Duration::from_secs(5)).unwrap();
    raw.unsubscribe(answers);
    let heard = raw.subscribe("orders.>");

    let events: Vec<_> = (1..=6)
        .map(|number| {
            let aggregate = format!("order-{}", number % 2);
            let envelope = python::legacy_envelope(
                &format!("event-{number}"),
                &aggregate,
                &json!({"number": number}),
            );
            ("orders.changed".to_owned(), envelope)
        })
        .collect();
    let stored = python::publish(&server.url(), &events).unwrap();
    let sequences: Vec<u64> = stored.iter().map(|stored| stored.seq).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
    assert!(stored.iter().all(|stored| stored.stream == "orders"));

    for (_, envelope) in &events {
        let (sid, message) = raw.next(Duration::from_secs(5)).unwrap();
        assert_eq!(sid, heard);
        assert!(message.headers.is_empty());
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(body, *envelope);
    }

    let within = Duration::from_secs(10);
    let read = python::read(&server.url(), "orders", "orders.>", 6, within).unwrap();
    for (message, (subject, envelope)) in read.iter().zip(&events) {
        assert_eq!((&message.subject, &message.payload), (subject, envelope));
    }
    let failure = python::read(
        &server.url(),
        "orders",
        "orders.>",
        1,
        Duration::from_millis(100),
    );
    assert!(failure.unwrap_err().to_string().contains("imeout"));
}

#[test]
fn events_of_a_foreign_client_are_handled_in_order() {
    run(RUNTIME, LinkKind::Nats, handles_foreign_events);
}

async fn handles_foreign_events(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.changed")
        .group("billing")
        .handle(move |event: Delivery<Value>| {
            let fields = event.event().unwrap();
            let number = event.payload["number"].as_u64().unwrap() as u32;
            assert!(event.headers().iter().next().is_none());
            assert_eq!(&*fields.event_type, "order.changed");
            assert_eq!(
                *fields.event_id,
                *format!("{}-{number}", fields.aggregate_id)
            );
            assert_eq!(fields.event_version, i64::from(number));
            assert_eq!(
                Some(fields.timestamp),
                Timestamp::parse("2026-11-22T11:48:01.299331067Z")
            );
            let optional = number == 3;
            assert_eq!(fields.trace_id.as_deref(), optional.then_some("a trace"));
            assert_eq!(fields.tenant_id, if optional { 7 } else { 0 });
            noted.note((fields.aggregate_id.to_string(), number));
            async {}
        })
        .await
        .unwrap();
    let events: Vec<_> = in_turns(5, 10)
        .map(|(key, number)| {
            let payload =
                json!({"number": number, "text": "grün \n \u{1F600}", "list": [null, 1.5]});
            let id = format!("{key}-{number}");
            let mut envelope = python::legacy_envelope(&id, &key, &payload);
            envelope["event_version"] = number.into();
            if number == 3 {
                envelope["trace_id"] = "a trace".into();
                envelope["correlation_id"] = "".into();
                envelope["tenant_id"] = 7.into();
            }
            ("orders.changed".to_owned(), envelope)
        })
        .collect();
    let stored = python::publish(&env.server().unwrap().url(), &events).unwrap();
    assert!(stored.iter().all(|stored| stored.stream == "ORDERS"));
    seen.reaches(50, &env).await;
    assert_eq!(seen.by_key(), in_order(5, 10));
    assert_eq!(subscription.stats().failed, 0);
    subscription.stop().await;
    bus.close().await;
}

#[test]
fn a_foreign_client_reads_events_with_their_legacy_fields() {
    run(RUNTIME, LinkKind::Nats, is_read_by_others);
}

async fn is_read_by_others(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.changed").unwrap();
    let payload = json!({"total": 12.5, "text": "grün \"quoted\" \u{1F600}", "none": null});
    let full = Event::new("order-1", "order.changed", &payload)
        .id("my-id")
        .version(3)
        .timestamp(Timestamp::parse("2026-11-22T11:48:01.299331067Z").unwrap())
        .trace_id("trace")
        .correlation_id("conversation")
        .tenant(7);
    orders.publish(&full).await.unwrap();
    let bare = Event::new("order-2", "order.changed", &payload);
    orders.publish(&bare).await.unwrap();
    let within = Duration::from_secs(10);
    let url = env.server().unwrap().url();
    let read = python::read(&url, "ORDERS", "orders.>", 2, within).unwrap();
    assert_eq!(
        read[0].payload,
        json!({
            "event_id": "my-id",
            "aggregate_id": "order-1",
            "event_type": "order.changed",
            "event_version": 3,
            "timestamp": "2026-11-22T11:48:01.299331067Z",
            "payload": payload,
            "trace_id": "trace",
            "correlation_id": "conversation",
            "tenant_id": 7,
        })
    );
    assert_eq!(
        Value::Object(read[0].headers.clone()),
        json!({"Nats-Msg-Id": "my-id/orders.changed"})
    );
    // What is not said is not there.
    let fields = read[1].payload.as_object().unwrap();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let mut expected = [
        "event_id",
        "aggregate_id",
        "event_type",
        "event_version",
        "timestamp",
        "payload",
    ];
    expected.sort_unstable();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(names, expected);
    assert!(Timestamp::parse(fields["timestamp"].as_str().unwrap()).is_some());
    // An id of version 7: its time first, so that ids sort as they were made.
    let id = fields["event_id"].as_str().unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'));
    bus.close().await;
}
