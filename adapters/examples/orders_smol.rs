//! The same API on smol, and deliveries as a stream with settle handles. Runs on
//! the embedded broker, or on the server at a given URL.
//!
//! `cargo run --release --no-default-features --features smol,nats --example orders_smol -- [URL]`

use jetbus::{Builder, EmbeddedBroker, Event, NatsOptions};
use smol::stream::StreamExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    smol::block_on(async {
        let builder = match std::env::args().nth(1) {
            Some(url) => Builder::nats(NatsOptions::new(url)),
            None => Builder::embedded(&EmbeddedBroker::new()),
        };
        let bus = builder.open().await?;

        let placed = bus.topic("orders.placed")?;
        for order in ["order-1", "order-2", "order-1"] {
            let receipt = placed
                .send(&Event::new(order, "OrderPlaced", "apple"))
                .await?;
            println!("{order}: {:?}", receipt.await?);
        }

        let mut deliveries = bus
            .subscribe("orders.placed")
            .group("billing")
            .deliveries::<String>()
            .await?;
        for _ in 0..3 {
            let Some((order, settle)) = deliveries.next().await else {
                break;
            };
            println!("{}: {}", order.key().unwrap_or("?"), order.payload);
            settle.ack_confirmed().await?;
        }
        drop(deliveries);
        println!("closed: {:?}", bus.close().await);
        Ok(())
    })
}
