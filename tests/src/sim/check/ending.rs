//! How buses and subscriptions end, and what they hold meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jetbus_core::Time;

use super::Violation;
use super::accounting::find;
use super::runs::Run;
use crate::sim::history::{Entry, History};

/// Every closer is answered in time, and all of a bus with the same.
pub(super) fn closing(history: &History, found: &mut Vec<Violation>) {
    let mut asked: BTreeMap<(usize, u64), Time> = BTreeMap::new();
    let mut reports: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for (now, entry) in &history.entries {
        match entry {
            Entry::Closing { bus, closer } => _ = asked.insert((*bus, *closer), *now),
            Entry::Closed {
                bus,
                closer,
                report,
            } => {
                let began = asked.get(&(*bus, *closer));
                if began.is_some_and(|began| now.since(*began) <= history.close_limit) {
                    asked.remove(&(*bus, *closer));
                }
                reports.entry(*bus).or_default().insert(report);
            }
            _ => {}
        }
    }
    found.extend(
        asked
            .into_keys()
            .map(|(bus, closer)| Violation::CloseLate { bus, closer }),
    );
    let different = reports.into_iter().filter(|(_, reports)| reports.len() > 1);
    found.extend(different.map(|(bus, _)| Violation::CloseReports { bus }));
}

/// How long after its deadline a drain may end: the last words have to be said and
/// answered.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How far the driver's clock may be from ours when the time is up.
const SLACK: Duration = Duration::from_millis(5);

/// Drains end in time, nothing starts after them, and they report what happened.
///
/// When the bus was closed meanwhile there may be nothing to report.
pub(super) fn drains(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut asked: BTreeMap<u64, (Time, Duration)> = BTreeMap::new();
    let mut closing = BTreeSet::new();
    for (place, (now, entry)) in history.entries.iter().enumerate() {
        match entry {
            Entry::Closing { bus, .. } => _ = closing.insert(*bus),
            Entry::Draining {
                subscription,
                deadline,
                ..
            } => {
                asked.insert(*subscription, (*now, *deadline));
            }
            Entry::Drained {
                bus,
                subscription,
                abandoned,
                ..
            } => {
                let subscription = *subscription;
                let Some((began, deadline)) = asked.remove(&subscription) else {
                    continue;
                };
                if now.since(began) > deadline + LAST_WORDS {
                    found.push(Violation::DrainLate { subscription });
                }
                let mine = || runs.iter().filter(|run| run.subscription == subscription);
                // Acknowledged before it is handled, an event runs after that was confirmed,
                // or nobody would handle it.
                let spent = |run: &&Run<'_>| {
                    let group = find(&history.groups, run.group, run.topic);
                    group.is_some_and(|group| group.rules.at_most_once)
                };
                let after = mine().filter(|run| run.started > place && !spent(run));
                found.extend(after.map(|run| Violation::RanAfterDrain { run: run.run }));
                if closing.contains(bus) {
                    continue;
                }
                let before = || mine().filter(|run| run.started < place);
                let still = before().filter(|run| run.ended.is_none_or(|ended| ended > place));
                let still = still.count();
                // Also those that ended between the deadline and the report.
                let late = before().filter(|run| {
                    let ended = run.ended.and_then(|ended| history.entries.get(ended));
                    ended.is_none_or(|(at, _)| *at + SLACK >= began + deadline)
                });
                // And what was given up and is being stored.
                let storing = before().filter(|run| run.said.is_some_and(|said| !said.is_done()));
                let unconfirmed = unconfirmed(history, subscription, place);
                let most = late.count() + storing.count() + unconfirmed;
                if !(still..=most).contains(abandoned) {
                    found.push(Violation::DrainReport {
                        subscription,
                        abandoned: *abandoned,
                        running: (still, most),
                    });
                }
            }
            _ => {}
        }
    }
    let late = asked.into_keys();
    found.extend(late.map(|subscription| Violation::DrainLate { subscription }));
}

/// Of how many events a subscription waits at this place for the word that their
/// acknowledgement counts. They are handed out, though no handler has started.
fn unconfirmed(history: &History, subscription: u64, place: usize) -> usize {
    let mut source = None;
    let mut waiting = BTreeSet::new();
    for (_, entry) in history.entries.iter().take(place) {
        match entry {
            Entry::Subscribing {
                subscription: of,
                bus,
                group,
                topic,
            } if *of == subscription => {
                let group = find(&history.groups, group, topic);
                source = group.map(|group| (*bus, group.consumer.as_str()));
            }
            Entry::Acknowledged(what) if source == Some((what.bus, &what.consumer)) => {
                waiting.insert((what.stream.as_str(), what.sequence));
            }
            Entry::Started {
                subscription: of,
                stream,
                sequence,
                ..
            } if *of == subscription => _ = waiting.remove(&(stream.as_str(), *sequence)),
            _ => {}
        }
    }
    waiting.len()
}

/// No subscription holds more than three times its places: what is beyond is given back.
/// The server may send twice what was asked for, and what was given back or lost comes
/// again.
pub(super) fn memory(history: &History, found: &mut Vec<Violation>) {
    for (subscription, held) in &history.held {
        if held.most > held.places.saturating_mul(3) {
            found.push(Violation::HeldTooMuch {
                subscription: *subscription,
                held: held.most,
            });
        }
    }
}

/// After the storm everything works again.
pub(super) fn recovery(history: &History, found: &mut Vec<Violation>) {
    for (_, entry) in &history.entries {
        if let Entry::NotRecovered { bus, what } = entry {
            found.push(Violation::NotRecovered {
                bus: *bus,
                what: what.clone(),
            });
        }
    }
}

/// At the end the publish windows are empty, and nothing is left of what was closed.
pub(super) fn remains(history: &History, found: &mut Vec<Violation>) {
    for (&bus, &(free, places)) in &history.windows {
        if free != places {
            found.push(Violation::WindowTaken { bus, free, places });
        }
    }
    let left = history.left.iter().cloned();
    found.extend(left.map(|what| Violation::Left { what }));
}
