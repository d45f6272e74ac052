//! Publishers: some wait for each outcome, some later for many.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use jetbus::{BatchPath, Bus, Event, Headers, Outcome, PublishError, Raw, Receipt, Topic};

use super::super::history::{Answer, Entry};
use super::super::plan::pick;
use super::World;
use super::handle::Payload;
use super::results::TENANTS;

/// A bus, and one of its publishers.
type Publisher = (usize, u64);

/// What one call publishes.
#[derive(Clone)]
struct Message {
    event: u64,
    topic: usize,
    key: Option<String>,
    /// An id of ours, so that it can be published again.
    named: bool,
    tenant: i64,
}

/// Publishes a publisher's share of events.
pub(super) async fn run(world: &World, bus: &Bus, number: usize) {
    let plan = &world.0.plan;
    let topics: Vec<Topic> = plan
        .topics
        .iter()
        .filter_map(|topic| bus.topic(topic.name).ok())
        .collect();
    assert_eq!(
        topics.len(),
        plan.topics.len(),
        "topics are resolved without the server"
    );
    let publisher = (number, world.number());
    if plan.batches > 0 && world.with_rng(|rng| rng.chance(plan.batches)) {
        return batches(world, publisher, &topics).await;
    }
    let waits = world.with_rng(|rng| rng.chance(400));
    let mut receipts: Vec<(u64, Receipt)> = Vec::new();
    for _ in 0..plan.events {
        world.pause(plan.pause).await;
        let message = choose(world);
        let topic = &topics[message.topic];
        if waits {
            let mut answer = whole(world, publisher, topic, &message).await;
            // Safe with an id of its own, whatever became of the first.
            while answer == Answer::Unknown && message.named {
                answer = whole(world, publisher, topic, &message).await;
            }
            let again = world.with_rng(|rng| rng.chance(50));
            if again && message.named {
                whole(world, publisher, topic, &message).await;
            }
        } else {
            let call = begin(world, publisher, &message);
            match send(world, topic, &message).await {
                Ok(receipt) => receipts.push((call, receipt)),
                Err(error) => end(world, call, Err(error)),
            }
            if receipts.len() >= 10 {
                collect(world, &mut receipts).await;
            }
        }
    }
    collect(world, &mut receipts).await;
}

/// Publishes some at a time: whole or not at all where the stream allows it.
async fn batches(world: &World, publisher: Publisher, topics: &[Topic]) {
    let plan = &world.0.plan;
    let mut left = plan.events;
    while left > 0 {
        world.pause(plan.pause).await;
        // More are refused: there is no room for them, or for their results.
        let room = plan.window.min(plan.results.unwrap_or(usize::MAX));
        let most = left.min(6).min(room as u64);
        let count = world.with_rng(|rng| rng.between(1, most));
        left -= count;
        let first = choose(world);
        let topic = &topics[first.topic];
        let mut messages = vec![first];
        while (messages.len() as u64) < count {
            messages.push(choose_for(world, messages[0].topic));
        }
        let is_whole = topic.name().starts_with("orders.") && world.with_rng(|rng| rng.chance(700));
        let path = match is_whole {
            true => BatchPath::Atomic,
            false => BatchPath::Auto,
        };
        let calls = messages
            .iter()
            .map(|message| begin(world, publisher, message));
        let calls: Vec<u64> = calls.collect();
        if is_whole {
            let calls = calls.clone();
            world.0.log.add(Entry::Batch { calls });
        }
        let outcomes = if plan.topics[messages[0].topic].raw {
            let raws = messages.iter().map(raw).collect();
            topic.publish_raw_batch(path, raws).await
        } else {
            let events: Vec<_> = messages.iter().map(event).collect();
            topic.publish_batch(path, &events).await
        };
        for (call, outcome) in calls.into_iter().zip(outcomes) {
            end(world, call, outcome);
        }
    }
}

/// Where nobody listens, and a tenant whose results nobody reads.
const SPARE: (&str, i64) = ("spare", 7);

/// How many events can be under way at once: as many as are taken without a wait, one
/// after the other. `None` when the bus is closed.
pub(super) async fn free(world: &World, bus: &Bus) -> Option<usize> {
    let topic = bus.topic(SPARE.0).ok()?;
    let raw = || Raw::new(world.number().to_string()).tenant(SPARE.1);
    // Its stream is there from now on.
    let stored = topic.publish_raw(raw()).await;
    stored.ok()?;
    let mut receipts = Vec::new();
    while let Some(Ok(receipt)) = now_or_never(topic.send_raw(raw())) {
        receipts.push(receipt);
        if receipts.len() > world.0.plan.window {
            break;
        }
    }
    let free = receipts.len();
    for receipt in receipts {
        // Whatever became of it is not looked at.
        let _ = receipt.await;
    }
    Some(free)
}

/// What a future gives at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn collect(world: &World, receipts: &mut Vec<(u64, Receipt)>) {
    for (call, receipt) in receipts.drain(..) {
        end(world, call, receipt.await);
    }
}

fn choose(world: &World) -> Message {
    let topics = world.0.plan.topics.len() as u64;
    let topic = world.with_rng(|rng| usize::try_from(rng.below(topics)).unwrap_or(0));
    choose_for(world, topic)
}

fn choose_for(world: &World, topic: usize) -> Message {
    let plan = &world.0.plan;
    world.with_rng(|rng| {
        let keyless = plan.topics[topic].raw && rng.chance(500);
        let key = rng.below(plan.keys);
        Message {
            event: world.number(),
            topic,
            key: (!keyless).then(|| format!("key-{key}")),
            // Results are known by their ids.
            named: rng.chance(600) || plan.results.is_some(),
            tenant: match plan.results {
                Some(_) => *pick(rng, &[TENANTS[0], TENANTS[1], 2]),
                None => 0,
            },
        }
    })
}

/// A publish that waits for its outcome.
async fn whole(world: &World, publisher: Publisher, topic: &Topic, message: &Message) -> Answer {
    let call = begin(world, publisher, message);
    let outcome = if world.0.plan.topics[message.topic].raw {
        topic.publish_raw(raw(message)).await
    } else {
        let event = event(message);
        topic.publish(&event).await
    };
    let answer = read(outcome);
    world.0.log.add(Entry::Answered {
        call,
        answer: answer.clone(),
    });
    answer
}

fn send<'a>(
    world: &World,
    topic: &'a Topic,
    message: &'a Message,
) -> impl Future<Output = Result<Receipt, PublishError>> + 'a {
    let is_raw = world.0.plan.topics[message.topic].raw;
    async move {
        if is_raw {
            topic.send_raw(raw(message)).await
        } else {
            topic.send(&event(message)).await
        }
    }
}

fn event(message: &Message) -> Event<'_, Payload> {
    let key = message.key.as_deref().unwrap_or_default();
    let event = Event::new(key, "Simulated", Payload { n: message.event }).tenant(message.tenant);
    match message.named {
        true => event.id(format!("event-{}", message.event)),
        false => event,
    }
}

fn raw(message: &Message) -> Raw {
    let mut headers = Headers::new();
    if let Some(key) = &message.key {
        headers
            .append("X-Aggregate-ID", key)
            .expect("a plain value");
    }
    let raw = Raw::new(message.event.to_string())
        .headers(headers)
        .tenant(message.tenant);
    match message.named {
        true => raw.id(format!("raw-{}", message.event)),
        false => raw,
    }
}

fn begin(world: &World, (bus, publisher): Publisher, message: &Message) -> u64 {
    let call = world.number();
    world.0.log.add(Entry::Published {
        call,
        publisher,
        bus,
        tenant: message.tenant,
        event: message.event,
        topic: world.0.plan.topics[message.topic].name.into(),
        key: message.key.clone(),
    });
    call
}

fn end(world: &World, call: u64, outcome: Result<Outcome, PublishError>) {
    let answer = read(outcome);
    world.0.log.add(Entry::Answered { call, answer });
}

pub(super) fn read(outcome: Result<Outcome, PublishError>) -> Answer {
    match outcome {
        Ok(Outcome::Stored { stream, sequence }) => Answer::Stored {
            stream: (&*stream).into(),
            sequence,
            duplicate: false,
        },
        Ok(Outcome::Duplicate { stream, sequence }) => Answer::Stored {
            stream: (&*stream).into(),
            sequence,
            duplicate: true,
        },
        Ok(other) => Answer::Failed(format!("{other:?}")),
        Err(PublishError::Unknown { .. }) => Answer::Unknown,
        Err(PublishError::ResultsUnread { .. }) => Answer::Unread,
        Err(error) => Answer::Failed(error.to_string()),
    }
}
