//! An outbox: rows are published as fast as the server takes them, and marked by the
//! results of the bus, read in one place. No receipt is awaited. On the embedded broker:
//! no server needed.
//!
//! `cargo run --release --example outbox`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jetbus::{Bus, Class, Event, ResultsOptions, TopicConfig};
use smol::stream::StreamExt as _; // or that of the crate `futures`

/// A row of the table; its id is the event's.
struct Row {
    id: u32,
    order: &'static str,
    total: u32,
}

/// What the table says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Pending,
    Published,
    Failed,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::embedded().await?;
    // Small, so that something fails.
    bus.configure("orders.placed", TopicConfig::new().max_messages(90))
        .await?;
    let rows = (0..100).map(|id| Row {
        id,
        order: ["order-1", "order-2", "order-3"][id as usize % 3],
        total: 10 * id,
    });
    let rows: Vec<Row> = rows.collect();
    let marks = Arc::new(Mutex::new(BTreeMap::new()));

    // At most 32 rows are on their way or unread: the loop below waits for the reader.
    let mut results = bus.results(ResultsOptions::new().capacity(32))?;
    let marking = Arc::clone(&marks);
    let reader = tokio::spawn(async move {
        while let Some(result) = results.next().await {
            let mark = match &result.outcome {
                // A row that was published before and not marked is a duplicate.
                Ok(_) => Mark::Published,
                // Published again with its id, it is stored once all the same.
                Err(error) if error.class() != Class::Terminal => Mark::Pending,
                Err(_) => Mark::Failed,
            };
            if let Ok(mut marks) = marking.lock() {
                marks.insert(result.event_id.to_string(), mark);
            }
        }
    });

    let orders = bus.topic("orders.placed")?;
    for row in &rows {
        let event = Event::new(row.order, "OrderPlaced", row.total).id(format!("row-{}", row.id));
        // What fails here and had a place for its result is told there too.
        match orders.send(&event).await {
            Ok(receipt) => drop(receipt),
            Err(error) => eprintln!("row {}: {error}", row.id),
        }
    }

    // Answers every publish; the stream ends when all results are read.
    bus.close().await;
    reader.await?;
    let marks = marks.lock().map_err(|_| "a reader panicked")?;
    let count = |mark| marks.values().filter(|one| **one == mark).count();
    println!(
        "rows={} published={} pending={} failed={}",
        marks.len(),
        count(Mark::Published),
        count(Mark::Pending),
        count(Mark::Failed)
    );
    Ok(())
}
