//! Handlers that take time and fail now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use jetbus::{Bus, Delivery, Handled, SubscribeError, Subscription};
use jetbus_core::Time;
use serde::{Deserialize, Serialize};

use super::super::history::Entry;
use super::super::plan::Topic;
use super::World;

/// What typed events carry.
#[derive(Serialize, Deserialize)]
pub(super) struct Payload {
    /// Which event it is.
    pub(super) n: u64,
}

/// The number in a message of bytes.
pub(super) fn raw_number(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

/// Subscribes every group of every topic, as often as it takes.
pub(super) async fn start(world: &World, bus: &Bus, number: usize) -> Vec<Subscription> {
    let mut subscriptions = Vec::new();
    for topic in &world.0.plan.topics {
        for group in topic.groups {
            loop {
                match subscribe(world, bus, number, topic, group).await {
                    Ok(subscription) => {
                        subscriptions.push(subscription);
                        break;
                    }
                    Err(SubscribeError::Closed) => return subscriptions,
                    Err(_) => world.pause(Duration::from_millis(500)).await,
                }
            }
        }
    }
    subscriptions
}

async fn subscribe(
    world: &World,
    bus: &Bus,
    number: usize,
    topic: &Topic,
    group: &'static str,
) -> Result<Subscription, SubscribeError> {
    let plan = &world.0.plan;
    let subscribe = bus
        .subscribe(topic.name)
        .group(group)
        .concurrency(plan.concurrency)
        .window(plan.held)
        .ack_wait(plan.ack_wait);
    let world = world.clone();
    if topic.raw {
        let handler = move |delivery: Delivery<Bytes>| {
            let event = raw_number(&delivery.payload).unwrap_or(0);
            handle(world.clone(), number, group, delivery.map(|_| event))
        };
        subscribe.handle_raw(handler).await
    } else {
        let handler = move |delivery: Delivery<Payload>| {
            handle(
                world.clone(),
                number,
                group,
                delivery.map(|payload| payload.n),
            )
        };
        subscribe.handle(handler).await
    }
}

async fn handle(world: World, bus: usize, group: &'static str, delivery: Delivery<u64>) -> Handled {
    let (plan, log) = (&world.0.plan, &world.0.log);
    let run = world.number();
    log.add(Entry::Started {
        run,
        bus,
        group: group.into(),
        event: delivery.payload,
        topic: delivery.topic().into(),
        key: delivery.key().map(Into::into),
        stream: delivery.stream().into(),
        sequence: delivery.sequence(),
    });
    // Some take no time at all.
    if world.with_rng(|rng| rng.chance(700)) {
        world.pause(plan.work).await;
    }
    let done = !world.with_rng(|rng| rng.chance(plan.fail));
    log.add(Entry::Ended { run, done });
    match done {
        true => Handled::Done,
        false if world.with_rng(|rng| rng.chance(500)) => Handled::retry("as planned"),
        false => Handled::retry_after(Duration::from_millis(150), "as planned"),
    }
}

/// Which groups have handled what, so far.
pub(super) fn done(entries: &[(Time, Entry)]) -> BTreeSet<(String, String, u64)> {
    let mut started = BTreeMap::new();
    let mut all = BTreeSet::new();
    for (_, entry) in entries {
        match entry {
            Entry::Started {
                run,
                group,
                stream,
                sequence,
                ..
            } => {
                started.insert(*run, (group, stream, *sequence));
            }
            Entry::Ended { run, done: true } => {
                if let Some((group, stream, sequence)) = started.remove(run) {
                    all.insert((group.clone(), stream.clone(), sequence));
                }
            }
            _ => {}
        }
    }
    all
}
