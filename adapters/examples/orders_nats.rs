//! Orders on a real NATS server: published, and handled by a group.
//!
//! `cargo run --release --example orders_nats -- nats://127.0.0.1:4222`
//!
//! The server needs JetStream (`nats-server -js`). Without one at the URL, the
//! example says so and waits for it.

use std::time::Duration;

use jetbus::{Builder, Delivery, Event, NatsOptions, OpenError, Storage, Stream};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    amount: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "nats://127.0.0.1:4222".into());
    let bus = loop {
        let orders = Stream::new("ORDERS", ["orders.>"]).storage(Storage::File);
        match Builder::nats(NatsOptions::new(&url))
            .stream(orders)
            .open()
            .await
        {
            Ok(bus) => break bus,
            Err(OpenError::Link(error)) => {
                println!("waiting for a server: {error}");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };

    let (handled, mut results) = tokio::sync::mpsc::channel(64);
    let billing = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |order: Delivery<Order>| {
            let handled = handled.clone();
            async move {
                let line = format!(
                    "{}: {} x {} (sequence {})",
                    order.key().unwrap_or("?"),
                    order.payload.amount,
                    order.payload.item,
                    order.sequence()
                );
                // An error here would run this event again, after a while.
                handled.send(line).await
            }
        })
        .await?;

    let placed = bus.topic("orders.placed")?;
    for amount in 1..=5 {
        let order = Order {
            item: "apple".into(),
            amount,
        };
        let outcome = placed
            .publish(&Event::new(
                format!("order-{amount}"),
                "OrderPlaced",
                &order,
            ))
            .await?;
        println!("published: {outcome:?}");
    }
    for _ in 1..=5 {
        println!("handled {}", results.recv().await.unwrap_or_default());
    }

    billing.stop().await;
    println!("closed: {:?}", bus.close().await);
    Ok(())
}
