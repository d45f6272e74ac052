//! Streams: declared, adopted, changed, refused, lost and found again.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt as _;
use jetbus::{
    Builder, Bus, Class, Compression, Discard, Event, News, NewsStream, OnMismatch, ProvisionError,
    PublishError, Retention, Storage, Strategy, Stream, StreamError, TopicConfig, TopicError,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Spy;
use serde_json::{Value, json};

use crate::publishing::stored;

fn event() -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", 1)
}

async fn open(env: &Env, stream: Stream, how: impl FnOnce(Builder) -> Builder) -> Bus {
    how(env.builder().stream(stream)).open().await.unwrap()
}

/// The error of a stream behind a failed publish.
fn provision(error: &PublishError) -> &ProvisionError {
    match error {
        PublishError::Stream(error) => match &**error {
            StreamError::Provision(error) => error,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Waits for news of a stream that say `what`.
async fn told(env: &Env, news: &mut NewsStream, stream: &str, what: &str) -> String {
    let told = env.soon(what, async {
        loop {
            match news.next().await.expect("the bus is open") {
                News::Stream {
                    stream: of,
                    what: text,
                } if *of == *stream && text.contains(what) => {
                    return text.to_string();
                }
                _ => {}
            }
        }
    });
    told.await
}

pub(crate) async fn a_declared_stream_is_as_declared(env: Env) {
    let declared = Stream::new("ORDERS", ["orders.>", "refunds.*"])
        .storage(Storage::Memory)
        .retention(Retention::Interest)
        .max_age(Duration::from_secs(60))
        .max_bytes(1_000_000)
        .max_messages(1_000)
        .max_messages_per_subject(500)
        .discard(Discard::Old)
        .dedupe_window(Duration::from_secs(30))
        .description("all about orders");
    let bus = open(&env, declared, |b| b.owner("billing", 7)).await;
    let outside = env.outside().await;
    assert!(outside.streams().await.is_empty(), "made when first used");
    for topic in ["orders.placed", "orders.eu.placed", "refunds.asked"] {
        assert_eq!(
            stored(bus.publish(topic, &event()).await.unwrap()).0,
            "ORDERS"
        );
    }
    // What it does not cover has a stream of its own.
    let own = bus.publish("refunds.asked.twice", &event()).await.unwrap();
    assert_eq!(stored(own).0, "jetbus~refunds~asked~twice");
    let stream = outside.stream("ORDERS").await;
    for (field, value) in [
        ("subjects", json!(["orders.>", "refunds.*"])),
        ("storage", "memory".into()),
        ("retention", "interest".into()),
        ("max_age", 60_000_000_000_u64.into()),
        ("max_bytes", 1_000_000.into()),
        ("max_msgs", 1_000.into()),
        ("max_msgs_per_subject", 500.into()),
        ("discard", "old".into()),
        ("duplicate_window", 30_000_000_000_u64.into()),
        ("compression", "none".into()),
        ("description", "all about orders".into()),
        ("num_replicas", 1.into()),
    ] {
        assert_eq!(stream[field], value, "{field}");
    }
    assert_eq!(stream["metadata"]["jetbus.owner"], "billing");
    assert_eq!(stream["metadata"]["jetbus.version"], "7");
    // Unless told otherwise nothing is limited, and a full stream refuses.
    let own = outside.stream("jetbus~refunds~asked~twice").await;
    for (field, value) in [
        ("storage", json!("file")),
        ("retention", "limits".into()),
        ("max_age", 0.into()),
        ("max_bytes", (-1).into()),
        ("max_msgs", (-1).into()),
        ("discard", "new".into()),
        ("duplicate_window", 120_000_000_000_u64.into()),
    ] {
        assert_eq!(own[field], value, "{field}");
    }
    bus.close().await;
}

pub(crate) async fn others_streams_are_used_and_never_changed(env: Env) {
    let outside = env.outside().await;
    let limits = json!({"max_msgs": 100, "storage": "memory", "discard": "old"});
    let before = outside
        .create_stream("LEGACY", &["legacy.>", "old.*"], limits)
        .await;

    // A topic that it stores goes there, whatever this bus would do.
    let bus = env.bus().await;
    let mut news = bus.news();
    assert_eq!(
        stored(bus.publish("legacy.a", &event()).await.unwrap()),
        ("LEGACY".into(), 1)
    );
    told(&env, &mut news, "LEGACY", "adopted").await;
    let config = TopicConfig::new().max_messages(5);
    bus.configure("legacy.b", config.clone()).await.unwrap();
    let said = told(&env, &mut news, "LEGACY", "max_msgs").await;
    assert!(
        said.contains("wanted 5") && said.contains("found 100"),
        "{said}"
    );
    assert_eq!(
        stored(bus.publish("legacy.b", &event()).await.unwrap()),
        ("LEGACY".into(), 2)
    );
    bus.close().await;

    // Declared under its own name, or under another.
    for (name, sequence) in [("LEGACY", 3), ("MINE", 4)] {
        let bus = open(&env, Stream::new(name, ["legacy.>"]), |b| b).await;
        let outcome = bus.publish("legacy.c", &event()).await.unwrap();
        assert_eq!(stored(outcome), ("LEGACY".into(), sequence));
        bus.close().await;
    }

    // Told to refuse, it does, and says what differs.
    let refusing = |b: Builder| b.on_mismatch(OnMismatch::Refuse);
    let bus = open(
        &env,
        Stream::new("LEGACY", ["legacy.>"]).max_messages(5),
        refusing,
    )
    .await;
    let error = bus.publish("legacy.d", &event()).await.unwrap_err();
    let ProvisionError::Conflict {
        name, differences, ..
    } = provision(&error)
    else {
        panic!("{error:?}")
    };
    assert_eq!(name, "LEGACY");
    let mut fields: Vec<&str> = differences.iter().map(|one| one.field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["discard", "max_msgs", "storage"]);
    assert_eq!(error.class(), Class::Terminal);
    assert!(
        error.to_string().contains("max_msgs: wanted 5, found 100"),
        "{error}"
    );
    let error = bus.configure("old.x", config).await.unwrap_err();
    assert!(matches!(error, TopicError::Stream(_)), "{error:?}");
    bus.close().await;

    // One that stores only a part cannot stand in.
    let bus = open(&env, Stream::new("WIDER", ["old.>"]), |b| b).await;
    let error = bus.publish("old.x", &event()).await.unwrap_err();
    let ProvisionError::Overlap { name, others } = provision(&error) else {
        panic!("{error:?}")
    };
    assert_eq!((&**name, &**others), ("WIDER", &["LEGACY".to_owned()][..]));
    bus.close().await;

    assert_eq!(outside.stream("LEGACY").await, before);
    assert_eq!(outside.streams().await, ["LEGACY"]);
    assert_eq!(outside.messages("LEGACY").await, 4);
}

pub(crate) async fn changes_that_lose_messages_need_consent(env: Env) {
    let outside = env.outside().await;
    let ten = Stream::new("ORDERS", ["orders.>"]).max_messages(10);
    let bus = open(&env, ten.clone(), |b| b).await;
    for _ in 0..10 {
        bus.publish("orders.placed", &event()).await.unwrap();
    }
    bus.close().await;
    // A larger limit, and another subject, lose nothing.
    let more = Stream::new("ORDERS", ["orders.>", "refunds.>"]).max_messages(20);
    let bus = open(&env, more, |b| b).await;
    let mut news = bus.news();
    assert_eq!(
        stored(bus.publish("refunds.asked", &event()).await.unwrap()).1,
        11
    );
    let said = told(&env, &mut news, "ORDERS", "was updated").await;
    assert!(said.contains("max_msgs: wanted 20, found 10"), "{said}");
    bus.close().await;

    let mut unchanged = outside.stream("ORDERS").await;
    for on_mismatch in [OnMismatch::Log, OnMismatch::Refuse] {
        let bus = open(&env, ten.clone(), |b| b.on_mismatch(on_mismatch)).await;
        let error = bus.publish("orders.placed", &event()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(provision(&error), ProvisionError::Conflict { .. }),
            "{error:?}"
        );
        assert!(
            text.contains("max_msgs: wanted 10, found 20 (destructive)"),
            "{text}"
        );
        assert!(text.contains("subjects"), "{text}");
        bus.close().await;
        assert_eq!(outside.stream("ORDERS").await, unchanged);
    }
    assert_eq!(outside.messages("ORDERS").await, 11);

    // With consent: the stream is as wanted, and full.
    let bus = open(&env, ten, |b| b.allow_destructive_changes(true)).await;
    let error = bus.publish("orders.placed", &event()).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(_)), "{error:?}");
    unchanged["max_msgs"] = 10.into();
    unchanged["subjects"] = json!(["orders.>"]);
    let changed = outside.stream("ORDERS").await;
    for field in ["max_msgs", "subjects", "max_bytes", "discard", "storage"] {
        assert_eq!(changed[field], unchanged[field], "{field}");
    }
    bus.close().await;

    // What the server can never change is a conflict with consent too.
    let memory = Stream::new("ORDERS", ["orders.>"])
        .max_messages(10)
        .storage(Storage::Memory);
    let bus = open(&env, memory, |b| b.allow_destructive_changes(true)).await;
    let error = bus.publish("orders.placed", &event()).await.unwrap_err();
    assert!(error.to_string().contains("storage"), "{error}");
    bus.close().await;
    assert_eq!(outside.stream("ORDERS").await, changed);
}

pub(crate) async fn the_older_version_of_a_configuration_yields(env: Env) {
    let outside = env.outside().await;
    let stream = |limit| Stream::new("ORDERS", ["orders.>"]).max_messages(limit);
    let new = open(&env, stream(200), |b| b.owner("billing", 2)).await;
    new.publish("orders.placed", &event()).await.unwrap();

    let old = open(&env, stream(1_000), |b| {
        b.owner("billing", 1).on_mismatch(OnMismatch::Refuse)
    })
    .await;
    let mut news = old.news();
    assert_eq!(
        stored(old.publish("orders.placed", &event()).await.unwrap()).1,
        2
    );
    told(&env, &mut news, "ORDERS", "newer configuration version 2").await;
    assert_eq!(outside.stream("ORDERS").await["max_msgs"], 200);

    let newest = open(&env, stream(300), |b| b.owner("billing", 3)).await;
    newest.publish("orders.placed", &event()).await.unwrap();
    let config = outside.stream("ORDERS").await;
    assert_eq!(config["max_msgs"], 300);
    assert_eq!(config["metadata"]["jetbus.version"], "3");
    // Another owner's stream is somebody else's, however high the version.
    let other = open(&env, stream(5_000), |b| b.owner("shipping", 9)).await;
    other.publish("orders.placed", &event()).await.unwrap();
    assert_eq!(outside.stream("ORDERS").await, config);
    for bus in [new, old, newest, other] {
        bus.close().await;
    }
}

pub(crate) async fn strategies_do_what_they_say(env: Env) {
    let outside = env.outside().await;
    let stream = |limit| Stream::new("ORDERS", ["orders.>"]).max_messages(limit);

    // Only compare: what is missing is said, not made.
    let bus = open(&env, stream(10), |b| b.strategy(Strategy::ValidateOnly)).await;
    let error = bus.publish("orders.placed", &event()).await.unwrap_err();
    let ProvisionError::Missing { stream: missing } = provision(&error) else {
        panic!("{error:?}")
    };
    assert_eq!(missing, "ORDERS");
    let error = bus
        .configure("parcels.sent", TopicConfig::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("jetbus~parcels~sent"), "{error}");
    assert!(outside.streams().await.is_empty());
    // The same bus, once somebody has made it.
    let maker = open(&env, stream(10), |b| b.strategy(Strategy::CreateOnly)).await;
    maker.publish("orders.placed", &event()).await.unwrap();
    let made = outside.stream("ORDERS").await;
    assert_eq!(made["max_msgs"], 10);
    maker.close().await;
    env.soon("it is found", async {
        while bus.publish("orders.placed", &event()).await.is_err() {}
    })
    .await;
    bus.close().await;

    // Never changed by those who only create or only compare, but told.
    for strategy in [Strategy::CreateOnly, Strategy::ValidateOnly] {
        let bus = open(&env, stream(20), |b| b.strategy(strategy)).await;
        let mut news = bus.news();
        stored(bus.publish("orders.placed", &event()).await.unwrap());
        told(&env, &mut news, "ORDERS", "max_msgs: wanted 20, found 10").await;
        bus.close().await;
        let bus = open(&env, stream(20), |b| {
            b.strategy(strategy).on_mismatch(OnMismatch::Refuse)
        })
        .await;
        let error = bus.publish("orders.placed", &event()).await.unwrap_err();
        assert!(
            matches!(provision(&error), ProvisionError::Conflict { .. }),
            "{error:?}"
        );
        bus.close().await;
    }
    assert_eq!(outside.stream("ORDERS").await, made);

    // Nothing is asked at all.
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .strategy(Strategy::Skip)
        .stream(stream(30))
        .publish_timeout(Duration::from_secs(2))
        .open()
        .await
        .unwrap();
    assert_eq!(
        stored(bus.publish("orders.placed", &event()).await.unwrap()).0,
        "ORDERS"
    );
    assert_eq!(spy.taken("$JS.API."), 0);
    // Which stream stores a topic that none is declared for is looked up. Nobody
    // stores this: said once the time is up, and nothing is made.
    let error = env
        .soon("an end", bus.publish("nobody.cares", &event()))
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, PublishError::Refused(e) if e.code == 503),
        "{error:?}"
    );
    bus.close().await;
    assert_eq!(spy.taken("$JS.API."), spy.taken("$JS.API.STREAM.NAMES"));
    assert_eq!(outside.stream("ORDERS").await, made);
}

pub(crate) async fn a_deleted_stream_is_made_again(env: Env) {
    let outside = env.outside().await;
    let declared = Stream::new("ORDERS", ["orders.>"]).max_messages(100);
    let bus = open(&env, declared, |b| b).await;
    let orders = bus.topic("orders.placed").unwrap();
    for round in 0..3 {
        for sequence in 1..=5 {
            let outcome = env
                .soon("a publish", orders.publish(&event()))
                .await
                .unwrap();
            assert_eq!(
                stored(outcome),
                ("ORDERS".into(), sequence),
                "round {round}"
            );
        }
        assert_eq!(outside.stream("ORDERS").await["max_msgs"], 100);
        outside.delete_stream("ORDERS").await;
    }
    // Many at once find it gone: each is stored once, in order.
    let mut receipts = Vec::new();
    for _ in 0..100 {
        receipts.push(orders.send(&event()).await.unwrap());
    }
    let mut sequences = Vec::new();
    for receipt in receipts {
        sequences.push(stored(env.soon("a receipt", receipt).await.unwrap()).1);
    }
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
    assert_eq!(outside.messages("ORDERS").await, 100);
    // A topic's own as well.
    bus.publish("parcels.sent", &event()).await.unwrap();
    outside.delete_stream("jetbus~parcels~sent").await;
    let again = env
        .soon("a publish", bus.publish("parcels.sent", &event()))
        .await;
    assert_eq!(stored(again.unwrap()).1, 1);
    bus.close().await;
}

pub(crate) async fn a_full_stream_refuses_and_loses_nothing(env: Env) {
    let outside = env.outside().await;
    let bus = env.bus().await;
    bus.configure("orders.placed", TopicConfig::new().max_messages(3))
        .await
        .unwrap();
    bus.configure("orders.large", TopicConfig::new().max_bytes(2_000))
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    for sequence in 1..=3 {
        assert_eq!(stored(orders.publish(&event()).await.unwrap()).1, sequence);
    }
    for _ in 0..3 {
        let error = orders.publish(&event()).await.unwrap_err();
        let PublishError::Refused(why) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (why.err_code, error.class()),
            (10_077, Class::Terminal),
            "{why:?}"
        );
        assert!(
            error.to_string().contains("maximum messages exceeded"),
            "{error}"
        );
    }
    let large = Event::new("order-1", "OrderPlaced", "x".repeat(1_500));
    bus.publish("orders.large", &large).await.unwrap();
    let error = bus.publish("orders.large", &large).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Refused(e) if e.err_code == 10_077),
        "{error:?}"
    );

    // The first three are there, and there is room again once they are gone.
    assert_eq!(outside.messages("jetbus~orders~placed").await, 3);
    assert_eq!(outside.stored("jetbus~orders~placed", 1).await.seq, 1);
    outside
        .api("STREAM.PURGE.jetbus~orders~placed", Value::Null)
        .await;
    assert_eq!(stored(orders.publish(&event()).await.unwrap()).1, 4);

    // Told to discard the old, it takes all.
    let old = TopicConfig::new().max_messages(3).discard(Discard::Old);
    bus.configure("orders.recent", old.compression(Compression::S2))
        .await
        .unwrap();
    for sequence in 1..=10 {
        let outcome = bus.publish("orders.recent", &event()).await.unwrap();
        assert_eq!(stored(outcome).1, sequence);
    }
    assert_eq!(outside.messages("jetbus~orders~recent").await, 3);
    bus.close().await;
}
