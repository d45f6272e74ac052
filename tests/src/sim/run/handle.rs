//! Handlers that take time and fail now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream as _;
use jetbus::runtime::Runtime as _;
use jetbus::{Bus, Deliveries, Delivery, Handled, Settle, Start, SubscribeError, Subscription};
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

/// A subscription that runs.
pub(super) enum Running {
    /// With handlers.
    Handled(#[expect(dead_code, reason = "stops when dropped")] Subscription),
    /// As a stream, read by a task of its own.
    ByHand,
}

/// The group of a subscription that has none.
pub(super) const SOLO: &str = "solo";

/// Subscribes every group of every topic, as often as it takes.
pub(super) async fn start(world: &World, bus: &Bus, number: usize) -> Vec<Running> {
    let plan = &world.0.plan;
    let mut wanted: Vec<(&Topic, &'static str)> = Vec::new();
    for topic in &plan.topics {
        wanted.extend(topic.groups.iter().map(|group| (topic, *group)));
    }
    if plan.solo && number + 1 == plan.processes() {
        wanted.extend(plan.topics.first().map(|topic| (topic, SOLO)));
    }
    let mut running = Vec::new();
    for (topic, group) in wanted {
        loop {
            match subscribe(world, bus, number, topic, group).await {
                Ok(subscription) => {
                    running.push(subscription);
                    break;
                }
                Err(SubscribeError::Closed) => return running,
                Err(_) => world.pause(Duration::from_millis(500)).await,
            }
        }
    }
    running
}

async fn subscribe(
    world: &World,
    bus: &Bus,
    number: usize,
    topic: &Topic,
    group: &'static str,
) -> Result<Running, SubscribeError> {
    let plan = &world.0.plan;
    let mut subscribe = bus
        .subscribe(topic.name)
        .window(plan.held)
        .ack_wait(plan.ack_wait);
    subscribe = match group {
        SOLO => subscribe.start(Start::Beginning),
        group => subscribe.group(group),
    };
    let world = world.clone();
    let by_hand = world.with_rng(|rng| rng.chance(plan.by_hand));
    let raw = |payload: Bytes| raw_number(&payload).unwrap_or(0);
    let typed = |payload: Payload| payload.n;
    match (topic.raw, by_hand) {
        (true, true) => {
            let deliveries = subscribe.deliveries_raw().await?;
            read(world, number, group, deliveries, raw);
        }
        (false, true) => {
            let deliveries = subscribe.deliveries().await?;
            read(world, number, group, deliveries, typed);
        }
        (true, false) => {
            let handler = move |delivery: Delivery<Bytes>| {
                handle(world.clone(), number, group, delivery.map(raw))
            };
            let subscribe = subscribe.concurrency(plan.concurrency);
            return subscribe.handle_raw(handler).await.map(Running::Handled);
        }
        (false, false) => {
            let handler = move |delivery: Delivery<Payload>| {
                handle(world.clone(), number, group, delivery.map(typed))
            };
            let subscribe = subscribe.concurrency(plan.concurrency);
            return subscribe.handle(handler).await.map(Running::Handled);
        }
    }
    Ok(Running::ByHand)
}

async fn handle(world: World, bus: usize, group: &'static str, delivery: Delivery<u64>) -> Handled {
    match work(&world, bus, group, &delivery).await {
        true => Handled::Done,
        false if world.with_rng(|rng| rng.chance(500)) => Handled::retry("as planned"),
        false => Handled::retry_after(Duration::from_millis(150), "as planned"),
    }
}

/// Reads a stream of deliveries to its end, in a task of its own.
fn read<T: Send + 'static>(
    world: World,
    bus: usize,
    group: &'static str,
    mut deliveries: Deliveries<T>,
    number: fn(T) -> u64,
) {
    let sim = world.0.sim.clone();
    sim.clone().spawn(Box::pin(async move {
        while let Some((delivery, handle)) =
            poll_fn(|cx| Pin::new(&mut deliveries).poll_next(cx)).await
        {
            let world = world.clone();
            sim.spawn(Box::pin(async move {
                let done = work(&world, bus, group, &delivery.map(number)).await;
                settle(&world, handle, done).await;
            }));
        }
    }));
}

async fn settle(world: &World, handle: Settle, done: bool) {
    let way = world.with_rng(|rng| rng.below(4));
    match (done, way) {
        // An error says that the event comes again.
        (true, 0) => _ = handle.ack_confirmed().await,
        (true, _) => handle.ack(),
        (false, 0) => handle.retry(None),
        (false, 1) => handle.nak(None),
        (false, 2) => handle.nak(Some(Duration::from_millis(200))),
        (false, _) => drop(handle),
    }
}

/// Does what a handler does; true when it is done.
async fn work(world: &World, bus: usize, group: &'static str, delivery: &Delivery<u64>) -> bool {
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
    done
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
