//! What goes back to the server: by our word, or because nothing was heard of us.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::sim::history::{Entry, Group, History, Passage};

/// Where nothing is wrong, the server delivers nothing again that nobody gave back: what
/// is held is held by a lease.
pub(super) fn leases(history: &History, found: &mut Vec<Violation>) {
    if !history.calm {
        return;
    }
    let mut held: BTreeSet<(&str, &str, u64)> = BTreeSet::new();
    let mut topics = BTreeMap::new();
    for (_, entry) in &history.entries {
        match entry {
            // From the start, for it knows of nothing that was delivered.
            Entry::Deleted { .. } => return,
            // Another process gets what this one had.
            Entry::Closing { .. } => return,
            Entry::Subscribing {
                subscription,
                group,
                topic,
                ..
            } => _ = topics.insert(*subscription, (group, topic)),
            // What ran when the time was up comes again after its lease.
            Entry::Draining { subscription, .. } | Entry::Drained { subscription, .. } => {
                let drained = topics.get(subscription).copied();
                let mut groups = history.groups.iter();
                let group = groups.find(|group| drained == Some((&group.name, &group.topic)));
                held.retain(|(consumer, ..)| group.is_none_or(|group| group.consumer != *consumer));
            }
            Entry::GivenBack(passage) => _ = held.remove(&event(passage)),
            Entry::Arrived(passage) => {
                let group = of(history, passage);
                if let Some(group) = group.filter(|_| !held.insert(event(passage))) {
                    found.push(Violation::Lapsed {
                        bus: passage.bus,
                        group: group.name.clone(),
                        at: (passage.stream.clone(), passage.sequence),
                    });
                }
            }
            _ => {}
        }
    }
}

/// An event of a consumer, wherever it is.
fn event(passage: &Passage) -> (&str, &str, u64) {
    (&passage.consumer, &passage.stream, passage.sequence)
}

/// A drain gives the events of a key back in the order in which they came, for the server
/// delivers them again in the order in which they are given back.
pub(super) fn drains(history: &History, found: &mut Vec<Violation>) {
    let mut keys = BTreeMap::new();
    let mut topics = BTreeMap::new();
    let mut draining = BTreeMap::new();
    let mut arrived: BTreeMap<&Passage, usize> = BTreeMap::new();
    for (place, (_, entry)) in history.entries.iter().enumerate() {
        match entry {
            Entry::Published {
                event, topic, key, ..
            } => _ = keys.insert((*event, topic), key.as_ref()),
            Entry::Subscribing {
                subscription,
                group,
                topic,
                ..
            } => _ = topics.insert(*subscription, (group, topic)),
            Entry::Draining {
                bus, subscription, ..
            } => {
                let given: Vec<(usize, &Passage)> = Vec::new();
                if let Some(reading) = topics.get(subscription) {
                    draining.insert((*bus, *reading), given);
                }
            }
            Entry::Drained {
                bus, subscription, ..
            } => {
                if let Some(reading) = topics.get(subscription) {
                    draining.remove(&(*bus, *reading));
                }
            }
            Entry::Arrived(passage) => _ = arrived.insert(passage, place),
            Entry::GivenBack(passage) => {
                let Some(came) = arrived.remove(passage) else {
                    continue;
                };
                let group = of(history, passage).filter(|group| group.rules.ordered);
                let Some(group) = group else { continue };
                let reading = (&group.name, &group.topic);
                let Some(given) = draining.get_mut(&(passage.bus, reading)) else {
                    continue;
                };
                let key = |passage: &Passage| {
                    let at = (passage.stream.clone(), passage.sequence);
                    let stored = history.stored.get(&at)?;
                    keys.get(&(stored.event, &stored.topic)).copied().flatten()
                };
                let mine = key(passage);
                let overtaking = given.iter().find(|(other_came, other)| {
                    let later = other.sequence > passage.sequence && *other_came > came;
                    later && mine.is_some() && key(other) == mine
                });
                if let Some((_, later)) = overtaking {
                    found.push(Violation::GivenBackOutOfOrder {
                        bus: passage.bus,
                        group: group.name.clone(),
                        earlier: passage.sequence,
                        later: later.sequence,
                    });
                }
                given.push((came, passage));
            }
            _ => {}
        }
    }
}

/// The group of a delivery. Not of one that lives as long as its subscription, of which
/// there may be two; and not of what is redriven.
fn of<'a>(history: &'a History, passage: &Passage) -> Option<&'a Group> {
    let at = (passage.stream.clone(), passage.sequence);
    let mut groups = history.groups.iter();
    let group = groups.find(|group| group.consumer == passage.consumer);
    group.filter(|group| !group.consumer.is_empty() && history.stored.contains_key(&at))
}
