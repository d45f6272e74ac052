//! News: what no caller is told.

use futures_lite::StreamExt as _;
use jetbus::{Event, News, NewsStream, PublishError, TopicConfig};
use jetbus_tests::matrix::Env;

fn event(n: u32) -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", n)
}

async fn next(env: &Env, news: &mut NewsStream) -> News {
    env.soon("news", news.next())
        .await
        .expect("the bus is open")
}

pub(crate) async fn a_failure_that_nobody_waits_for_is_told(env: Env) {
    let bus = env.bus().await;
    bus.configure("orders.placed", TopicConfig::new().max_messages(1))
        .await
        .unwrap();
    bus.publish("orders.placed", &event(1)).await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let mut news = bus.news();
    drop(topic.send(&event(2)).await.unwrap());
    let failed = env.soon("the failure", async {
        loop {
            if let News::PublishFailed { topic, error } = next(&env, &mut news).await {
                return (topic, error);
            }
        }
    });
    let (failed, error) = failed.await;
    assert_eq!(&*failed, "orders.placed");
    assert!(
        matches!(&*error, PublishError::Refused(e) if e.err_code == 10_077),
        "{error:?}"
    );
    // Whoever waits is told, not the news.
    topic.publish(&event(3)).await.unwrap_err();
    bus.close().await;
    let rest = env.soon("the end", news.collect::<Vec<_>>()).await;
    let failed = |news: &News| matches!(news, News::PublishFailed { .. });
    assert!(!rest.iter().any(failed), "{rest:?}");
}

pub(crate) async fn a_slow_listener_is_told_what_it_missed(env: Env) {
    let bus = env.bus().await;
    bus.configure("orders.placed", TopicConfig::new().max_messages(1))
        .await
        .unwrap();
    bus.publish("orders.placed", &event(0)).await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let (slow, mut quick) = (bus.news(), bus.news());
    let mut told = 0;
    for n in 0..3_000 {
        drop(topic.send(&event(n)).await.unwrap());
        while n - told > 500 {
            if let News::PublishFailed { .. } = next(&env, &mut quick).await {
                told += 1;
            }
        }
    }
    bus.close().await;
    let mut counts = Vec::new();
    for news in [slow, quick] {
        let all = env.soon("the end", news.collect::<Vec<_>>()).await;
        let missed: u64 = all
            .iter()
            .map(|news| match news {
                News::Missed { count } => *count,
                _ => 0,
            })
            .sum();
        let failed = all
            .iter()
            .filter(|n| matches!(n, News::PublishFailed { .. }))
            .count();
        counts.push((missed, failed as u64));
    }
    // Nothing vanished unsaid, and the slow one held up nobody.
    assert_eq!(counts[0].0 + counts[0].1, 3_000, "{counts:?}");
    assert!(counts[0].0 > 0, "{counts:?}");
    assert_eq!(
        (counts[1].0, counts[1].1 + u64::from(told)),
        (0, 3_000),
        "{counts:?}"
    );
}

pub(crate) async fn streams_and_consumers_made_are_told(env: Env) {
    let bus = env.bus().await;
    let mut news = bus.news();
    bus.publish("orders.placed", &event(1)).await.unwrap();
    let deliveries = bus
        .subscribe("orders.placed")
        .group("billing")
        .deliveries::<u32>()
        .await;
    let mut told = Vec::new();
    while told.len() < 2 {
        match next(&env, &mut news).await {
            News::Stream { stream, what } => told.push((stream.to_string(), what.to_string())),
            News::Consumer { consumer, what, .. } => {
                told.push((consumer.to_string(), what.to_string()));
            }
            _ => {}
        }
    }
    let said = |at: usize, name: &str| told[at].0 == name && told[at].1.contains("was created");
    assert!(said(0, "jetbus~orders~placed"), "{told:?}");
    assert!(said(1, "billing~orders~placed"), "{told:?}");
    drop(deliveries);
    bus.close().await;
}
