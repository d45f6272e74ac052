//! What a publish may ask for beside being stored.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jetbus::{
    Class, Delivery, Discard, Event, Headers, Invalid, Outcome, Persistence, PublishError, Raw,
    Start, Stream, StreamError, Timestamp, TopicConfig, Unsupported,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::outside::next;
use jetbus_tests::spy::Trick;
use jetbus_tests::support::Seen;

use crate::ordering::watched;
use crate::publishing::stored;

fn event(n: u32) -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", n)
}

pub(crate) async fn expectations_are_kept_or_a_conflict(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let placed = bus.topic("orders.placed").unwrap();
    let paid = bus.topic("orders.paid").unwrap();
    let first = placed.publish(&event(1).expect_last_sequence(0)).await;
    assert_eq!(stored(first.unwrap()).1, 1);
    let second = paid
        .publish(&event(2).expect_last_subject_sequence(0))
        .await;
    assert_eq!(stored(second.unwrap()).1, 2);
    let third = placed
        .publish(&event(3).expect_last_subject_sequence(1))
        .await;
    assert_eq!(stored(third.unwrap()).1, 3);
    let raw = Raw::new("raw").expect_last_sequence(3);
    assert_eq!(stored(paid.publish_raw(raw).await.unwrap()).1, 4);

    for (event, found) in [
        (event(5).expect_last_sequence(3), 4),
        (event(5).expect_last_subject_sequence(1), 3),
    ] {
        let error = placed.publish(&event).await.unwrap_err();
        let PublishError::Conflict { error: why, last } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((why.err_code, *last), (10_071, Some(found)));
        assert_eq!(error.class(), Class::Terminal);
    }
    // Of many who expect the same one is stored.
    let mut receipts = Vec::new();
    for n in 0..20 {
        let rival = Event::new(format!("order-{n}"), "OrderPlaced", n);
        let rival = rival.expect_last_subject_sequence(3);
        receipts.push(placed.send(&rival).await.unwrap());
    }
    let mut won = 0;
    for receipt in receipts {
        match env.soon("an end", receipt).await {
            Ok(outcome) => {
                assert_eq!(stored(outcome).1, 5);
                won += 1;
            }
            Err(error) => assert!(matches!(error, PublishError::Conflict { .. }), "{error:?}"),
        }
    }
    assert_eq!(won, 1);
    bus.close().await;
}

pub(crate) async fn a_message_goes_when_its_own_time_is_over(env: Env) {
    let bus = env.bus().await;
    let config = TopicConfig::new().message_ttl(true);
    bus.configure("orders.shown", config).await.unwrap();
    let topic = bus.topic("orders.shown").unwrap();
    topic.publish(&event(1)).await.unwrap();
    let short = event(2).ttl(Duration::from_secs(1));
    topic.publish(&short).await.unwrap();
    let raw = Raw::new("raw").ttl(Duration::from_secs(1));
    topic.publish_raw(raw).await.unwrap();
    let outside = env.outside().await;
    env.soon("they go", async {
        while outside.messages("jetbus~orders~shown").await > 1 {}
    })
    .await;
    assert_eq!(outside.stored("jetbus~orders~shown", 1).await.seq, 1);

    for bad in [0, 999, 1_500] {
        let bad = event(3).ttl(Duration::from_millis(bad));
        let error = topic.publish(&bad).await.unwrap_err();
        assert!(
            matches!(&error, PublishError::Invalid(Invalid::Option(_))),
            "{error:?}"
        );
        assert!(error.to_string().contains("whole seconds"), "{error}");
    }
    bus.close().await;
}

pub(crate) async fn what_the_stream_does_not_allow_is_refused_before_it_is_sent(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let topic = bus.topic("orders.placed").unwrap();
    let soon = Timestamp::from_unix_nanos(0);
    for (event, option, needs) in [
        (event(1).ttl(Duration::from_secs(5)), "ttl", "message_ttl"),
        (event(1).deliver_at(soon), "deliver_at", "schedules"),
    ] {
        let error = topic.publish(&event).await.unwrap_err();
        let wanted = Unsupported::Stream {
            option,
            stream: "jetbus~orders~placed".into(),
            needs,
        };
        assert!(
            matches!(&error, PublishError::Unsupported(why) if *why == wanted),
            "{error:?}"
        );
        assert_eq!(error.class(), Class::Terminal);
    }
    bus.configure(
        "orders.shown",
        TopicConfig::new().persistence(Persistence::Ephemeral),
    )
    .await
    .unwrap();
    let error = bus
        .publish("orders.shown", &event(1).expect_last_sequence(1))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            PublishError::Unsupported(Unsupported::Ephemeral {
                option: "expect_last_sequence"
            })
        ),
        "{error:?}"
    );
    assert_eq!(spy.taken("orders."), 0);
    bus.close().await;
}

pub(crate) async fn what_the_server_is_too_old_for_is_refused(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.pretend((2, 10, 29));
    spy.connect();
    env.until("the bus knows", || bus.is_connected()).await;
    let long = Duration::from_secs(5);
    for (event, option, since) in [
        (event(1).ttl(long), "ttl", (2, 11, 0)),
        (
            event(1).deliver_at(Timestamp::from_unix_nanos(0)),
            "deliver_at",
            (2, 12, 0),
        ),
    ] {
        let error = bus.publish("orders.placed", &event).await.unwrap_err();
        let wanted = Unsupported::Server {
            option,
            since,
            version: (2, 10, 29),
        };
        assert!(
            matches!(&error, PublishError::Unsupported(why) if *why == wanted),
            "{error:?}"
        );
    }
    assert_eq!(spy.taken(""), 0, "nobody was asked");
    // What it is old enough for it does.
    let outcome = bus
        .publish("orders.placed", &event(1).expect_last_sequence(0))
        .await;
    assert_eq!(stored(outcome.unwrap()).1, 1);
    bus.close().await;
}

/// Stored now, published later; the embedded broker refuses to keep schedules.
pub(crate) async fn an_event_may_be_published_later(env: Env) {
    let bus = env
        .builder()
        .stream(
            Stream::new("ORDERS", ["orders.>"])
                .schedules(true)
                .discard(Discard::Old),
        )
        .open()
        .await
        .unwrap();
    let at = |millis: i64| {
        let now = env.runtime().wall().as_unix_nanos();
        Timestamp::from_unix_nanos(now + millis * 1_000_000)
    };
    let topic = bus.topic("orders.due").unwrap();
    if env.is_embedded() {
        let error = topic
            .publish(&event(1).deliver_at(at(0)))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, PublishError::Stream(why) if matches!(**why, StreamError::Provision(_))),
            "{error:?}"
        );
        assert!(error.to_string().contains("schedules are not supported"));
        bus.close().await;
        return;
    }
    let seen = Seen::new();
    let noted = seen.clone();
    let due = bus
        .subscribe("orders.due")
        .group("billing")
        .start(Start::Beginning)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    // The same event published twice waits once; each other one for itself.
    let later = event(1).id("later").deliver_at(at(1_500));
    assert_eq!(stored(topic.publish(&later).await.unwrap()).1, 1);
    let again = topic.publish(&later).await.unwrap();
    assert!(matches!(again, Outcome::Duplicate { sequence: 1, .. }));
    topic
        .publish(&event(2).deliver_at(at(2_500)))
        .await
        .unwrap();
    topic.publish(&event(3)).await.unwrap();
    seen.reaches(3, &env).await;
    let order: Vec<u32> = seen.all().into_iter().map(|(_, n)| n).collect();
    assert_eq!(order, [3, 1, 2]);

    let both = event(4).deliver_at(at(0)).expect_last_subject_sequence(1);
    let error = topic.publish(&both).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Invalid(Invalid::Option(_))),
        "{error:?}"
    );
    due.stop().await;
    bus.close().await;
}

/// Without JetStream a stored topic fails.
pub(crate) async fn nothing_goes_unacknowledged_without_consent(env: Env) {
    // Nobody is there to ask, from the beginning.
    let bus = env
        .builder()
        .api_prefix("$JS.nobody.API")
        .publish_timeout(Duration::from_secs(1))
        .open()
        .await
        .unwrap();
    let error = bus.publish("orders.placed", &event(1)).await.unwrap_err();
    assert!(matches!(error, PublishError::Stream(_)), "{error:?}");
    assert_eq!(bus.publish_stats().unconfirmed, 0);
    bus.close().await;

    // It goes away underneath.
    let (bus, spy) = watched(&env, |b| b.publish_timeout(Duration::from_secs(1))).await;
    stored(bus.publish("orders.placed", &event(2)).await.unwrap());
    let outside = env.outside().await;
    outside.delete_stream("jetbus~orders~placed").await;
    spy.trick(Trick::Misdirect, "$JS.API.");
    let error = bus.publish("orders.placed", &event(3)).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Refused(why) if why.code == 503),
        "{error:?}"
    );
    assert_eq!(bus.publish_stats().unconfirmed, 0);
    bus.close().await;
}

/// And where the options consent, the outcome says so.
pub(crate) async fn with_consent_an_outcome_may_be_unconfirmed(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let lax = TopicConfig::new().allow_unconfirmed(true);
    bus.configure("orders.placed", lax).await.unwrap();
    let outside = env.outside().await;
    let stream = "jetbus~orders~placed";
    stored(bus.publish("orders.placed", &event(1)).await.unwrap());
    outside.delete_stream(stream).await;
    // A stream that is gone is no reason while there is somebody to ask.
    stored(bus.publish("orders.placed", &event(2)).await.unwrap());

    outside.delete_stream(stream).await;
    spy.trick(Trick::Misdirect, "$JS.API.");
    // Refused at first, and known to be refused then.
    for n in 3..5 {
        let event = event(n);
        let outcome = env.soon("an end", bus.publish("orders.placed", &event));
        assert_eq!(outcome.await.unwrap(), Outcome::Unconfirmed);
    }
    spy.be_honest();
    env.soon("it is stored again", async {
        while bus.publish("orders.placed", &event(5)).await.unwrap() == Outcome::Unconfirmed {}
    })
    .await;

    // With a listener there is no refusal, only no answer: it is not sent twice.
    outside.delete_stream(stream).await;
    spy.trick(Trick::Misdirect, "$JS.API.");
    let mut heard = outside.subscribe("orders.placed").await;
    // Once the server answers, it knows of the listener.
    outside.streams().await;
    for n in 6..8 {
        let event = event(n);
        let outcome = env.soon("an end", bus.publish("orders.placed", &event));
        assert_eq!(outcome.await.unwrap(), Outcome::Unconfirmed);
        let message = next(&env, "it is heard", &mut heard).await;
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(body["payload"], n);
    }
    bus.close().await;
}

pub(crate) async fn the_trace_context_travels_when_there_is_one(env: Env) {
    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let current = Arc::new(Mutex::new(None));
    let asked = Arc::clone(&current);
    let bus = env
        .builder()
        .trace_context(move || asked.lock().unwrap().clone())
        .open()
        .await
        .unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(1)).await.unwrap();
    *current.lock().unwrap() = Some(CONTEXT.to_owned());
    topic.publish(&event(2)).await.unwrap();
    topic.publish_raw(Raw::new("raw")).await.unwrap();
    let mut own = Headers::new();
    own.append("traceparent", "00-own").unwrap();
    topic
        .publish_raw(Raw::new("raw").headers(own))
        .await
        .unwrap();
    *current.lock().unwrap() = Some("broken\r\nheader".to_owned());
    let error = topic.publish(&event(5)).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Invalid(Invalid::Header(_))),
        "{error:?}"
    );
    let outside = env.outside().await;
    for (sequence, wanted) in [
        (1, None),
        (2, Some(CONTEXT)),
        (3, Some(CONTEXT)),
        (4, Some("00-own")),
    ] {
        let stored = outside.stored("jetbus~orders~placed", sequence).await;
        assert_eq!(stored.headers.get("traceparent"), wanted, "{sequence}");
    }
    bus.close().await;
}
