//! Handling events of a stream, beside bare async-nats: the same messages, the same
//! server, one acknowledgement each.
//!
//! Ours keeps the order of a thousand keys and up to 64 handlers at once; the peer
//! takes message after message (`messages()` with batches of 500) and
//! acknowledges it. Messages carry their key in a header on both sides.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_compat::Compat;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use bytes::Bytes;
use futures_lite::StreamExt as _;
use jetbus::{Builder, Bus, Delivery, Headers, NatsOptions, Raw, Stream};
use jetbus_tests::bench::{Report, print_head};
use jetbus_tests::server::Server;

mod support;

use support::{Cost, Meter, Notes, RUNTIMES, Task, on_tokio, unique, wanted};

/// Messages of one round.
const COUNT: usize = 50_000;

/// Rounds of each side.
const ROUNDS: usize = 7;

const KEYS: usize = 1_000;

fn main() -> std::io::Result<()> {
    let wanted = wanted();
    let server = Server::start().expect("a server");
    let mut report = Report::new("consume");
    print_head();
    for (size, stream) in [(100, "SMALL"), (1_024, "LARGE")] {
        on_tokio(fill(&server, stream, size, COUNT, KEYS));
        for (runtime, run) in RUNTIMES {
            let case = format!("consume {size} B, {runtime}");
            if wanted(&case) {
                compare(&mut report, &case, &server, stream, run);
            }
        }
    }
    if wanted("sleeping handlers") {
        sleeping(&mut report, &server);
    }
    report.finish()
}

/// Stores messages of `size` bytes, each with the key of its turn in a header.
fn fill(server: &Server, stream: &'static str, size: usize, count: usize, keys: usize) -> Task {
    let url = server.url();
    Box::pin(async move {
        let bus = open(&url, stream).await;
        let topic = bus.topic(&topic(stream)).expect("a topic");
        let mut receipts = Vec::new();
        for n in 0..count {
            let mut headers = Headers::new();
            headers
                .append("X-Aggregate-ID", &format!("key-{}", n % keys))
                .expect("a header");
            let raw = Raw::new(Bytes::from(vec![b'x'; size])).headers(headers);
            receipts.push(topic.send_raw(raw).await.expect("sent"));
            if receipts.len() == 1_000 {
                for receipt in receipts.drain(..) {
                    receipt.await.expect("stored");
                }
            }
        }
        for receipt in receipts {
            receipt.await.expect("stored");
        }
        bus.close().await;
    })
}

fn topic(stream: &str) -> String {
    format!("{}.events", stream.to_lowercase())
}

async fn open(url: &str, stream: &str) -> Bus {
    Builder::nats(NatsOptions::new(url))
        .stream(Stream::new(
            stream,
            [format!("{}.>", stream.to_lowercase())],
        ))
        .open()
        .await
        .expect("a bus")
}

fn compare(report: &mut Report, case: &str, server: &Server, stream: &'static str, run: fn(Task)) {
    let (ours, peer) = (Notes::new(), Notes::new());
    for round in 0..=ROUNDS {
        run(our_round(server.url(), stream, ours.clone()));
        let theirs = peer_round(server.url(), stream, peer.clone());
        run(Box::pin(Compat::new(theirs)));
        if round == 0 {
            // It warmed up.
            drop((ours.take(), peer.take()));
        }
    }
    support::add(report, case, COUNT, &ours.take(), &peer.take());
}

fn our_round(url: String, stream: &'static str, costs: Notes<Cost>) -> Task {
    Box::pin(async move {
        let bus = open(&url, stream).await;
        let (all, done) = async_channel::bounded(1);
        let handled = AtomicUsize::new(0);
        let meter = Meter::start();
        let subscription = bus
            .subscribe(&topic(stream))
            .group(unique("round"))
            .handle_raw(move |delivery: Delivery<Bytes>| {
                std::hint::black_box(&delivery.payload);
                if handled.fetch_add(1, Ordering::Relaxed) + 1 == COUNT {
                    all.try_send(()).expect("room");
                }
                async {}
            })
            .await
            .expect("a subscription");
        done.recv().await.expect("all are handled");
        subscription.stop().await;
        costs.add(meter.stop());
        bus.close().await;
    })
}

async fn peer_round(url: String, stream: &'static str, costs: Notes<Cost>) {
    let client = async_nats::connect(url).await.expect("a connection");
    let context = jetstream::new(client.clone());
    let meter = Meter::start();
    let stream = context.get_stream(stream).await.expect("the stream");
    let name = unique("round");
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some(name),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 20_000,
            ..pull::Config::default()
        })
        .await
        .expect("a consumer");
    let messages = consumer
        .stream()
        .max_messages_per_batch(500)
        .messages()
        .await
        .expect("messages");
    let mut messages = pin!(messages);
    for _ in 0..COUNT {
        let message = messages.next().await.expect("more").expect("a message");
        std::hint::black_box(&message.payload);
        message.ack().await.expect("acknowledged");
    }
    client.flush().await.expect("flushed");
    costs.add(meter.stop());
}

/// Ten thousand keys, handlers that sleep: how near it comes to all handlers being
/// busy all the time. The peer is what 256 handlers could do at best.
fn sleeping(report: &mut Report, server: &Server) {
    const HANDLERS: usize = 256;
    const EVENTS: usize = 60_000;
    on_tokio(fill(server, "SLEEPY", 100, EVENTS, 10_000));
    let found = Notes::new();
    for _ in 0..5 {
        let (url, found) = (server.url(), found.clone());
        on_tokio(Box::pin(async move {
            let bus = open(&url, "SLEEPY").await;
            let (all, done) = async_channel::bounded(1);
            let handled = AtomicUsize::new(0);
            let slept = Arc::new(AtomicU64::new(0));
            let sum = Arc::clone(&slept);
            let begun = Instant::now();
            let subscription = bus
                .subscribe(&topic("SLEEPY"))
                .group(unique("round"))
                .concurrency(HANDLERS)
                .window(4_096)
                .handle_raw(move |_: Delivery<Bytes>| {
                    let last = handled.fetch_add(1, Ordering::Relaxed) + 1 == EVENTS;
                    let (all, sum) = (all.clone(), Arc::clone(&sum));
                    async move {
                        let begun = Instant::now();
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        let nanos = begun.elapsed().as_nanos() as u64;
                        sum.fetch_add(nanos, Ordering::Relaxed);
                        if last {
                            all.try_send(()).expect("room");
                        }
                    }
                })
                .await
                .expect("a subscription");
            done.recv().await.expect("all are handled");
            let rate = EVENTS as f64 / begun.elapsed().as_secs_f64();
            let mean = slept.load(Ordering::Relaxed) as f64 / 1e9 / EVENTS as f64;
            found.add((rate, HANDLERS as f64 / mean));
            subscription.stop().await;
            bus.close().await;
        }));
    }
    let (ours, best) = found.take().into_iter().unzip();
    report.rounds(
        "256 sleeping handlers, 10 000 keys",
        "rate",
        "msg/s",
        ours,
        best,
    );
}
