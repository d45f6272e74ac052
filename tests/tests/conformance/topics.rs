//! Topics: handles, configuration, and their streams.

use std::sync::Arc;
use std::time::Duration;

use jetbus::link::Refused;
use jetbus::{
    Builder, Compression, Discard, Event, Outcome, Persistence, PublishError, Storage, Stream,
    StreamError, TopicConfig, TopicError,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::{Spy, Trick};

use crate::publishing::stored;

pub(crate) async fn a_handle_and_a_name_are_the_same_topic(env: Env) {
    let bus = env.bus().await;
    let event = Event::new("order-1", "OrderPlaced", 1);
    let orders = bus.topic("orders.placed").unwrap();
    assert_eq!(orders.name(), "orders.placed");
    let clone = orders.clone();
    let of_clone = bus.clone();
    assert_eq!(stored(orders.publish(&event).await.unwrap()).1, 1);
    assert_eq!(
        stored(bus.publish("orders.placed", &event).await.unwrap()).1,
        2
    );
    assert_eq!(stored(clone.publish(&event).await.unwrap()).1, 3);
    assert_eq!(
        stored(of_clone.publish("orders.placed", &event).await.unwrap()).1,
        4
    );
    // Case counts, and a name is no pattern.
    assert_eq!(
        stored(bus.publish("orders.Placed", &event).await.unwrap()).1,
        1
    );
    assert_eq!(stored(bus.publish("orders", &event).await.unwrap()).1, 1);
    bus.close().await;
}

pub(crate) async fn topics_are_configured_listed_and_forgotten(env: Env) {
    let bus = env.bus().await;
    let outside = env.outside().await;
    let event = Event::new("order-1", "OrderPlaced", 1);
    let small = TopicConfig::new().max_messages(10);
    let brief = TopicConfig::new().max_age(Duration::from_secs(3_600));
    assert_eq!(bus.topic_config("orders.placed"), None);
    assert!(!bus.remove_topic_config("orders.placed"));
    bus.configure("orders.placed", small.clone()).await.unwrap();
    bus.configure("orders.paid", brief.clone()).await.unwrap();
    bus.configure("parcels.sent", small.clone()).await.unwrap();
    // Used, not configured.
    bus.publish("orders.lost", &event).await.unwrap();
    assert_eq!(bus.topic_config("orders.placed"), Some(small));
    assert_eq!(bus.topic_config("orders.paid"), Some(brief));
    assert_eq!(bus.topic_config("orders.lost"), None);
    assert_eq!(
        bus.configured_topics("orders."),
        ["orders.paid", "orders.placed"]
    );
    assert_eq!(bus.configured_topics("").len(), 3);
    assert!(bus.configured_topics("orders.z").is_empty());

    // Configured again, the stream follows.
    bus.configure("orders.placed", TopicConfig::new().max_messages(20))
        .await
        .unwrap();
    assert_eq!(outside.stream("jetbus~orders~placed").await["max_msgs"], 20);
    // Forgotten, it stays as it is, and is published to.
    assert!(bus.remove_topic_config("orders.placed"));
    assert!(!bus.remove_topic_config("orders.placed"));
    assert_eq!(bus.topic_config("orders.placed"), None);
    assert_eq!(bus.configured_topics("orders."), ["orders.paid"]);
    assert_eq!(outside.stream("jetbus~orders~placed").await["max_msgs"], 20);
    bus.close().await;
}

pub(crate) async fn a_topic_changes_between_stored_and_ephemeral(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let event = Event::new("order-1", "OrderPlaced", 1);
    assert_eq!(stored(orders.publish(&event).await.unwrap()).1, 1);
    let set = async |persistence| {
        let config = TopicConfig::new().persistence(persistence);
        bus.configure("orders.placed", config).await
    };
    // Its stream is still there and would store what is published: said, not done.
    let kept = set(Persistence::Ephemeral).await;
    let outcome = orders.publish(&event).await.unwrap();
    assert!(
        kept.is_ok() && outcome == Outcome::Unconfirmed,
        "{kept:?} {outcome:?}"
    );
    set(Persistence::Persistent).await.unwrap();
    let Outcome::Stored { .. } = orders.publish(&event).await.unwrap() else {
        panic!("not stored");
    };
    bus.close().await;
}

pub(crate) async fn auto_means_what_the_bus_was_told(env: Env) {
    let event = Event::new("order-1", "OrderPlaced", 1);
    let bus = env
        .builder()
        .persistence(Persistence::Ephemeral)
        .open()
        .await
        .unwrap();
    let outside = env.outside().await;
    let auto = TopicConfig::new().persistence(Persistence::Auto);
    bus.configure("orders.auto", auto.clone()).await.unwrap();
    for topic in ["orders.auto", "orders.unset"] {
        assert_eq!(
            bus.publish(topic, &event).await.unwrap(),
            Outcome::Unconfirmed
        );
    }
    assert!(outside.streams().await.is_empty());
    let persistent = TopicConfig::new().persistence(Persistence::Persistent);
    bus.configure("orders.kept", persistent).await.unwrap();
    stored(bus.publish("orders.kept", &event).await.unwrap());
    bus.close().await;

    let bus = env.bus().await;
    bus.configure("orders.auto", auto).await.unwrap();
    for topic in ["orders.auto", "orders.unset"] {
        stored(bus.publish(topic, &event).await.unwrap());
    }
    bus.close().await;
}

pub(crate) async fn options_of_a_topic_are_those_of_its_stream(env: Env) {
    let bus = env.bus().await;
    let config = TopicConfig::new()
        .storage(Storage::File)
        .max_age(Duration::from_secs(60))
        .max_bytes(1_000_000)
        .max_messages(1_000)
        .max_messages_per_subject(500)
        .discard(Discard::Old)
        .dedupe_window(Duration::from_secs(30))
        .compression(Compression::S2)
        .description("orders as they come");
    bus.configure("orders.placed", config).await.unwrap();
    let stream = env.outside().await.stream("jetbus~orders~placed").await;
    for (field, value) in [
        ("subjects", serde_json::json!(["orders.placed"])),
        ("storage", "file".into()),
        ("max_age", 60_000_000_000_u64.into()),
        ("max_bytes", 1_000_000.into()),
        ("max_msgs", 1_000.into()),
        ("max_msgs_per_subject", 500.into()),
        ("discard", "old".into()),
        ("duplicate_window", 30_000_000_000_u64.into()),
        ("compression", "s2".into()),
        ("description", "orders as they come".into()),
        ("num_replicas", 1.into()),
        ("retention", "limits".into()),
    ] {
        assert_eq!(stream[field], value, "{field}");
    }
    bus.close().await;
}

pub(crate) async fn a_covered_topic_takes_no_options_of_its_own(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let error = bus
        .configure("orders.placed", TopicConfig::new().max_messages(10))
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, TopicError::DeclaredStream { .. }),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("orders.placed") && text.contains("ORDERS"),
        "{text}"
    );
    assert_eq!(bus.topic_config("orders.placed"), None);
    assert!(
        env.outside().await.streams().await.is_empty(),
        "nothing was made"
    );
    // Saying how it is kept, without limits, is no conflict.
    let kept = TopicConfig::new().persistence(Persistence::Persistent);
    bus.configure("orders.placed", kept).await.unwrap();
    // Nor are limits where nobody stores anything an option without an effect.
    let useless = TopicConfig::new()
        .persistence(Persistence::Ephemeral)
        .max_messages(10);
    let error = bus.configure("others.placed", useless).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("others.placed") && text.contains("phemeral"),
        "{text}"
    );
    bus.close().await;
}

pub(crate) async fn first_publishes_make_each_stream_once(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let many = env.at_once(
        "fifty topics",
        (0..50).map(|n| {
            let bus = bus.clone();
            async move {
                let event = Event::new("order-1", "OrderPlaced", n);
                bus.publish(&format!("orders.n{n}"), &event)
                    .await
                    .map(stored)
            }
        }),
    );
    for (n, outcome) in many.await.into_iter().enumerate() {
        assert_eq!(outcome.unwrap(), (format!("jetbus~orders~n{n}"), 1));
    }
    assert_eq!(spy.taken("$JS.API.STREAM.CREATE."), 50);

    let one = env.at_once(
        "twenty callers",
        (0..20).map(|n| {
            let bus = bus.clone();
            async move {
                let event = Event::new("order-1", "OrderPlaced", n);
                bus.publish("orders.shared", &event).await.map(stored)
            }
        }),
    );
    let mut sequences: Vec<u64> = one.await.into_iter().map(|one| one.unwrap().1).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
    assert_eq!(spy.taken("$JS.API.STREAM.CREATE."), 51);
    // Ready streams are not asked about again.
    let asked = spy.taken("$JS.API.");
    for n in 0..50 {
        let event = Event::new("order-1", "OrderPlaced", n);
        bus.publish(&format!("orders.n{n}"), &event).await.unwrap();
    }
    assert_eq!(spy.taken("$JS.API."), asked);
    bus.close().await;
}

pub(crate) async fn buses_at_once_agree_on_streams(env: Env) {
    let declared = Stream::new("ORDERS", ["orders.>"]).max_messages(1_000);
    let mut buses = Vec::new();
    for _ in 0..4 {
        buses.push(env.builder().stream(declared.clone()).open().await.unwrap());
    }
    // Each configures and publishes the same topics, all at the same time.
    let work = buses.iter().flat_map(|bus| {
        (0..6).map(|n| {
            let bus = bus.clone();
            async move {
                let own = format!("parcels.n{n}");
                let config = TopicConfig::new().max_messages(100);
                bus.configure(&own, config).await.unwrap();
                let event = Event::new("order-1", "OrderPlaced", n);
                let own = bus.publish(&own, &event).await.unwrap();
                let shared = bus.publish(&format!("orders.n{n}"), &event).await.unwrap();
                (stored(own).0, stored(shared).0)
            }
        })
    });
    for (n, (own, shared)) in env.at_once("all", work).await.into_iter().enumerate() {
        assert_eq!(
            (own, &*shared),
            (format!("jetbus~parcels~n{}", n % 6), "ORDERS")
        );
    }
    let outside = env.outside().await;
    assert_eq!(outside.streams().await.len(), 7);
    assert_eq!(outside.messages("ORDERS").await, 24);
    for n in 0..6 {
        let name = format!("jetbus~parcels~n{n}");
        assert_eq!(outside.messages(&name).await, 4);
        assert_eq!(outside.stream(&name).await["max_msgs"], 100);
    }
    for bus in buses {
        bus.close().await;
    }
}

pub(crate) async fn of_two_configurations_at_once_one_holds(env: Env) {
    let bus = env
        .builder()
        .allow_destructive_changes(true)
        .open()
        .await
        .unwrap();
    let outside = env.outside().await;
    for round in 0..5_u64 {
        let limits = (1..=4).map(|n| 10 * (round * 4 + n));
        let results = env.at_once(
            "all configurations",
            limits.map(|limit| {
                let bus = bus.clone();
                async move {
                    let config = TopicConfig::new().max_messages(limit);
                    bus.configure("orders.placed", config).await.map(|()| limit)
                }
            }),
        );
        let results = results.await;
        assert!(results.iter().any(Result::is_ok));
        for lost in results.iter().filter_map(|one| one.as_ref().err()) {
            assert!(matches!(lost, TopicError::Lost { .. }), "{lost:?}");
        }
        // What the bus says is what the stream is, and what somebody was promised.
        let stream = outside.stream("jetbus~orders~placed").await;
        let limit = stream["max_msgs"].as_u64().unwrap();
        let promised = TopicConfig::new().max_messages(limit);
        assert_eq!(bus.topic_config("orders.placed"), Some(promised));
        assert!(
            results
                .iter()
                .any(|one| matches!(one, Ok(l) if *l == limit))
        );
    }
    bus.close().await;
}

/// Who makes the stream for all may go away: the next one takes over.
pub(crate) async fn a_caller_that_leaves_hands_its_stream_to_the_next(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let event = Event::new("order-1", "OrderPlaced", 1);
    spy.refuse(Some(Refused::Busy));
    let mut first = Box::pin(bus.publish("orders.placed", &event));
    assert!(futures_lite::future::poll_once(&mut first).await.is_none());
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut other = Box::pin(bus.publish("orders.placed", &event));
        assert!(futures_lite::future::poll_once(&mut other).await.is_none());
        others.push(other);
    }
    drop(first);
    spy.refuse(None);
    for (n, other) in (1..).zip(others) {
        let outcome = env.soon("a publish", other).await.unwrap();
        assert_eq!(stored(outcome).1, n);
    }
    assert_eq!(spy.taken("$JS.API.STREAM.CREATE."), 1);
    assert_eq!(spy.taken("orders.placed"), 3);
    bus.close().await;
}

/// Nobody answers while a leader is elected, and every publisher waits for the answer.
pub(crate) async fn a_question_that_gets_lost_is_asked_again(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .request_timeout(Duration::from_secs(3_600))
        .publish_timeout(Duration::from_secs(3_600))
        .open()
        .await
        .unwrap();
    spy.trick(Trick::Swallow, "$JS.API.STREAM.NAMES");
    let event = Event::new("order-1", "OrderPlaced", 1);
    let mut publish = Box::pin(bus.publish("orders.placed", &event));
    assert!(
        futures_lite::future::poll_once(&mut publish)
            .await
            .is_none()
    );
    assert_eq!(spy.taken("$JS.API.STREAM.NAMES"), 1);
    spy.be_honest();
    let outcome = env.soon("a publish", publish).await.unwrap();
    assert_eq!(stored(outcome).1, 1);
    bus.close().await;
}

pub(crate) async fn a_server_that_does_not_answer_is_waited_for_and_for_how_long_is_told(env: Env) {
    const PATIENCE: Duration = Duration::from_millis(400);
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .publish_timeout(PATIENCE)
        .open()
        .await
        .unwrap();
    spy.trick(Trick::Swallow, "$JS.API.STREAM.NAMES");
    let event = Event::new("order-1", "OrderPlaced", 1);
    // Who makes the stream for all, and who waits for that.
    let mut both = vec![Box::pin(bus.publish("orders.placed", &event))];
    assert!(
        futures_lite::future::poll_once(&mut both[0])
            .await
            .is_none()
    );
    both.push(Box::pin(bus.publish("orders.placed", &event)));
    for publish in both {
        let error = env.soon("an end", publish).await.unwrap_err();
        let PublishError::Stream(error) = &error else {
            panic!("{error:?}");
        };
        let StreamError::NoAnswer { waited, .. } = &**error else {
            panic!("{error:?}");
        };
        assert!(*waited >= PATIENCE, "{waited:?}");
    }
    bus.close().await;
}
