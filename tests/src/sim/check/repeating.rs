//! What may not happen twice, or not both.

use std::collections::BTreeMap;
use std::time::Duration;

use jetbus_core::Time;

use super::Violation;
use super::accounting::find;
use super::runs::Run;
use crate::sim::history::{Entry, History, Said};

/// One subscription does not handle an event to its end and give it up as well, unless
/// the broker forgot in between, or could have. An acknowledgement may be lost: what comes
/// again when the subscription may have forgotten it begins anew.
pub(super) fn done_and_given_up(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    if forgets(history) {
        return;
    }
    let mut ended = Ended::default();
    let mut done: BTreeMap<_, (&Run<'_>, bool)> = BTreeMap::new();
    let mut failures: BTreeMap<_, u32> = BTreeMap::new();
    for run in runs {
        let Some(group) = find(&history.groups, run.group, run.topic) else {
            continue;
        };
        let event = (run.subscription, run.topic, run.sequence, run.redrives);
        let before = done.get(&event);
        let remembers = before.and_then(|(before, _)| ended.remembers(history, before, run));
        if remembers == Some(false) {
            done.remove(&event);
            failures.remove(&event);
        }
        ended.add(run);
        let failed = failures.entry(event).or_default();
        *failed += u32::from(run.has_failed());
        let given_up = run.said == Some(Said::DeadLetter)
            || (run.has_failed() && *failed >= group.rules.attempts);
        if run.is_done() {
            done.insert(event, (run, false));
        }
        let both = done.get_mut(&event).filter(|(_, told)| given_up && !told);
        if let Some((_, told)) = both {
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
/// signs of life are lost, what two processes received may be confirmed to both: also when
/// the connection of one of the two was gone for longer than leases are renewed in good
/// time.
pub(super) fn at_most_once(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let leaderless = |(_, entry): &(Time, Entry)| matches!(entry, Entry::Leaderless { .. });
    let shared = history.groups.iter().any(|group| group.shared);
    let lapses = history.lossy || history.entries.iter().any(leaderless);
    if forgets(history) || (shared && lapses) {
        return;
    }
    let (gone, arrived) = (gone(history), arrivals(history));
    let lapsed = |run: &Run<'_>| {
        let came = arrived.get(&(run.bus, run.stream, run.sequence));
        let came = came.copied().unwrap_or(0);
        let held = |back: usize| came < back && back < run.started;
        gone.iter()
            .any(|(bus, back)| *bus == run.bus && held(*back))
    };
    let mut ran: BTreeMap<_, &Run<'_>> = BTreeMap::new();
    for run in runs {
        let group = find(&history.groups, run.group, run.topic);
        if !group.is_some_and(|group| group.rules.at_most_once) {
            continue;
        }
        let event = (run.group, run.stream, run.sequence, run.redrives);
        if let Some(before) = ran.insert(event, run)
            && !(before.bus != run.bus && (lapsed(before) || lapsed(run)))
        {
            found.push(Violation::RanAgain {
                runs: (before.run, run.run),
            });
        }
    }
}

/// How many times its places a subscription remembers what it settled, at least.
const REMEMBERED: usize = 16;

/// By subscription: what ended, in the order of starts.
#[derive(Default)]
struct Ended(BTreeMap<u64, Vec<usize>>);

impl Ended {
    fn add(&mut self, run: &Run<'_>) {
        self.0
            .entry(run.subscription)
            .or_default()
            .extend(run.ended);
    }

    /// Whether the subscription of `run` still has to know at its start of what it handled
    /// `before`. It need not when so much else was settled meanwhile. `None` when its
    /// places are not known.
    fn remembers(&self, history: &History, before: &Run<'_>, run: &Run<'_>) -> Option<bool> {
        let held = history.held.get(&run.subscription)?;
        let of = self.0.get(&run.subscription).into_iter().flatten();
        let since = |place: &&usize| Some(**place) > before.ended && **place < run.started;
        Some(of.filter(since).count() < held.places * REMEMBERED)
    }
}

/// What a subscription has handled to its end does not run there again, unless so much
/// else was settled meanwhile that it may have forgotten.
pub(super) fn handled_again(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut ended = Ended::default();
    let mut done: BTreeMap<_, &Run<'_>> = BTreeMap::new();
    for run in runs {
        let group = find(&history.groups, run.group, run.topic);
        if group.is_none_or(|group| group.rules.at_most_once) {
            continue;
        }
        let event = (run.subscription, run.stream, run.sequence, run.redrives);
        if let Some(before) = done.get(&event)
            && ended.remembers(history, before, run) == Some(true)
            && before.ended < Some(run.started)
        {
            found.push(Violation::HandledAgain {
                runs: (before.run, run.run),
            });
        }
        ended.add(run);
        if run.is_done() {
            done.insert(event, run);
        }
    }
}

/// Where in the history each message of a stream came to each bus first.
fn arrivals(history: &History) -> BTreeMap<(usize, &str, u64), usize> {
    let mut arrived = BTreeMap::new();
    for (place, (_, entry)) in history.entries.iter().enumerate() {
        if let Entry::Arrived(passage) = entry {
            let what = (passage.bus, passage.stream.as_str(), passage.sequence);
            arrived.entry(what).or_insert(place);
        }
    }
    arrived
}

/// A connection that breaks again within this may have carried no sign of life.
const MOMENT: Duration = Duration::from_millis(100);

/// The buses whose connections were gone for too long to keep leases, but for moments, and
/// where in the history they were back.
fn gone(history: &History) -> Vec<(usize, usize)> {
    // Since when each was gone, and when it was back.
    let mut breaks: BTreeMap<usize, (Time, Option<Time>)> = BTreeMap::new();
    let mut gone = Vec::new();
    for (place, (now, entry)) in history.entries.iter().enumerate() {
        match entry {
            Entry::Down { bus } => {
                let last = breaks.get(bus).copied();
                let last =
                    last.filter(|(_, back)| back.is_none_or(|back| now.since(back) < MOMENT));
                let since = last.map_or(*now, |(since, _)| since);
                breaks.insert(*bus, (since, None));
            }
            Entry::Up { bus } => {
                // They are renewed when a third of them is over.
                let long = history.ack_wait * 2 / 3;
                if let Some((since, back)) = breaks.get_mut(bus) {
                    *back = Some(*now);
                    if now.since(*since) >= long {
                        gone.push((*bus, place));
                    }
                }
            }
            _ => {}
        }
    }
    gone
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
