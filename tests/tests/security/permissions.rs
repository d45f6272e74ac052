//! What a user may not do: an error of the very call, at once, and nothing else stops.

use std::time::Duration;

use futures_lite::StreamExt as _;
use jetbus::link::LinkError;
use jetbus::{
    BatchPath, Bus, Class, Delivery, Denied, Event, NatsOptions, News, Operation, Outcome,
    Persistence, PublishError, StreamError, SubscribeError, TopicConfig, TopicError,
};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{Included, builder, event, works};
use jetbus_tests::support::{Seen, news, publish_all};

/// Longer than a case may take: whatever ends before was no timeout.
const NEVER: Duration = Duration::from_secs(600);

/// A server on which ann may do all that these lines allow, and bob anything.
fn server(permissions: &str) -> Server {
    let lines = format!(
        "authorization {{ users = [\n\
         {{ user: ann, password: pw, permissions: {{ {permissions} }} }}\n\
         {{ user: bob, password: pw }} ] }}"
    );
    Server::builder().config(&lines).start().expect("a server")
}

/// A bus of a user that never gives up waiting.
async fn bus(env: &Env, server: &Server, user: &str) -> Bus {
    let options = NatsOptions::new(server.url()).user(user, "pw");
    let builder = builder(env, &options)
        .publish_timeout(Duration::from_secs(3_600))
        .request_timeout(NEVER);
    builder.open().await.expect("the bus opens")
}

fn denied(operation: Operation, subject: &str) -> Denied {
    let subject = subject.to_owned();
    Denied { operation, subject }
}

fn publishing(subject: &str) -> Denied {
    denied(Operation::Publish, subject)
}

/// That an error says what was denied, and to do something about it.
fn is_denied<T: std::fmt::Debug>(result: Result<T, PublishError>, subject: &str) {
    let error = result.expect_err("it is denied");
    assert_eq!(error.class(), Class::Terminal, "{error:?}");
    assert!(error.to_string().contains(subject), "{error}");
    let PublishError::Denied(said) = error else {
        panic!("{error:?}");
    };
    assert_eq!(said, publishing(subject));
}

/// That the reason why a stream is not ready is that something was denied.
fn is_kept_from(error: &StreamError, subject: &str) {
    assert_eq!(error.class(), Class::Terminal, "{error:?}");
    let StreamError::Denied(said) = error else {
        panic!("{error:?}");
    };
    assert_eq!(said.operation, Operation::Publish);
    assert!(said.subject.starts_with(subject), "{said:?}");
}

pub(crate) async fn a_denied_publish_is_told_at_once_and_hinders_no_other(env: Env) {
    let server = server(
        "publish: { allow: [\"orders.>\", \"$JS.API.>\"], deny: [\"orders.secret\"] },
         subscribe: \"_INBOX.>\"",
    );
    let bus = bus(&env, &server, "ann").await;
    let mut heard = bus.news();
    for secret in [event(), event().unordered()] {
        // Others are on their way before and behind it, of its key and of others.
        let (open, closed) = (
            bus.topic("orders.placed").unwrap(),
            bus.topic("orders.secret").unwrap(),
        );
        let before = open.send(&event()).await.unwrap();
        let refused = closed.send(&secret).await.unwrap();
        let behind = open.send(&event()).await.unwrap();
        let other = open
            .send(&Event::new("order-2", "OrderPlaced", 1))
            .await
            .unwrap();
        is_denied(env.soon("the denial", refused).await, "orders.secret");
        for receipt in [before, behind, other] {
            let outcome = env.soon("an outcome", receipt).await;
            assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
        }
        let told = news(&env, "the news", &mut heard, |news| match news {
            News::Denied { denied } => Some(denied),
            _ => None,
        });
        assert_eq!(told.await, publishing("orders.secret"));
    }
    // Nothing of it waits to be sent again.
    works(&env, &bus).await;
    let stats = bus.publish_stats();
    assert_eq!((stats.rejected, stats.unknown), (2, 0), "{stats:?}");
    bus.close().await;
}

pub(crate) async fn many_denied_publishes_are_all_told(env: Env) {
    let server =
        server("publish: { allow: [\">\"], deny: [\"orders.secret\"] }, subscribe: \"_INBOX.>\"");
    let bus = bus(&env, &server, "ann").await;
    let (open, closed) = (
        bus.topic("orders.placed").unwrap(),
        bus.topic("orders.secret").unwrap(),
    );
    let (mut refused, mut stored) = (Vec::new(), Vec::new());
    // More than the client keeps events for.
    for n in 0..500 {
        let key = format!("order-{n}");
        let event = Event::new(key, "OrderPlaced", n);
        refused.push(closed.send(&event).await.unwrap());
        stored.push(open.send(&event).await.unwrap());
    }
    for receipt in refused {
        is_denied(env.soon("a denial", receipt).await, "orders.secret");
    }
    for receipt in stored {
        let outcome = env.soon("an outcome", receipt).await;
        assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
    }
    bus.close().await;
}

pub(crate) async fn a_denied_batch_is_told_at_once(env: Env) {
    let server =
        server("publish: { allow: [\">\"], deny: [\"orders.secret\"] }, subscribe: \"_INBOX.>\"");
    let bus = bus(&env, &server, "ann").await;
    let config = TopicConfig::new().atomic_batches(true).fast_ingest(true);
    bus.configure("orders.secret", config).await.unwrap();
    let topic = bus.topic("orders.secret").unwrap();
    for path in [
        BatchPath::Atomic,
        BatchPath::FastIngest,
        BatchPath::Pipelined,
    ] {
        let events = (0..3).map(|n| Event::new(format!("order-{n}"), "OrderPlaced", n));
        let events: Vec<_> = events.collect();
        let outcomes = topic.publish_batch(path, &events);
        let outcomes = env.soon("the batch", outcomes).await;
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            is_denied(outcome, "orders.secret");
        }
    }
    works(&env, &bus).await;
    bus.close().await;
}

pub(crate) async fn a_stream_that_may_not_be_made_is_told_at_once(env: Env) {
    let server = server(
        "publish: { allow: [\">\"], deny: [\"$JS.API.STREAM.CREATE.>\"] },
         subscribe: \"_INBOX.>\"",
    );
    let bus = bus(&env, &server, "ann").await;
    let create = "$JS.API.STREAM.CREATE.";
    let error = env
        .soon("a publish", bus.publish("orders.placed", &event()))
        .await
        .unwrap_err();
    let PublishError::Stream(error) = error else {
        panic!("{error:?}");
    };
    is_kept_from(&error, create);
    let configure = bus.configure("orders.new", TopicConfig::new());
    let error = env.soon("a configuration", configure).await.unwrap_err();
    let TopicError::Stream(error) = error else {
        panic!("{error:?}");
    };
    is_kept_from(&error, create);
    let subscribe = bus.subscribe("orders.paid").group("billing");
    let handling = subscribe.handle(|_: Delivery<u32>| async {});
    let error = env.soon("a subscription", handling).await.unwrap_err();
    let SubscribeError::Stream(error) = error else {
        panic!("{error:?}");
    };
    is_kept_from(&error, create);
    bus.close().await;
}

pub(crate) async fn a_consumer_that_may_not_be_made_is_told_at_once(env: Env) {
    let server = server(
        "publish: { allow: [\">\"], deny: [\"$JS.API.CONSUMER.CREATE.>\"] },
         subscribe: \"_INBOX.>\"",
    );
    let bus = bus(&env, &server, "ann").await;
    works(&env, &bus).await;
    for group in [Some("billing"), None] {
        let mut subscribe = bus.subscribe("orders.placed");
        if let Some(group) = group {
            subscribe = subscribe.group(group);
        }
        let handling = subscribe.handle(|_: Delivery<u32>| async {});
        let error = env.soon("a subscription", handling).await.unwrap_err();
        let SubscribeError::Stream(error) = error else {
            panic!("{error:?}");
        };
        is_kept_from(&error, "$JS.API.CONSUMER.CREATE.");
    }
    works(&env, &bus).await;
    bus.close().await;
}

pub(crate) async fn a_denied_subscription_is_its_error(env: Env) {
    let server = server(
        "publish: \">\", subscribe: { allow: [\"_INBOX.>\", \"open.>\"], deny: [\"open.secret\"] }",
    );
    let options = NatsOptions::new(server.url()).user("ann", "pw");
    let bus = builder(&env, &options)
        .persistence(Persistence::Ephemeral)
        .open()
        .await
        .unwrap();
    let mut in_time = 0;
    for (topic, group) in [
        ("open.secret", None),
        ("open.secret", Some("billing")),
        ("closed", None),
        ("closed.>", Some("billing")),
    ] {
        let mut subscribe = bus.subscribe(topic);
        if let Some(group) = group {
            subscribe = subscribe.group(group);
        }
        let mut heard = bus.news();
        let handling = subscribe.handle(|_: Delivery<u32>| async {});
        match env.soon("a subscription", handling).await {
            Err(error) => {
                let SubscribeError::Link(LinkError::Denied(said)) = &error else {
                    panic!("{error:?}");
                };
                assert_eq!(*said, denied(Operation::Subscribe, topic));
                assert!(error.to_string().contains(topic), "{error}");
                in_time += 1;
            }
            // The server's word came late.
            Ok(subscription) => _ = subscription.stop().await,
        }
        let told = news(&env, "the news", &mut heard, |news| match news {
            News::Denied { denied } => Some(denied),
            _ => None,
        });
        assert_eq!(told.await, denied(Operation::Subscribe, topic));
    }
    assert!(in_time > 0, "its word never comes in time");
    // What is allowed works, also a second time after a denial.
    let deliveries = bus.subscribe("open.>").deliveries::<u32>();
    let mut deliveries = deliveries.await.expect("it is allowed");
    bus.publish("open.door", &event()).await.unwrap();
    let (delivery, _) = env.soon("a delivery", deliveries.next()).await.unwrap();
    assert_eq!(delivery.payload, 1);
    bus.close().await;
}

pub(crate) async fn answers_that_may_not_be_heard_are_told_at_once(env: Env) {
    let server = server("publish: \">\", subscribe: { deny: [\"_INBOX.>\"] }");
    let bus = bus(&env, &server, "ann").await;
    for _ in 0..2 {
        let error = env
            .soon("a publish", bus.publish("orders.placed", &event()))
            .await
            .unwrap_err();
        let PublishError::Stream(error) = &error else {
            panic!("{error:?}");
        };
        let StreamError::Denied(said) = &**error else {
            panic!("{error:?}");
        };
        assert_eq!(said.operation, Operation::Subscribe);
        assert!(said.subject.starts_with("_INBOX."), "{said:?}");
    }
    bus.close().await;
}

pub(crate) async fn a_denied_acknowledgement_is_told(env: Env) {
    let server =
        server("publish: { allow: [\">\"], deny: [\"$JS.ACK.>\"] }, subscribe: \"_INBOX.>\"");
    let bus = bus(&env, &server, "ann").await;
    let topic = bus.topic("orders.placed").unwrap();
    publish_all(&topic, [("order-1", 1)]).await;
    let mut heard = bus.news();
    let mut deliveries = bus
        .subscribe("orders.placed")
        .group("billing")
        .deliveries::<u32>()
        .await
        .unwrap();
    let (_, settle) = env.soon("a delivery", deliveries.next()).await.unwrap();
    let error = env.soon("the end", settle.ack_confirmed()).await;
    let error = error.expect_err("it is denied");
    assert!(error.to_string().contains("$JS.ACK."), "{error}");
    assert!(matches!(error, jetbus::SettleError::Denied(_)), "{error:?}");
    let told = news(&env, "the news", &mut heard, |news| match news {
        News::Denied { denied } => Some(denied),
        _ => None,
    });
    assert!(told.await.subject.starts_with("$JS.ACK."));
    bus.close().await;
}

pub(crate) async fn permissions_of_the_connection_before_say_nothing(env: Env) {
    // The same user may more after a restart.
    let users = Included::new("users");
    let write = |deny: &str| {
        let text = format!(
            "authorization {{ users = [ {{ user: ann, password: pw, permissions: {{
             publish: {{ allow: [\">\"], deny: [{deny}] }}, subscribe: \"_INBOX.>\" }} }} ] }}"
        );
        users.write(&text);
    };
    write("\"orders.secret\"");
    let server = Server::builder().config(&users.line()).start();
    let server = server.expect("a server");
    let bus = bus(&env, &server, "ann").await;
    let refused = bus.publish("orders.secret", &event()).await;
    is_denied(refused, "orders.secret");
    write("");
    server.restart().expect("it starts again");
    let outcome = env
        .soon("a publish", bus.publish("orders.secret", &event()))
        .await;
    assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
    bus.close().await;
}

pub(crate) async fn no_more_than_the_documented_rights_are_needed(env: Env) {
    let server = server(
        "publish: [\"orders.>\", \"$JS.API.>\", \"$JS.ACK.>\", \"_INBOX.readers.>\", \"_INBOX.*.*.end\"],
         subscribe: \"_INBOX.>\"",
    );
    let bus = bus(&env, &server, "ann").await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscribe = bus.subscribe("orders.placed").group("billing");
    let handling = subscribe.handle(move |event: Delivery<u32>| {
        noted.note(event.payload);
        async {}
    });
    let subscription = handling.await.expect("it is allowed");
    publish_all(&orders, (1..=5).map(|n| ("order-1", n))).await;
    seen.reaches(5, &env).await;
    env.soon("the end of what is on its way", subscription.stop())
        .await;
    bus.close().await;
    while let Some(news) = heard.next().await {
        assert!(!matches!(news, News::Denied { .. }), "{news:?}");
    }
}
