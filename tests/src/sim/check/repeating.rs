//! What may not happen twice, or not both.

use std::collections::BTreeMap;

use jetbus_core::Time;

use super::Violation;
use super::accounting::find;
use super::runs::Run;
use crate::sim::history::{Entry, History, Said};

/// One subscription does not handle an event to its end and give it up as well, unless
/// the broker forgot in between, or could have.
pub(super) fn done_and_given_up(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    if forgets(history) {
        return;
    }
    let mut done = BTreeMap::new();
    let mut failures: BTreeMap<_, u32> = BTreeMap::new();
    for run in runs {
        let Some(group) = find(&history.groups, run.group, run.topic) else {
            continue;
        };
        let event = (run.subscription, run.topic, run.sequence, run.redrives);
        let failed = failures.entry(event).or_default();
        *failed += u32::from(run.has_failed());
        let given_up = run.said == Some(Said::DeadLetter)
            || (run.has_failed() && *failed >= group.rules.attempts);
        if run.is_done() {
            done.insert(event, false);
        }
        let both = done.get_mut(&event).filter(|told| given_up && !**told);
        if let Some(told) = both {
            *told = true;
            found.push(Violation::DoneAndGivenUp {
                group: run.group.into(),
                topic: run.topic.into(),
                sequence: run.sequence,
            });
        }
    }
}

/// Where it is said so, an event runs at most once for its group, and once more each
/// time that it is redriven. Where leases cannot be kept, because no stream has a leader or
/// signs of life are lost, what two processes received may be confirmed to both.
pub(super) fn at_most_once(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let leaderless = |(_, entry): &(Time, Entry)| matches!(entry, Entry::Leaderless { .. });
    let shared = history.groups.iter().any(|group| group.shared);
    let lapses = history.lossy || history.entries.iter().any(leaderless);
    if forgets(history) || (shared && lapses) {
        return;
    }
    let mut ran = BTreeMap::new();
    for run in runs {
        let group = find(&history.groups, run.group, run.topic);
        if !group.is_some_and(|group| group.rules.at_most_once) {
            continue;
        }
        let event = (run.group, run.stream, run.sequence, run.redrives);
        if let Some(before) = ran.insert(event, run.run) {
            found.push(Violation::RanAgain {
                runs: (before, run.run),
            });
        }
    }
}

/// How many times its places a subscription remembers what it settled, at least.
const REMEMBERED: usize = 4;

/// What a subscription has handled to its end does not run there again, unless so much
/// else was settled meanwhile that it may have forgotten.
pub(super) fn handled_again(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    // By subscription: what ended, in order.
    let mut ended: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut done: BTreeMap<_, &Run<'_>> = BTreeMap::new();
    for run in runs {
        let of = ended.entry(run.subscription).or_default();
        let group = find(&history.groups, run.group, run.topic);
        if group.is_none_or(|group| group.rules.at_most_once) {
            continue;
        }
        let event = (run.subscription, run.stream, run.sequence, run.redrives);
        let places = history.held.get(&run.subscription).map(|held| held.places);
        if let (Some(before), Some(places)) = (done.get(&event), places) {
            let since = |place: &&usize| Some(**place) > before.ended && **place < run.started;
            if of.iter().filter(since).count() < places * REMEMBERED
                && before.ended < Some(run.started)
            {
                found.push(Violation::HandledAgain {
                    runs: (before.run, run.run),
                });
            }
        }
        of.extend(run.ended);
        if run.is_done() {
            done.insert(event, run);
        }
    }
}

/// Whether the broker was made to forget what was acknowledged: a consumer was deleted,
/// or it died.
fn forgets(history: &History) -> bool {
    history.entries.iter().any(|(_, entry)| match entry {
        Entry::Deleted { .. } => true,
        Entry::Restarted { forgotten } => !forgotten.is_zero(),
        _ => false,
    })
}
