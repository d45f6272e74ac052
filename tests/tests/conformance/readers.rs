//! Who reads a consumer: what does not come is another reader's, or was lost.

use std::time::Duration;

use futures_lite::StreamExt as _;
use jetbus::{Bus, Delivery, News, PullNews, Subscription};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Door, Seen, publish};

/// What was handled: by whom, and the number.
type Noted = Seen<(&'static str, u32)>;

/// Handles one event at a time, each behind a door of its own. What is not settled stays
/// where it is.
async fn one_at_a_time(bus: &Bus, who: &'static str, seen: &Noted, doors: &[Door]) -> Subscription {
    let (seen, doors) = (seen.clone(), doors.to_vec());
    let subscribe = bus.subscribe("orders.placed").group("billing").window(1);
    subscribe
        .ack_wait(Duration::from_secs(3600))
        .handle(move |event: Delivery<u32>| {
            seen.note((who, event.payload));
            let door = doors[event.payload as usize].clone();
            async move { door.pass().await }
        })
        .await
        .unwrap()
}

/// Doors for so many events.
fn doors(count: usize) -> Vec<Door> {
    (0..count).map(|_| Door::shut()).collect()
}

/// What a closed bus had to say of deliveries that were lost, and whether of others.
async fn told(mut heard: jetbus::NewsStream) -> (u64, bool) {
    let (mut lost, mut shared) = (0, false);
    while let Some(news) = heard.next().await {
        match news {
            News::Pull {
                what: PullNews::Lost { count },
                ..
            } => lost += count,
            News::SharedConsumer { .. } => shared = true,
            _ => {}
        }
    }
    (lost, shared)
}

pub(crate) async fn what_is_lost_over_a_connection_that_holds_comes_again_in_order(env: Env) {
    let bus = env.bus().await;
    let heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let (seen, doors) = (Noted::new(), doors(4));
    publish(&orders, "order-1", 1).await;
    let subscription = one_at_a_time(&bus, "it", &seen, &doors).await;
    seen.reaches(1, &env).await;

    // It goes to where nobody handles it, and nobody says so.
    publish(&orders, "order-1", 2).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let mut nowhere = admin.listen("nowhere").await;
    let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.billing~orders~placed");
    admin.publish(&pull, Some("nowhere"), r#"{"batch":1}"#);
    env.soon("the delivery", nowhere.next()).await;

    publish(&orders, "order-1", 3).await;
    doors.iter().for_each(Door::open);
    seen.reaches(3, &env).await;
    subscription.stop().await;
    assert_eq!(seen.all(), [("it", 1), ("it", 2), ("it", 3)]);
    bus.close().await;
    assert_eq!(told(heard).await, (1, false));
}

pub(crate) async fn what_a_reader_with_its_hands_full_has_stays_its_own(env: Env) {
    let buses = [env.bus().await, env.bus().await];
    let heard = buses[1].news();
    let orders = buses[0].topic("orders.placed").unwrap();
    let (seen, doors) = (Noted::new(), doors(5));
    let one = one_at_a_time(&buses[0], "one", &seen, &doors).await;
    publish(&orders, "order-1", 1).await;
    seen.reaches(1, &env).await;
    let other = one_at_a_time(&buses[1], "other", &seen, &doors).await;
    publish(&orders, "order-1", 2).await;
    seen.reaches(2, &env).await;
    doors[1].open();
    publish(&orders, "order-1", 3).await;
    seen.reaches(3, &env).await;

    // The other one sees the fourth, not the third, and no pull but its own.
    publish(&orders, "order-1", 4).await;
    doors[2].open();
    seen.reaches(4, &env).await;
    let all = [("one", 1), ("other", 2), ("one", 3), ("other", 4)];
    assert_eq!(seen.all(), all);
    doors.iter().for_each(Door::open);
    one.stop().await;
    other.stop().await;
    for bus in buses {
        bus.close().await;
    }
    assert_eq!(seen.all(), all, "each once");
    assert_eq!(told(heard).await, (0, true));
}
