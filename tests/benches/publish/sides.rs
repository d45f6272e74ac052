//! What both sides do in a round.

use std::future::Future;

use async_compat::Compat;
use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use jetbus::{Event, Raw, Timestamp, Topic};
use serde::Serialize;

use crate::open;
use crate::support::Task;

/// What is published.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// So many bytes.
    Raw(usize),
    /// An envelope of about 240 bytes.
    Envelope,
}

impl Body {
    fn payload(self) -> Bytes {
        match self {
            Self::Raw(size) => Bytes::from(vec![b'x'; size]),
            Self::Envelope => Bytes::new(),
        }
    }
}

/// A round: what is published, to which stream of which server, and how many may be
/// unacknowledged at most.
#[derive(Clone)]
pub(crate) struct Round {
    pub(crate) url: String,
    pub(crate) stream: String,
    pub(crate) body: Body,
    pub(crate) window: usize,
}

/// Somebody who publishes.
pub(crate) trait Side: Send + Sync {
    /// Sends a message, and returns what waits for its acknowledgement.
    fn send(
        &self,
        n: usize,
    ) -> impl Future<Output = impl Future<Output = ()> + Send + 'static> + Send;
}

/// The event of an envelope.
#[derive(Serialize)]
struct Order {
    item: &'static str,
    quantity: u32,
    note: &'static str,
}

const ORDER: Order = Order {
    item: "a kettle of copper",
    quantity: 3,
    note: "to be left with the neighbours",
};

/// What the peer encodes: the fields that our envelope has.
#[derive(Serialize)]
struct Envelope<'a> {
    event_id: &'a str,
    aggregate_id: &'a str,
    event_type: &'a str,
    event_version: i64,
    timestamp: &'a str,
    payload: Order,
}

/// A round knows the time already.
const WHEN: Timestamp = Timestamp::from_unix_nanos(0);

pub(crate) struct Ours {
    pub(crate) topic: Topic,
    body: Body,
    pub(crate) payload: Bytes,
}

impl Side for Ours {
    async fn send(&self, n: usize) -> impl Future<Output = ()> + Send + 'static {
        let id = format!("event-{n}");
        let sent = match self.body {
            Body::Raw(_) => {
                let raw = Raw::new(self.payload.clone()).id(id);
                self.topic.send_raw(raw).await
            }
            Body::Envelope => {
                let event = Event::new(format!("order-{}", n % 1_000), "OrderPlaced", ORDER)
                    .id(id)
                    .timestamp(WHEN)
                    .unordered();
                self.topic.send(&event).await
            }
        };
        let receipt = sent.expect("sent");
        async { _ = receipt.await.expect("stored") }
    }
}

pub(crate) struct Peer {
    context: jetstream::Context,
    subject: String,
    body: Body,
    payload: Bytes,
}

impl Side for Peer {
    async fn send(&self, n: usize) -> impl Future<Output = ()> + Send + 'static {
        let id = format!("event-{n}");
        let (payload, message_id) = match self.body {
            Body::Raw(_) => (self.payload.clone(), id),
            Body::Envelope => {
                let envelope = Envelope {
                    event_id: &id,
                    aggregate_id: &format!("order-{}", n % 1_000),
                    event_type: "OrderPlaced",
                    event_version: 1,
                    timestamp: "1970-01-01T00:00:00Z",
                    payload: ORDER,
                };
                let payload = serde_json::to_vec(&envelope).expect("JSON");
                (payload.into(), format!("{}:{id}", self.subject))
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message_id);
        let sent = self
            .context
            .publish_with_headers(self.subject.clone(), headers, payload)
            .await;
        let receipt = sent.expect("sent");
        async { _ = receipt.await.expect("stored") }
    }
}

/// Our round: opens a bus, does `work`, closes it.
pub(crate) fn ours<W>(round: Round, work: impl FnOnce(Ours) -> W + Send + 'static) -> Task
where
    W: Future<Output = ()> + Send,
{
    Box::pin(async move {
        let bus = open(&round.url, &round.stream, round.window).await;
        let topic = crate::topic(&bus, &round.stream);
        // The stream is known from then on.
        topic.publish_raw(Raw::new("ready")).await.expect("stored");
        let side = Ours {
            topic,
            body: round.body,
            payload: round.body.payload(),
        };
        work(side).await;
        bus.close().await;
    })
}

/// The peer's round.
pub(crate) fn peer<W>(round: Round, work: impl FnOnce(Peer) -> W + Send + 'static) -> Task
where
    W: Future<Output = ()> + Send,
{
    Box::pin(Compat::new(async move {
        let client = async_nats::connect(round.url).await.expect("a connection");
        let context = jetstream::ContextBuilder::new()
            .max_ack_inflight(round.window)
            .build(client);
        let side = Peer {
            context,
            subject: format!("{}.events", round.stream),
            body: round.body,
            payload: round.body.payload(),
        };
        work(side).await;
    }))
}
