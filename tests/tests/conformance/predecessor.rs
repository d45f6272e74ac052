//! What the bus that this one replaces got wrong, and what its users rely on.
//! The table of all of it is in the documentation: `jetbus::guarantees`.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{StreamExt as _, future};
use jetbus::{Bus, CloseReport, Delivery, Event, News, Raw, Reason, Stream, Subscription, Topic};
use jetbus_core::names;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Door, Seen, in_order, in_turns, publish_all, spawn, yield_often};
use serde_json::Value;

use super::dead_letters::{QUICK, all, letters};

/// A lease that no case waits for: what comes again was given back.
const LONG: Duration = Duration::from_secs(3600);

/// Handles three events of each of five aggregates, panicking where `panics` says so.
/// Returns which number ran at which attempt, by key: 21 is the first of the second.
async fn with_panics(
    env: &Env,
    panics: impl Fn(&str, u32, u32) -> bool + Clone + Send + Sync + 'static,
) -> BTreeMap<String, Vec<u32>> {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(5, 3)).await;
    let (runs, handled) = (Seen::new(), Seen::new());
    let (ran, noted) = (runs.clone(), handled.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .retry(QUICK)
        .handle(move |event: Delivery<u32>| {
            let (ran, noted, panics) = (ran.clone(), noted.clone(), panics.clone());
            async move {
                let key = event.key().unwrap().to_owned();
                ran.note((key.clone(), 10 * event.payload + event.attempt()));
                yield_often().await;
                assert!(!panics(&key, event.payload, event.attempt()), "a panic");
                noted.note((key, event.payload));
            }
        })
        .await
        .unwrap();
    handled.reaches(15, env).await;
    assert_eq!(handled.by_key(), in_order(5, 3));
    env.until("all are counted", || subscription.stats().handled == 15)
        .await;
    assert_eq!(subscription.stats().received, 15);
    assert_eq!(subscription.stats().failed, runs.len() as u64 - 15);
    subscription.stop().await;
    let admin = Admin::connect(env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    assert_eq!(handled.len(), 15);
    bus.close().await;
    runs.by_key()
}

pub(crate) async fn one_panic_leaves_all_other_events_alone(env: Env) {
    let runs = with_panics(&env, |key, n, attempt| {
        key == "key-2" && n == 2 && attempt == 1
    })
    .await;
    for (key, runs) in runs {
        match key.as_str() {
            "key-2" => assert_eq!(runs, [11, 21, 22, 31]),
            _ => assert_eq!(runs, [11, 21, 31], "{key}"),
        }
    }
}

pub(crate) async fn aggregates_whose_first_events_panic_are_handled_in_order(env: Env) {
    let runs = with_panics(&env, |_, n, attempt| n == 1 && attempt == 1).await;
    assert_eq!(runs.len(), 5);
    for (key, runs) in runs {
        assert_eq!(runs, [11, 12, 21, 31], "{key}");
    }
}

pub(crate) async fn an_aggregate_that_always_fails_ends_in_the_dead_letters_and_holds_nobody(
    env: Env,
) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(100, 10)).await;
    let (tried, handled) = (Seen::new(), Seen::new());
    let (tries, noted) = (tried.clone(), handled.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .attempts(3)
        .retry(QUICK)
        .handle(move |event: Delivery<u32>| {
            let (tries, noted) = (tries.clone(), noted.clone());
            async move {
                let key = event.key().unwrap().to_owned();
                if key == "key-0" {
                    tries.note(event.payload);
                    // An error and a panic come to the same end.
                    assert!(event.payload.is_multiple_of(2), "a panic");
                    return Err("an error");
                }
                noted.note((key, event.payload));
                Ok(())
            }
        })
        .await
        .unwrap();
    handled.reaches(990, &env).await;
    let mut healthy = in_order(100, 10);
    healthy.remove("key-0");
    assert_eq!(handled.by_key(), healthy);

    let letters = letters(&env, &bus, &all(), 10).await;
    let numbers: Vec<u32> = letters
        .iter()
        .map(|letter| {
            assert_eq!(letter.key.as_deref(), Some("key-0"));
            assert_eq!((letter.reason, letter.attempts), (Reason::Exhausted, 3));
            let body: Value = serde_json::from_slice(&letter.payload).unwrap();
            u32::try_from(body["payload"].as_u64().unwrap()).unwrap()
        })
        .collect();
    // One after the other, each after as many attempts as it was given.
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    let three_of_each: Vec<u32> = (1..=10).flat_map(|n| [n; 3]).collect();
    assert_eq!(tried.all(), three_of_each);
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    subscription.stop().await;
    assert_eq!((tried.len(), handled.len()), (30, 990));
    bus.close().await;
}

/// Fifteen raw messages, of which the sixth panics and the eleventh fails: each at its
/// first attempt, and the latter at all others too.
async fn fifteen_raw_messages(
    env: &Env,
    bus: &Bus,
    at_most_once: bool,
) -> (Subscription, Seen<(String, u32)>, Seen<u32>) {
    let blobs = bus.topic("blobs").unwrap();
    for n in 0..15 {
        blobs.publish_raw(Raw::new(vec![n])).await.unwrap();
    }
    let (runs, handled) = (Seen::new(), Seen::new());
    let (ran, noted) = (runs.clone(), handled.clone());
    let mut subscribe = bus.subscribe("blobs").group("archive").retry(QUICK);
    if at_most_once {
        subscribe = subscribe.at_most_once();
    }
    let subscription = subscribe
        .attempts(4)
        .handle_raw(move |message: Delivery<Bytes>| {
            let (ran, noted) = (ran.clone(), noted.clone());
            async move {
                let n = u32::from(message.payload[0]);
                ran.note((n.to_string(), message.attempt()));
                yield_often().await;
                assert!(n != 5 || message.attempt() > 1, "a panic");
                if n == 10 {
                    return Err("an error");
                }
                noted.note(n);
                Ok(())
            }
        })
        .await
        .unwrap();
    let expected = if at_most_once { 13 } else { 14 };
    handled.reaches(expected, env).await;
    let admin = Admin::connect(env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    (subscription, runs, handled)
}

pub(crate) async fn raw_messages_at_most_once_have_one_attempt(env: Env) {
    let bus = env.bus().await;
    let (subscription, runs, handled) = fifteen_raw_messages(&env, &bus, true).await;
    env.until("all are counted", || {
        subscription.stats().handled + subscription.stats().failed == 15
    })
    .await;
    subscription.stop().await;
    let runs = runs.by_key();
    assert_eq!(runs.len(), 15);
    assert!(runs.values().all(|attempts| *attempts == [1]), "{runs:?}");
    let mut handled = handled.all();
    handled.sort_unstable();
    let expected: Vec<u32> = (0..15).filter(|n| ![5, 10].contains(n)).collect();
    assert_eq!(handled, expected);
    bus.close().await;
}

pub(crate) async fn raw_messages_at_least_once_are_tried_again(env: Env) {
    let bus = env.bus().await;
    let (subscription, runs, handled) = fifteen_raw_messages(&env, &bus, false).await;
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!((&letter.payload[..], letter.attempts), (&[10][..], 4));
    subscription.stop().await;
    for (n, attempts) in runs.by_key() {
        match n.as_str() {
            "5" => assert_eq!(attempts, [1, 2]),
            "10" => assert_eq!(attempts, [1, 2, 3, 4]),
            _ => assert_eq!(attempts, [1], "{n}"),
        }
    }
    let mut handled = handled.all();
    handled.sort_unstable();
    assert_eq!(handled, (0..15).filter(|n| *n != 10).collect::<Vec<_>>());
    bus.close().await;
}

pub(crate) async fn two_topics_at_once_and_the_events_stay_in_order(env: Env) {
    let bus = env.bus().await;
    let (orders, blobs) = (
        bus.topic("orders.placed").unwrap(),
        bus.topic("blobs").unwrap(),
    );
    let (events, raws) = (Seen::new(), Seen::new());
    let noted = events.clone();
    let billing = bus
        .subscribe("orders.placed")
        .group("billing")
        .retry(QUICK)
        .handle(move |event: Delivery<u32>| {
            let noted = noted.clone();
            async move {
                yield_often().await;
                // Order is kept though every fifth event fails at first.
                if event.payload.is_multiple_of(5) && event.attempt() == 1 {
                    return Err("not yet");
                }
                noted.note(event.payload);
                Ok(())
            }
        })
        .await
        .unwrap();
    let noted = raws.clone();
    let archive = bus
        .subscribe("blobs")
        .group("archive")
        .handle_raw(move |message: Delivery<Bytes>| {
            let noted = noted.clone();
            async move {
                yield_often().await;
                noted.note(message.payload[0]);
            }
        })
        .await
        .unwrap();
    let publishing = spawn(&env, async move {
        for n in 0..30 {
            blobs.publish_raw(Raw::new(vec![n])).await.unwrap();
        }
    });
    publish_all(&orders, (1..=20).map(|n| ("order-1", n))).await;
    env.soon("publishing", publishing).await;
    events.reaches(20, &env).await;
    raws.reaches(30, &env).await;
    assert_eq!(events.all(), (1..=20).collect::<Vec<_>>());
    let mut numbers = raws.all();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
    billing.stop().await;
    archive.stop().await;
    bus.close().await;
}

pub(crate) async fn names_that_look_alike_are_kept_apart(env: Env) {
    const TOPICS: [&str; 4] = ["orders.eu", "orders_eu", "orders-eu", "ORDERS.eu"];
    const GROUPS: [&str; 3] = ["ship_eu", "ship-eu", "SHIP_eu"];
    let bus = env
        .builder()
        .stream(Stream::new("SHOP", TOPICS))
        .open()
        .await
        .unwrap();
    let seen = Seen::new();
    let mut subscriptions = Vec::new();
    for topic in TOPICS {
        for group in GROUPS {
            let noted = seen.clone();
            let subscription = bus
                .subscribe(topic)
                .group(group)
                .handle(move |event: Delivery<u32>| {
                    noted.note((format!("{topic} {group} {}", event.topic()), event.payload));
                    async {}
                })
                .await
                .unwrap();
            subscriptions.push(subscription);
        }
    }
    for (n, topic) in (0..).zip(TOPICS) {
        let topic = bus.topic(topic).unwrap();
        publish_all(&topic, (1..=3).map(|m| ("order-1", 10 * n + m))).await;
    }
    seen.reaches(36, &env).await;
    let admin = Admin::connect(&env).await;
    let consumers = admin.api("CONSUMER.NAMES.SHOP", &Value::Null).await;
    let consumers = consumers["consumers"].as_array().unwrap();
    let consumers: BTreeSet<_> = consumers
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(consumers.len(), 12, "{consumers:?}");
    for subscription in subscriptions {
        subscription.stop().await;
    }
    // Each group had each topic's events, once, and no others.
    let expected: BTreeMap<_, _> = (0..)
        .zip(TOPICS)
        .flat_map(|(n, topic)| {
            let numbers: Vec<u32> = (1..=3).map(|m| 10 * n + m).collect();
            GROUPS.map(|group| (format!("{topic} {group} {topic}"), numbers.clone()))
        })
        .collect();
    assert_eq!(seen.by_key(), expected);
    bus.close().await;
}

pub(crate) async fn a_slow_handler_is_not_overtaken_by_a_second_instance(env: Env) {
    let lease = Duration::from_millis(1_500);
    let buses = [env.bus().await, env.bus().await];
    let orders = buses[0].topic("orders.placed").unwrap();
    let seen = Seen::new();
    let mut subscriptions = Vec::new();
    for bus in &buses {
        let (noted, clock) = (seen.clone(), env.runtime().clone());
        let subscription = bus
            .subscribe("orders.placed")
            .group("billing")
            .ack_wait(lease)
            .handle(move |event: Delivery<u32>| {
                let (noted, clock) = (noted.clone(), clock.clone());
                async move {
                    assert_eq!(event.deliveries(), 1);
                    // The other one waits for events all the time, and gets none of
                    // those that are held here.
                    if event.payload == 1 {
                        clock.sleep_until(clock.now() + lease * 3).await;
                    }
                    noted.note((event.key().unwrap().to_owned(), event.payload));
                }
            })
            .await
            .unwrap();
        subscriptions.push(subscription);
        if subscriptions.len() == 1 {
            // All of them are the first one's, before the second is there.
            publish_all(&orders, in_turns(4, 3)).await;
            let first = &subscriptions[0];
            env.until("all are held", || first.stats().received == 12)
                .await;
        }
    }
    seen.reaches(12, &env).await;
    assert_eq!(seen.by_key(), in_order(4, 3));
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let consumer = admin.all_is_settled(&stream).await;
    assert_eq!(consumer["delivered"]["consumer_seq"], 12, "{consumer}");
    assert_eq!(subscriptions[1].stats().received, 0);
    for subscription in subscriptions {
        assert_eq!(subscription.stats().failed, 0);
        subscription.stop().await;
    }
    for bus in buses {
        bus.close().await;
    }
}

/// Handles events of `orders.placed`; from the fourth of a key on when the door is
/// open.
async fn at_the_door(
    bus: &Bus,
    door: &Door,
    begun: &Seen<(String, u32)>,
    seen: &Seen<(String, u32)>,
) -> Subscription {
    let (door, begun, noted) = (door.clone(), begun.clone(), seen.clone());
    bus.subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .handle(move |event: Delivery<u32>| {
            let (door, begun, noted) = (door.clone(), begun.clone(), noted.clone());
            async move {
                let event = (event.key().unwrap().to_owned(), event.payload);
                begun.note(event.clone());
                if event.1 >= 4 {
                    door.pass().await;
                }
                noted.note(event);
            }
        })
        .await
        .unwrap()
}

/// Closes a bus. Once this returns it has begun to, and no handler starts any more.
async fn closing(bus: Bus) -> Pin<Box<impl Future<Output = CloseReport>>> {
    let mut closing = Box::pin(async move { bus.close().await });
    assert!(future::poll_once(&mut closing).await.is_none());
    closing
}

/// An instance that ends in the midst of its work, as `end` does, and the next one.
async fn restarted<F: Future<Output = ()>>(
    env: &Env,
    end: impl FnOnce(Bus, Subscription, Door) -> F,
) {
    let bus = env.bus().await;
    let (door, begun, seen) = (Door::shut(), Seen::new(), Seen::new());
    publish_all(&bus.topic("orders.placed").unwrap(), in_turns(5, 8)).await;
    let subscription = at_the_door(&bus, &door, &begun, &seen).await;
    // Of each key three are handled, one runs, and four wait.
    begun.reaches(20, env).await;
    env.until("all are held", || subscription.stats().received == 40)
        .await;
    assert_eq!(seen.by_key(), in_order(5, 3));
    end(bus, subscription, door.clone()).await;
    // What ran has finished before what waited goes to another.
    seen.reaches(20, env).await;
    assert_eq!(begun.len(), 20);

    let bus = env.bus().await;
    let subscription = at_the_door(&bus, &door, &begun, &seen).await;
    seen.reaches(40, env).await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(5, 10).skip(40)).await;
    seen.reaches(50, env).await;
    subscription.stop().await;
    let admin = Admin::connect(env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    // Nothing was skipped, repeated or overtaken.
    assert_eq!(seen.by_key(), in_order(5, 10));
    assert_eq!(begun.len(), 50);
    bus.close().await;
}

pub(crate) async fn a_closed_instance_that_restarts_goes_on_where_the_group_was(env: Env) {
    restarted(&env, async |bus, _subscription, door| {
        let closing = closing(bus).await;
        door.open();
        let report = env.soon("the close", closing).await;
        assert_eq!((report.abandoned, report.unknown), (0, 0), "{report:?}");
    })
    .await;
}

pub(crate) async fn a_dropped_instance_that_restarts_goes_on_where_the_group_was(env: Env) {
    restarted(&env, async |bus, subscription, door| {
        drop(subscription);
        drop(bus);
        door.open();
    })
    .await;
}

pub(crate) async fn closing_keeps_the_durable_and_acknowledges_nothing_that_was_not_handled(
    env: Env,
) {
    let name = names::durable("billing", "orders.placed", None).unwrap();
    let admin = Admin::connect(&env).await;
    let info = async |stream: &str| {
        let what = format!("CONSUMER.INFO.{stream}.{name}");
        admin.api(&what, &Value::Null).await
    };
    let bus = env.bus().await;
    publish_all(&bus.topic("orders.placed").unwrap(), in_turns(5, 8)).await;
    let (door, begun, seen) = (Door::shut(), Seen::new(), Seen::new());
    let subscription = at_the_door(&bus, &door, &begun, &seen).await;
    begun.reaches(20, &env).await;
    env.until("all are held", || subscription.stats().received == 40)
        .await;
    let stream = admin.only_stream().await;
    let before = info(&stream).await;
    let closing = closing(bus).await;
    door.open();
    let report = env.soon("the close", closing).await;
    assert_eq!(report.abandoned, 0, "{report:?}");
    assert_eq!((begun.len(), seen.len()), (20, 20));

    let after = info(&stream).await;
    assert_eq!(after["created"], before["created"]);
    assert_eq!(after["config"]["durable_name"], before["name"]);
    // The close has confirmed what was acknowledged: all that was handled, no more.
    let counts = ["num_ack_pending", "num_pending"].map(|field| after[field].as_u64().unwrap());
    assert_eq!(counts.iter().sum::<u64>(), 20, "{after}");
    drop(subscription);
}

pub(crate) async fn the_close_of_one_instance_disturbs_no_other_of_its_group(env: Env) {
    let [first, second, sender] = [env.bus().await, env.bus().await, env.bus().await];
    let orders = sender.topic("orders.placed").unwrap();
    let mut heard = second.news();
    let listen = async |bus: &Bus, instance: &str| {
        let seen = Seen::new();
        let (noted, instance) = (seen.clone(), instance.to_owned());
        let subscription = bus
            .subscribe("orders.placed")
            .group("billing")
            .window(4)
            .ack_wait(LONG)
            .handle(move |event: Delivery<u32>| {
                let (noted, instance) = (noted.clone(), instance.clone());
                async move {
                    yield_often().await;
                    noted.note((instance, event.payload));
                }
            })
            .await
            .unwrap();
        (subscription, seen)
    };
    let one = listen(&first, "first").await;
    let other = listen(&second, "second").await;
    let publishing = spawn(&env, publish_range(orders.clone(), 0..400));
    one.1.reaches(20, &env).await;
    other.1.reaches(20, &env).await;
    let report = env.soon("the close", first.close()).await;
    assert_eq!((report.abandoned, report.unknown), (0, 0), "{report:?}");
    env.soon("publishing", publishing).await;
    publish_range(orders, 400..500).await;
    env.until("all are handled", || one.1.len() + other.1.len() >= 500)
        .await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    let handled = [one.1.all(), other.1.all()].concat();
    let mut numbers: Vec<u32> = handled.into_iter().map(|(_, n)| n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    // The other one noticed nothing: it did not have to ask for anything anew.
    while let Some(Some(next)) = future::poll_once(heard.next()).await {
        assert!(!matches!(next, News::Pull { .. }), "{next:?}");
    }
    other.0.stop().await;
    drop(one.0);
    for bus in [second, sender] {
        bus.close().await;
    }
}

/// Publishes these numbers, each of a key of its own.
async fn publish_range(topic: Topic, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let event = Event::new(format!("order-{n}"), "Counted", n);
        topic.publish(&event).await.expect("it is stored");
    }
}
