//! How publishes end: each in one way, none lost.

use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::link::Link as _;
use jetbus::{
    Class, Event, News, Outcome, Persistence, PublishError, PublishStats, Raw, TopicConfig,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Trick;

use crate::ordering::watched;
use crate::publishing::stored;

fn event(n: u32) -> Event<'static, u32> {
    Event::new(format!("order-{n}"), "OrderPlaced", n)
}

fn is_unknown(error: &PublishError) -> bool {
    matches!(error, PublishError::Unknown { .. })
}

fn stats(counts: [u64; 5]) -> impl Fn(PublishStats) -> bool {
    move |stats| {
        let seen = [
            stats.stored,
            stats.duplicate,
            stats.unconfirmed,
            stats.rejected,
            stats.unknown,
        ];
        seen == counts
    }
}

pub(crate) async fn every_publish_ends_in_one_way_and_is_counted(env: Env) {
    let (bus, spy) = watched(&env, |b| b.wait_for_connection(false)).await;
    bus.configure(
        "orders.shown",
        TopicConfig::new().persistence(Persistence::Ephemeral),
    )
    .await
    .unwrap();
    for n in 0..3 {
        bus.publish("orders.placed", &event(n)).await.unwrap();
    }
    let one = event(9).id("the-one");
    bus.publish("orders.placed", &one).await.unwrap();
    let again = bus.publish("orders.placed", &one).await.unwrap();
    assert!(matches!(again, Outcome::Duplicate { sequence: 4, .. }));
    let shown = bus.publish("orders.shown", &event(1)).await.unwrap();
    assert_eq!(shown, Outcome::Unconfirmed);
    // Broken before anything is sent, refused by the server, and lost on its way.
    let error = bus.publish("orders.placed", &event(1).id(" ")).await;
    assert!(matches!(error, Err(PublishError::Invalid(_))), "{error:?}");
    let error = bus.publish("orders placed", &event(1)).await;
    assert!(matches!(error, Err(PublishError::Invalid(_))), "{error:?}");
    let wrong = event(1).expect_last_sequence(77);
    let error = bus.publish("orders.placed", &wrong).await;
    assert!(
        matches!(error, Err(PublishError::Conflict { .. })),
        "{error:?}"
    );
    spy.trick(Trick::Swallow, "orders.placed");
    let topic = bus.topic("orders.placed").unwrap();
    let lost = topic.send(&event(5)).await.unwrap();
    env.until("it is on its way", || spy.taken("orders.placed") == 7)
        .await;
    spy.disconnect();
    assert!(is_unknown(&env.soon("an end", lost).await.unwrap_err()));
    let counted = stats([4, 1, 1, 3, 1]);
    assert!(counted(bus.publish_stats()), "{:?}", bus.publish_stats());
    bus.close().await;
}

/// Nothing that was on its way is left to its own timeout when the connection goes.
pub(crate) async fn a_lost_connection_ends_or_repeats_all_at_once(env: Env) {
    const WINDOW: u32 = 16;
    for wait in [false, true] {
        let (bus, spy) = watched(&env, |b| {
            b.wait_for_connection(wait).window(WINDOW as usize)
        })
        .await;
        let topic = bus.topic(&format!("orders.{wait}")).unwrap();
        topic.publish(&event(0)).await.unwrap();
        for round in 0..3 {
            spy.trick(Trick::Swallow, "orders.");
            let before = spy.taken("orders.");
            let mut receipts = Vec::new();
            for n in 0..WINDOW / 2 {
                receipts.push(topic.send(&event(n)).await.unwrap());
                receipts.push(topic.send_raw(Raw::new("no key")).await.unwrap());
            }
            env.until("all are on their way", || {
                spy.taken("orders.") == before + WINDOW as usize
            })
            .await;
            spy.disconnect();
            env.until("the bus knows", || !bus.is_connected()).await;
            spy.be_honest();
            if wait {
                spy.connect();
            }
            for receipt in receipts {
                match env.soon("an end", receipt).await {
                    Ok(outcome) if wait => _ = stored(outcome),
                    Err(error) if !wait => assert!(is_unknown(&error), "{error:?}"),
                    other => panic!("round {round}, waiting {wait}: {other:?}"),
                }
            }
            if !wait {
                spy.connect();
                env.until("the bus knows", || bus.is_connected()).await;
            }
        }
        // No place was lost: the window can be filled again.
        for n in 0..2 * WINDOW {
            env.soon("a publish", topic.publish(&event(n)))
                .await
                .unwrap();
        }
        let stored = if wait { 1 + 5 * WINDOW } else { 1 + 2 * WINDOW };
        let stream = format!("jetbus~orders~{wait}");
        assert_eq!(
            env.outside().await.messages(&stream).await,
            u64::from(stored)
        );
        bus.close().await;
    }
}

pub(crate) async fn a_receipt_dropped_unread_loses_nothing(env: Env) {
    let (bus, spy) = watched(&env, |b| b.wait_for_connection(false).window(4)).await;
    let mut heard = bus.news();
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Swallow, "orders.placed");
    for n in 0..4 {
        drop(topic.send(&event(n)).await.unwrap());
    }
    env.until("all are on their way", || spy.taken("orders.placed") == 5)
        .await;
    spy.disconnect();
    let told = env.soon("the news", async {
        let mut told = 0;
        while told < 4 {
            match heard.next().await.expect("the bus is open") {
                News::PublishFailed { topic, error } => {
                    assert!(&*topic == "orders.placed" && is_unknown(&error));
                    told += 1;
                }
                News::Missed { .. } => panic!("too many news"),
                _ => {}
            }
        }
    });
    told.await;
    let counted = stats([1, 0, 0, 0, 4]);
    assert!(counted(bus.publish_stats()), "{:?}", bus.publish_stats());
    spy.be_honest();
    spy.connect();
    env.until("the bus knows", || bus.is_connected()).await;
    for n in 0..8 {
        env.soon("a place", topic.publish(&event(n))).await.unwrap();
    }
    bus.close().await;
}

/// The server stored it, the answer was lost: the second attempt finds it there.
pub(crate) async fn a_repeated_attempt_is_stored_once(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Mute, "orders.placed");
    let mut receipts = Vec::new();
    for n in 0..20 {
        receipts.push(topic.send(&event(n)).await.unwrap());
    }
    env.until("all are on their way", || spy.taken("orders.placed") == 21)
        .await;
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.be_honest();
    spy.connect();
    for (sequence, receipt) in (2..).zip(receipts) {
        let outcome = env.soon("a receipt", receipt).await.unwrap();
        assert!(
            matches!(outcome, Outcome::Duplicate { sequence: s, .. } if s == sequence),
            "{outcome:?}"
        );
    }
    let stream = "jetbus~orders~placed";
    assert_eq!(env.outside().await.messages(stream).await, 21);
    bus.close().await;
}

/// A second copy might be stored as well once the id is forgotten.
pub(crate) async fn nothing_is_repeated_once_its_id_may_be_forgotten(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let config = TopicConfig::new().dedupe_window(Duration::from_millis(100));
    bus.configure("orders.placed", config).await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    spy.trick(Trick::Swallow, "orders.placed");
    let lost = topic.send(&event(1)).await.unwrap();
    let behind = topic.send(&event(1)).await.unwrap();
    let error = env.soon("an end", lost).await.unwrap_err();
    assert!(is_unknown(&error) && error.class() == Class::Unknown);
    let error = env.soon("an end", behind).await.unwrap_err();
    assert!(
        matches!(error, PublishError::PredecessorUnknown),
        "{error:?}"
    );
    assert_eq!(spy.taken("orders.placed"), 1);
    bus.close().await;
}

/// What a retried publish is refused says nothing about the attempt before.
pub(crate) async fn a_refusal_after_a_lost_answer_is_unknown(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    // It is stored, and so the stream does not end any more where it expects.
    spy.trick(Trick::Mute, "orders.placed");
    let stored = topic.send(&event(1).expect_last_sequence(1)).await.unwrap();
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.be_honest();
    spy.connect();
    match env.soon("an end", stored).await {
        // Which of both the server looks at first depends on its version.
        Err(error) => assert!(is_unknown(&error), "{error:?}"),
        Ok(outcome) => assert!(matches!(outcome, Outcome::Duplicate { sequence: 2, .. })),
    }
    bus.close().await;
}

pub(crate) async fn bytes_on_their_way_are_bounded(env: Env) {
    let (bus, spy) = watched(&env, |b| b.window_bytes(10_000)).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    let large = |bytes: usize| Raw::new(vec![b'x'; bytes]);
    spy.trick(Trick::Swallow, "xxx");
    let first = [
        topic.send_raw(large(4_000)).await.unwrap(),
        topic.send_raw(large(4_000)).await.unwrap(),
    ];
    // The third does not fit, and nobody overtakes it, however small.
    let mut third = Box::pin(topic.send_raw(large(4_000)));
    assert!(future::poll_once(&mut third).await.is_none());
    let small = event(1);
    let mut small = Box::pin(topic.publish(&small));
    assert!(future::poll_once(&mut small).await.is_none());
    assert_eq!(spy.taken("orders.placed"), 3);
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.be_honest();
    spy.connect();
    for receipt in first {
        stored(env.soon("a receipt", receipt).await.unwrap());
    }
    let third = env.soon("room", third).await.unwrap();
    stored(env.soon("a receipt", third).await.unwrap());
    stored(env.soon("room", small).await.unwrap());
    // What is larger than all of it goes alone.
    let outcome = env
        .soon("room", topic.publish_raw(large(50_000)))
        .await
        .unwrap();
    assert_eq!(stored(outcome).1, 6);
    bus.close().await;
}

/// Whoever waits for a place or for room is told, and nothing of it is sent.
pub(crate) async fn closing_tells_those_who_wait(env: Env) {
    for (window, bytes) in [(1, 1 << 20), (100, 1)] {
        let (bus, spy) = watched(&env, |b| {
            b.window(window)
                .window_bytes(bytes)
                .close_timeout(Duration::from_millis(300))
        })
        .await;
        let topic = bus.topic("orders.placed").unwrap();
        topic.publish(&event(0)).await.unwrap();
        spy.trick(Trick::Swallow, "orders.placed");
        let lost = topic.send(&event(1)).await.unwrap();
        let waiting: Vec<_> = (2..5)
            .map(|n| {
                let topic = topic.clone();
                jetbus_tests::support::spawn(&env, async move { topic.publish(&event(n)).await })
            })
            .collect();
        env.until("it is on its way", || spy.taken("orders.placed") >= 2)
            .await;
        let report = env.soon("closing", bus.close()).await;
        assert_eq!(report.unknown, 1);
        for waiting in waiting {
            let error = env.soon("an end", waiting).await.unwrap_err();
            assert!(matches!(error, PublishError::Closed), "{error:?}");
        }
        assert!(is_unknown(&env.soon("an end", lost).await.unwrap_err()));
        assert_eq!(spy.taken("orders.placed"), 2);
    }
}

/// A link that ends by itself takes nobody along.
pub(crate) async fn a_link_that_ends_leaves_no_publish_waiting(env: Env) {
    let (bus, spy) = watched(&env, |b| b.window(8)).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Swallow, "orders.placed");
    let mut lost = Vec::new();
    for n in 1..5 {
        lost.push(topic.send(&event(n)).await.unwrap());
    }
    lost.push(topic.send_raw(Raw::new("no key")).await.unwrap());
    let behind = topic.send(&event(1)).await.unwrap();
    env.until("they are on their way", || spy.taken("orders.placed") == 6)
        .await;
    spy.close().await;
    for lost in lost {
        assert!(is_unknown(&env.soon("an end", lost).await.unwrap_err()));
    }
    let error = env.soon("an end", behind).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed), "{error:?}");
    for _ in 0..10 {
        let keyed = env.soon("an end", topic.publish(&event(1))).await;
        let keyless = env.soon("an end", topic.publish_raw(Raw::new("x"))).await;
        for result in [keyed, keyless] {
            assert!(matches!(result, Err(PublishError::Closed)), "{result:?}");
        }
    }
    env.soon("closing", bus.close()).await;
}

/// What stands in line when the bus is closed is sent first; what could not be is
/// said not to be.
pub(crate) async fn closing_finishes_the_lines(env: Env) {
    let bus = env.bus().await;
    let topic = bus.topic("orders.placed").unwrap();
    let mut receipts = Vec::new();
    for _ in 0..200 {
        receipts.push(topic.send(&event(1)).await.unwrap());
    }
    bus.close().await;
    for (sequence, receipt) in (1..).zip(receipts) {
        assert_eq!(stored(receipt.await.unwrap()).1, sequence);
    }

    let (bus, spy) = watched(&env, |b| b.close_timeout(Duration::from_millis(300))).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Swallow, "orders.placed");
    let lost = topic.send(&event(1)).await.unwrap();
    let behind = topic.send(&event(1)).await.unwrap();
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    let report = env.soon("closing", bus.close()).await;
    assert_eq!(report.unknown, 1);
    assert!(is_unknown(&lost.await.unwrap_err()));
    let error = behind.await.unwrap_err();
    assert!(matches!(error, PublishError::Closed), "{error:?}");
}
