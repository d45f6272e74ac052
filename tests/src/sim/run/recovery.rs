//! Whether a bus can do everything again when the storm is over.

use std::time::Duration;

use jetbus::runtime::Runtime as _;
use jetbus::{BatchPath, Outcome, Raw, Topic};

use super::super::history::Entry;
use super::reader::Reader;
use super::{Process, World};

/// No event's number.
const PAYLOAD: &str = "after the storm";

/// Whose results nobody reads.
const TENANT: i64 = 2;

/// What fails that may work a little later is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes as many at once as the window holds, and to a stream that is deleted.
pub(super) async fn check(world: &World, reader: &Reader, process: &Process) {
    let [declared, own] = ["orders.afterwards", "afterwards"]
        .map(|name| process.bus.topic(name).expect("a plain name"));
    let window = world.0.plan.window;
    let well = publish(world, &declared, BatchPath::Atomic, window).await;
    tell(world, process, "fill its window", well.is_some());
    let Some(stream) = publish(world, &own, BatchPath::Pipelined, 1).await else {
        return tell(world, process, "publish to a new stream", false);
    };
    reader.delete_stream(&stream).await;
    let well = publish(world, &own, BatchPath::Pipelined, 1).await;
    tell(
        world,
        process,
        "make a deleted stream again",
        well.is_some(),
    );
}

fn tell(world: &World, process: &Process, what: &str, well: bool) {
    if !well {
        world.0.log.add(Entry::NotRecovered {
            bus: process.number,
            what: what.into(),
        });
    }
}

/// Publishes so many at once, as often as it takes; the stream that stored them.
async fn publish(world: &World, topic: &Topic, path: BatchPath, count: usize) -> Option<String> {
    let sim = &world.0.sim;
    let end = sim.now() + PATIENCE;
    loop {
        let raws = (0..count).map(|_| Raw::new(PAYLOAD).tenant(TENANT));
        let outcomes = topic.publish_raw_batch(path, raws.collect()).await;
        let stored = |outcome: &_| match outcome {
            Ok(Outcome::Stored { stream, .. }) => Some(stream.to_string()),
            _ => None,
        };
        if let Some(stream) = outcomes.first().and_then(stored) {
            return Some(stream);
        }
        if sim.now() >= end {
            return None;
        }
        sim.sleep(Duration::from_secs(1)).await;
    }
}
