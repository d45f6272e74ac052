//! What operators do to a bus while it works: they pause and drain subscriptions, and
//! redrive dead letters.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jetbus::runtime::Runtime as _;
use jetbus::{Bus, DeadLetterFilter};
use jetbus_core::Time;

use super::super::history::Entry;
use super::World;
use super::handle::{self, Running};

/// Most dead letters to be redriven in a second.
const RATE: u32 = 1_000;

/// The subscriptions of a bus that have handlers. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Subscriptions(Arc<Mutex<Vec<Running>>>);

impl Subscriptions {
    pub(super) fn all(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how much they hold.
    pub(super) fn sample(&self, world: &World) {
        for running in self.all().iter() {
            world.holds(running.number, running.subscription.stats().held);
        }
    }
}

/// Bothers a bus until `end`.
pub(super) async fn bother(
    world: World,
    bus: Bus,
    number: usize,
    subscriptions: Subscriptions,
    end: Time,
) {
    let (plan, sim) = (&world.0.plan, &world.0.sim);
    loop {
        world.pause(plan.storm / 3).await;
        if sim.now() >= end {
            return;
        }
        match world.with_rng(|rng| rng.below(3)) {
            0 if plan.pauses => pause(&world, &subscriptions).await,
            1 if plan.redrives => {
                redrive(&world, &bus, number).await;
            }
            _ => {
                if let Some(deadline) = plan.drains {
                    drain(&world, &bus, number, &subscriptions, deadline).await;
                }
            }
        }
    }
}

async fn pause(world: &World, subscriptions: &Subscriptions) {
    for running in subscriptions.all().iter() {
        running.subscription.pause();
    }
    world.pause(Duration::from_secs(1)).await;
    // One that was made meanwhile is not paused; resuming it changes nothing.
    for running in subscriptions.all().iter() {
        running.subscription.resume();
    }
}

async fn drain(
    world: &World,
    bus: &Bus,
    number: usize,
    subscriptions: &Subscriptions,
    deadline: Duration,
) {
    let drained = {
        let mut all = subscriptions.all();
        let count = u64::try_from(all.len()).unwrap_or(0);
        let victim = usize::try_from(world.with_rng(|rng| rng.below(count))).unwrap_or(0);
        match victim < all.len() {
            true => all.swap_remove(victim),
            false => return,
        }
    };
    let log = &world.0.log;
    let subscription = drained.number;
    log.add(Entry::Draining {
        bus: number,
        subscription,
        deadline,
    });
    let report = drained.subscription.drain(deadline).await;
    log.add(Entry::Drained {
        bus: number,
        subscription,
        finished: report.finished,
        returned: report.returned,
        abandoned: report.abandoned,
        confirmed: report.confirmed,
    });
    // An error says that the bus is closed.
    if let Ok(again) = handle::insist(world, bus, number, drained.reading).await {
        subscriptions.all().extend(again);
    }
}

/// Redrives all dead letters; says whether that worked.
pub(super) async fn redrive(world: &World, bus: &Bus, number: usize) -> bool {
    let letters = bus.dead_letters();
    let redriven = letters.redrive_all(&DeadLetterFilter::new(), RATE).await;
    let count = redriven.ok().map(|report| report.redriven);
    world.0.log.add(Entry::Redriven { bus: number, count });
    count.is_some()
}
