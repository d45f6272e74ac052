//! Latency at a fixed rate: from the time at which a message was due, whether or not
//! those before it had been acknowledged, to its acknowledgement.

use std::time::{Duration, Instant};

use futures_lite::{FutureExt as _, StreamExt as _};
use futures_util::stream::FuturesUnordered;
use jetbus::Storage;
use jetbus_tests::bench::Report;
use jetbus_tests::server::Server;
use smol::Timer;

use crate::sides::{self, Body, Side};
use crate::support::{Cost, Meter, Run, add};
use crate::{begin, compare_rounds};

/// How long a round takes.
const ROUND: Duration = Duration::from_secs(2);

const BODY: Body = Body::Raw(1_024);

/// Places for what is not acknowledged yet.
const WINDOW: usize = 4_096;

/// What a round found: its cost, and the latencies in order.
type Note = (Cost, Vec<Duration>);

pub(crate) fn compare(report: &mut Report, case: &str, rate: u32, run: Run) {
    let server = Server::start().expect("a server");
    let (ours, peer) = compare_rounds(
        || begin(&server, Storage::File, BODY, WINDOW),
        |round, notes| {
            run(sides::ours(round, async move |side| {
                notes.add(paced(side, rate).await);
            }));
        },
        |round, notes| {
            run(sides::peer(round, async move |side| {
                notes.add(paced(side, rate).await);
            }));
        },
    );
    let costs = |notes: &[Note]| -> Vec<Cost> { notes.iter().map(|note| note.0).collect() };
    add(report, case, count(rate), &costs(&ours), &costs(&peer));
    for (metric, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let each = |notes: &[Note]| notes.iter().map(|note| part(&note.1, share)).collect();
        report.rounds(case, metric, "us", each(&ours), each(&peer));
    }
}

fn count(rate: u32) -> usize {
    rate as usize * ROUND.as_secs() as usize
}

/// The latency, in microseconds, that this share of messages keeps.
fn part(sorted: &[Duration], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    let found = sorted.get(place.min(sorted.len().saturating_sub(1)));
    found.map_or(0.0, |found| found.as_secs_f64() * 1e6)
}

/// Sends a message whenever one is due, and takes what comes back meanwhile.
async fn paced(side: impl Side, rate: u32) -> Note {
    let all = count(rate);
    let gap = Duration::from_secs(1) / rate;
    let mut flights = FuturesUnordered::new();
    let mut latencies = Vec::with_capacity(all);
    let meter = Meter::start();
    let begun = Instant::now();
    let (mut sent, mut due) = (0, begun);
    while latencies.len() < all {
        if sent < all && Instant::now() >= due {
            let (flight, since) = (side.send(sent).await, due);
            flights.push(async move {
                flight.await;
                since.elapsed()
            });
            sent += 1;
            due += gap;
            continue;
        }
        let acknowledged = async {
            match flights.next().await {
                Some(latency) => Some(latency),
                None => std::future::pending().await,
            }
        };
        let next = async {
            match sent < all {
                true => _ = Timer::at(due).await,
                false => std::future::pending().await,
            }
            None
        };
        latencies.extend(acknowledged.or(next).await);
    }
    let cost = meter.stop();
    latencies.sort();
    (cost, latencies)
}
