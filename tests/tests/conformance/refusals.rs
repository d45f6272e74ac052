//! Bad input: a typed error that names value and rule, nothing sent, and the bus
//! goes on.

use std::sync::Arc;
use std::time::Duration;

use jetbus::{
    Builder, Bus, Class, Delivery, Event, Headers, Invalid, OpenError, Persistence, PublishError,
    Raw, Stream, SubscribeError, TopicConfig, TopicError,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Spy;
use serde::{Serialize, Serializer};

use crate::publishing::stored;

/// A bus, and a spy that sees what it sends.
async fn spied(env: &Env) -> (Bus, Arc<Spy>) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    assert!(bus.is_connected());
    (bus, spy)
}

/// Nothing went out so far, and the bus is none the worse.
async fn goes_on(env: &Env, bus: Bus, spy: &Spy) {
    assert_eq!(spy.taken(""), 0, "something was sent");
    let event = Event::new("order-1", "OrderPlaced", 1);
    assert_eq!(
        stored(bus.publish("orders.good", &event).await.unwrap()).1,
        1
    );
    let outside = env.outside().await;
    assert_eq!(outside.streams().await, ["jetbus~orders~good"]);
    assert_eq!(outside.messages("jetbus~orders~good").await, 1);
    bus.close().await;
}

/// That the text of an error names `value` (quoted as Rust does) and says more.
fn names(error: &dyn std::error::Error, value: &str) {
    let text = error.to_string();
    let quoted = format!("{value:?}");
    let shown = quoted.trim_matches('"');
    assert!(
        text.contains(shown.get(..100).unwrap_or(shown)),
        "{value:?}: {text}"
    );
    assert!(
        text.len() > value.len().min(200) + 15,
        "it gives no rule: {text}"
    );
}

const TOPICS: [&str; 28] = [
    "",
    " ",
    "a b",
    " a",
    "a ",
    "a\tb",
    "a\nb",
    "a\r\nPUB x 0\r\n",
    "a\0b",
    "a\u{7f}",
    "größe",
    "订单",
    "a..b",
    ".a",
    "a.",
    ".",
    "*",
    ">",
    "a.*",
    "a.>",
    "*.a",
    "$JS.API.INFO",
    "$SYS.x",
    "$a",
    "_INBOX.a",
    "p1",
    "a.p1",
    "a.b.p007",
];

pub(crate) async fn topics_are_names(env: Env) {
    let (bus, spy) = spied(&env).await;
    let event = Event::new("order-1", "OrderPlaced", 1);
    let long = "a".repeat(256);
    for name in TOPICS.into_iter().chain([&*long]) {
        let error = bus.topic(name).expect_err(name);
        assert!(matches!(error, TopicError::Name(_)), "{name:?}: {error:?}");
        names(&error, name);
        let error = bus.publish(name, &event).await.expect_err(name);
        assert!(
            matches!(error, PublishError::Invalid(Invalid::Topic(_))),
            "{error:?}"
        );
        assert_eq!(error.class(), Class::Terminal);
        names(&error, name);
        let error = bus
            .configure(name, TopicConfig::new())
            .await
            .expect_err(name);
        assert!(matches!(error, TopicError::Name(_)), "{name:?}: {error:?}");
        assert_eq!(bus.topic_config(name), None);
        assert!(!bus.remove_topic_config(name));
    }
    goes_on(&env, bus, &spy).await;

    // At the edge of the rules.
    let bus = env.bus().await;
    let longest = format!("{}.{}", "a".repeat(127), "b".repeat(127));
    for name in [
        "a", "A-b_c.D", "a*b.c>d", "a/b\\c", "p1b", "a.p1b", "a.pp1", "INBOX._", &longest,
    ] {
        let outcome = bus.publish(name, &event).await;
        assert_eq!(stored(outcome.expect(name)).1, 1, "{name}");
    }
    bus.close().await;
}

pub(crate) async fn events_keep_the_rules_of_the_envelope(env: Env) {
    struct Unwritable;
    impl Serialize for Unwritable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    let (bus, spy) = spied(&env).await;
    let topic = bus.topic("orders.placed").unwrap();
    let refused = async |event: Event<'_, u32>, value: &str| {
        let error = topic.publish(&event).await.expect_err(value);
        assert!(
            matches!(error, PublishError::Invalid(Invalid::Envelope(_))),
            "{error:?}"
        );
        assert_eq!(error.class(), Class::Terminal);
        names(&error, value);
    };
    let long = "k".repeat(257);
    for key in [
        "", " ", "a b", "é", "a\n", "a*", "a>", "a,b", "a\"b", "a+b", "a@b", "\0", &*long,
    ] {
        refused(Event::new(key, "OrderPlaced", 1), key).await;
    }
    for blank in ["", " ", "\t", "\u{a0}\n"] {
        refused(Event::new("order-1", blank, 1), blank).await;
        refused(Event::new("order-1", "OrderPlaced", 1).id(blank), blank).await;
    }
    for version in [0, -1, i64::MIN] {
        let event = Event::new("order-1", "OrderPlaced", 1).version(version);
        refused(event, &version.to_string()).await;
    }
    let error = topic
        .publish(&Event::new("order-1", "OrderPlaced", Unwritable))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PublishError::Invalid(Invalid::Envelope(_))),
        "{error:?}"
    );
    assert!(error.to_string().contains("not today"), "{error}");
    // The id becomes a header, and would start another one.
    let split = Event::new("order-1", "OrderPlaced", 1).id("a\r\nNats-Rollup: all");
    let error = topic.publish(&split).await.unwrap_err();
    assert!(matches!(error, PublishError::Invalid(_)), "{error:?}");
    goes_on(&env, bus, &spy).await;

    let bus = env.bus().await;
    for key in ["k".repeat(256), "AZaz09:_-./".into()] {
        let event = Event::new(key, "Order Placed \u{1F4E6} \"quoted\"", 1).version(i64::MAX);
        bus.publish("orders.placed", &event).await.unwrap();
    }
    bus.close().await;
}

pub(crate) async fn messages_and_headers_have_limits(env: Env) {
    const MAX: usize = 1024 * 1024;
    // `NATS/1.0`, `Nats-Msg-Id: x` and an empty line.
    const HEADERS: usize = 28;
    let (bus, spy) = spied(&env).await;
    let topic = bus.topic("orders.placed").unwrap();
    let of_len = |len: usize| Raw::new(vec![b'x'; len]).id("x");
    for len in [MAX - HEADERS + 1, MAX, 2 * MAX] {
        let error = topic.publish_raw(of_len(len)).await.unwrap_err();
        let PublishError::Invalid(Invalid::TooLarge { len: said, max }) = error else {
            panic!("{error:?}")
        };
        assert_eq!((said, max), (len + HEADERS, MAX));
        let text = error.to_string();
        assert!(
            text.contains(&said.to_string()) && text.contains("1048576"),
            "{text}"
        );
    }
    let large = Event::new("order-1", "OrderPlaced", "x".repeat(MAX));
    let error = topic.publish(&large).await.unwrap_err();
    assert!(
        matches!(error, PublishError::Invalid(Invalid::TooLarge { .. })),
        "{error:?}"
    );

    let mut headers = Headers::new();
    for (name, value) in [
        ("A", "x\r\nB: y"),
        ("A", "x\n"),
        ("A", "\r"),
        ("", "x"),
        ("A B", "x"),
        ("A:", "x"),
        ("A\r\n", "x"),
        ("Ä", "x"),
    ] {
        let error = headers.append(name, value).expect_err(name);
        names(&error, name);
    }
    assert!(headers.is_empty());
    for id in ["a\r\nNats-Rollup: all", "a\nb", "", " "] {
        let error = topic.publish_raw(Raw::new("x").id(id)).await.expect_err(id);
        assert!(
            matches!(error, PublishError::Invalid(_)),
            "{id:?}: {error:?}"
        );
        assert!(error.to_string().contains("Nats-Msg-Id"), "{error}");
    }
    goes_on(&env, bus, &spy).await;

    // Just not too large.
    let bus = env.bus().await;
    let outcome = bus
        .topic("orders.placed")
        .unwrap()
        .publish_raw(of_len(MAX - HEADERS))
        .await;
    assert_eq!(stored(outcome.unwrap()).1, 1);
    bus.close().await;
}

const NAMES: [&str; 10] = [
    "", "a.b", "a*", "a>", "a/b", "a\\b", "a b", "a\tb", "a\r\n", "*",
];

pub(crate) async fn groups_and_patterns_are_names(env: Env) {
    let (bus, spy) = spied(&env).await;
    let handler = |_: Delivery<u32>| async {};
    let long = "g".repeat(65);
    for group in NAMES.into_iter().chain(["größe", "a-p1", &*long]) {
        let error = bus
            .subscribe("orders.placed")
            .group(group)
            .handle(handler)
            .await;
        let error = error.expect_err(group);
        assert!(
            matches!(error, SubscribeError::Name(_)),
            "{group:?}: {error:?}"
        );
        names(&error, group);
    }
    for pattern in [
        "", "a b", "a..b", "a.>.b", "é", "$JS.>", "_INBOX.>", "a.p1", "a\r\n",
    ] {
        let error = bus
            .subscribe(pattern)
            .group("billing")
            .handle(handler)
            .await;
        let error = error.expect_err(pattern);
        assert!(
            matches!(error, SubscribeError::Name(_)),
            "{pattern:?}: {error:?}"
        );
        names(&error, pattern);
    }
    let subscribe = || bus.subscribe("orders.placed").group("billing");
    for (refused, value) in [
        (subscribe().concurrency(0), "0"),
        (subscribe().concurrency(10_001), "10001"),
        (subscribe().window(0), "0"),
        (subscribe().window(usize::MAX), "18446744073709551615"),
        (subscribe().ack_wait(Duration::ZERO), "0ns"),
        (subscribe().ack_wait(Duration::MAX), "s"),
    ] {
        let error = refused.handle(handler).await.expect_err(value);
        assert!(matches!(error, SubscribeError::Option(_)), "{error:?}");
        names(&error, value);
    }
    goes_on(&env, bus, &spy).await;
}

pub(crate) async fn streams_and_options_have_bounds(env: Env) {
    let (bus, spy) = spied(&env).await;
    let ms = Duration::from_millis;
    let limits = || TopicConfig::new();
    for (config, field) in [
        (limits().max_messages(0), "max_msgs"),
        (limits().max_messages(u64::MAX), "max_msgs"),
        (limits().max_bytes(0), "max_bytes"),
        (limits().max_messages_per_subject(0), "max_msgs_per_subject"),
        (limits().max_age(Duration::ZERO), "max_age"),
        (limits().max_age(ms(99)), "max_age"),
        (limits().max_age(Duration::MAX), "max_age"),
        (limits().dedupe_window(ms(1)), "dedupe_window"),
        (
            limits().max_age(ms(1_000)).dedupe_window(ms(2_000)),
            "dedupe_window",
        ),
        (limits().replicas(0), "replicas"),
        (limits().replicas(6), "replicas"),
    ] {
        let error = bus
            .configure("orders.placed", config)
            .await
            .expect_err(field);
        assert!(matches!(error, TopicError::Name(_)), "{field}: {error:?}");
        names(&error, field);
        assert_eq!(bus.topic_config("orders.placed"), None);
    }
    goes_on(&env, bus, &spy).await;

    let stream = |name: &str| Stream::new(name, ["orders.>"]);
    let declared = |stream: Stream| env.builder().stream(stream);
    let long = "s".repeat(201);
    for name in NAMES.into_iter().chain([&*long]) {
        let error = declared(stream(name)).open().await.expect_err(name);
        assert!(matches!(error, OpenError::Name(_)), "{name:?}: {error:?}");
        names(&error, name);
    }
    let day = Duration::from_secs(24 * 3_600);
    for (builder, value) in [
        (declared(Stream::new("ORDERS", [""; 0])), "subjects"),
        (declared(Stream::new("ORDERS", ["a..b"])), "a..b"),
        (declared(Stream::new("ORDERS", ["a.>.b"])), "a.>.b"),
        (declared(Stream::new("ORDERS", ["$JS.API.>"])), "$JS.API.>"),
        (
            declared(Stream::new("ORDERS", ["orders.>", "orders.a"])),
            "orders.a",
        ),
        (declared(stream("ORDERS").max_bytes(0)), "max_bytes"),
        (
            declared(stream("ORDERS")).stream(Stream::new("ORDERS", ["b"])),
            "ORDERS",
        ),
        (env.builder().window(0), "0"),
        (env.builder().window(16_385), "16385"),
        (
            env.builder().publish_timeout(Duration::ZERO),
            "publish_timeout",
        ),
        (env.builder().publish_timeout(day * 2), "publish_timeout"),
        (
            env.builder().request_timeout(Duration::ZERO),
            "request_timeout",
        ),
        (env.builder().close_timeout(Duration::MAX), "close_timeout"),
        (env.builder().persistence(Persistence::Auto), "persistence"),
        (env.builder().owner(" ", 1), "owner"),
        (env.builder().domain(""), "domain"),
        (env.builder().domain("a b"), "a b"),
        (env.builder().domain("a.>"), "a.>"),
        (env.builder().api_prefix(""), "prefix"),
        (env.builder().api_prefix("a..b"), "a..b"),
        (env.builder().api_prefix("*"), "*"),
    ] {
        let error = builder.open().await.expect_err(value);
        assert!(
            matches!(error, OpenError::Name(_) | OpenError::Option(_)),
            "{error:?}"
        );
        names(&error, value);
    }
    assert_eq!(env.outside().await.streams().await, ["jetbus~orders~good"]);
}
