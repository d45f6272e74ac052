//! Where the server is: addresses, prefixes, and servers that come and go.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt as _;
use jetbus::link::{ConnectError, Nats};
use jetbus::{
    Builder, Class, Delivery, NatsOptions, News, Outcome, PublishError, StreamError, TopicConfig,
    TopicError,
};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{builder, event, opens, refused, works};

/// An address where nobody listens.
const NOWHERE: &str = "nats://127.0.0.1:1";

pub(crate) async fn a_dead_server_of_several_is_passed_by(env: Env) {
    let error = refused(&env, &NatsOptions::new(NOWHERE)).await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    for url in [
        "",
        "nats://",
        "http://127.0.0.1:4222",
        "nats://127.0.0.1:4222/x",
        "a b",
    ] {
        let error = refused(&env, &NatsOptions::new(url)).await;
        assert!(
            matches!(
                error,
                ConnectError::Option {
                    option: "server",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    let server = Server::start().expect("a server");
    let options = NatsOptions::new(NOWHERE)
        .server(server.url())
        .name("billing-7");
    let bus = builder(&env, &options).open().await.unwrap();
    works(&env, &bus).await;
    assert_eq!(server.connection_names(), ["billing-7"]);
    bus.close().await;
    env.until("nobody is connected", || {
        server.connection_names().is_empty()
    })
    .await;
}

pub(crate) async fn a_server_that_is_not_there_yet_is_waited_for_when_told(env: Env) {
    let server = Server::start().expect("a server");
    let options = NatsOptions::new(server.url());
    server.kill();
    let error = refused(&env, &options).await;
    assert!(
        matches!(error, ConnectError::Unreachable { .. }),
        "{error:?}"
    );
    let retry = options.retry_first_connect(true);
    let bus = builder(&env, &retry).open().await.unwrap();
    assert!(!bus.is_connected());
    // Publishing and subscribing wait for it.
    let (published, ()) =
        futures_lite::future::zip(bus.publish("orders.placed", &event()), async {
            server.start_again().expect("a server");
        })
        .await;
    assert!(
        matches!(published, Ok(Outcome::Stored { sequence: 1, .. })),
        "{published:?}"
    );
    assert!(bus.is_connected());
    let handler = |_: Delivery<u32>| async {};
    let subscribe = bus.subscribe("orders.placed").group("billing");
    let subscription = subscribe.handle(handler).await.unwrap();
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_killed_server_is_found_again(env: Env) {
    let server = Server::start().expect("a server");
    let options = NatsOptions::new(server.url());
    let bus = builder(&env, &options)
        .wait_for_connection(false)
        .open()
        .await
        .unwrap();
    works(&env, &bus).await;
    let mut news = bus.news();
    server.kill();
    env.until("the loss is noticed", || !bus.is_connected())
        .await;
    for topic in ["orders.placed", "orders.new"] {
        let error = env
            .soon(topic, bus.publish(topic, &event()))
            .await
            .unwrap_err();
        assert!(matches!(error, PublishError::Disconnected), "{error:?}");
        assert_eq!(error.class(), Class::Retryable);
    }
    server.start_again().expect("a server");
    let mut told = Vec::new();
    env.soon("the news", async {
        while told.len() < 2 {
            match news.next().await.expect("the bus is open") {
                News::Disconnected => told.push(0),
                News::Connected { generation, server } => {
                    assert_eq!(server.name, "test");
                    told.push(generation);
                }
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(told, [0, 2]);
    works(&env, &bus).await;
    bus.close().await;
}

pub(crate) async fn a_frozen_server_leaves_the_outcome_unknown(env: Env) {
    let server = Server::start().expect("a server");
    let options = NatsOptions::new(server.url());
    let builder = builder(&env, &options).publish_timeout(Duration::from_secs(2));
    let bus = builder.open().await.unwrap();
    works(&env, &bus).await;
    server.freeze().unwrap();
    let doubtful = event().id("doubtful");
    let error = bus.publish("orders.placed", &doubtful).await.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Unknown);
    server.thaw().unwrap();
    // Publishing the same id again is safe: it is there once.
    let again = env.soon("an outcome", async {
        loop {
            match bus.publish("orders.placed", &doubtful).await {
                Ok(outcome) => return outcome,
                Err(error) => assert_ne!(error.class(), Class::Terminal, "{error:?}"),
            }
        }
    });
    assert_eq!(again.await.sequence(), Some(2));
    let next = bus.publish("orders.placed", &event()).await.unwrap();
    assert_eq!(next.sequence(), Some(3));
    bus.close().await;
}

pub(crate) async fn closing_without_answers_ends_and_counts_them(env: Env) {
    let server = Server::start().expect("a server");
    let options = NatsOptions::new(server.url());
    let builder = builder(&env, &options).close_timeout(Duration::from_secs(1));
    let bus = builder.open().await.unwrap();
    works(&env, &bus).await;
    server.freeze().unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let mut receipts = Vec::new();
    for _ in 0..5 {
        receipts.push(orders.send(&event().unordered()).await.unwrap());
    }
    let report = env.soon("the close", bus.close()).await;
    assert_eq!(report.unknown, 5);
    for receipt in receipts {
        let error = env.soon("a receipt", receipt).await.unwrap_err();
        assert!(matches!(error, PublishError::Unknown { .. }), "{error:?}");
    }
    server.thaw().unwrap();
}

pub(crate) async fn inboxes_start_as_told(env: Env) {
    let permissions = "authorization { users = [ {user: ann, password: pw, permissions: {
        publish: \">\", subscribe: \"_MINE.>\" } } ] }";
    let server = Server::builder()
        .config(permissions)
        .start()
        .expect("a server");
    let options = NatsOptions::new(server.url()).user("ann", "pw");
    let mine = options.clone().inbox_prefix("_MINE.a");
    let bus = builder(&env, &mine).open().await.unwrap();
    works(&env, &bus).await;
    // Deliveries arrive there too.
    let deliveries = bus
        .subscribe("orders.placed")
        .group("billing")
        .deliveries::<u32>()
        .await;
    let mut deliveries = deliveries.unwrap();
    let (delivery, settle) = env.soon("a delivery", deliveries.next()).await.unwrap();
    assert_eq!(delivery.payload, 1);
    settle.ack();
    bus.close().await;
    // Nor does it matter who connects.
    let link = Nats::connect(&mine, &**env.runtime()).await.unwrap();
    let given = Builder::link(Arc::new(link)).runtime(Arc::clone(env.runtime()));
    let bus = given.open().await.unwrap();
    works(&env, &bus).await;
    bus.close().await;
    // With the default there are no answers at all, and the server says why.
    let short = Duration::from_secs(1);
    let builder_ = builder(&env, &options)
        .publish_timeout(short)
        .request_timeout(short);
    let bus = builder_.open().await.unwrap();
    let error = env
        .soon("an end", bus.publish("orders.placed", &event()))
        .await;
    assert!(
        matches!(&error, Err(PublishError::Stream(e))
        if matches!(&**e, StreamError::Denied(denied) if denied.subject.starts_with("_INBOX."))),
        "{error:?}"
    );
    bus.close().await;
    for prefix in ["", "a..b", "a.>", "$SYS", "a b"] {
        let error = refused(&env, &options.clone().inbox_prefix(prefix)).await;
        assert!(
            matches!(
                error,
                ConnectError::Option {
                    option: "inbox_prefix",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

pub(crate) async fn domains_and_prefixes_are_used(env: Env) {
    let server = Server::builder().jetstream("domain: hub\nmax_file_store: 1GB");
    let server = server.start().expect("a server");
    let options = NatsOptions::new(server.url());
    opens(&env, &options).await;
    for builder in [
        builder(&env, &options).domain("hub"),
        builder(&env, &options).api_prefix("$JS.hub.API"),
    ] {
        let bus = builder.open().await.unwrap();
        works(&env, &bus).await;
        let deliveries = bus
            .subscribe("orders.placed")
            .group("billing")
            .deliveries::<u32>();
        let mut deliveries = deliveries.await.unwrap();
        let (_, settle) = env.soon("a delivery", deliveries.next()).await.unwrap();
        settle.ack();
        bus.close().await;
    }
    // Nobody answers elsewhere: the prefix is not just ignored.
    let elsewhere = builder(&env, &options)
        .domain("moon")
        .publish_timeout(Duration::from_secs(1));
    let bus = elsewhere.open().await.unwrap();
    let error = env
        .soon("an end", bus.configure("orders.new", TopicConfig::new()))
        .await;
    assert!(matches!(error, Err(TopicError::Stream(_))), "{error:?}");
    bus.close().await;
}
