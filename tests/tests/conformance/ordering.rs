//! The order in which events are stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use jetbus::{
    Builder, Bus, Class, Event, Headers, Outcome, PublishError, Raw, Receipt, Topic, TopicConfig,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::{Spy, Trick};

use crate::publishing::stored;

/// A bus on a link that is watched, and may be told to lose what has a text in it.
pub(crate) async fn watched(env: &Env, how: impl FnOnce(Builder) -> Builder) -> (Bus, Arc<Spy>) {
    let spy = Spy::on(env.link().await);
    let builder = Builder::link(Arc::clone(&spy) as _).runtime(Arc::clone(env.runtime()));
    (how(builder).open().await.unwrap(), spy)
}

async fn send(topic: &Topic, key: &str, text: &str) -> Receipt {
    topic
        .send(&Event::new(key, "OrderPlaced", text))
        .await
        .unwrap()
}

fn raw(key: &str, text: &str) -> Raw {
    let mut headers = Headers::new();
    headers.append("X-Aggregate-ID", key).unwrap();
    Raw::new(text.to_owned()).headers(headers)
}

async fn sequence(env: &Env, receipt: Receipt) -> u64 {
    stored(env.soon("a receipt", receipt).await.unwrap()).1
}

/// Refused by a stream that is gone, tried again into the one that is made again.
pub(crate) async fn events_of_a_key_keep_their_order_when_they_are_refused(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    for round in 0..3 {
        stored(
            orders
                .publish(&Event::new("order-0", "OrderPlaced", round))
                .await
                .unwrap(),
        );
        env.outside()
            .await
            .delete_stream("jetbus~orders~placed")
            .await;
        let mut receipts = BTreeMap::<String, Vec<Receipt>>::new();
        for n in 0..100 {
            let key = format!("order-{}", n % 4);
            // Events and raw messages of a key are one line.
            let receipt = match n % 3 {
                0 => orders.send_raw(raw(&key, "raw")).await.unwrap(),
                _ => send(&orders, &key, "event").await,
            };
            receipts.entry(key).or_default().push(receipt);
        }
        let mut all = Vec::new();
        for (key, receipts) in receipts {
            let mut sequences = Vec::new();
            for receipt in receipts {
                sequences.push(sequence(&env, receipt).await);
            }
            assert!(sequences.is_sorted(), "{key}: {sequences:?}");
            all.extend(sequences);
        }
        all.sort_unstable();
        assert_eq!(all, (1..=100).collect::<Vec<_>>(), "each is stored once");
    }
    bus.close().await;
}

pub(crate) async fn a_key_that_waits_holds_no_other(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let orders = bus.topic("orders.placed").unwrap();
    send(&orders, "order-0", "before")
        .await
        .await
        .expect("it is stored");
    spy.trick(Trick::Swallow, "lost");
    let first = send(&orders, "order-1", "lost").await;
    let mut behind = Vec::new();
    for _ in 0..10 {
        behind.push(send(&orders, "order-1", "behind").await);
    }
    // Other keys, the same key of another topic, and no key at all.
    for n in 2..12 {
        let receipt = send(&orders, &format!("order-{n}"), "other").await;
        assert_eq!(sequence(&env, receipt).await, n);
    }
    let other = bus.topic("parcels.sent").unwrap();
    let receipt = send(&other, "order-1", "other").await;
    assert_eq!(sequence(&env, receipt).await, 1);
    let keyless = orders.publish_raw(Raw::new("no key")).await.unwrap();
    assert_eq!(stored(keyless).1, 12);
    // One of the key is on its way, the others were not sent.
    assert_eq!(spy.taken("orders.placed"), 13);
    spy.be_honest();
    assert_eq!(sequence(&env, first).await, 13);
    for (n, receipt) in (14..).zip(behind) {
        assert_eq!(sequence(&env, receipt).await, n);
    }
    bus.close().await;
}

pub(crate) async fn behind_an_unknown_outcome_nothing_is_sent(env: Env) {
    let (bus, spy) = watched(&env, |b| b.wait_for_connection(false)).await;
    let orders = bus.topic("orders.placed").unwrap();
    send(&orders, "order-0", "before")
        .await
        .await
        .expect("it is stored");
    spy.trick(Trick::Swallow, "lost");
    let lost = send(&orders, "order-1", "lost").await;
    let behind = [
        send(&orders, "order-1", "behind").await,
        send(&orders, "order-1", "behind").await,
    ];
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    spy.disconnect();
    let error = env.soon("an end", lost).await.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error:?}");
    for receipt in behind {
        let error = env.soon("an end", receipt).await.unwrap_err();
        assert!(
            matches!(error, PublishError::PredecessorUnknown),
            "{error:?}"
        );
        assert_eq!(error.class(), Class::Retryable);
    }
    spy.be_honest();
    spy.connect();
    env.until("the bus knows", || bus.is_connected()).await;
    assert_eq!(spy.taken("orders.placed"), 2, "nothing was sent late");
    // Who publishes now knows what happened, and is not held up.
    let after = send(&orders, "order-1", "after").await;
    assert_eq!(sequence(&env, after).await, 2);
    bus.close().await;
}

pub(crate) async fn a_rejected_event_lets_its_successors_go(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let first = send(&orders, "order-1", "first").await;
    let refused = orders
        .send(&Event::new("order-1", "OrderPlaced", "refused").expect_last_sequence(7))
        .await
        .unwrap();
    let last = send(&orders, "order-1", "last").await;
    assert_eq!(sequence(&env, first).await, 1);
    let error = env.soon("an end", refused).await.unwrap_err();
    assert!(
        matches!(error, PublishError::Conflict { last: Some(1), .. }),
        "{error:?}"
    );
    assert_eq!(sequence(&env, last).await, 2);
    bus.close().await;
}

pub(crate) async fn unordered_events_do_not_wait(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let config = TopicConfig::new().unordered(true);
    bus.configure("parcels.sent", config).await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let parcels = bus.topic("parcels.sent").unwrap();
    send(&orders, "order-0", "before")
        .await
        .await
        .expect("it is stored");
    spy.trick(Trick::Swallow, "lost");
    let lost = [
        send(&orders, "order-1", "lost").await,
        send(&parcels, "order-1", "lost").await,
    ];
    let event = Event::new("order-1", "OrderPlaced", "free").unordered();
    assert_eq!(stored(orders.publish(&event).await.unwrap()).1, 2);
    let message = raw("order-1", "free").unordered();
    assert_eq!(stored(orders.publish_raw(message).await.unwrap()).1, 3);
    let event = Event::new("order-1", "ParcelSent", "free");
    assert_eq!(stored(parcels.publish(&event).await.unwrap()).1, 1);
    spy.be_honest();
    for (receipt, sequence) in lost.into_iter().zip([4, 2]) {
        let outcome = env.soon("a receipt", receipt).await.unwrap();
        assert_eq!(outcome.sequence(), Some(sequence));
    }
    bus.close().await;
}

/// A caller that goes away before its event's turn takes it back; a dropped receipt
/// does not.
pub(crate) async fn a_publish_given_up_in_line_is_not_sent(env: Env) {
    let (bus, spy) = watched(&env, |b| b.publish_timeout(Duration::from_secs(60))).await;
    let orders = bus.topic("orders.placed").unwrap();
    send(&orders, "order-0", "before")
        .await
        .await
        .expect("it is stored");
    spy.trick(Trick::Swallow, "lost");
    let lost = send(&orders, "order-1", "lost").await;
    let event = Event::new("order-1", "OrderPlaced", "given up");
    let given_up = future::poll_once(orders.publish(&event)).await;
    assert!(given_up.is_none());
    drop(send(&orders, "order-1", "unread").await);
    let last = send(&orders, "order-1", "last").await;
    spy.be_honest();
    let outcome = env.soon("the first", lost).await.unwrap();
    assert!(matches!(outcome, Outcome::Stored { sequence: 2, .. }));
    assert_eq!(sequence(&env, last).await, 4, "one of two was stored");
    bus.close().await;
}

/// What waits and is given up leaves its place at once, not at its turn.
pub(crate) async fn a_publish_given_up_gives_its_place_to_the_next(env: Env) {
    let (bus, spy) = watched(&env, |b| b.window(2)).await;
    let orders = bus.topic("orders.placed").unwrap();
    send(&orders, "order-0", "before")
        .await
        .await
        .expect("it is stored");
    // Behind one that is on its way, and behind a link that takes nothing.
    for refusal in [None, Some(jetbus::link::Refused::Busy)] {
        spy.trick(Trick::Swallow, "lost");
        let lost = send(&orders, "order-1", "lost").await;
        let taken = spy.taken("orders.placed");
        spy.refuse(refusal);
        for _ in 0..10 {
            let event = Event::new("order-1", "OrderPlaced", "given up");
            let mut publish = Box::pin(orders.publish(&event));
            // It gets the second place each time.
            let polled = future::poll_once(&mut publish).await;
            assert!(polled.is_none());
            drop(publish);
        }
        spy.refuse(None);
        spy.be_honest();
        let last = send(&orders, "order-1", "last").await;
        let first = sequence(&env, lost).await;
        assert_eq!(sequence(&env, last).await, first + 1);
        assert!(spy.taken("orders.placed") <= taken + 3);
    }
    bus.close().await;
}
