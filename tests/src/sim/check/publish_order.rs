//! What one publisher published of a key is stored in that order.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Answer, Entry, History};
use super::Violation;

/// A call, and whether it is the first of its event.
type Call = (u64, bool);

/// Of two calls of one publisher for one topic and key, the later is stored behind
/// the earlier. A call that repeats an event says nothing of its own place: the event
/// may have been stored at any time since it was published first.
pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    let mut published = BTreeSet::new();
    let mut lines: BTreeMap<(u64, &str, &str), Vec<Call>> = BTreeMap::new();
    let mut stored = BTreeMap::new();
    for (_, entry) in &history.entries {
        match entry {
            Entry::Published {
                call,
                publisher,
                event,
                topic,
                key,
                ..
            } => {
                let is_new = published.insert((*event, topic));
                if let Some(key) = key {
                    let line = lines.entry((*publisher, topic, key)).or_default();
                    line.push((*call, is_new));
                }
            }
            Entry::Answered {
                call,
                answer: Answer::Stored { sequence, .. },
            } => _ = stored.insert(*call, *sequence),
            _ => {}
        }
    }
    for line in lines.values() {
        let mut before = (0, 0);
        for (call, is_new) in line {
            let Some(&sequence) = stored.get(call) else {
                continue;
            };
            if *is_new && sequence <= before.0 {
                found.push(Violation::StoredOutOfOrder {
                    calls: (before.1, *call),
                });
            }
            before = before.max((sequence, *call));
        }
    }
}
