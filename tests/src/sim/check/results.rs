//! What streams of results may not give: less, more or other than the answers.

use std::collections::{BTreeMap, BTreeSet};

use jetbus::PublishError;

use super::Violation;
use crate::sim::history::{Answer, Entry, History};

/// What is published under a stream: the bus, the tenant, the event and its topic.
type Subject<'a> = (usize, i64, u64, &'a str);

/// What the calls of a subject were answered, and what its results say.
#[derive(Default)]
struct Told<'a> {
    answers: Vec<&'a Answer>,
    results: Vec<&'a Answer>,
    /// Calls that were told that the bus is closed: perhaps before they had a place.
    closed: usize,
}

/// Every call under a stream that had a place gave one result there, equal to its
/// answer; nothing else did, and each stream came to its end.
pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    let closed = Answer::Failed(PublishError::Closed.to_string());
    let mut read = BTreeSet::new();
    let mut open = BTreeSet::new();
    let mut calls = BTreeMap::new();
    let mut told: BTreeMap<Subject<'_>, Told<'_>> = BTreeMap::new();
    for (_, entry) in &history.entries {
        match entry {
            Entry::Reading { bus, tenant } => {
                read.insert((*bus, *tenant));
                open.insert((*bus, *tenant));
            }
            Entry::ReadAll { bus, tenant } => _ = open.remove(&(*bus, *tenant)),
            Entry::Published {
                call,
                bus,
                tenant,
                event,
                topic,
                ..
            } => {
                calls.insert(*call, (*bus, *tenant, *event, topic.as_str()));
            }
            Entry::Answered { call, answer } => {
                let Some(subject) = calls.get(call) else {
                    continue;
                };
                if !read.contains(&(subject.0, subject.1)) || *answer == Answer::Unread {
                    continue;
                }
                let told = told.entry(*subject).or_default();
                match *answer == closed {
                    true => told.closed += 1,
                    false => told.answers.push(answer),
                }
            }
            Entry::Result {
                bus,
                tenant,
                event,
                topic,
                answer,
            } => {
                let told = told.entry((*bus, *tenant, *event, topic)).or_default();
                told.results.push(answer);
            }
            _ => {}
        }
    }
    let endless = open.into_iter();
    found.extend(endless.map(|(bus, tenant)| Violation::ResultsEndless { bus, tenant }));
    for ((bus, tenant, event, _), mut told) in told {
        let results = told.results.len();
        told.results.retain(|result| **result != closed);
        let refused = results - told.results.len();
        told.answers.sort();
        told.results.sort();
        if told.answers != told.results || refused > told.closed {
            found.push(Violation::Results { bus, tenant, event });
        }
    }
}
