//! Batches are stored whole, as one run of sequences, or not at all.

use std::collections::BTreeMap;

use super::super::history::{Answer, Entry, History};
use super::Violation;

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    let mut published = BTreeMap::new();
    let mut answers = BTreeMap::new();
    for (_, entry) in &history.entries {
        match entry {
            Entry::Published {
                call, event, topic, ..
            } => _ = published.insert(*call, (*event, topic.as_str())),
            Entry::Answered { call, answer } => _ = answers.insert(*call, answer),
            _ => {}
        }
    }
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ((stream, sequence), stored) in &history.stored {
        let what = (stored.event, stored.topic.as_str());
        let place = (stream.as_str(), *sequence);
        places.entry(what).or_default().push(place);
    }
    for (_, entry) in &history.entries {
        let Entry::Batch { calls } = entry else {
            continue;
        };
        let Some(first) = calls.first() else { continue };
        let stored = calls.iter().map(|call| {
            let what = published.get(call)?;
            places.get(what)?.first().copied()
        });
        let stored: Vec<Option<(&str, u64)>> = stored.collect();
        let is_whole = stored.iter().all(Option::is_none)
            || (0..).zip(&stored).all(|(n, place)| {
                let begin = stored.first().copied().flatten();
                place.is_some() && *place == begin.map(|(stream, at)| (stream, at + n))
            });
        let kinds = calls.iter().filter_map(|call| answers.get(call));
        let mut kinds: Vec<_> = kinds.map(|answer| kind(answer)).collect();
        kinds.dedup();
        if !is_whole || kinds.len() > 1 {
            found.push(Violation::BatchInParts { call: *first });
        }
    }
}

/// What may not differ within a batch.
const fn kind(answer: &Answer) -> u8 {
    match answer {
        Answer::Stored { .. } => 0,
        Answer::Failed(_) => 1,
        Answer::Unknown => 2,
        Answer::Unread => 3,
    }
}
