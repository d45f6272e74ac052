//! Ephemeral topics: to whoever listens, and no further.

use std::sync::{Arc, Mutex};

use jetbus::{
    Bus, Delivery, Event, Outcome, Persistence, Raw, Start, SubscribeError, Subscription,
    TopicConfig,
};
use jetbus_tests::matrix::Env;

type Seen = Arc<Mutex<Vec<u32>>>;

fn event(n: u32) -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", n)
}

async fn listen(bus: &Bus, group: Option<&str>, seen: &Seen) -> Subscription {
    let subscribe = bus.subscribe("ticks.second");
    let subscribe = match group {
        Some(group) => subscribe.group(group),
        None => subscribe,
    };
    let seen = Arc::clone(seen);
    let handler = move |event: Delivery<u32>| {
        seen.lock().unwrap().push(event.payload);
        async {}
    };
    subscribe.handle(handler).await.unwrap()
}

async fn bus(env: &Env) -> Bus {
    let bus = env.bus().await;
    let ephemeral = TopicConfig::new().persistence(Persistence::Ephemeral);
    bus.configure("ticks.second", ephemeral).await.unwrap();
    bus
}

/// What `bus` asked of the server before is done: its answer to this came later.
async fn fence(bus: &Bus) {
    bus.publish("orders.fence", &event(0)).await.unwrap();
}

pub(crate) async fn ephemeral_events_reach_current_listeners_only(env: Env) {
    let (a, b) = (bus(&env).await, bus(&env).await);
    let ticks = a.topic("ticks.second").unwrap();
    for n in 0..10 {
        assert_eq!(
            ticks.publish(&event(n)).await.unwrap(),
            Outcome::Unconfirmed
        );
    }
    fence(&a).await;
    // Too late for those. Without a group every listener gets each event; of a
    // group one does.
    let (alone, too, group): (Seen, Seen, Seen) = Default::default();
    let _all = (
        listen(&a, None, &alone).await,
        listen(&b, None, &too).await,
        listen(&a, Some("billing"), &group).await,
        listen(&b, Some("billing"), &group).await,
    );
    fence(&a).await;
    fence(&b).await;
    for n in 100..200 {
        assert_eq!(
            ticks.publish(&event(n)).await.unwrap(),
            Outcome::Unconfirmed
        );
    }
    let wanted: Vec<u32> = (100..200).collect();
    env.until("every listener has all", || {
        alone.lock().unwrap().len() >= 100
            && too.lock().unwrap().len() >= 100
            && group.lock().unwrap().len() >= 100
    })
    .await;
    // One key: in order where one process gets all.
    assert_eq!(*alone.lock().unwrap(), wanted);
    assert_eq!(*too.lock().unwrap(), wanted);
    let mut of_group = group.lock().unwrap().clone();
    of_group.sort_unstable();
    assert_eq!(of_group, wanted);
    let outside = env.outside().await;
    assert_eq!(outside.streams().await, ["jetbus~orders~fence"]);
    let receipt = ticks.send_raw(Raw::new("bytes")).await.unwrap();
    assert_eq!(receipt.await.unwrap(), Outcome::Unconfirmed);
    a.close().await;
    b.close().await;
}

pub(crate) async fn the_past_of_an_ephemeral_topic_is_refused(env: Env) {
    let bus = bus(&env).await;
    let from = |start| {
        let subscribe = bus.subscribe("ticks.second").start(start);
        subscribe.handle(|_: Delivery<u32>| async {})
    };
    for start in [Start::Beginning, Start::Sequence(1)] {
        match from(start).await {
            Err(SubscribeError::Option(error)) => {
                let text = error.to_string();
                assert!(
                    text.contains("start") && text.contains("ephemeral"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    from(Start::New).await.unwrap().stop().await;
    bus.close().await;
}
