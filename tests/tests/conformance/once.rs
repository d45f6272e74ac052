//! At most once: acknowledged before it is handled.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::{Builder, Delivery, Handled, News};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::{Spy, Trick};
use jetbus_tests::support::{Door, Seen, news, publish, publish_all};

const STREAM: &str = "jetbus~orders~placed";

/// A lease that no case waits for.
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) async fn an_event_is_acknowledged_before_it_is_handled_and_runs_once(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=5).map(|n| ("order-1", n))).await;
    let (seen, begun, door) = (Seen::new(), Seen::new(), Door::shut());
    let (noted, begins, pass) = (seen.clone(), begun.clone(), door.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .at_most_once()
        .handle(move |event: Delivery<u32>| {
            let (noted, begins, pass) = (noted.clone(), begins.clone(), pass.clone());
            async move {
                begins.note(event.payload);
                pass.pass().await;
                noted.note(event.payload);
                match event.payload {
                    1 => Handled::retry("an error"),
                    2 => Handled::dead_letter("a wish"),
                    3 => panic!("a panic"),
                    4 => Handled::discard("unused"),
                    _ => Handled::Done,
                }
            }
        })
        .await
        .unwrap();
    begun.reaches(1, &env).await;
    let admin = Admin::connect(&env).await;
    let consumer = admin.only_consumer(STREAM).await;
    assert_eq!(consumer["ack_floor"]["stream_seq"], 1, "{consumer}");
    assert_eq!(seen.len(), 0);
    door.open();
    seen.reaches(5, &env).await;
    env.until("all are counted", || {
        subscription.stats().handled + subscription.stats().failed == 5
    })
    .await;
    subscription.stop().await;
    let consumer = admin.all_is_settled(STREAM).await;
    assert_eq!(consumer["delivered"]["consumer_seq"], 5, "{consumer}");
    // Whatever they said, none ran again.
    assert_eq!(seen.all(), [1, 2, 3, 4, 5]);
    for (sequence, why) in [
        (1, "an error"),
        (2, "a wish"),
        (3, "the handler panicked: a panic"),
        (4, "unused"),
    ] {
        let told = news(&env, "it is told", &mut heard, |news| match news {
            News::HandlerFailed {
                sequence, error, ..
            } => Some((sequence, error.to_string())),
            News::Discarded {
                sequence, reason, ..
            } => Some((sequence, reason.to_string())),
            _ => None,
        });
        assert_eq!(told.await, (sequence, why.to_owned()));
    }
    bus.close().await;
}

pub(crate) async fn what_is_not_confirmed_is_not_handled(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .request_timeout(Duration::from_millis(200))
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .at_most_once()
        .handle(move |event: Delivery<u32>| {
            noted.note((event.payload, event.attempt()));
            future::ready(())
        })
        .await
        .unwrap();
    spy.trick(Trick::Swallow, "$JS.ACK");
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    for attempt in 1..=2 {
        let told = news(&env, "it is told", &mut heard, |news| match news {
            News::HandlerFailed {
                sequence,
                attempt,
                error,
                ..
            } => Some((sequence, attempt, error)),
            _ => None,
        });
        let (sequence, tried, error) = told.await;
        assert_eq!((sequence, tried), (1, attempt));
        assert!(error.contains("did not confirm"), "{error}");
        assert_eq!(seen.len(), 0);
    }
    spy.be_honest();
    seen.reaches(2, &env).await;
    let all = seen.all();
    assert_eq!((all[0].0, all[1].0), (1, 2));
    assert!(all[0].1 > 2, "{all:?}");
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin.all_is_settled(STREAM).await;
    assert_eq!(seen.len(), 2);
    bus.close().await;
}

pub(crate) async fn what_was_not_started_is_given_back(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=5).map(|n| (format!("order-{n}"), n))).await;
    let (seen, begun, door) = (Seen::new(), Seen::new(), Door::shut());
    let (noted, begins, pass) = (seen.clone(), begun.clone(), door.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .concurrency(1)
        .at_most_once()
        .handle(move |event: Delivery<u32>| {
            let (noted, begins, pass) = (noted.clone(), begins.clone(), pass.clone());
            async move {
                begins.note(());
                pass.pass().await;
                noted.note(event.payload);
            }
        })
        .await
        .unwrap();
    env.until("one runs and the others wait", || {
        begun.len() == 1 && subscription.stats().received == 5
    })
    .await;
    let mut stopping = Box::pin(subscription.stop());
    assert!(future::poll_once(&mut stopping).await.is_none());
    // The driver has heard of it once it pulls no more.
    let admin = Admin::connect(&env).await;
    admin.only_consumer(STREAM).await;
    assert!(future::poll_once(&mut stopping).await.is_none());
    publish(&orders, "order-6", 6).await;
    door.open();
    env.soon("the stop", stopping).await;

    let mut rest = bus
        .subscribe("orders.placed")
        .group("billing")
        .deliveries::<u32>()
        .await
        .unwrap();
    while seen.len() < 6 {
        let (event, settle) = env.soon("the rest", rest.next()).await.unwrap();
        seen.note(event.payload);
        settle.ack();
    }
    let mut all = seen.all();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5, 6]);
    env.soon("the stop", rest.stop()).await;
    admin.all_is_settled(STREAM).await;
    bus.close().await;
}
