//! From publish to handled, through the whole bus, beside bare async-nats that does the
//! same without order: five topics with a subscription each, a thousand keys, envelopes
//! of about 240 bytes in a stream on file. A round ends when the last event was handled.
//!
//! Ours publishes in order per key; its handlers check that order.

mod support;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use async_compat::Compat;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::{Client, HeaderMap, jetstream};
use futures_lite::StreamExt as _;
use futures_util::future::{join, join_all};
use jetbus::{Builder, Bus, Delivery, Event, NatsOptions, Stream, Timestamp};
use jetbus_tests::bench::{Report, print_head};
use jetbus_tests::server::Server;
use serde::{Deserialize, Serialize};

use support::{Cost, Meter, Notes, RUNTIMES, Task, add, unique, wanted};

/// Events of one round.
const COUNT: usize = 50_000;

/// Rounds of each side.
const ROUNDS: usize = 7;

const TOPICS: usize = 5;

const KEYS: usize = 1_000;

/// Most publishes that are not acknowledged yet.
const WINDOW: usize = 1_024;

#[derive(Serialize, Deserialize)]
struct Order {
    /// Which of the round's events.
    n: u32,
    item: String,
    note: String,
}

fn order(n: usize) -> Order {
    Order {
        n: u32::try_from(n).expect("few"),
        item: "a kettle of copper".into(),
        note: "to be left with the neighbours".into(),
    }
}

fn main() -> std::io::Result<()> {
    let wanted = wanted();
    let server = Server::start().expect("a server");
    let mut report = Report::new("pipeline");
    print_head();
    for (runtime, run) in RUNTIMES {
        let case = format!("publish to handled, {runtime}");
        if !wanted(&case) {
            continue;
        }
        let (ours, peer) = (Notes::new(), Notes::new());
        for round in 0..=ROUNDS {
            run(our_round(server.url(), ours.clone()));
            run(peer_round(server.url(), peer.clone()));
            if round == 0 {
                // It warmed up.
                drop((ours.take(), peer.take()));
            }
        }
        add(&mut report, &case, COUNT, &ours.take(), &peer.take());
    }
    report.finish()
}

/// Handled events, and how far each key has come.
struct Progress {
    last: Vec<AtomicU32>,
    handled: AtomicUsize,
    all: async_channel::Sender<()>,
}

impl Progress {
    fn new() -> (Arc<Self>, async_channel::Receiver<()>) {
        let (all, done) = async_channel::bounded(1);
        let progress = Self {
            last: (0..KEYS).map(|_| AtomicU32::new(0)).collect(),
            handled: AtomicUsize::new(0),
            all,
        };
        (Arc::new(progress), done)
    }

    /// Counts an event, which no later one of its key may have overtaken.
    fn in_order(&self, n: u32) {
        let last = self.last.get(n as usize % KEYS).expect("a key");
        let before = last.swap(n + 1, Ordering::Relaxed);
        assert!(before <= n, "event {n} was overtaken by {}", before - 1);
        self.handled();
    }

    fn handled(&self) {
        if self.handled.fetch_add(1, Ordering::Relaxed) + 1 == COUNT {
            self.all.try_send(()).expect("room");
        }
    }
}

async fn open(url: &str, stream: &str) -> Bus {
    Builder::nats(NatsOptions::new(url))
        .stream(Stream::new(stream, [format!("{stream}.>")]))
        .window(WINDOW)
        .open()
        .await
        .expect("a bus")
}

fn our_round(url: String, costs: Notes<Cost>) -> Task {
    Box::pin(async move {
        let stream = unique("OURS");
        let bus = open(&url, &stream).await;
        let (progress, done) = Progress::new();
        let (mut topics, mut subscriptions) = (Vec::new(), Vec::new());
        for n in 0..TOPICS {
            let topic = format!("{stream}.topic-{n}");
            topics.push(bus.topic(&topic).expect("a topic"));
            let progress = Arc::clone(&progress);
            let subscription =
                bus.subscribe(&topic)
                    .group("bench")
                    .handle(move |delivery: Delivery<Order>| {
                        progress.in_order(delivery.payload.n);
                        async {}
                    });
            subscriptions.push(subscription.await.expect("a subscription"));
        }
        let meter = Meter::start();
        let mut receipts = VecDeque::with_capacity(WINDOW);
        for n in 0..COUNT {
            if receipts.len() == WINDOW
                && let Some(receipt) = receipts.pop_front()
            {
                stored(receipt).await;
            }
            let key = n % KEYS;
            let event = Event::new(format!("order-{key}"), "OrderPlaced", order(n))
                .id(format!("event-{n}"))
                .timestamp(Timestamp::from_unix_nanos(0));
            let topic = topics.get(key % TOPICS).expect("a topic");
            receipts.push_back(topic.send(&event).await.expect("sent"));
        }
        for receipt in receipts {
            stored(receipt).await;
        }
        done.recv().await.expect("all are handled");
        costs.add(meter.stop());
        for subscription in subscriptions {
            subscription.stop().await;
        }
        bus.close().await;
    })
}

async fn stored(receipt: jetbus::Receipt) {
    receipt.await.expect("stored");
}

/// What the peer encodes and decodes: the fields that our envelope has.
#[derive(Serialize, Deserialize)]
struct Envelope {
    event_id: String,
    aggregate_id: String,
    event_type: String,
    event_version: i64,
    timestamp: String,
    payload: Order,
}

fn peer_round(url: String, costs: Notes<Cost>) -> Task {
    Box::pin(Compat::new(async move {
        let stream = unique("PEER");
        // Made the same way as ours.
        let bus = open(&url, &stream).await;
        let first = bus.topic(&format!("{stream}.first")).expect("a topic");
        first
            .publish_raw(jetbus::Raw::new(""))
            .await
            .expect("stored");
        bus.close().await;
        let client = async_nats::connect(url).await.expect("a connection");
        let context = jetstream::ContextBuilder::new()
            .max_ack_inflight(WINDOW)
            .build(client.clone());
        let mut consumers = Vec::new();
        for n in 0..TOPICS {
            consumers.push(consumer(&context, &stream, n).await);
        }
        let (progress, done) = Progress::new();
        let meter = Meter::start();
        let consume = consumers
            .into_iter()
            .map(|consumer| consume(consumer, &progress, &done));
        join(publish(&context, &stream), join_all(consume)).await;
        client.flush().await.expect("flushed");
        costs.add(meter.stop());
        close(client).await;
    }))
}

async fn close(client: Client) {
    client.drain().await.expect("drained");
}

async fn consumer(context: &jetstream::Context, stream: &str, n: usize) -> pull::Stream {
    let found = context.get_stream(stream).await.expect("the stream");
    let consumer = found.create_consumer(pull::Config {
        durable_name: Some(format!("bench-{n}")),
        filter_subject: format!("{stream}.topic-{n}"),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 20_000,
        ..pull::Config::default()
    });
    let consumer = consumer.await.expect("a consumer");
    let messages = consumer.stream().max_messages_per_batch(500).messages();
    messages.await.expect("messages")
}

async fn publish(context: &jetstream::Context, stream: &str) {
    let mut receipts = VecDeque::with_capacity(WINDOW);
    for n in 0..COUNT {
        if receipts.len() == WINDOW
            && let Some(receipt) = receipts.pop_front()
        {
            acknowledged(receipt).await;
        }
        let key = n % KEYS;
        let envelope = Envelope {
            event_id: format!("event-{n}"),
            aggregate_id: format!("order-{key}"),
            event_type: "OrderPlaced".into(),
            event_version: 1,
            timestamp: "1970-01-01T00:00:00Z".into(),
            payload: order(n),
        };
        let subject = format!("{stream}.topic-{}", key % TOPICS);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{subject}:event-{n}"));
        let payload = serde_json::to_vec(&envelope).expect("JSON");
        let sent = context.publish_with_headers(subject, headers, payload.into());
        receipts.push_back(sent.await.expect("sent"));
    }
    for receipt in receipts {
        acknowledged(receipt).await;
    }
}

async fn acknowledged(receipt: jetstream::context::PublishAckFuture) {
    receipt.await.expect("stored");
}

/// Handles events until all of the round are handled, by whichever consumer.
async fn consume(messages: pull::Stream, progress: &Progress, done: &async_channel::Receiver<()>) {
    let mut messages = pin!(messages);
    let mut all = pin!(done.recv());
    loop {
        let next = async { Some(messages.next().await) };
        let over = async {
            // It is closed once somebody has heard it.
            let _ = all.as_mut().await;
            done.close();
            None
        };
        let Some(next) = futures_lite::future::or(next, over).await else {
            return;
        };
        let message = next.expect("more").expect("a message");
        let envelope: Envelope = serde_json::from_slice(&message.payload).expect("an envelope");
        std::hint::black_box(&envelope.payload.item);
        message.ack().await.expect("acknowledged");
        progress.handled();
    }
}
