//! A handler that fails: its event ends in the dead letters, the later events of its
//! key go on, and once the fault is repaired the event is redriven. On the embedded
//! broker: no server needed.
//!
//! `cargo run --release --example dead_letters`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jetbus::{Bus, DeadLetterFilter, Delivery, Event, Reason, Retry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::embedded().await?;
    let orders = bus.topic("orders.placed")?;
    for number in 1..=3 {
        orders
            .publish(&Event::new("order-1", "OrderPlaced", number))
            .await?;
    }

    // The second event cannot be handled until somebody repairs something.
    let repaired = Arc::new(AtomicBool::new(false));
    let (done, mut handled) = tokio::sync::mpsc::channel(8);
    let shipping = bus
        .subscribe("orders.placed")
        .group("shipping")
        .attempts(3)
        .retry(Retry {
            first: Duration::from_millis(1),
            max: Duration::from_millis(10),
        })
        .handle({
            let repaired = repaired.clone();
            move |order: Delivery<u32>| {
                let (repaired, done) = (repaired.clone(), done.clone());
                async move {
                    if order.payload == 2 && !repaired.load(Ordering::Relaxed) {
                        return Err("the address is missing");
                    }
                    let _ = done.send((order.payload, order.redrives())).await;
                    Ok(())
                }
            }
        })
        .await?;

    let mut order = Vec::new();
    while order.len() < 2 {
        order.extend(handled.recv().await);
    }

    let dead = bus.dead_letters();
    let filter = DeadLetterFilter::new()
        .group("shipping")
        .topic("orders.*")
        .reason(Reason::Exhausted);
    let page = dead.list(&filter, 0, 100).await?;
    for letter in &page.letters {
        println!(
            "dead letter {}: {} of {:?} gave up after {} attempts: {}",
            letter.sequence,
            letter.topic(),
            letter.key.as_deref().unwrap_or("no key"),
            letter.attempts,
            letter.error
        );
    }

    repaired.store(true, Ordering::Relaxed);
    let report = dead.redrive_all(&filter, 100).await?;
    order.extend(handled.recv().await);
    println!("redriven: {report:?}");

    let left = dead.count(&DeadLetterFilter::new()).await?;
    drop(shipping);
    bus.close().await;
    println!(
        "dead={} redriven={} left={left} handled={order:?}",
        page.letters.len(),
        report.redriven
    );
    Ok(())
}
