//! Handling: keys, order, failures.

use std::sync::{Arc, Mutex};

use jetbus::{Delivery, Event};
use jetbus_tests::matrix::Env;

pub async fn events_of_a_key_are_handled_in_order(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle({
            let seen = Arc::clone(&seen);
            move |event: Delivery<u32>| {
                let seen = Arc::clone(&seen);
                async move { seen.lock().unwrap().push(event.payload) }
            }
        })
        .await
        .unwrap();
    for n in 0..100 {
        orders
            .publish(&Event::new("order-1", "OrderPlaced", n))
            .await
            .unwrap();
    }
    env.until("all are handled", || seen.lock().unwrap().len() == 100)
        .await;
    assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<_>>());
    subscription.stop().await;
    bus.close().await;
}
