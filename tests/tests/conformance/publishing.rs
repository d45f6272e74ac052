//! Publishing and its outcomes.

use jetbus::{Event, Outcome};
use jetbus_tests::matrix::Env;

pub async fn a_publish_is_stored_in_order(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    for n in 1..=10 {
        let outcome = orders
            .publish(&Event::new("order-1", "OrderPlaced", n))
            .await
            .unwrap();
        let Outcome::Stored { sequence, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(sequence, n);
    }
    bus.close().await;
}
