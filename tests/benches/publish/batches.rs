//! Batches of a thousand, on each of the paths that they may take, beside the peer that
//! publishes one by one with a window of as many.

use jetbus::{BatchPath, Raw, Storage};
use jetbus_tests::bench::Report;
use jetbus_tests::server::Server;

use crate::sides::{self, Body, Ours};
use crate::support::{Cost, Meter, Run};
use crate::{compare_rounds, windowed};

/// Messages of a batch.
const SIZE: usize = 1_000;

const BODY: Body = Body::Raw(1_024);

const PATHS: [(&str, BatchPath); 3] = [
    ("pipelined", BatchPath::Pipelined),
    ("fast ingest", BatchPath::FastIngest),
    ("atomic", BatchPath::Atomic),
];

pub(crate) fn compare(report: &mut Report, wanted: &dyn Fn(&str) -> bool, name: &str, run: Run) {
    for (way, path) in PATHS {
        let case = format!("1 KiB, file, batches {way}, {name}");
        if wanted(&case) {
            let server = Server::start().expect("a server");
            on(report, &case, &server, path, 50 * SIZE, run);
        }
    }
    let case = format!("1 KiB, file, sync always, batches atomic, {name}");
    if wanted(&case) {
        let limits = "max_mem: 256MB\nmax_file: 1GB\nsync_interval: always";
        let server = Server::builder().jetstream(limits).start();
        let server = server.expect("a server");
        on(report, &case, &server, BatchPath::Atomic, 5 * SIZE, run);
    }
}

fn on(report: &mut Report, case: &str, server: &Server, path: BatchPath, count: usize, run: Run) {
    let (ours, peer) = compare_rounds(
        || crate::begin(server, Storage::File, BODY, SIZE),
        |round, costs| {
            run(sides::ours(round, async move |side| {
                costs.add(batches(side, path, count).await);
            }));
        },
        |round, costs| {
            run(sides::peer(round, async move |side| {
                costs.add(windowed(side, SIZE, count).await);
            }));
        },
    );
    crate::support::add(report, case, count, &ours, &peer);
}

/// Publishes `count` messages, one batch after the other.
async fn batches(side: Ours, path: BatchPath, count: usize) -> Cost {
    let meter = Meter::start();
    for first in (0..count).step_by(SIZE) {
        let raw = |n| Raw::new(side.payload.clone()).id(format!("event-{n}"));
        let batch = (first..first + SIZE).map(raw).collect();
        for outcome in side.topic.publish_raw_batch(path, batch).await {
            outcome.expect("stored");
        }
    }
    meter.stop()
}
