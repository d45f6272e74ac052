//! Order and exclusion within a key.

use std::collections::{BTreeMap, BTreeSet};

use jetbus_core::dead_letter::Reason;

use super::Violation;
use super::accounting::find;
use super::runs::Run;
use crate::sim::history::{Entry, Group, History, Passage, Said};

/// What one subscription did with an event.
#[derive(Default)]
struct Course {
    /// Where its first run started, and in which batch.
    started: Option<(usize, Option<u64>)>,
    /// The batches that it was in.
    batches: BTreeSet<u64>,
    failures: u32,
    /// Where a run ended after which there is no other: it was done or given up.
    over: Option<usize>,
}

impl Course {
    /// `backlogged`: it was given up before its attempts ran out.
    fn add(&mut self, run: &Run<'_>, group: &Group, backlogged: bool) {
        self.started.get_or_insert((run.started, run.batch));
        self.batches.extend(run.batch);
        self.failures += u32::from(run.has_failed());
        let over = match run.said {
            _ if group.rules.at_most_once => true,
            Some(Said::Done | Said::Discard | Said::DeadLetter) => true,
            Some(said) => {
                said.has_failed() && (backlogged || self.failures >= group.rules.attempts)
            }
            None => false,
        };
        if over && self.over.is_none() {
            self.over = run.ended;
        }
    }
}

/// In one subscription an event of a key does not start before the earlier ones of the
/// key are done or given up, in the order of the stream. What is redriven comes apart.
///
/// Two excuses. Where processes share a group, or came one after the other, the earlier
/// event had not come here when the later one did. The server had delivered it before,
/// for it delivers in order: whether another process has it, or it was lost on its way,
/// nobody here can know. It had not come either if it waited here for what was missing
/// before it when the consumer was deleted: from the next one it may go to another
/// process. Or it was given back, did not come again in time, and the bus
/// told so.
pub(super) fn order(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let passages = Passages::of(history);
    let told: BTreeSet<_> = history
        .entries
        .iter()
        .filter_map(|(_, entry)| match entry {
            Entry::Overtaken {
                bus,
                topic,
                sequence,
            } => Some((*bus, topic.as_str(), *sequence)),
            _ => None,
        })
        .collect();
    let letters = history.letters.iter();
    let mut given_up: BTreeSet<_> = letters
        .map(|letter| {
            (
                letter.group.as_str(),
                letter.topic.as_str(),
                letter.sequence,
            )
        })
        .collect();
    given_up.extend(history.entries.iter().filter_map(|(_, entry)| match entry {
        Entry::DeadLettered {
            group,
            topic,
            sequence,
            reason: Reason::Backlogged,
        } => Some((group.as_str(), topic.as_str(), *sequence)),
        _ => None,
    }));
    let mut lines: BTreeMap<_, (&Group, BTreeMap<u64, Course>)> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.redrives == 0) {
        let Some(key) = run.key else { continue };
        let group = find(&history.groups, run.group, run.topic);
        let Some(group) = group.filter(|group| group.rules.ordered) else {
            continue;
        };
        // Order is per topic and key; the topics of a stream have one of their own.
        let line = (run.subscription, run.bus, run.stream, run.topic, key);
        let (_, line) = lines
            .entry(line)
            .or_insert_with(|| (group, BTreeMap::new()));
        let event = (run.group, run.topic, run.sequence);
        let backlogged = group.rules.gives_up_at_share
            && (!group.rules.dead_letters || given_up.contains(&event));
        line.entry(run.sequence)
            .or_default()
            .add(run, group, backlogged);
    }
    // What a drain gave up or gave back after a failure comes to the next subscription
    // after its lease or delay, and what was never delivered does not wait for it.
    let drained = history.entries.iter().any(|(_, entry)| match entry {
        Entry::Drained {
            abandoned,
            returned,
            ..
        } => abandoned + returned > 0,
        _ => false,
    });
    for ((subscription, bus, stream, topic, key), (group, line)) in &lines {
        for (earlier, late) in line {
            if told.contains(&(*bus, *topic, *earlier)) {
                continue;
            }
            let overtaking = line.range(earlier + 1..).find(|(later, course)| {
                let Some((started, batch)) = course.started else {
                    return false;
                };
                // Together with the earlier one it is called back when that fails.
                let together = batch.is_some_and(|batch| late.batches.contains(&batch));
                let before = late.over.is_none_or(|over| started < over);
                let [earlier, later] = [earlier, later].map(|sequence| Passage {
                    bus: *bus,
                    consumer: group.consumer.clone(),
                    stream: (*stream).to_owned(),
                    sequence: *sequence,
                });
                let missing = || {
                    let started = late.started.map(|(started, _)| started);
                    (group.shared || drained)
                        && passages.missing(*subscription, &earlier, started, &later)
                };
                before && !together && !missing()
            });
            if let Some((later, _)) = overtaking {
                found.push(Violation::OutOfOrder {
                    bus: *bus,
                    group: group.name.clone(),
                    key: (*key).to_owned(),
                    earlier: *earlier,
                    later: *later,
                });
            }
        }
    }
}

/// When each message arrived at each process, and when subscriptions began.
struct Passages {
    arrived: BTreeMap<Passage, Vec<usize>>,
    began: BTreeMap<u64, usize>,
    deleted: BTreeMap<String, BTreeSet<usize>>,
}

impl Passages {
    fn of(history: &History) -> Self {
        let mut arrived: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut began = BTreeMap::new();
        let mut deleted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (place, (_, entry)) in history.entries.iter().enumerate() {
            match entry {
                Entry::Arrived(passage) => {
                    arrived.entry(passage.clone()).or_default().push(place);
                }
                Entry::Subscribing { subscription, .. } => _ = began.insert(*subscription, place),
                Entry::Deleted { consumer } => {
                    deleted.entry(consumer.clone()).or_default().insert(place);
                }
                _ => {}
            }
        }
        Self {
            arrived,
            began,
            deleted,
        }
    }

    /// Whether a message, which `started` to be handled then, had not come to a subscription
    /// when a later one did, or had only come from a consumer that was deleted before both.
    fn missing(
        &self,
        subscription: u64,
        earlier: &Passage,
        started: Option<usize>,
        later: &Passage,
    ) -> bool {
        let began = self.began.get(&subscription).copied().unwrap_or(0);
        let first = |passage, since| {
            let places = self.arrived.get(passage).into_iter().flatten();
            places.copied().find(|place| *place >= since)
        };
        let Some(place) = first(later, began) else {
            return false;
        };
        let deleted = self.deleted.get(&earlier.consumer).into_iter();
        let deleted = deleted.flat_map(|deleted| deleted.range(..place)).last();
        // What is handled is known here, whatever becomes of its consumer.
        let deleted = deleted.filter(|deleted| started.is_none_or(|started| started > **deleted));
        let Some(deleted) = deleted else {
            return first(earlier, began).is_none_or(|first| first > place);
        };
        // It is handled when it has come again, and not before.
        match (first(earlier, began.max(*deleted)), started) {
            (Some(first), Some(started)) => first > place && first < started,
            (Some(first), None) => first > place,
            (None, started) => started.is_none(),
        }
    }
}

/// In one subscription handlers of one key never run at once.
pub(super) fn overlap(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut last: BTreeMap<_, &Run<'_>> = BTreeMap::new();
    for run in runs {
        let Some(key) = run.key else { continue };
        let group = find(&history.groups, run.group, run.topic);
        if group.is_some_and(|group| !group.rules.ordered) {
            continue;
        }
        let Some(before) = last.insert((run.subscription, run.topic, key), run) else {
            continue;
        };
        let together = run.batch.is_some() && run.batch == before.batch;
        if !together && before.ended.is_none_or(|ended| ended > run.started) {
            found.push(Violation::Overlap {
                runs: (before.run, run.run),
            });
        }
    }
}
