//! What publishing may not answer, and what it may not ask for.

use std::collections::{BTreeMap, BTreeSet};

use jetbus_core::Time;

use super::Violation;
use crate::sim::history::{Answer, Entry, History};

/// Every publish was answered once, and truly.
pub(super) fn answers(history: &History, found: &mut Vec<Violation>) {
    let mut calls: BTreeMap<u64, (u64, &str, Vec<&Answer>)> = BTreeMap::new();
    for (_, entry) in &history.entries {
        match entry {
            Entry::Published {
                call, event, topic, ..
            } => {
                calls.insert(*call, (*event, topic, Vec::new()));
            }
            Entry::Answered { call, answer } => {
                if let Some((_, _, answers)) = calls.get_mut(call) {
                    answers.push(answer);
                }
            }
            _ => {}
        }
    }
    let mut held: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    for stored in history.stored.values() {
        *held.entry((stored.event, &stored.topic)).or_default() += 1;
    }
    let twice = held.iter().filter(|(_, count)| **count > 1);
    found.extend(twice.map(|((event, _), _)| Violation::StoredTwice { event: *event }));

    // Another call of the same event may have stored what this one did not.
    let may_store: BTreeSet<_> = calls
        .values()
        .filter(|(_, _, answers)| {
            answers
                .iter()
                .any(|answer| !matches!(answer, Answer::Failed(_) | Answer::Unread))
        })
        .map(|(event, topic, _)| (*event, *topic))
        .collect();
    for (call, (event, topic, answers)) in &calls {
        let call = *call;
        let [answer] = answers[..] else {
            let count = answers.len();
            found.push(Violation::Answers { call, count });
            continue;
        };
        if history.calm && !matches!(answer, Answer::Stored { .. }) {
            found.push(Violation::FailedInCalm { call });
        }
        match answer {
            Answer::Stored {
                stream, sequence, ..
            } => {
                let stored = history.stored.get(&(stream.clone(), *sequence));
                if stored
                    .is_none_or(|stored| (stored.event, stored.topic.as_str()) != (*event, *topic))
                {
                    found.push(Violation::FalselyStored { call });
                }
            }
            Answer::Failed(_) | Answer::Unread => {
                let what = (*event, *topic);
                if held.contains_key(&what) && !may_store.contains(&what) {
                    found.push(Violation::FalselyFailed { call });
                }
            }
            Answer::Unknown => {}
        }
    }
}

/// A bus waits for one answer at a time to "create this stream".
///
/// One wait may take several attempts: the link took none, or broke. It is over with
/// the answer, with the time for a request, or when the publish that needs the
/// stream has failed: which one that was is not seen, so any may have been, or none.
pub(super) fn creation(history: &History, found: &mut Vec<Violation>) {
    let mut waits: BTreeMap<(usize, &str), Wait<'_>> = BTreeMap::new();
    let mut published = BTreeMap::new();
    for (now, entry) in &history.entries {
        match entry {
            Entry::Create { bus, stream, reply } => {
                let fresh = Wait::new(*now);
                let wait = waits.entry((*bus, stream)).or_insert(fresh);
                let late = now.since(wait.since) >= history.request_timeout;
                if late || wait.failed && wait.reply.is_some() {
                    *wait = fresh;
                }
                // With nothing to answer this is the same wait, for all that is known.
                if wait.failed {
                    wait.latest = *now;
                    wait.failed = false;
                }
                if wait.reply.replace(reply).is_some() {
                    found.push(Violation::CreatedAtOnce {
                        bus: *bus,
                        stream: stream.clone(),
                    });
                }
            }
            Entry::NotTaken { bus, reply } => {
                let waits = waits.iter_mut().filter(|((of, _), _)| of == bus);
                for (_, wait) in waits.filter(|(_, wait)| wait.reply == Some(reply)) {
                    wait.reply = None;
                }
            }
            Entry::Down { bus } => {
                for (_, wait) in waits.iter_mut().filter(|((of, _), _)| of == bus) {
                    wait.reply = None;
                }
            }
            Entry::Created { bus, reply } => {
                waits.retain(|(of, _), wait| (of, wait.reply) != (bus, Some(reply)));
            }
            Entry::Published { call, .. } => _ = published.insert(*call, *now),
            Entry::Answered {
                call,
                answer: Answer::Failed(_),
            } => {
                let began = published.get(call).copied().unwrap_or(Time::NEVER);
                for wait in waits.values_mut().filter(|wait| wait.latest >= began) {
                    wait.failed = true;
                }
            }
            _ => {}
        }
    }
}

/// A bus waits for a stream to be created.
#[derive(Clone, Copy)]
struct Wait<'a> {
    /// Since the first attempt.
    since: Time,
    /// Since this attempt, if a failure before it was the end of another wait.
    latest: Time,
    /// A publish has failed since then that may have been the one to wait.
    failed: bool,
    /// Where the answer goes; none while nothing was sent that can be answered.
    reply: Option<&'a str>,
}

impl Wait<'_> {
    const fn new(now: Time) -> Self {
        Self {
            since: now,
            latest: now,
            failed: false,
            reply: None,
        }
    }
}
