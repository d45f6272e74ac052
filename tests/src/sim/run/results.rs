//! Readers of the results of publishes.

use std::time::Duration;

use futures_lite::StreamExt as _;
use jetbus::{PublishResult, Results, ResultsOptions};

use super::super::history::Entry;
use super::{Process, World, publish};

/// Tenants whose results are read, where any are. One more publishes.
pub(super) const TENANTS: [i64; 2] = [0, 1];

/// Reads the results of a bus, if the plan says so.
pub(super) fn start(world: &World, process: &Process) {
    let Some(capacity) = world.0.plan.results else {
        return;
    };
    for tenant in TENANTS {
        let options = ResultsOptions::new().capacity(capacity);
        let results = match tenant {
            0 => process.bus.results(options),
            _ => process.bus.tenant_results(tenant, options),
        };
        let results = results.expect("nobody reads them yet");
        let bus = process.number;
        world.0.log.add(Entry::Reading { bus, tenant });
        let reading = read(world.clone(), bus, results);
        process.readers.spawn(&world.0.sim, Box::pin(reading));
    }
}

/// Reads to the end, now and then after a pause.
async fn read(world: World, bus: usize, mut results: Results) {
    let tenant = results.tenant();
    while let Some(result) = results.next().await {
        world.0.log.add(entry(bus, tenant, result));
        let pauses = !world.0.plan.is_calm() && world.with_rng(|rng| rng.chance(80));
        if pauses {
            world.pause(Duration::from_millis(1_500)).await;
        }
    }
    world.0.log.add(Entry::ReadAll { bus, tenant });
}

fn entry(bus: usize, tenant: i64, result: PublishResult) -> Entry {
    // Ids end with the event's number, and nothing else of the event is in a result.
    let number = result.event_id.rsplit('-').next();
    Entry::Result {
        bus,
        tenant,
        event: number.and_then(|n| n.parse().ok()).unwrap_or(0),
        topic: (&*result.topic).into(),
        answer: publish::read(result.outcome),
    }
}
