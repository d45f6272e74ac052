//! How a stream of results ends: unregistered, dropped, closed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::{BatchPath, Event, News, PublishError, PublishResult, Stream};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Trick;
use jetbus_tests::support::{news, spawn};

use crate::ordering::watched;
use crate::publishing::stored;
use crate::results::{event, id, ids, next, rest, room, words};

/// Those that have a place give their results where they had it; those that wait for one
/// find who came next.
pub(crate) async fn an_unregistered_stream_gives_what_is_on_its_way_and_ends(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let (placed, paid) = ("orders.placed", "orders.paid");
    let orders = bus.topic(placed).unwrap();
    orders.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Swallow, placed);
    let mut old = bus.results(room(4)).unwrap();
    for n in 1..=4 {
        drop(orders.send(&event(n)).await.unwrap());
    }
    env.until("all are on their way", || spy.taken(placed) == 5)
        .await;
    let waiting: Vec<_> = (5..=6)
        .map(|n| {
            let topic = bus.topic(paid).unwrap();
            let mut publish = Box::pin(async move { topic.publish(&event(n)).await });
            assert!(future::block_on(future::poll_once(&mut publish)).is_none());
            publish
        })
        .collect();
    old.unregister();
    let mut waiting = waiting.into_iter();
    let (one, other) = (waiting.next().unwrap(), waiting.next().unwrap());
    // One goes while nobody wants its result, one when somebody does.
    stored(env.soon("a place", one).await.unwrap());
    let mut new = bus.results(room(1)).unwrap();
    stored(env.soon("a place", other).await.unwrap());
    assert_eq!(*next(&env, &mut new).await.event_id, *id(6));
    assert!(future::poll_once(old.next()).await.is_none());
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.be_honest();
    spy.connect();
    let rest_of_old = rest(&env, &mut old).await;
    let mut read = ids(&rest_of_old);
    read.sort_unstable();
    assert_eq!(read, [id(1), id(2), id(3), id(4)]);
    assert!(rest_of_old.iter().all(|result| result.outcome.is_ok()));
    drop(old);
    bus.publish(paid, &event(7)).await.unwrap();
    bus.close().await;
    assert_eq!(ids(&rest(&env, &mut new).await), [id(7)]);
    assert_eq!(bus.publish_stats().results_undelivered, 0);
}

/// Neither those in it nor those on their way are lost without a word.
pub(crate) async fn what_a_dropped_stream_did_not_read_is_counted_and_failures_are_told(env: Env) {
    let (bus, spy) = watched(&env, |b| b.wait_for_connection(false)).await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let results = bus.results(room(8)).unwrap();
    for n in 0..3 {
        orders.publish(&event(n)).await.unwrap();
    }
    spy.trick(Trick::Swallow, "orders.placed");
    for n in 3..5 {
        drop(orders.send(&event(n)).await.unwrap());
    }
    env.until("all are on their way", || spy.taken("orders.placed") == 5)
        .await;
    drop(results);
    assert_eq!(bus.publish_stats().results_undelivered, 3);
    spy.disconnect();
    for _ in 0..2 {
        news(&env, "that it failed", &mut heard, |news| {
            matches!(news, News::PublishFailed { topic, error }
                if &*topic == "orders.placed" && matches!(*error, PublishError::Unknown { .. }))
            .then_some(())
        })
        .await;
    }
    env.until("they are counted", || {
        bus.publish_stats().results_undelivered == 5
    })
    .await;
    bus.close().await;
    // Told once: by the result, and not for the receipt too.
    let more = env.soon("the end of the news", heard.collect::<Vec<_>>());
    let more = more.await;
    let failed = |news: &News| matches!(news, News::PublishFailed { .. });
    assert!(!more.iter().any(failed), "{more:?}");
}

/// Whoever reads afterwards, to the end, finds each once, as its receipt says.
pub(crate) async fn what_is_not_sent_for_another_of_its_batch_has_its_result(env: Env) {
    let declared = Stream::new("ORDERS", ["orders.>"]).atomic_batches(true);
    let bus = env.builder().stream(declared).open().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let mut results = bus.results(room(4)).unwrap();
    let batch = [event(1), event(2).id("a\nb"), event(3)];
    let outcomes = orders.publish_batch(BatchPath::Atomic, &batch);
    let is_invalid = |error: &PublishError| matches!(error, PublishError::Invalid(_));
    for outcome in env.soon("the outcomes", outcomes).await {
        assert!(is_invalid(&outcome.unwrap_err()));
    }
    assert_eq!(bus.publish_stats().rejected, 3);
    // Whatever the batch did is known by then.
    assert_eq!(stored(orders.publish(&event(4)).await.unwrap()).1, 1);
    bus.close().await;
    let rest = rest(&env, &mut results).await;
    assert_eq!(ids(&rest), [id(1), id(3), id(4)]);
    let (last, unsent) = rest.split_last().unwrap();
    let failed = |result: &PublishResult| result.outcome.as_ref().is_err_and(is_invalid);
    assert!(unsent.iter().all(failed) && last.outcome.is_ok());
}

pub(crate) async fn closing_leaves_each_result_once(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut results = bus.results(room(300)).unwrap();
    let mut receipts = BTreeMap::new();
    for n in 0..300 {
        let event = Event::new(format!("key-{}", n % 10), "OrderPlaced", n).id(id(n));
        receipts.insert(id(n), orders.send(&event).await.unwrap());
    }
    // Nobody reads: closing does not wait for that.
    env.soon("closing", bus.close()).await;
    let results = rest(&env, &mut results).await;
    assert_eq!(results.len(), 300);
    for result in &results {
        let receipt = receipts.remove(&*result.event_id).expect("read once");
        assert_eq!(words(&receipt.await), words(&result.outcome));
    }
    assert!(results.iter().all(|result| result.outcome.is_ok()));
}

/// What is not answered, what stands behind it, and who waits for a place.
pub(crate) async fn closing_answers_all_and_each_that_had_a_place_has_its_result(env: Env) {
    let (bus, spy) = watched(&env, |b| b.close_timeout(Duration::from_millis(300))).await;
    let orders = bus.topic("orders.placed").unwrap();
    orders.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Swallow, "orders.placed");
    let mut results = bus.results(room(2)).unwrap();
    let lost = orders.send(&event(1)).await.unwrap();
    let behind = orders.send(&event(1).id("behind")).await.unwrap();
    let waiting = {
        let orders = orders.clone();
        spawn(&env, async move { orders.publish(&event(2)).await })
    };
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    env.soon("closing", bus.close()).await;
    let error = env.soon("an end", waiting).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed), "{error:?}");
    let results = rest(&env, &mut results).await;
    let mut read: BTreeMap<_, _> = results
        .iter()
        .map(|result| (&*result.event_id, words(&result.outcome)))
        .collect();
    assert_eq!((results.len(), read.len()), (2, 2));
    let (lost, behind) = (lost.await, behind.await);
    assert!(matches!(lost, Err(PublishError::Unknown { .. })));
    assert!(matches!(behind, Err(PublishError::Closed)));
    assert_eq!(read.remove(&*id(1)), Some(words(&lost)));
    assert_eq!(read.remove("behind"), Some(words(&behind)));
}

/// The last handle closes, and the stream comes to its end; it keeps no bus open.
pub(crate) async fn a_stream_of_results_ends_with_the_last_handle(env: Env) {
    let bus = env.bus().await;
    let mut results = bus.results(room(20)).unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    for n in 0..20 {
        drop(orders.send(&event(n)).await.unwrap());
    }
    drop((bus, orders));
    let results = rest(&env, &mut results).await;
    assert_eq!(results.len(), 20);
    assert!(results.iter().all(|result| result.outcome.is_ok()));
}
