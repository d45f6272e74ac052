//! Closing: once, with an answer for everybody.

use std::sync::{Arc, Mutex};

use futures_lite::StreamExt as _;
use jetbus::{
    Bus, CloseReport, Delivery, Event, News, NewsStream, PublishError, Raw, SubscribeError,
    TopicConfig, TopicError,
};
use jetbus_tests::matrix::Env;

fn event(n: u32) -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", n)
}

async fn ended(env: &Env, mut news: NewsStream) {
    env.soon("the news end", async {
        while news.next().await.is_some() {}
    })
    .await;
}

pub(crate) async fn every_closer_gets_the_same_report(env: Env) {
    let bus = env.bus().await;
    for n in 0..3 {
        bus.publish("orders.placed", &event(n)).await.unwrap();
    }
    let seen = Arc::new(Mutex::new(0));
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle({
            let seen = Arc::clone(&seen);
            move |_: Delivery<u32>| {
                *seen.lock().unwrap() += 1;
                async {}
            }
        })
        .await
        .unwrap();
    env.until("all are handled", || *seen.lock().unwrap() == 3)
        .await;
    let topic = bus.topic("orders.placed").unwrap();
    let news = bus.news();

    let closers = (0..10).map(|_| {
        let bus = bus.clone();
        async move { bus.close().await }
    });
    let reports: Vec<CloseReport> = env.at_once("ten closers", closers).await;
    assert!(
        reports.iter().all(|report| *report == reports[0]),
        "{reports:?}"
    );
    let CloseReport {
        stopped,
        abandoned,
        unknown,
        ..
    } = reports[0];
    assert_eq!((stopped, abandoned, unknown), (1, 0, 0));
    assert_eq!(env.soon("a second close", bus.close()).await, reports[0]);
    ended(&env, news).await;
    // Listening to a closed bus ends at once.
    ended(&env, bus.news()).await;

    for error in [
        topic.publish(&event(4)).await.unwrap_err(),
        topic.publish_raw(Raw::new("late")).await.unwrap_err(),
        topic.send(&event(4)).await.err().unwrap(),
        bus.publish("orders.placed", &event(4)).await.unwrap_err(),
        bus.publish("orders.new", &event(4)).await.unwrap_err(),
    ] {
        assert!(matches!(error, PublishError::Closed), "{error:?}");
        assert!(error.to_string().contains("closed"), "{error}");
    }
    let error = bus
        .configure("orders.placed", TopicConfig::new())
        .await
        .unwrap_err();
    assert!(matches!(error, TopicError::Closed), "{error:?}");
    let handler = |_: Delivery<u32>| async {};
    let error = bus
        .subscribe("orders.placed")
        .handle(handler)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, SubscribeError::Closed), "{error:?}");
    assert!(!bus.is_connected());
    env.soon("an end", subscription.stop()).await;
    assert_eq!(
        env.outside().await.messages("jetbus~orders~placed").await,
        3
    );
}

pub(crate) async fn closing_answers_what_is_in_flight(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut receipts = Vec::new();
    for n in 0..1_000 {
        receipts.push(orders.send(&event(n)).await.unwrap());
    }
    let report = env.soon("the close", bus.close()).await;
    assert_eq!(report.unknown, 0);
    for (n, receipt) in (1..).zip(receipts) {
        let outcome = env.soon("a receipt", receipt).await.unwrap();
        assert_eq!(outcome.sequence(), Some(n));
    }
}

pub(crate) async fn publishing_while_closing_is_stored_or_refused(env: Env) {
    let bus = env.builder().window(8).open().await.unwrap();
    let halfway = Arc::new(Mutex::new(0));
    let callers = (0..16).map(|caller| {
        let (bus, halfway) = (bus.clone(), Arc::clone(&halfway));
        async move {
            let topic = bus.topic(&format!("orders.n{}", caller % 3)).unwrap();
            let mut stored = 0_u64;
            loop {
                match topic.publish(&event(caller)).await {
                    Ok(_) => stored += 1,
                    Err(PublishError::Closed) => return stored,
                    Err(other) => panic!("{other:?}"),
                }
                *halfway.lock().unwrap() += 1;
            }
        }
    });
    let storm = env.at_once("all callers end", callers);
    let (stored, report) = futures_lite::future::zip(storm, async {
        env.until("some are stored", || *halfway.lock().unwrap() > 200)
            .await;
        env.soon("the close", bus.close()).await
    })
    .await;
    assert_eq!(report.unknown, 0);
    let outside = env.outside().await;
    let mut kept = 0;
    for n in 0..3 {
        kept += outside.messages(&format!("jetbus~orders~n{n}")).await;
    }
    assert_eq!(stored.iter().sum::<u64>(), kept);
}

pub(crate) async fn the_last_handle_closes(env: Env) {
    let bus: Bus = env.bus().await;
    let clone = bus.clone();
    let topic = bus.topic("orders.placed").unwrap();
    let mut news = bus.news();
    drop(bus);
    drop(clone);
    // A topic keeps it open.
    topic.publish(&event(1)).await.unwrap();
    let receipt = topic.send(&event(2)).await.unwrap();
    drop(topic);
    let outcome = env.soon("a receipt", receipt).await.unwrap();
    assert_eq!(outcome.sequence(), Some(2));
    let mut last = None;
    env.soon("the news end", async {
        while let Some(news) = news.next().await {
            last = Some(news);
        }
    })
    .await;
    assert!(
        !matches!(last, Some(News::PublishFailed { .. })),
        "{last:?}"
    );
    #[cfg(feature = "nats")]
    if let Some(server) = env.server() {
        // The server has nobody connected any more.
        env.until("the connection is gone", || {
            server.connection_names().is_empty()
        })
        .await;
    }
}

/// Buses come and go in a long-lived process: none leaves a task behind.
pub(crate) async fn nothing_runs_on_after_a_close(env: Env) {
    let tasks = || {
        #[cfg(feature = "tokio")]
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            return handle.metrics().num_alive_tasks();
        }
        0
    };
    let before = tasks();
    for round in 0..5 {
        let bus = env.bus().await;
        bus.publish("orders.placed", &event(round)).await.unwrap();
        let mut deliveries = bus
            .subscribe("orders.placed")
            .group("billing")
            .deliveries::<u32>()
            .await
            .unwrap();
        let (delivery, settle) = env.soon("a delivery", deliveries.next()).await.unwrap();
        assert_eq!(delivery.payload, round);
        settle.ack_confirmed().await.unwrap();
        env.soon("the close", bus.close()).await;
        drop(deliveries);
        drop(bus);
        env.until("all tasks have ended", || tasks() <= before)
            .await;
    }
}
