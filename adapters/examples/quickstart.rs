//! Typed events over several keys, handled concurrently and in order per key, on
//! the embedded broker: no server needed. With a URL, on the server there.
//!
//! `cargo run --release --example quickstart [-- nats://127.0.0.1:4222]`

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jetbus::{Bus, Delivery, Event};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct OrderStep {
    order: usize,
    step: usize,
}

const ORDERS: usize = 20;
const STEPS: usize = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = match std::env::args().nth(1) {
        Some(url) => Bus::connect(&url).await?,
        None => Bus::embedded().await?,
    };

    // The last step seen of each order: the handler checks the order per key.
    let seen = Arc::new(Mutex::new(HashMap::<usize, usize>::new()));
    let handled = Arc::new(AtomicUsize::new(0));
    let out_of_order = Arc::new(AtomicUsize::new(0));
    let (done, mut all_done) = tokio::sync::mpsc::channel(1);

    let subscription = bus
        .subscribe("orders.steps")
        .group("shipping")
        .handle({
            let (seen, handled, out_of_order) =
                (seen.clone(), handled.clone(), out_of_order.clone());
            move |event: Delivery<OrderStep>| {
                let (seen, handled, out_of_order, done) = (
                    seen.clone(),
                    handled.clone(),
                    out_of_order.clone(),
                    done.clone(),
                );
                async move {
                    let OrderStep { order, step } = event.payload;
                    tokio::task::yield_now().await; // let other orders overtake
                    let last = seen.lock().unwrap().insert(order, step);
                    if last.map_or(0, |last| last + 1) != step {
                        out_of_order.fetch_add(1, Ordering::Relaxed);
                    }
                    if handled.fetch_add(1, Ordering::Relaxed) + 1 == ORDERS * STEPS {
                        let _ = done.try_send(());
                    }
                }
            }
        })
        .await?;

    let orders = bus.topic("orders.steps")?;
    let mut receipts = Vec::with_capacity(ORDERS * STEPS);
    for step in 0..STEPS {
        for order in 0..ORDERS {
            let event = Event::new(
                format!("order-{order}"),
                "OrderStep",
                OrderStep { order, step },
            );
            receipts.push(orders.send(&event).await?);
        }
    }
    let mut published = 0;
    for receipt in receipts {
        receipt.await?;
        published += 1;
    }
    println!("stored {published} events of {ORDERS} orders");

    all_done.recv().await;
    println!("handled them, at most one of an order at a time");
    drop(subscription);
    let report = bus.close().await;
    println!("closed: {report:?}");

    println!(
        "published={published} handled={} out_of_order={}",
        handled.load(Ordering::Relaxed),
        out_of_order.load(Ordering::Relaxed)
    );
    Ok(())
}
