//! What a seed stands for: how many buses, topics and publishers, and which
//! weather.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::Faults;
use super::rng::Rng;

mod cuts;
mod handling;

pub use cuts::{BadCut, Cuts};
pub use handling::{Handling, Mode};

/// One run, decided before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where it comes from, and where all other chance of the run starts.
    pub seed: u64,
    /// Buses that are opened at first: processes that share their groups.
    pub buses: usize,
    /// Whether the first bus is closed in the middle of the storm.
    pub early_close: bool,
    /// Whether another bus is opened in its place.
    pub restart: bool,
    /// Whether somebody deletes a consumer in the middle of the storm.
    pub sabotage: bool,
    /// What is published to and handled.
    pub topics: Vec<Topic>,
    /// Keys of each topic.
    pub keys: u64,
    /// Publishing tasks of each bus.
    pub publishers: u64,
    /// Events that each of them publishes.
    pub events: u64,
    /// How many of a thousand publishers publish batches.
    pub batches: u32,
    /// The longest pause between two of them.
    pub pause: Duration,
    /// The publish window of each bus.
    pub window: usize,
    /// How long a publish may take.
    pub publish_timeout: Duration,
    /// Handlers of a subscription at once.
    pub concurrency: usize,
    /// Events that a subscription holds.
    pub held: usize,
    /// The lease of an event.
    pub ack_wait: Duration,
    /// Room for the results of publishes, where those are read.
    pub results: Option<usize>,
    /// How many of a thousand subscriptions are streams of deliveries, settled by
    /// hand.
    pub by_hand: u32,
    /// Whether the last bus also reads the first topic for itself alone, without a
    /// group.
    pub solo: bool,
    /// How long a bus may take to close.
    pub close_timeout: Duration,
    /// How each group handles each topic, by topic and group.
    pub handlings: BTreeMap<(&'static str, &'static str), Handling>,
    /// Whether subscriptions pause now and then, and resume.
    pub pauses: bool,
    /// Whether subscriptions are drained, within this time, and made again.
    pub drains: Option<Duration>,
    /// Whether dead letters are redriven, in the storm and after it.
    pub redrives: bool,
    /// Whether the broker is killed and starts again, and acknowledgements of how long
    /// it forgets.
    pub restarts: Option<Duration>,
    /// For how long no stream has a leader.
    pub leaderless: Option<Duration>,
    /// The longest time that a handler takes.
    pub work: Duration,
    /// What goes wrong while it storms.
    pub faults: Faults,
    /// How long it storms.
    pub storm: Duration,
    /// How long a connection stays, at most; `None`: it never breaks.
    pub stays: Option<Duration>,
    /// How long it is gone, at most.
    pub gone: Duration,
}

/// A topic of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name. Those below `orders.` belong to a declared stream, others have one
    /// of their own.
    pub name: &'static str,
    /// Whether its messages are bytes without an envelope; some have no key.
    pub raw: bool,
    /// Who handles it.
    pub groups: &'static [&'static str],
}

const TOPICS: [Topic; 5] = [
    topic("orders.placed", false, &["billing", "mail"]),
    topic("orders.paid", false, &["billing"]),
    topic("stock", false, &["mail"]),
    topic("clicks", true, &["stats"]),
    topic("orders.raw", true, &["stats"]),
];

const fn topic(name: &'static str, raw: bool, groups: &'static [&'static str]) -> Topic {
    Topic { name, raw, groups }
}

impl Plan {
    /// Whether nothing goes wrong around the buses, and none goes away.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.faults == Faults::CALM
            && self.stays.is_none()
            && !self.early_close
            && self.restarts.is_none()
            && self.leaderless.is_none()
    }

    /// All buses that there ever are.
    #[must_use]
    pub const fn processes(&self) -> usize {
        self.buses + self.restart as usize
    }

    /// How `group` handles `topic`; what is not planned is handled plainly.
    #[must_use]
    pub fn handling(&self, topic: &str, group: &str) -> Handling {
        let planned = self.handlings.iter();
        let mut planned = planned.filter(|((of, by), _)| (*of, *by) == (topic, group));
        planned
            .next()
            .map_or(Handling::PLAIN, |(_, handling)| *handling)
    }

    /// What `seed` stands for.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let millis = |count| Duration::from_millis(count);
        let buses = if rng.chance(400) { 2 } else { 1 };
        let early_close = rng.chance(300);
        let mut topics = TOPICS.to_vec();
        while topics.len() > 2 && rng.chance(500) {
            let gone = rng.below(topics.len() as u64);
            topics.swap_remove(usize::try_from(gone).unwrap_or(0));
        }
        // A sixth each without any fault and with breaks only, as with one TCP
        // connection; the others with everything.
        let (mut faults, breaks) = match rng.below(6) {
            0 => (Faults::CALM, false),
            1 => (cuts(&mut rng), true),
            _ => (storm(&mut rng), rng.chance(700)),
        };
        let held = usize::try_from(rng.between(1, 100)).unwrap_or(1);
        let work = millis(*pick(&mut rng, &[0, 5, 200, 1_500]));
        let handlings = handlings(&mut rng, &topics, held, work);
        let stormy = breaks || faults != Faults::CALM;
        let restarts = stormy && rng.chance(250);
        let forgotten = millis(*pick(&mut rng, &[0, 0, 100]));
        let leaderless = stormy && rng.chance(200);
        let drains = millis(*pick(&mut rng, &[0, 100, 2_000]));
        // Chance of its own: all else is the same with results and without.
        let mut other = Rng::new(seed ^ 0x0b0e);
        let room = usize::try_from(other.between(1, 40)).unwrap_or(1);
        let results = other.chance(500).then_some(room);
        // In a narrow one a place is soon taken by another.
        let narrow = other.chance(250).then(|| other.between(1, 3));
        // A pull that came twice would look like another's in a connection that lingers.
        if breaks && faults.duplicate == 0 {
            faults.linger = millis(*pick(&mut other, &[0, 0, 500, 3_000]));
        }
        Self {
            seed,
            buses,
            early_close,
            restart: early_close && (buses == 1 || rng.chance(500)),
            sabotage: rng.chance(150),
            topics,
            keys: rng.between(1, 6),
            publishers: rng.between(1, 3),
            events: rng.between(5, 30),
            pause: millis(rng.between(0, 120)),
            window: {
                let window = rng.between(1, 64);
                usize::try_from(narrow.unwrap_or(window)).unwrap_or(1)
            },
            publish_timeout: millis(*pick(&mut rng, &[500, 1_500, 4_000, 15_000])),
            concurrency: usize::try_from(rng.between(1, 16)).unwrap_or(1),
            held,
            ack_wait: millis(rng.between(1_000, 4_000)),
            results,
            by_hand: *pick(&mut rng, &[0, 300, 1_000]),
            solo: rng.chance(250),
            close_timeout: millis(*pick(&mut rng, &[300, 3_000, 10_000])),
            handlings,
            pauses: rng.chance(300),
            drains: rng.chance(350).then_some(drains),
            redrives: rng.chance(600),
            restarts: restarts.then_some(forgotten),
            leaderless: leaderless.then(|| millis(rng.between(100, 2_500))),
            work,
            faults,
            storm: millis(rng.between(1_000, 8_000)),
            stays: breaks.then(|| millis(rng.between(200, 4_000))),
            gone: millis(rng.between(10, 1_500)),
            batches: *pick(&mut rng, &[0, 0, 700]),
        }
    }
}

fn handlings(
    rng: &mut Rng,
    topics: &[Topic],
    held: usize,
    work: Duration,
) -> BTreeMap<(&'static str, &'static str), Handling> {
    let mut handlings = BTreeMap::new();
    for topic in topics {
        for group in topic.groups {
            let handling = Handling::draw(rng, topic.raw, held, work);
            handlings.insert((topic.name, *group), handling);
        }
    }
    handlings
}

pub(super) fn pick<'a, T>(rng: &mut Rng, choice: &'a [T]) -> &'a T {
    &choice[usize::try_from(rng.below(choice.len() as u64)).unwrap_or(0)]
}

/// What is on its way at a break may be lost.
fn cuts(rng: &mut Rng) -> Faults {
    Faults {
        cut: *pick(rng, &[100, 500, 1_000]),
        delay: 500,
        late: Duration::from_millis(rng.between(1, 20)),
        ..Faults::CALM
    }
}

fn storm(rng: &mut Rng) -> Faults {
    Faults {
        lose_out: *pick(rng, &[0, 20, 200]),
        lose_in: *pick(rng, &[0, 20, 200]),
        duplicate: *pick(rng, &[0, 50, 200]),
        delay: *pick(rng, &[0, 100, 700]),
        late: Duration::from_millis(*pick(rng, &[1, 30, 400])),
        busy: *pick(rng, &[0, 20, 200]),
        cut: *pick(rng, &[0, 300, 1_000]),
        linger: Duration::ZERO,
    }
}
