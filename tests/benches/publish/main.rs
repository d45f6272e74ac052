//! Publishing to a stream, beside bare async-nats: the same bytes and message ids, the
//! same server, the acknowledgement of each awaited.
//!
//! Both sides keep a window of acknowledgements that are not there yet and await the
//! oldest when it is full: what costs the peer least.

mod batches;
mod latency;
mod sides;
#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;

use jetbus::{Builder, Bus, NatsOptions, Raw, Storage, Strategy, Stream, Topic};
use jetbus_tests::bench::{Report, print_head};
use jetbus_tests::operator::answer;
use jetbus_tests::server::Server;

use sides::{Body, Round, Side};
use support::{Cost, Meter, Notes, RUNTIMES, Run, on_tokio, unique, wanted};

/// Rounds of each side.
const ROUNDS: usize = 7;

fn main() -> std::io::Result<()> {
    let wanted = wanted();
    let mut report = Report::new("publish");
    print_head();
    let storages = [("file", Storage::File), ("memory", Storage::Memory)];
    for (runtime, run) in RUNTIMES {
        for (stored, storage) in storages {
            for (size, body) in [("100 B", Body::Raw(100)), ("1 KiB", Body::Raw(1_024))] {
                for window in [1, 64, 256, 1_024] {
                    let case = format!("{size}, {stored}, window {window}, {runtime}");
                    if wanted(&case) {
                        compare(&mut report, &case, storage, body, window, run);
                    }
                }
            }
        }
        for window in [256, 1_024] {
            let case = format!("envelopes, file, window {window}, {runtime}");
            if wanted(&case) {
                compare(
                    &mut report,
                    &case,
                    Storage::File,
                    Body::Envelope,
                    window,
                    run,
                );
            }
        }
        batches::compare(&mut report, &wanted, runtime, run);
        for rate in [1_000, 5_000] {
            let case = format!("1 KiB, file, {rate} msg/s, {runtime}");
            if wanted(&case) {
                latency::compare(&mut report, &case, rate, run);
            }
        }
    }
    report.finish()
}

/// Both sides in alternating rounds.
fn compare(report: &mut Report, case: &str, storage: Storage, body: Body, window: usize, run: Run) {
    let server = Server::start().expect("a server");
    // One at a time takes a round trip each.
    let count = if window == 1 { 5_000 } else { 50_000 };
    let (ours, peer) = compare_rounds(
        || begin(&server, storage, body, window),
        |round, costs| {
            run(sides::ours(round, async move |side| {
                costs.add(windowed(side, window, count).await);
            }));
        },
        |round, costs| {
            run(sides::peer(round, async move |side| {
                costs.add(windowed(side, window, count).await);
            }));
        },
    );
    support::add(report, case, count, &ours, &peer);
}

/// What both sides note in alternating rounds, after one to warm up.
fn compare_rounds<T>(
    begin: impl Fn() -> Round,
    ours: impl Fn(Round, Notes<T>),
    peer: impl Fn(Round, Notes<T>),
) -> (Vec<T>, Vec<T>) {
    let (our_notes, peer_notes) = (Notes::new(), Notes::new());
    for n in 0..=ROUNDS {
        ours(begin(), our_notes.clone());
        peer(begin(), peer_notes.clone());
        if n == 0 {
            drop((our_notes.take(), peer_notes.take()));
        }
    }
    (our_notes.take(), peer_notes.take())
}

/// Publishes `count` messages, at most `window` of them unacknowledged.
async fn windowed(side: impl Side, window: usize, count: usize) -> Cost {
    let mut receipts = VecDeque::with_capacity(window);
    let meter = Meter::start();
    for n in 0..count {
        if receipts.len() == window
            && let Some(receipt) = receipts.pop_front()
        {
            receipt.await;
        }
        receipts.push_back(side.send(n).await);
    }
    for receipt in receipts {
        receipt.await;
    }
    meter.stop()
}

/// A round on a stream of its own, alone on the server: no side finds what another has
/// stored.
fn begin(server: &Server, storage: Storage, body: Body, window: usize) -> Round {
    let round = Round {
        url: server.url(),
        stream: unique("STREAM"),
        body,
        window,
    };
    let names = answer(server, "STREAM.NAMES", "").expect("an answer");
    for name in names["streams"].as_array().into_iter().flatten() {
        let delete = format!("STREAM.DELETE.{}", name.as_str().expect("a name"));
        answer(server, &delete, "").expect("it is deleted");
    }
    let made = round.clone();
    on_tokio(Box::pin(async move {
        let stream = stream(&made.stream).storage(storage);
        let bus = Builder::nats(NatsOptions::new(&made.url)).stream(stream);
        let bus = bus.open().await.expect("a bus");
        let topic = topic(&bus, &made.stream);
        topic.publish_raw(Raw::new("first")).await.expect("stored");
        bus.close().await;
    }));
    round
}

fn stream(name: &str) -> Stream {
    Stream::new(name, [format!("{name}.>")])
        .atomic_batches(true)
        .fast_ingest(true)
}

fn topic(bus: &Bus, stream: &str) -> Topic {
    bus.topic(&format!("{stream}.events")).expect("a topic")
}

async fn open(url: &str, name: &str, window: usize) -> Bus {
    Builder::nats(NatsOptions::new(url))
        .stream(stream(name))
        // What is there already is right.
        .strategy(Strategy::Skip)
        .window(window)
        .open()
        .await
        .expect("a bus")
}
