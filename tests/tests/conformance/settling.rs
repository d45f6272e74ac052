//! How handling ends: failures, settle handles, leases, stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::link::Refused;
use jetbus::{Bus, Deliveries, Delivery, Event, Handled, News, Settle, Topic};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Door, Seen, in_order, in_turns, news, publish, publish_all, spawn};

use crate::ordering::watched;

/// A lease that no case waits for: what comes again was given back.
const LONG: Duration = Duration::from_secs(3600);

pub(crate) async fn a_failing_or_panicking_handler_is_tried_again_in_order(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    // Of five aggregates the first event of each fails twice, in its own way.
    publish_all(&orders, in_turns(5, 3)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let key = event.key().unwrap().to_owned();
            noted.note((key.clone(), 10 * event.payload + event.attempt()));
            let fails = event.payload == 1 && event.attempt() <= 2;
            assert!(!(fails && key == "key-0"), "before the future");
            async move {
                match key.as_str() {
                    _ if !fails => Ok(Handled::Done),
                    "key-1" => Err("an error"),
                    "key-2" => Ok(Handled::retry("a wish")),
                    "key-3" => panic!("inside {}", "the future"),
                    _ => {
                        future::yield_now().await;
                        panic!("after a while")
                    }
                }
            }
        })
        .await
        .unwrap();
    seen.reaches(25, &env).await;
    for (_, runs) in seen.by_key() {
        assert_eq!(runs, [11, 12, 13, 21, 31]);
    }
    env.until("all are handled", || subscription.stats().handled == 15)
        .await;
    assert_eq!(subscription.stats().failed, 10);
    assert_eq!(subscription.stats().received, 15);
    let mut said = Vec::new();
    while said.len() < 10 {
        said.push(
            news(
                &env,
                "ten failures are told",
                &mut heard,
                |news| match news {
                    News::HandlerFailed {
                        topic,
                        sequence,
                        attempt,
                        error,
                    } => {
                        assert_eq!(&*topic, "orders.placed");
                        Some((sequence, attempt, error.to_string()))
                    }
                    _ => None,
                },
            )
            .await,
        );
    }
    said.sort();
    let whys = [
        "the handler panicked: before the future",
        "an error",
        "a wish",
        "the handler panicked: inside the future",
        "the handler panicked: after a while",
    ];
    let expected: Vec<_> = (1..)
        .zip(whys)
        .flat_map(|(sequence, why)| [1, 2].map(|attempt| (sequence, attempt, why.to_owned())))
        .collect();
    assert_eq!(said, expected);
    // Nothing is left for the server to deliver again.
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    bus.close().await;
}

pub(crate) async fn a_failing_key_holds_its_own_events_only(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(100, 10)).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let attempts = Arc::new(AtomicU32::new(0));
    let tried = Arc::clone(&attempts);
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .attempts(u32::MAX)
        .handle(move |event: Delivery<u32>| {
            let (noted, tried) = (noted.clone(), Arc::clone(&tried));
            async move {
                let key = event.key().unwrap().to_owned();
                // It fails until all others are handled: were they held, for ever.
                if key == "key-0" && event.payload == 1 && noted.len() < 990 {
                    tried.fetch_add(1, Ordering::SeqCst);
                    return Handled::retry_after(Duration::from_millis(20), "not yet");
                }
                noted.note((key, event.payload));
                Handled::Done
            }
        })
        .await
        .unwrap();
    seen.reaches(1_000, &env).await;
    assert_eq!(seen.by_key(), in_order(100, 10));
    let last: Vec<_> = seen.all().split_off(990);
    assert!(last.iter().all(|(key, _)| key == "key-0"));
    assert!(attempts.load(Ordering::SeqCst) > 0);

    // A delay that was asked for is kept.
    subscription.stop().await;
    let runs = Seen::new();
    let (noted, clock) = (runs.clone(), Arc::clone(env.runtime()));
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let count = noted.note((event.attempt(), clock.now()));
            async move {
                match count {
                    1 => Handled::retry_after(Duration::from_millis(700), "later"),
                    _ => Handled::Done,
                }
            }
        })
        .await
        .unwrap();
    publish(&orders, "key-0", 11).await;
    runs.reaches(2, &env).await;
    let [(1, first), (2, second)] = runs.all()[..] else {
        panic!("{:?}", runs.all())
    };
    assert!(second.since(first) >= Duration::from_millis(700));
    subscription.stop().await;
    bus.close().await;
}

/// A stream of deliveries whose leases no case waits for.
async fn deliveries(bus: &Bus) -> Deliveries<u32> {
    bus.subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .deliveries()
        .await
        .unwrap()
}

async fn next(env: &Env, deliveries: &mut Deliveries<u32>) -> (Delivery<u32>, Settle) {
    let next = env.soon("the next delivery", deliveries.next()).await;
    next.expect("the subscription runs")
}

/// Takes events, acknowledging each, until `number` comes; their numbers.
async fn take_up_to(env: &Env, deliveries: &mut Deliveries<u32>, number: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let (delivery, settle) = next(env, deliveries).await;
        settle.ack();
        numbers.push(delivery.payload);
        if delivery.payload == number {
            return numbers;
        }
    }
}

pub(crate) async fn deliveries_are_settled_each_by_its_handle(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let mut stream = deliveries(&bus).await;
    publish_all(&orders, (1..=3).map(|n| ("order-1", n))).await;
    let place =
        |delivery: &Delivery<u32>| (delivery.payload, delivery.attempt(), delivery.deliveries());

    // Tried again here.
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!(place(&delivery), (1, 1, 1));
    settle.retry(Some(Duration::from_millis(10)));
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!(place(&delivery), (1, 2, 1));
    settle.retry(None);

    // Given back to the server, at once and later.
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!(place(&delivery), (1, 3, 1));
    settle.nak(None);
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!((delivery.payload, delivery.deliveries()), (1, 2));
    let given_back = env.runtime().now();
    settle.nak(Some(Duration::from_millis(300)));
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!((delivery.payload, delivery.deliveries()), (1, 3));
    // A server's clock is not ours: nearly all of it.
    let waited = env.runtime().now().since(given_back);
    assert!(waited >= Duration::from_millis(250), "{waited:?}");

    // Dropped: given back, and told.
    drop(settle);
    let dropped = news(&env, "it is told", &mut heard, |news| match news {
        News::Unsettled { topic, sequence } => Some((topic.to_string(), sequence)),
        _ => None,
    })
    .await;
    assert_eq!(dropped, ("orders.placed".to_owned(), 1));
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!((delivery.payload, delivery.deliveries()), (1, 4));

    // Given up: not delivered again, its successors are.
    settle.term("no \r\n use");
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!(place(&delivery), (2, 1, 1));
    assert!(format!("{settle:?}").contains("settled: false"));

    // Acknowledged, and the server knows when that is said.
    let admin = Admin::connect(&env).await;
    let name = admin.only_stream().await;
    settle.ack_confirmed().await.unwrap();
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!(place(&delivery), (3, 1, 1));
    let consumer = admin.only_consumer(&name).await;
    assert_eq!(consumer["num_ack_pending"], 1, "{consumer}");
    settle.ack_confirmed().await.unwrap();
    let consumer = admin.only_consumer(&name).await;
    assert_eq!(consumer["num_ack_pending"], 0, "{consumer}");
    assert_eq!(consumer["ack_floor"]["stream_seq"], 3, "{consumer}");
    // The subscription hears of it a little later than the server.
    env.until("both are counted", || {
        stream.subscription().stats().handled == 2
    })
    .await;

    // What is taken and not settled when the stream ends goes to the next one, as
    // does what was not taken.
    publish_all(&orders, (4..=6).map(|n| ("order-1", n))).await;
    let (delivery, settle) = next(&env, &mut stream).await;
    assert_eq!(delivery.payload, 4);
    drop(stream);
    drop(settle);
    let mut stream = env.soon("the place is free", again(&bus, &env)).await;
    publish(&orders, "order-1", 7).await;
    let numbers = take_up_to(&env, &mut stream, 7).await;
    assert_eq!(numbers, [4, 5, 6, 7]);

    // A handle outlives its bus harmlessly.
    publish(&orders, "order-1", 8).await;
    let (_, settle) = next(&env, &mut stream).await;
    let closing = spawn(&env, async move { bus.close().await });
    drop(stream);
    settle.ack();
    assert_eq!(env.soon("closing", closing).await.abandoned, 0);
}

/// Subscribes once the subscription before has ended.
async fn again(bus: &Bus, env: &Env) -> Deliveries<u32> {
    loop {
        let subscribe = bus.subscribe("orders.placed").group("billing");
        match subscribe.ack_wait(LONG).deliveries().await {
            Ok(stream) => return stream,
            Err(jetbus::SubscribeError::Twice { .. }) => {
                let later = env.runtime().now() + Duration::from_millis(5);
                env.runtime().sleep_until(later).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) async fn progress_is_told_to_the_server_at_once(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut stream = deliveries(&bus).await;
    publish(&orders, "order-1", 1).await;
    let (_, settle) = next(&env, &mut stream).await;
    let admin = Admin::connect(&env).await;
    let mut acks = admin.listen("$JS.ACK.>").await;
    settle.progress();
    let message = env.soon("progress", acks.next()).await;
    assert_eq!(&message.payload[..], b"+WPI");
    settle.ack();
    let message = env.soon("the acknowledgement", acks.next()).await;
    assert_eq!(&message.payload[..], b"+ACK");
    drop(stream);
    bus.close().await;
}

pub(crate) async fn progress_told_again_and_again_is_said_once(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut stream = deliveries(&bus).await;
    publish(&orders, "order-1", 1).await;
    let (_, settle) = next(&env, &mut stream).await;
    let admin = Admin::connect(&env).await;
    let mut acks = admin.listen("$JS.ACK.>").await;
    // Nothing is sent for a while: what is told meanwhile is one wish.
    spy.refuse(Some(Refused::Busy));
    let refused = spy.refused();
    settle.progress();
    env.until("it is tried", || spy.refused() > refused).await;
    for _ in 0..1_000 {
        settle.progress();
    }
    spy.refuse(None);
    let message = env.soon("progress", acks.next()).await;
    assert_eq!(&message.payload[..], b"+WPI");
    settle.ack();
    let mut said = 1;
    while env.soon("what follows", acks.next()).await.payload[..] != *b"+ACK" {
        said += 1;
    }
    // What was on its way already, and the wish.
    assert!(said <= 2, "{said}");
    drop(stream);
    bus.close().await;
}

pub(crate) async fn a_handler_longer_than_its_lease_is_not_run_twice(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(2, 3)).await;
    let seen = Seen::new();
    let (noted, clock) = (seen.clone(), Arc::clone(env.runtime()));
    let lease = Duration::from_millis(1_500);
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(lease)
        .handle(move |event: Delivery<u32>| {
            let (noted, clock) = (noted.clone(), Arc::clone(&clock));
            async move {
                let key = event.key().unwrap().to_owned();
                if event.payload == 1 {
                    clock.sleep_until(clock.now() + lease * 3).await;
                }
                assert_eq!(event.deliveries(), 1);
                noted.note((key, event.payload));
            }
        })
        .await
        .unwrap();
    // Also what waits behind is not delivered again.
    seen.reaches(6, &env).await;
    assert_eq!(seen.by_key(), in_order(2, 3));
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let consumer = admin.all_is_settled(&stream).await;
    // Each was delivered once in all.
    assert_eq!(consumer["delivered"]["consumer_seq"], 6, "{consumer}");
    assert_eq!(seen.len(), 6);
    bus.close().await;
}

/// Handles events of two keys; each first one waits at the door.
async fn two_at_the_door(
    bus: &Bus,
    env: &Env,
    orders: &Topic,
    door: &Door,
) -> (jetbus::Subscription, Seen<(String, u32)>) {
    publish_all(orders, in_turns(2, 5)).await;
    let (seen, begun) = (Seen::new(), Seen::new());
    let (noted, begins, door) = (seen.clone(), begun.clone(), door.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .handle(move |event: Delivery<u32>| {
            let (noted, begins, door) = (noted.clone(), begins.clone(), door.clone());
            async move {
                begins.note(event.payload);
                door.pass().await;
                noted.note((event.key().unwrap().to_owned(), event.payload));
            }
        })
        .await
        .unwrap();
    env.until("two run and the others wait", || {
        begun.len() == 2 && subscription.stats().received == 10
    })
    .await;
    (subscription, seen)
}

/// What the next subscription gets: all that is left, in order.
async fn the_rest_comes_in_order(bus: &Bus, env: &Env) {
    let seen = Seen::new();
    let mut stream = env.soon("the place is free", again(bus, env)).await;
    while seen.len() < 8 {
        let (delivery, settle) = next(env, &mut stream).await;
        seen.note((delivery.key().unwrap().to_owned(), delivery.payload));
        settle.ack();
    }
    for (_, numbers) in seen.by_key() {
        assert_eq!(numbers, [2, 3, 4, 5]);
    }
    let more = future::poll_once(stream.next()).await;
    assert!(more.is_none(), "{more:?}");
    env.soon("the stop", stream.stop()).await;
}

pub(crate) async fn stopping_finishes_what_runs_and_gives_back_what_waits(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let door = Door::shut();
    let (subscription, seen) = two_at_the_door(&bus, &env, &orders, &door).await;
    let mut stopping = Box::pin(subscription.stop());
    // It begins, and waits for what runs.
    assert!(future::poll_once(&mut stopping).await.is_none());
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    assert!(future::poll_once(&mut stopping).await.is_none());
    door.open();
    env.soon("the stop", stopping).await;
    assert_eq!(seen.by_key(), in_order(2, 1));
    the_rest_comes_in_order(&bus, &env).await;
    assert_eq!(seen.len(), 2);
    admin.all_is_settled(&stream).await;
    bus.close().await;
}

pub(crate) async fn dropping_a_subscription_gives_back_what_waits(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let door = Door::shut();
    let (subscription, seen) = two_at_the_door(&bus, &env, &orders, &door).await;
    drop(subscription);
    door.open();
    the_rest_comes_in_order(&bus, &env).await;
    assert_eq!(seen.by_key(), in_order(2, 1));
    bus.close().await;
}

pub(crate) async fn stopping_amid_events_keeps_their_order(env: Env) {
    const EVENTS: u32 = 400;
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let door = Door::shut();
    let behind = door.clone();
    let mut publishing = spawn(&env, async move {
        for (place, (key, n)) in in_turns(5, EVENTS / 5).enumerate() {
            if place == 100 {
                // However fast all is: the first subscriber does not get everything.
                behind.pass().await;
            }
            publish(&orders, &key, n).await;
        }
    });
    // Subscribers come and go while events come; none waits for a lease.
    let seen = Seen::new();
    let mut rounds = 0;
    while seen.len() < EVENTS as usize {
        let noted = seen.clone();
        let before = seen.len();
        let subscription = bus
            .subscribe("orders.placed")
            .group("billing")
            .ack_wait(LONG)
            .handle(move |event: Delivery<u32>| {
                let noted = noted.clone();
                async move {
                    future::yield_now().await;
                    noted.note((event.key().unwrap().to_owned(), event.payload));
                }
            })
            .await
            .unwrap();
        let enough = (before + 20).min(EVENTS as usize);
        seen.reaches(enough, &env).await;
        env.soon("the stop", subscription.stop()).await;
        door.open();
        rounds += 1;
    }
    env.soon("publishing", &mut publishing).await;
    assert_eq!(seen.by_key(), in_order(5, EVENTS / 5));
    assert!(rounds > 1);
    bus.close().await;
}

pub(crate) async fn a_closing_bus_lets_handlers_finish_and_publish(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let bills = bus.topic("bills.sent").unwrap();
    publish_all(&orders, in_turns(2, 5)).await;
    let (door, begun) = (Door::shut(), Seen::new());
    let (pass, begins) = (door.clone(), begun.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .handle(move |event: Delivery<u32>| {
            let (pass, bills, begins) = (pass.clone(), bills.clone(), begins.clone());
            async move {
                begins.note(event.payload);
                pass.pass().await;
                let bill = Event::new(event.key().unwrap(), "BillSent", event.payload);
                bills.publish(&bill).await.map(drop)
            }
        })
        .await
        .unwrap();
    env.until("two run and the others wait", || {
        begun.len() == 2 && subscription.stats().received == 10
    })
    .await;
    let closing = spawn(&env, {
        let bus = bus.clone();
        async move { bus.close().await }
    });
    let refused = async {
        loop {
            match bus.subscribe("bills.sent").deliveries::<u32>().await {
                Err(jetbus::SubscribeError::Closed) => return,
                Err(error) => panic!("{error}"),
                Ok(stream) => drop(stream),
            }
            future::yield_now().await;
        }
    };
    env.soon("subscribing is refused", refused).await;
    door.open();
    let report = env.soon("closing", closing).await;
    assert_eq!((report.abandoned, report.unknown), (0, 0), "{report:?}");
    assert!(report.stopped >= 1, "{report:?}");
    assert_eq!(begun.len(), 2);
    assert_eq!(subscription.stats().failed, 0);
    drop(subscription);

    let bus = env.bus().await;
    let sent = Seen::new();
    let noted = sent.clone();
    let bills = bus
        .subscribe("bills.sent")
        .group("mail")
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    sent.reaches(2, &env).await;
    assert_eq!(sent.by_key(), in_order(2, 1));
    the_rest_comes_in_order(&bus, &env).await;
    bills.stop().await;
    bus.close().await;
}
