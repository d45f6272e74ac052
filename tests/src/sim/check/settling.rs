//! What may be acknowledged, and under which id a dead letter is stored.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::accounting::find;
use super::runs::Run;
use crate::sim::history::{Entry, Grave, History, Passage, Said};

/// An event is acknowledged after the same bus has handled it to its end, or has read
/// that its dead letter is stored. What is redriven comes from elsewhere.
pub(super) fn settled(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut handled = BTreeMap::new();
    for run in runs.iter().filter(|run| run.redrives == 0) {
        let done = matches!(run.said, Some(Said::Done | Said::Discard)) || run.unconfirmed;
        if let Some(ended) = run.ended.filter(|_| done) {
            let event = (run.bus, run.group, run.stream, run.sequence);
            handled.entry(event).or_insert(ended);
        }
    }
    let mut buried = BTreeSet::new();
    for (place, (_, entry)) in history.entries.iter().enumerate() {
        match entry {
            Entry::Buried(grave) => {
                let Grave { bus, group, .. } = grave;
                buried.insert((*bus, group.as_str(), grave.stream.as_str(), grave.sequence));
            }
            Entry::Settled(passage) => {
                let at = (passage.stream.clone(), passage.sequence);
                let mut groups = history.groups.iter();
                let group = groups.find(|group| group.consumer == passage.consumer);
                let Some(group) = group.filter(|_| history.stored.contains_key(&at)) else {
                    continue;
                };
                let (bus, stream) = (passage.bus, passage.stream.as_str());
                let event = (bus, group.name.as_str(), stream, passage.sequence);
                let before = handled.get(&event).is_some_and(|ended| *ended < place);
                // Once is enough.
                if !before && buried.insert(event) {
                    found.push(Violation::SettledEarly {
                        bus,
                        group: group.name.clone(),
                        at,
                    });
                }
            }
            _ => {}
        }
    }
}

/// What is to be handled at most once is handled after the same bus has read that the
/// server knows.
pub(super) fn confirmed(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut confirmed = BTreeMap::new();
    for (place, (_, entry)) in history.entries.iter().enumerate() {
        if let Entry::Confirmed(passage) = entry {
            confirmed.entry(passage).or_insert(place);
        }
    }
    for run in runs.iter().filter(|run| run.redrives == 0) {
        let group = find(&history.groups, run.group, run.topic);
        let Some(group) = group.filter(|group| group.rules.at_most_once) else {
            continue;
        };
        let passage = Passage {
            bus: run.bus,
            consumer: group.consumer.clone(),
            stream: run.stream.into(),
            sequence: run.sequence,
        };
        let place = confirmed.get(&passage);
        if place.is_none_or(|place| *place > run.started) {
            found.push(Violation::NotConfirmed { run: run.run });
        }
    }
}

/// A dead letter that is published again has the same id: else it is stored twice.
pub(super) fn buried(history: &History, found: &mut Vec<Violation>) {
    let mut ids = BTreeMap::new();
    for (_, entry) in &history.entries {
        let Entry::Burying { grave, id } = entry else {
            continue;
        };
        let event = (&grave.group, &grave.stream, grave.sequence, grave.redrives);
        if ids.insert(event, id).is_some_and(|before| before != id) {
            found.push(Violation::Renamed {
                group: grave.group.clone(),
                at: (grave.stream.clone(), grave.sequence),
            });
        }
    }
}
