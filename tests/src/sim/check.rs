//! What may never be in a [`History`].
//!
//! Pure: a history in, what is wrong with it out. Each rule reads the history from
//! its start and knows nothing of the others.

mod publish_order;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jetbus_core::Time;

use super::history::{Answer, Entry, History, Passage};

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A stored event was never handled to its end by a group that reads its topic.
    NotHandled {
        /// The group.
        group: String,
        /// The event.
        event: u64,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// Something was handled that nobody had published like this.
    NotPublished {
        /// The run of the handler.
        run: u64,
    },
    /// Something was handled that the broker does not hold there.
    NotStored {
        /// The run of the handler.
        run: u64,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// In one process, for one key, `later` was handled before `earlier`, which had
    /// arrived or should have.
    OutOfOrder {
        /// The process.
        bus: usize,
        /// The group.
        group: String,
        /// The key.
        key: String,
        /// The sequence that came too late.
        earlier: u64,
        /// The sequence that came too early.
        later: u64,
    },
    /// In one process, two handlers of one key of one group ran at once.
    Overlap {
        /// The runs.
        runs: (u64, u64),
    },
    /// A publish was not answered exactly once.
    Answers {
        /// The call.
        call: u64,
        /// How often it was.
        count: usize,
    },
    /// A publish was said to be stored where the broker does not hold it.
    FalselyStored {
        /// The call.
        call: u64,
    },
    /// A publish was said not to be stored, and the broker holds it.
    FalselyFailed {
        /// The call.
        call: u64,
    },
    /// A publish failed, or was not answered by the server, though nothing stood in
    /// its way.
    FailedInCalm {
        /// The call.
        call: u64,
    },
    /// Of one publisher and key, the later call is stored before the earlier.
    StoredOutOfOrder {
        /// Both calls.
        calls: (u64, u64),
    },
    /// One event of one topic is stored twice.
    StoredTwice {
        /// The event.
        event: u64,
    },
    /// A bus asked for a stream to be created while it waited for the answer to
    /// the same question.
    CreatedAtOnce {
        /// The bus.
        bus: usize,
        /// The stream.
        stream: String,
    },
    /// Closing was not answered, or too late.
    CloseLate {
        /// The bus.
        bus: usize,
        /// Who closed.
        closer: u64,
    },
    /// Closers of one bus got different reports.
    CloseReports {
        /// The bus.
        bus: usize,
    },
    /// A task outlived all buses.
    TaskLeft {
        /// The task, in words.
        task: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Everything that is wrong with `history`.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let runs = runs(history);
    handled(history, &runs, &mut found);
    true_handling(history, &runs, &mut found);
    order(history, &runs, &mut found);
    overlap(&runs, &mut found);
    answers(history, &mut found);
    publish_order::check(history, &mut found);
    creation(history, &mut found);
    closing(history, &mut found);
    let left = history.left.iter().cloned();
    found.extend(left.map(|task| Violation::TaskLeft { task }));
    found
}

/// A run of a handler, with the places of its start and end in the history.
struct Run<'a> {
    run: u64,
    bus: usize,
    group: &'a str,
    event: u64,
    topic: &'a str,
    key: Option<&'a str>,
    stream: &'a str,
    sequence: u64,
    started: usize,
    /// `None` for a run that never ended.
    ended: Option<usize>,
    done: bool,
}

/// All runs, in the order of their start.
fn runs(history: &History) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut index = BTreeMap::new();
    for (place, (_, entry)) in history.entries.iter().enumerate() {
        match entry {
            Entry::Started {
                run,
                bus,
                group,
                event,
                topic,
                key,
                stream,
                sequence,
            } => {
                index.insert(*run, runs.len());
                runs.push(Run {
                    run: *run,
                    bus: *bus,
                    group,
                    event: *event,
                    topic,
                    key: key.as_deref(),
                    stream,
                    sequence: *sequence,
                    started: place,
                    ended: None,
                    done: false,
                });
            }
            Entry::Ended { run, done } => {
                if let Some(run) = index.get(run).and_then(|index| runs.get_mut(*index)) {
                    run.ended = Some(place);
                    run.done = *done;
                }
            }
            _ => {}
        }
    }
    runs
}

/// Every stored event was handled by every group of its topic.
fn handled(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let done: BTreeSet<_> = runs
        .iter()
        .filter(|run| run.done)
        .map(|run| (run.group, run.stream, run.sequence))
        .collect();
    for ((stream, sequence), stored) in &history.stored {
        let groups = history
            .groups
            .iter()
            .filter(|group| group.topic == stored.topic);
        for group in groups {
            if !done.contains(&(group.name.as_str(), stream.as_str(), *sequence)) {
                found.push(Violation::NotHandled {
                    group: group.name.clone(),
                    event: stored.event,
                    at: (stream.clone(), *sequence),
                });
            }
        }
    }
}

/// What was handled had been published, and is stored.
fn true_handling(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut published = BTreeMap::new();
    for (place, (_, entry)) in history.entries.iter().enumerate() {
        if let Entry::Published {
            event, topic, key, ..
        } = entry
        {
            let what = (*event, topic.as_str(), key.as_deref());
            published.entry(what).or_insert(place);
        }
    }
    for run in runs {
        let what = (run.event, run.topic, run.key);
        if published
            .get(&what)
            .is_none_or(|place| *place > run.started)
        {
            found.push(Violation::NotPublished { run: run.run });
        }
        let at = (run.stream.to_owned(), run.sequence);
        let stored = history.stored.get(&at);
        if stored
            .is_none_or(|stored| (stored.event, stored.topic.as_str()) != (run.event, run.topic))
        {
            found.push(Violation::NotStored { run: run.run, at });
        }
    }
}

/// In one process the first successes of a key come in the order of the stream.
///
/// Two excuses. Where processes share a group, the earlier event had not come here when
/// the later one did. The server had delivered it before, for it delivers in order:
/// whether another process has it, or it was lost on its way, nobody here can know. Or
/// it was given back, did not come again in time, and the bus told so.
fn order(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
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
    let mut first: BTreeMap<_, BTreeMap<u64, &Run<'_>>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.done) {
        let Some(key) = run.key else { continue };
        // Order is per topic and key; the topics of a stream have one of their own.
        let line = first.entry((run.bus, run.group, run.stream, run.topic, key));
        let line = line.or_default();
        let earliest = line.entry(run.sequence).or_insert(run);
        if run.ended < earliest.ended {
            *earliest = run;
        }
    }
    for ((bus, group, _, topic, key), line) in &first {
        let known = history
            .groups
            .iter()
            .find(|known| known.name == *group && known.topic == *topic);
        for (earlier, late) in line {
            if told.contains(&(*bus, *topic, *earlier)) {
                continue;
            }
            let overtaking = line.range(earlier + 1..).find(|(later, run)| {
                let shared = known.filter(|known| known.buses > 1);
                let missing = shared.is_some_and(|known| {
                    let [earlier, later] = [earlier, later].map(|sequence| Passage {
                        bus: *bus,
                        consumer: known.consumer.clone(),
                        stream: late.stream.to_owned(),
                        sequence: *sequence,
                    });
                    passages.missing(&earlier, &later)
                });
                run.ended < late.ended && !missing
            });
            if let Some((later, _)) = overtaking {
                found.push(Violation::OutOfOrder {
                    bus: *bus,
                    group: (*group).to_owned(),
                    key: (*key).to_owned(),
                    earlier: *earlier,
                    later: *later,
                });
            }
        }
    }
}

/// When each message first arrived at each process.
struct Passages(BTreeMap<Passage, usize>);

impl Passages {
    fn of(history: &History) -> Self {
        let mut arrived = BTreeMap::new();
        for (place, (_, entry)) in history.entries.iter().enumerate() {
            if let Entry::Arrived(passage) = entry {
                arrived.entry(passage.clone()).or_insert(place);
            }
        }
        Self(arrived)
    }

    /// Whether a message had not come here when a later one did.
    fn missing(&self, earlier: &Passage, later: &Passage) -> bool {
        let Some(place) = self.0.get(later) else {
            return false;
        };
        self.0.get(earlier).is_none_or(|first| first > place)
    }
}

/// In one process handlers of one key of a group never run at once.
fn overlap(runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut last: BTreeMap<_, &Run<'_>> = BTreeMap::new();
    for run in runs {
        let Some(key) = run.key else { continue };
        if let Some(before) = last.insert((run.bus, run.group, run.topic, key), run)
            && before.ended.is_none_or(|ended| ended > run.started)
        {
            found.push(Violation::Overlap {
                runs: (before.run, run.run),
            });
        }
    }
}

/// Every publish was answered once, and truly.
fn answers(history: &History, found: &mut Vec<Violation>) {
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
                .any(|answer| !matches!(answer, Answer::Failed(_)))
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
            Answer::Failed(_) => {
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
/// stream has failed: which one that was is not seen, so any may have been.
fn creation(history: &History, found: &mut Vec<Violation>) {
    let mut waits: BTreeMap<(usize, &str), Wait<'_>> = BTreeMap::new();
    let mut published = BTreeMap::new();
    for (now, entry) in &history.entries {
        match entry {
            Entry::Create { bus, stream, reply } => {
                let fresh = Wait {
                    since: *now,
                    reply: None,
                };
                let wait = waits.entry((*bus, stream)).or_insert(fresh);
                if now.since(wait.since) >= history.request_timeout {
                    *wait = fresh;
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
                waits.retain(|_, wait| wait.since < began);
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
    /// Where the answer goes; none while nothing was sent that can be answered.
    reply: Option<&'a str>,
}

/// Every closer is answered in time, and all of a bus with the same.
fn closing(history: &History, found: &mut Vec<Violation>) {
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

#[cfg(test)]
mod tests;
