//! Handlers that take time, fail, panic and refuse now and then.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream as _;
use jetbus::runtime::Runtime as _;
use jetbus::{Bus, Deliveries, Delivery, Handled, Settle, Start, SubscribeError, Subscription};
use serde::{Deserialize, Serialize};

use super::super::history::{Entry, Log, Said};
use super::super::plan::{Handling, Mode, Topic};
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

/// Somebody who reads a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) topic: &'static str,
    pub(super) group: &'static str,
    raw: bool,
}

/// A subscription with handlers. Those that are streams have a task of their own.
pub(super) struct Running {
    pub(super) number: u64,
    pub(super) reading: Reading,
    pub(super) subscription: Subscription,
}

/// The group of a subscription that has none.
pub(super) const SOLO: &str = "solo";

/// Subscribes every group of every topic.
pub(super) async fn start(world: &World, bus: &Bus, number: usize) -> Vec<Running> {
    let plan = &world.0.plan;
    let reading = |topic: &Topic, group| Reading {
        topic: topic.name,
        group,
        raw: topic.raw,
    };
    let mut wanted = Vec::new();
    for topic in &plan.topics {
        wanted.extend(topic.groups.iter().map(|group| reading(topic, *group)));
    }
    if plan.solo && number + 1 == plan.processes() {
        wanted.extend(plan.topics.first().map(|topic| reading(topic, SOLO)));
    }
    let mut running = Vec::new();
    for reading in wanted {
        match insist(world, bus, number, reading).await {
            Ok(subscription) => running.extend(subscription),
            Err(SubscribeError::Closed) => break,
            Err(error) => panic!("nothing else ends it: {error}"),
        }
    }
    running
}

/// Subscribes, as often as it takes until the bus is closed.
pub(super) async fn insist(
    world: &World,
    bus: &Bus,
    number: usize,
    reading: Reading,
) -> Result<Option<Running>, SubscribeError> {
    loop {
        match subscribe(world, bus, number, reading).await {
            Err(error) if !matches!(error, SubscribeError::Closed) => {
                world.pause(Duration::from_millis(500)).await;
            }
            done => return done,
        }
    }
}

/// `None` for a stream.
async fn subscribe(
    world: &World,
    bus: &Bus,
    number: usize,
    reading: Reading,
) -> Result<Option<Running>, SubscribeError> {
    let plan = &world.0.plan;
    let Reading { topic, group, raw } = reading;
    let handling = plan.handling(topic, group);
    let subscription = world.number();
    world.0.log.add(Entry::Subscribing {
        subscription,
        bus: number,
        group: group.into(),
        topic: topic.into(),
    });
    let mut subscribe = bus
        .subscribe(topic)
        .window(plan.held)
        .ack_wait(plan.ack_wait)
        // Deliveries that the network loses are no signs of a crash.
        .suspect_after(1_000_000)
        .crash_limit(2_000_000)
        .retry(handling.retry)
        .attempts(handling.attempts);
    subscribe = match group {
        SOLO => subscribe.start(Start::Beginning),
        group => subscribe.group(group).dead_letters(handling.dead_letters),
    };
    if !handling.ordered {
        subscribe = subscribe.unordered();
    }
    if let Some((events, at)) = handling.share {
        subscribe = subscribe.key_share(events, at);
    }
    let desk = Desk {
        world: world.clone(),
        bus: number,
        group,
        subscription,
        handling,
    };
    let by_hand = world.with_rng(|rng| rng.chance(plan.by_hand));
    let bytes = |payload: Bytes| raw_number(&payload).unwrap_or(0);
    let typed = |payload: Payload| payload.n;
    if by_hand && handling.mode == Mode::Single {
        if raw {
            read(desk, subscribe.deliveries_raw().await?, bytes);
        } else {
            read(desk, subscribe.deliveries().await?, typed);
        }
        return Ok(None);
    }
    subscribe = subscribe.concurrency(plan.concurrency);
    if let Some(timeout) = handling.timeout {
        subscribe = subscribe.timeout(timeout);
    }
    let running = match handling.mode {
        Mode::Batch(batch) => {
            let handler = move |deliveries: Vec<Delivery<Payload>>| {
                let deliveries = deliveries.into_iter();
                handle_batch(desk.clone(), deliveries.map(|one| one.map(typed)).collect())
            };
            subscribe.handle_batch(batch, handler).await?
        }
        mode => {
            if mode == Mode::AtMostOnce {
                subscribe = subscribe.at_most_once();
            }
            if raw {
                let handler =
                    move |delivery: Delivery<Bytes>| handle(desk.clone(), delivery.map(bytes));
                subscribe.handle_raw(handler).await?
            } else {
                let handler =
                    move |delivery: Delivery<Payload>| handle(desk.clone(), delivery.map(typed));
                subscribe.handle(handler).await?
            }
        }
    };
    Ok(Some(Running {
        number: subscription,
        reading,
        subscription: running,
    }))
}

/// Where the handlers of a subscription work.
#[derive(Clone)]
struct Desk {
    world: World,
    bus: usize,
    group: &'static str,
    subscription: u64,
    handling: Handling,
}

/// A run of a handler. Dropped before it ended, it says so.
struct Open {
    log: Log,
    run: u64,
    ended: bool,
}

impl Desk {
    fn open(&self, delivery: &Delivery<u64>, batch: Option<u64>) -> Open {
        let run = self.world.number();
        let log = self.world.0.log.clone();
        log.add(Entry::Started {
            run,
            subscription: self.subscription,
            bus: self.bus,
            group: self.group.into(),
            event: delivery.payload,
            topic: delivery.topic().into(),
            key: delivery.key().map(Into::into),
            stream: delivery.stream().into(),
            sequence: delivery.sequence(),
            redrives: delivery.redrives(),
            batch,
        });
        Open {
            log,
            run,
            ended: false,
        }
    }

    /// Takes the time that it takes.
    async fn work(&self) {
        let Self {
            world, handling, ..
        } = self;
        // Some take no time at all.
        if world.with_rng(|rng| rng.chance(700)) {
            world.pause(world.0.plan.work).await;
        }
        if world.with_rng(|rng| rng.chance(handling.slow)) {
            let slow = handling.timeout.unwrap_or(Duration::from_secs(3));
            world.0.sim.sleep(slow).await;
        }
    }

    /// How it ends, panics included.
    fn decide(&self) -> Said {
        let Handling {
            fail,
            panic,
            refuse,
            ..
        } = self.handling;
        self.world.with_rng(|rng| {
            if rng.chance(fail) {
                Said::Failed
            } else if rng.chance(panic) {
                Said::Panicked
            } else if rng.chance(refuse) {
                [Said::DeadLetter, Said::Discard][usize::from(rng.chance(500))]
            } else {
                Said::Done
            }
        })
    }

    /// Says it, in one of the possible ways.
    fn say(&self, said: Said) -> Handled {
        let way = self.world.with_rng(|rng| rng.chance(500));
        match (said, way) {
            (Said::Done | Said::CalledBack, _) => Handled::Done,
            (Said::DeadLetter, true) => Handled::terminal("as planned"),
            (Said::DeadLetter, false) => Handled::dead_letter("as planned"),
            (Said::Discard, _) => Handled::discard("as planned"),
            (_, true) => Handled::retry("as planned"),
            (_, false) => Handled::retry_after(Duration::from_millis(150), "as planned"),
        }
    }
}

impl Open {
    fn end(mut self, said: Said) {
        self.ended = true;
        let run = self.run;
        self.log.add(Entry::Ended { run, said });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            let said = match std::thread::panicking() {
                true => Said::Panicked,
                false => Said::Dropped,
            };
            let run = self.run;
            self.log.add(Entry::Ended { run, said });
        }
    }
}

/// Without a word of the panic hook.
fn panic() -> ! {
    std::panic::resume_unwind(Box::new("as planned"))
}

async fn handle(desk: Desk, delivery: Delivery<u64>) -> Handled {
    let open = desk.open(&delivery, None);
    desk.work().await;
    let said = desk.decide();
    if said == Said::Panicked {
        panic();
    }
    open.end(said);
    desk.say(said)
}

async fn handle_batch(desk: Desk, deliveries: Vec<Delivery<u64>>) -> Vec<Handled> {
    let batch = desk.world.number();
    let open: Vec<_> = deliveries
        .iter()
        .map(|delivery| desk.open(delivery, Some(batch)))
        .collect();
    desk.work().await;
    let mut said: Vec<_> = deliveries.iter().map(|_| desk.decide()).collect();
    if said.contains(&Said::Panicked) {
        panic();
    }
    let mut waiting = BTreeSet::new();
    for (said, delivery) in said.iter_mut().zip(&deliveries) {
        let key = delivery.key().filter(|_| desk.handling.ordered);
        let Some(key) = key else { continue };
        if waiting.contains(key) {
            *said = Said::CalledBack;
        } else if !said.settles() {
            waiting.insert(key);
        }
    }
    for (open, said) in open.into_iter().zip(&said) {
        open.end(*said);
    }
    said.into_iter().map(|said| desk.say(said)).collect()
}

/// Reads a stream of deliveries to its end, in a task of its own.
fn read<T: Send + 'static>(desk: Desk, mut deliveries: Deliveries<T>, number: fn(T) -> u64) {
    let sim = desk.world.0.sim.clone();
    sim.clone().spawn(Box::pin(async move {
        while let Some((delivery, handle)) =
            poll_fn(|cx| Pin::new(&mut deliveries).poll_next(cx)).await
        {
            let held = deliveries.subscription().stats().held;
            desk.world.holds(desk.subscription, held);
            let desk = desk.clone();
            sim.spawn(Box::pin(settle(desk, delivery.map(number), handle)));
        }
    }));
}

async fn settle(desk: Desk, delivery: Delivery<u64>, handle: Settle) {
    let open = desk.open(&delivery, None);
    desk.work().await;
    let way = desk.world.with_rng(|rng| rng.below(4));
    let said = match desk.decide() {
        Said::Done => Said::Done,
        Said::Discard => Said::Discard,
        _ if way > 0 => Said::Back,
        _ => Said::Failed,
    };
    let run = open.run;
    open.end(said);
    match (said, way) {
        (Said::Done, 0) => {
            if handle.ack_confirmed().await.is_err() {
                desk.world.0.log.add(Entry::Unconfirmed { run });
            }
        }
        (Said::Done, _) => handle.ack(),
        (Said::Discard, _) => handle.term("as planned"),
        (Said::Failed, _) => handle.retry(None),
        (_, 1) => handle.nak(None),
        (_, 2) => handle.nak(Some(Duration::from_millis(200))),
        _ => drop(handle),
    }
}
