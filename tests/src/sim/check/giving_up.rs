//! What may become a dead letter.

use std::collections::BTreeMap;

use jetbus_core::dead_letter::Reason;

use super::Violation;
use super::accounting::find;
use super::runs::Run;
use crate::sim::history::{Entry, History, REDRIVE, Said};

/// What happened to an event in a group.
#[derive(Default)]
struct Trouble {
    /// Failures in each subscription.
    failures: BTreeMap<u64, u32>,
    asked: bool,
    /// Runs of handlers.
    runs: u64,
    /// Acknowledgements that were sent before it was to be handled.
    spent: u64,
    /// Deliveries.
    delivered: u64,
}

impl Trouble {
    /// Whether it was to be acknowledged before it was handled, and that was not
    /// confirmed, which is a failure too: after each that was it ran.
    const fn was_unconfirmed(&self) -> bool {
        self.spent > self.runs
    }
}

/// Every dead letter was asked for by a handler, or its attempts had run out, or what
/// else it says is true.
pub(super) fn asked_for(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut troubles: BTreeMap<_, Trouble> = BTreeMap::new();
    // What is redriven has a sequence of its own, in a stream of its own: all of a topic
    // together.
    let mut redriven: BTreeMap<_, Trouble> = BTreeMap::new();
    for run in runs {
        let trouble = troubles.entry((run.group, run.topic, run.sequence));
        let trouble = trouble.or_default();
        let failures = trouble.failures.entry(run.subscription).or_default();
        *failures += u32::from(run.has_failed());
        trouble.asked |= run.said == Some(Said::DeadLetter);
        match run.redrives {
            0 => trouble.runs += 1,
            _ => redriven.entry((run.group, run.topic)).or_default().runs += 1,
        }
    }
    let mut letters = Vec::new();
    for (_, entry) in &history.entries {
        match entry {
            Entry::Arrived(passage) | Entry::Lost(passage) | Entry::Acknowledged(passage) => {
                let consumers = history.groups.iter();
                let mut groups = consumers.filter(|group| group.consumer == passage.consumer);
                if let Some(group) = groups.next() {
                    let (group, topic) = (group.name.as_str(), group.topic.as_str());
                    let what = (group, topic, passage.sequence);
                    let trouble = match passage.stream == REDRIVE {
                        true => redriven.entry((group, topic)).or_default(),
                        false => troubles.entry(what).or_default(),
                    };
                    match entry {
                        Entry::Acknowledged(_) => trouble.spent += 1,
                        _ => trouble.delivered += 1,
                    }
                }
            }
            Entry::DeadLettered {
                group,
                topic,
                sequence,
                reason,
            } => letters.push((group.as_str(), topic.as_str(), *sequence, *reason)),
            _ => {}
        }
    }
    letters.extend(history.letters.iter().map(|letter| {
        let (group, topic) = (letter.group.as_str(), letter.topic.as_str());
        (group, topic, letter.sequence, letter.reason)
    }));
    letters.dedup();
    for (group, topic, sequence, reason) in letters {
        let trouble = troubles.get(&(group, topic, sequence));
        let known = find(&history.groups, group, topic).map(|group| group.rules);
        let asked = trouble.zip(known).is_some_and(|(trouble, rules)| {
            let failures = trouble.failures.values().max().copied().unwrap_or(0);
            let again = redriven.get(&(group, topic));
            let unconfirmed = rules.at_most_once
                && (trouble.was_unconfirmed() || again.is_some_and(Trouble::was_unconfirmed));
            match reason {
                Reason::Asked | Reason::Terminal => trouble.asked,
                Reason::Exhausted => failures >= rules.attempts || unconfirmed,
                Reason::Backlogged => rules.gives_up_at_share && (failures > 0 || unconfirmed),
                Reason::CrashLoop => trouble.delivered >= rules.crash_limit,
                _ => false,
            }
        });
        if !asked {
            found.push(Violation::GivenUp {
                group: group.into(),
                topic: topic.into(),
                sequence,
                reason,
            });
        }
    }
}
