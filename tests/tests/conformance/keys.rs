//! Keys: one at a time within each, many at once, up to a limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jetbus::{Delivery, Raw, Stream};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Door, Meeting, Seen, in_order, in_turns, publish_all, yield_often};

pub(crate) async fn twenty_events_stay_in_order_while_handlers_yield(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let noted = noted.clone();
            async move {
                for _ in 0..20 - event.payload {
                    yield_often().await;
                }
                noted.note(event.payload);
            }
        })
        .await
        .unwrap();
    publish_all(&orders, (0..20).map(|n| ("order-1", n))).await;
    seen.reaches(20, &env).await;
    assert_eq!(seen.all(), (0..20).collect::<Vec<_>>());
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn each_aggregate_keeps_its_order_and_never_overlaps(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let inside = Arc::new(Mutex::new(HashMap::<String, bool>::new()));
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let (noted, inside) = (noted.clone(), Arc::clone(&inside));
            async move {
                let key = event.key().unwrap().to_owned();
                let was = inside.lock().unwrap().insert(key.clone(), true);
                assert_ne!(was, Some(true), "two of {key} at once");
                yield_often().await;
                noted.note((key.clone(), event.payload));
                yield_often().await;
                inside.lock().unwrap().insert(key, false);
            }
        })
        .await
        .unwrap();
    publish_all(&orders, in_turns(5, 10)).await;
    publish_all(&orders, in_turns(5, 100).skip(50)).await;
    seen.reaches(500, &env).await;
    assert_eq!(seen.by_key(), in_order(5, 100));
    assert_eq!(subscription.stats().failed, 0);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_hundred_aggregates_over_five_topics_keep_their_order(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.*"]))
        .open()
        .await
        .unwrap();
    let seen = Seen::new();
    let mut subscriptions = Vec::new();
    let topics: Vec<_> = (0..5)
        .map(|n| bus.topic(&format!("orders.t{n}")).unwrap())
        .collect();
    for topic in &topics {
        let noted = seen.clone();
        let subscription = bus
            .subscribe(topic.name())
            .group("billing")
            .handle(move |event: Delivery<u32>| {
                let noted = noted.clone();
                async move {
                    yield_often().await;
                    noted.note((event.key().unwrap().to_owned(), event.payload));
                }
            })
            .await
            .unwrap();
        subscriptions.push(subscription);
    }
    let mut receipts = Vec::new();
    for (key, n) in in_turns(100, 10) {
        let number: usize = key["key-".len()..].parse().unwrap();
        let event = jetbus::Event::new(&*key, "Counted", n);
        receipts.push(topics[number % 5].send(&event).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    seen.reaches(1_000, &env).await;
    assert_eq!(seen.by_key(), in_order(100, 10));
    for subscription in subscriptions {
        subscription.stop().await;
    }
    bus.close().await;
}

pub(crate) async fn different_keys_are_handled_at_once(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    // Nobody goes on before all sixteen run.
    let meeting = Meeting::of(16);
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .concurrency(16)
        .handle(move |event: Delivery<u32>| {
            let (noted, meeting) = (noted.clone(), meeting.clone());
            async move {
                meeting.join().await;
                noted.note((event.key().unwrap().to_owned(), event.payload));
            }
        })
        .await
        .unwrap();
    publish_all(&orders, in_turns(16, 3)).await;
    seen.reaches(48, &env).await;
    assert_eq!(seen.by_key(), in_order(16, 3));
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn messages_without_a_key_are_handled_at_once(env: Env) {
    let bus = env.bus().await;
    let blobs = bus.topic("blobs").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let meeting = Meeting::of(16);
    let subscription = bus
        .subscribe("blobs")
        .group("archive")
        .handle_raw(move |message: Delivery<Bytes>| {
            let (noted, meeting) = (noted.clone(), meeting.clone());
            async move {
                meeting.join().await;
                noted.note(message.payload[0]);
            }
        })
        .await
        .unwrap();
    for n in 0..50 {
        blobs.publish_raw(Raw::new(vec![n])).await.unwrap();
    }
    seen.reaches(50, &env).await;
    let mut numbers = seen.all();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn limits_of_handlers_and_of_held_events_are_kept(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(30, 2)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let door = Door::shut();
    let passed = door.clone();
    let (runs, at_most) = (Arc::clone(&running), Arc::clone(&most));
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .concurrency(3)
        .window(8)
        .handle(move |event: Delivery<u32>| {
            let (noted, passed) = (noted.clone(), passed.clone());
            let (runs, at_most) = (Arc::clone(&runs), Arc::clone(&at_most));
            async move {
                let now = runs.fetch_add(1, Ordering::SeqCst) + 1;
                at_most.fetch_max(now, Ordering::SeqCst);
                passed.pass().await;
                yield_often().await;
                runs.fetch_sub(1, Ordering::SeqCst);
                noted.note((event.key().unwrap().to_owned(), event.payload));
            }
        })
        .await
        .unwrap();
    env.until("three run and eight are held", || {
        running.load(Ordering::SeqCst) == 3 && subscription.stats().received == 8
    })
    .await;
    // The server sees it so too: nothing more is on its way.
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let consumer = admin.only_consumer(&stream).await;
    assert_eq!(consumer["num_ack_pending"], 8, "{consumer}");
    assert_eq!(consumer["num_pending"], 52, "{consumer}");
    door.open();
    seen.reaches(60, &env).await;
    assert_eq!(seen.by_key(), in_order(30, 2));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    subscription.stop().await;
    bus.close().await;
}
