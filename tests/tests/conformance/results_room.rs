//! Results have room for so many: what happens to who finds none.

use std::time::Duration;

use futures_lite::future;
use jetbus::{Class, Overflow, PublishError};
use jetbus_tests::matrix::Env;

use crate::ordering::watched;
use crate::publishing::stored;
use crate::results::{event, id, ids, next, rest, room, words};

pub(crate) async fn an_unread_stream_makes_publishers_wait_and_reading_lets_them_go(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut results = bus.results(room(2)).unwrap();
    for n in 1..=2 {
        orders.publish(&event(n)).await.unwrap();
    }
    let mut waiting = Vec::new();
    for n in 3..=6 {
        let orders = orders.clone();
        let mut publish = Box::pin(async move { orders.publish(&event(n)).await });
        assert!(future::poll_once(&mut publish).await.is_none());
        waiting.push(publish);
    }
    // Nothing of them is sent, and those of a tenant are not held up.
    assert_eq!(spy.taken("orders.placed"), 2);
    orders.publish(&event(50).tenant(7)).await.unwrap();
    for (n, mut publish) in (3..).zip(waiting) {
        assert!(future::poll_once(&mut publish).await.is_none());
        assert_eq!(*next(&env, &mut results).await.event_id, *id(n - 2));
        // It, and none behind it.
        let outcome = env.soon("a place", publish).await.unwrap();
        assert_eq!(stored(outcome).1, u64::from(n + 1));
        assert_eq!(spy.taken("orders.placed"), n as usize + 1);
    }
    bus.close().await;
    let rest = rest(&env, &mut results).await;
    assert_eq!(ids(&rest), [id(5), id(6)]);
    assert_eq!(results.overflowed(), 0);
}

pub(crate) async fn an_event_without_a_place_in_time_is_not_sent(env: Env) {
    let (bus, spy) = watched(&env, |b| b.publish_timeout(Duration::from_millis(300))).await;
    let orders = bus.topic("orders.placed").unwrap();
    // Slow servers are not what this is about.
    while orders.publish(&event(0)).await.is_err() {}
    let mut results = bus.results(room(1)).unwrap();
    let mut n = 1;
    while orders.publish(&event(n)).await.is_err() {
        next(&env, &mut results).await;
        n += 1;
    }
    let before = spy.taken("orders.placed");
    let error = env
        .soon("a timeout", orders.publish(&event(100)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PublishError::ResultsUnread { waited } if waited >= Duration::from_millis(300)),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Retryable);
    let error = env.soon("a timeout", orders.send(&event(101))).await;
    assert!(matches!(error, Err(PublishError::ResultsUnread { .. })));
    assert_eq!(spy.taken("orders.placed"), before);
    assert_eq!(*next(&env, &mut results).await.event_id, *id(n));
    // Who waited in vain keeps no place.
    let last = env.soon("a place", orders.publish(&event(102))).await;
    assert_eq!(words(&next(&env, &mut results).await.outcome), words(&last));
    bus.close().await;
    assert!(rest(&env, &mut results).await.is_empty());
}

pub(crate) async fn who_finds_no_room_is_counted_where_that_is_chosen(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let options = room(2).overflow(Overflow::Count);
    let mut results = bus.results(options).unwrap();
    for n in 1..=5 {
        let outcome = env.soon("an outcome", orders.publish(&event(n))).await;
        assert_eq!(stored(outcome.unwrap()).1, u64::from(n));
    }
    assert_eq!(results.overflowed(), 3);
    assert_eq!(*next(&env, &mut results).await.event_id, *id(1));
    orders.publish(&event(6)).await.unwrap();
    bus.close().await;
    let rest = rest(&env, &mut results).await;
    assert_eq!(ids(&rest), [id(2), id(6)]);
    assert_eq!(results.overflowed(), 3);
}
