//! What is left out of a plan, in words that a command line can carry.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Handling, Mode, Plan, TOPICS};
use crate::sim::link::Faults;

/// A part that a plan can do without, and how.
type Part = (&'static str, fn(&mut Plan));

/// A number that can be smaller, and where it is: what is set is an upper bound.
type Size = (&'static str, fn(&mut Plan, u64));

/// Topics are parts, too.
const PARTS: [Part; 32] = [
    ("early-close", |plan| {
        plan.early_close = false;
        plan.restart = false;
    }),
    ("sabotage", |plan| plan.sabotage = false),
    ("restarts", |plan| plan.restarts = None),
    ("leaderless", |plan| plan.leaderless = None),
    ("breaks", |plan| plan.stays = None),
    ("faults", |plan| plan.faults = Faults::CALM),
    ("lost-out", |plan| plan.faults.lose_out = 0),
    ("lost-in", |plan| plan.faults.lose_in = 0),
    ("duplicates", |plan| plan.faults.duplicate = 0),
    ("delays", |plan| plan.faults.delay = 0),
    ("busy", |plan| plan.faults.busy = 0),
    ("cuts", |plan| plan.faults.cut = 0),
    ("linger", |plan| plan.faults.linger = Duration::ZERO),
    ("drains", |plan| plan.drains = None),
    ("pauses", |plan| plan.pauses = false),
    ("redrives", |plan| plan.redrives = false),
    ("results", |plan| plan.results = None),
    ("batches", |plan| plan.batches = 0),
    ("solo", |plan| plan.solo = false),
    ("by-hand", |plan| plan.by_hand = 0),
    ("work", |plan| plan.work = Duration::ZERO),
    ("pause", |plan| plan.pause = Duration::ZERO),
    ("trouble", |plan| {
        each(plan, |how| {
            (how.fail, how.panic, how.slow, how.refuse) = (0, 0, 0, 0);
        });
    }),
    ("failures", |plan| each(plan, |how| how.fail = 0)),
    ("panics", |plan| each(plan, |how| how.panic = 0)),
    ("slow", |plan| each(plan, |how| how.slow = 0)),
    ("refusals", |plan| each(plan, |how| how.refuse = 0)),
    ("shares", |plan| each(plan, |how| how.share = None)),
    ("timeouts", |plan| each(plan, |how| how.timeout = None)),
    ("many-at-once", |plan| {
        each(plan, |how| {
            if matches!(how.mode, Mode::Batch(_)) {
                how.mode = Mode::Single;
            }
        });
    }),
    ("at-most-once", |plan| {
        each(plan, |how| {
            if how.mode == Mode::AtMostOnce {
                how.mode = Mode::Single;
            }
        });
    }),
    ("unordered", |plan| each(plan, |how| how.ordered = true)),
];

const SIZES: [Size; 5] = [
    ("events", |plan, most| plan.events = plan.events.min(most)),
    ("publishers", |plan, most| {
        plan.publishers = plan.publishers.min(most);
    }),
    ("buses", |plan, most| {
        plan.buses = plan.buses.min(usize::try_from(most).unwrap_or(usize::MAX));
        // Somebody has to handle what is left.
        plan.restart |= plan.early_close && plan.buses == 1;
    }),
    ("keys", |plan, most| plan.keys = plan.keys.min(most)),
    ("concurrency", |plan, most| {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        plan.concurrency = plan.concurrency.min(most);
    }),
];

fn each(plan: &mut Plan, change: impl Fn(&mut Handling)) {
    plan.handlings.values_mut().for_each(change);
}

/// What a plan is to do without. Written, it is the arguments that read as the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    without: BTreeSet<&'static str>,
    /// By their place among the sizes.
    most: [Option<u64>; SIZES.len()],
}

/// What cannot be cut, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCut(String);

impl Cuts {
    /// Leaves a part out.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn without(&mut self, part: &str) -> Result<(), BadCut> {
        let known = Self::parts().find(|known| *known == part);
        let known = known.ok_or_else(|| {
            let all: Vec<_> = Self::parts().collect();
            BadCut(format!(
                "`{part}` is no part of a plan; parts are {}",
                all.join(", ")
            ))
        })?;
        let mut without = self.without.clone();
        without.insert(known);
        if TOPICS.iter().all(|topic| without.contains(topic.name)) {
            return Err(BadCut(format!("without `{part}` no topic is left")));
        }
        self.without = without;
        Ok(())
    }

    /// Sets an upper bound; `None` when there is no such size.
    ///
    /// # Errors
    /// When it is 0.
    pub fn at_most(&mut self, size: &str, most: u64) -> Option<Result<(), BadCut>> {
        let place = SIZES.iter().position(|(name, _)| *name == size)?;
        if most == 0 {
            let rule = format!("the least for `{size}` is 1, not 0");
            return Some(Err(BadCut(rule)));
        }
        self.most[place] = Some(most);
        Some(Ok(()))
    }

    /// All that can be left out.
    pub fn parts() -> impl Iterator<Item = &'static str> {
        let topics = TOPICS.iter().map(|topic| topic.name);
        topics.chain(PARTS.iter().map(|(name, _)| *name))
    }

    /// All that can be smaller.
    pub fn sizes() -> impl Iterator<Item = &'static str> {
        SIZES.iter().map(|(name, _)| *name)
    }

    /// What is left of `plan`. One of its topics stays in any case, the last.
    #[must_use]
    pub fn of(&self, plan: &Plan) -> Plan {
        let mut left = plan.clone();
        for (_, cut) in PARTS.iter().filter(|(name, _)| self.without.contains(name)) {
            cut(&mut left);
        }
        let most = SIZES.iter().zip(&self.most);
        for ((_, cut), most) in most {
            most.iter().for_each(|most| cut(&mut left, *most));
        }
        left.topics
            .retain(|topic| !self.without.contains(topic.name));
        if left.topics.is_empty() {
            left.topics.extend(plan.topics.last().cloned());
        }
        let Plan {
            topics, handlings, ..
        } = &mut left;
        handlings.retain(|(name, _), _| topics.iter().any(|topic| topic.name == *name));
        left
    }

    /// Cuts that leave less, one step each, of what they leave of `plan`. The largest
    /// come first.
    pub(in crate::sim) fn further(&self, plan: &Plan) -> Vec<Self> {
        let now = self.of(plan);
        let mut all = Vec::new();
        for part in Self::parts() {
            let mut more = self.clone();
            if more.without(part).is_ok() {
                all.push(more);
            }
        }
        let sizes = [
            now.events,
            now.publishers,
            now.buses as u64,
            now.keys,
            now.concurrency as u64,
        ];
        for (place, size) in sizes.into_iter().enumerate() {
            for less in [1, size / 2, size - 1] {
                let mut more = self.clone();
                more.most[place] = Some(less.max(1));
                all.push(more);
            }
        }
        all.retain(|more| more.of(plan) != now);
        all
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if !self.without.is_empty() {
            let parts: Vec<_> = self.without.iter().copied().collect();
            words.push(format!("--without {}", parts.join(",")));
        }
        for ((name, _), most) in SIZES.iter().zip(&self.most) {
            words.extend(most.map(|most| format!("--{name} {most}")));
        }
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for BadCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadCut {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_and_size_is_in_some_plan() {
        let plans: Vec<_> = (0..200).map(Plan::new).collect();
        for part in Cuts::parts() {
            let mut cuts = Cuts::default();
            cuts.without(part).expect("it is a part");
            assert!(plans.iter().any(|plan| cuts.of(plan) != *plan), "{part}");
        }
        for size in Cuts::sizes() {
            let mut cuts = Cuts::default();
            cuts.at_most(size, 1)
                .expect("it is a size")
                .expect("it is not 0");
            assert!(plans.iter().any(|plan| cuts.of(plan) != *plan), "{size}");
        }
        let same = |plan: &Plan| Cuts::default().of(plan) == *plan;
        assert!(plans.iter().all(same));
    }

    #[test]
    fn what_is_left_can_be_run() {
        for plan in (0..200).map(Plan::new) {
            for cuts in Cuts::default().further(&plan) {
                let left = cuts.of(&plan);
                assert!(!left.topics.is_empty() && left.events > 0, "{cuts}");
                assert!(left.processes() > usize::from(left.early_close), "{cuts}");
            }
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused_with_the_rule() {
        let mut cuts = Cuts::default();
        let bad = cuts.without("rain").expect_err("there is no such part");
        assert!(
            bad.to_string()
                .starts_with("`rain` is no part of a plan; parts are")
        );
        let topics: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
        for topic in &topics[1..] {
            cuts.without(topic).expect("one is left");
        }
        let bad = cuts.without(topics[0]).expect_err("none is left");
        assert_eq!(bad.to_string(), "without `orders.placed` no topic is left");
        let bad = cuts.at_most("events", 0).expect("it is a size");
        let bad = bad.expect_err("it is 0").to_string();
        assert_eq!(bad, "the least for `events` is 1, not 0");
        assert!(cuts.at_most("rain", 1).is_none());
    }
}
