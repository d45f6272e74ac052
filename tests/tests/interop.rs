//! A foreign client on the same streams.

use std::time::Duration;

use jetbus_core::Outbound;
use jetbus_tests::raw::Raw;
use jetbus_tests::{Peer, Server, python};
use serde_json::json;

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
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
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
