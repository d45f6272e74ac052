//! Handlers of many events at a time.

use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::time::Duration;

use jetbus::{Batch, Bus, Delivery, Event, Handled, News, Retry, Subscribe};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, in_order, in_turns, news, publish_all};

const STREAM: &str = "jetbus~orders~placed";

/// So long that no case waits for it.
const LONG: Duration = Duration::from_secs(3_600);

const SHORT: Duration = Duration::from_millis(1);

fn subscribe(bus: &Bus) -> Subscribe {
    let subscribe = bus.subscribe("orders.placed").group("billing");
    subscribe.dead_letters(false).retry(Retry {
        first: SHORT,
        max: SHORT,
    })
}

const fn batch(max: usize, linger: Duration) -> Batch {
    Batch { max, linger }
}

fn number(event: &Delivery<u32>) -> (String, u32) {
    (event.key().unwrap_or_default().to_owned(), event.payload)
}

pub(crate) async fn batches_are_as_large_as_they_may_be(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(5, 10)).await;
    let (seen, sizes) = (Seen::new(), Seen::new());
    let (noted, sized) = (seen.clone(), sizes.clone());
    // Full ones do not linger.
    let subscription = subscribe(&bus)
        .handle_batch(batch(10, LONG), move |events: Vec<Delivery<u32>>| {
            sized.note(events.len());
            for event in &events {
                noted.note(number(event));
            }
            ready(())
        })
        .await
        .unwrap();
    seen.reaches(50, &env).await;
    assert_eq!(sizes.all(), [10; 5]);
    assert_eq!(seen.by_key(), in_order(5, 10));
    subscription.stop().await;

    // Others do, and then they run as they are.
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .handle_batch(batch(1_000, SHORT), move |events: Vec<Delivery<u32>>| {
            for event in &events {
                noted.note(number(event));
            }
            ready(())
        })
        .await
        .unwrap();
    publish_all(&orders, in_turns(5, 12).skip(50)).await;
    seen.reaches(60, &env).await;
    assert_eq!(seen.by_key(), in_order(5, 12));
    env.until("all are counted", || subscription.stats().handled == 10)
        .await;
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin.all_is_settled(STREAM).await;
    bus.close().await;
}

pub(crate) async fn a_batch_has_a_word_for_each_of_its_events(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(3, 3)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .handle_batch(batch(9, SHORT), move |events: Vec<Delivery<u32>>| {
            let words = events.iter().map(|event| {
                let (key, n) = number(event);
                noted.note((key.clone(), n));
                match (&*key, n, event.attempt()) {
                    ("key-0", 1, 1) => Err("not yet"),
                    ("key-1", 2, _) => Ok(Handled::discard("unused")),
                    _ => Ok(Handled::Done),
                }
            });
            ready(words.collect::<Vec<_>>())
        })
        .await
        .unwrap();
    // After what was not done the later ones of its key run again.
    env.until("all are done", || {
        let by_key = seen.by_key();
        let runs = |key: &str| by_key.get(key).cloned().unwrap_or_default();
        runs("key-0").ends_with(&[1, 2, 3])
            && runs("key-0").len() > 3
            && runs("key-1").contains(&3)
            && runs("key-2").contains(&3)
    })
    .await;
    let mut told = Vec::new();
    while told.len() < 2 {
        told.push(
            news(&env, "both are told", &mut heard, |news| match news {
                News::HandlerFailed {
                    sequence, error, ..
                } => Some((sequence, error.to_string())),
                News::Discarded {
                    sequence, reason, ..
                } => Some((sequence, reason.to_string())),
                _ => None,
            })
            .await,
        );
    }
    told.sort();
    assert_eq!(told, [(1, "not yet".to_owned()), (5, "unused".to_owned())]);
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin.all_is_settled(STREAM).await;
    let by_key = seen.by_key();
    assert_eq!(by_key["key-1"], [1, 2, 3]);
    assert_eq!(by_key["key-2"], [1, 2, 3]);
    bus.close().await;
}

pub(crate) async fn outcomes_that_are_missing_or_too_many_are_told(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(3, 1)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .handle_batch(batch(3, LONG), move |events: Vec<Delivery<u32>>| {
            let first = events.iter().all(|event| event.attempt() == 1);
            noted.note(events.len());
            ready(vec![Handled::Done; if first { 1 } else { 7 }])
        })
        .await
        .unwrap();
    // The first of three is done; the others have no word, and wait for a third.
    let wrong = |news| match news {
        News::WrongOutcomes {
            topic,
            events,
            outcomes,
            ..
        } => Some((topic.to_string(), events, outcomes)),
        _ => None,
    };
    let told = news(&env, "too few are told", &mut heard, wrong).await;
    assert_eq!(told, ("orders.placed".to_owned(), 3, 1));
    for _ in 0..2 {
        let why = news(&env, "failures are told", &mut heard, |news| match news {
            News::HandlerFailed { error, .. } => Some(error.to_string()),
            _ => None,
        });
        assert_eq!(why.await, "the handler gave no outcome for it");
    }
    publish_all(&orders, [("key-9", 1)]).await;
    let told = news(&env, "too many are told", &mut heard, wrong).await;
    assert_eq!(told, ("orders.placed".to_owned(), 3, 7));
    env.until("all are handled", || subscription.stats().handled == 4)
        .await;
    assert_eq!(seen.all(), [3, 3]);
    assert_eq!(subscription.stats().failed, 2);
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin.all_is_settled(STREAM).await;
    bus.close().await;
}

pub(crate) async fn what_cannot_be_decoded_is_in_no_batch(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, [("order-1", 1)]).await;
    let bad = Event::new("order-1", "OrderPlaced", "no number");
    orders.publish(&bad).await.unwrap();
    publish_all(&orders, [("order-1", 3), ("order-2", 4)]).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .handle_batch(batch(4, SHORT), move |events: Vec<Delivery<u32>>| {
            for event in &events {
                noted.note(event.payload);
            }
            ready(())
        })
        .await
        .unwrap();
    seen.reaches(3, &env).await;
    let discarded = news(&env, "it is told", &mut heard, |news| match news {
        News::Discarded {
            sequence, reason, ..
        } => Some((sequence, reason)),
        _ => None,
    });
    let (sequence, reason) = discarded.await;
    assert_eq!(sequence, 2);
    assert!(reason.starts_with("undecodable: "), "{reason}");
    env.until("all are counted", || subscription.stats().handled == 3)
        .await;
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin.all_is_settled(STREAM).await;
    // The one behind it ran once, and only after it was given up.
    let mut all = seen.all();
    assert!(all.iter().position(|n| *n == 1) < all.iter().position(|n| *n == 3));
    all.sort_unstable();
    assert_eq!(all, [1, 3, 4]);
    bus.close().await;
}

pub(crate) async fn a_batch_that_fails_fails_whole(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(2, 1)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .timeout(Duration::from_millis(60))
        .handle_batch(batch(2, LONG), move |events: Vec<Delivery<u32>>| {
            let attempt = events.iter().map(Delivery::attempt).max();
            noted.note((events.len(), attempt));
            async move {
                match attempt {
                    Some(1) => panic!("of all"),
                    Some(2) => pending().await,
                    Some(3) => Err("an error"),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    env.until("both are handled", || subscription.stats().handled == 2)
        .await;
    let mut attempts = seen.all();
    attempts.sort_unstable_by_key(|(_, attempt)| *attempt);
    let again = (2..=4).flat_map(|attempt| [(1, Some(attempt)); 2]);
    let expected: Vec<_> = [(2, Some(1))].into_iter().chain(again).collect();
    assert_eq!(attempts, expected, "then each is alone");
    assert_eq!(subscription.stats().failed, 6);
    let mut told = BTreeSet::new();
    for _ in 1..=6 {
        let failed = news(&env, "it is told", &mut heard, |news| match news {
            News::HandlerFailed {
                sequence, error, ..
            } => Some((sequence, error.to_string())),
            _ => None,
        });
        told.insert(failed.await);
    }
    let errors = [
        "the handler panicked: of all",
        "the handler did not end within 60ms",
        "an error",
    ];
    let expected = errors.map(|error| [1, 2].map(|sequence| (sequence, error.to_owned())));
    assert_eq!(told, expected.into_iter().flatten().collect());
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn an_event_that_fails_its_batches_is_given_up_alone(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(2, 6)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .attempts(3)
        .handle_batch(batch(12, SHORT), move |events: Vec<Delivery<u32>>| {
            let numbers: Vec<_> = events.iter().map(number).collect();
            let bad = numbers.contains(&("key-1".to_owned(), 4));
            for number in numbers.into_iter().filter(|_| !bad) {
                noted.note(number);
            }
            ready(if bad { Err("one of them") } else { Ok(()) })
        })
        .await
        .unwrap();
    seen.reaches(11, &env).await;
    let mut others = in_order(2, 6);
    others.get_mut("key-1").unwrap().retain(|n| *n != 4);
    assert_eq!(seen.by_key(), others);
    subscription.stop().await;
    Admin::connect(&env).await.all_is_settled(STREAM).await;
    bus.close().await;
}
