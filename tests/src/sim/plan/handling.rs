//! How a group handles a topic, and how its handlers fail.

use std::time::Duration;

use jetbus::{AtShare, Batch, Retry};

use super::super::rng::Rng;
use super::pick;
use crate::sim::history::Rules;

/// How handlers get their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One by one.
    Single,
    /// Many at a time.
    Batch(Batch),
    /// One by one, acknowledged before.
    AtMostOnce,
}

/// The options of a subscription, and what its handlers do. Chances are in a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// How handlers get their events.
    pub mode: Mode,
    /// Whether events of a key are handled in order.
    pub ordered: bool,
    /// The waits between attempts.
    pub retry: Retry,
    /// How often an event may fail.
    pub attempts: u32,
    /// How long a handler may take; `None`: as long as it wants.
    pub timeout: Option<Duration>,
    /// Whether what is given up is kept.
    pub dead_letters: bool,
    /// How many events a key may hold, and what happens then.
    pub share: Option<(usize, AtShare)>,
    /// A handler fails.
    pub fail: u32,
    /// A handler panics.
    pub panic: u32,
    /// A handler takes longer than it may, or than anybody likes.
    pub slow: u32,
    /// A handler does not want the event: it says so in one of the possible ways.
    pub refuse: u32,
}

impl Handling {
    /// The usual options, and no trouble.
    pub const PLAIN: Self = Self {
        mode: Mode::Single,
        ordered: true,
        retry: Retry {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
        attempts: 20,
        timeout: None,
        dead_letters: true,
        share: None,
        fail: 0,
        panic: 0,
        slow: 0,
        refuse: 0,
    };

    pub(super) fn draw(rng: &mut Rng, raw: bool, held: usize, work: Duration) -> Self {
        let millis = Duration::from_millis;
        let places = |rng: &mut Rng| {
            let places = rng.between(1, u64::try_from(held).unwrap_or(1));
            usize::try_from(places).unwrap_or(1)
        };
        let mode = match rng.below(10) {
            0..=1 => Mode::AtMostOnce,
            2..=4 if !raw => Mode::Batch(Batch {
                max: places(rng),
                linger: millis(*pick(rng, &[0, 20, 300])),
            }),
            _ => Mode::Single,
        };
        let ordered = !rng.chance(100);
        let at = *pick(rng, &[AtShare::Stall, AtShare::DeadLetter]);
        let share = (ordered && rng.chance(250)).then(|| (places(rng), at));
        // Long enough for most.
        let timeout = work + millis(rng.between(50, 500));
        let trouble = rng.chance(600);
        Self {
            mode,
            ordered,
            retry: Retry {
                first: millis(*pick(rng, &[5, 100, 400])),
                max: millis(*pick(rng, &[400, 3_000])),
            },
            attempts: *pick(rng, &[1, 2, 4, 20, u32::MAX]),
            timeout: rng.chance(500).then_some(timeout),
            dead_letters: !rng.chance(150),
            share,
            fail: *pick(rng, &[0, 50, 200, 400]),
            panic: if trouble {
                *pick(rng, &[0, 30, 150])
            } else {
                0
            },
            slow: if trouble {
                *pick(rng, &[0, 100, 300])
            } else {
                0
            },
            refuse: if trouble {
                *pick(rng, &[0, 30, 150])
            } else {
                0
            },
        }
    }

    /// What the group was told, for whoever checks.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        Rules {
            ordered: self.ordered,
            at_most_once: matches!(self.mode, Mode::AtMostOnce),
            attempts: self.attempts,
            dead_letters: self.dead_letters,
            gives_up_at_share: matches!(self.share, Some((_, AtShare::DeadLetter))),
            crash_limit: 10,
        }
    }
}
