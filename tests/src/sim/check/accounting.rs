//! What became of every stored event.

use std::collections::{BTreeMap, BTreeSet};

use jetbus_core::Time;

use super::Violation;
use super::runs::{self, Run};
use crate::sim::history::{Entry, Group, History, Letter, Said, Stored};

/// What a group made of an event: the group, the stream and the sequence there.
type Account = (String, String, u64);

/// What is known so far of what became of stored events.
#[derive(Debug)]
pub struct Accounts<'a> {
    groups: &'a [Group],
    closed: BTreeSet<Account>,
}

impl<'a> Accounts<'a> {
    /// By what was done with them.
    #[must_use]
    pub fn new(entries: &'a [(Time, Entry)], groups: &'a [Group]) -> Self {
        Self::of(entries, groups, &runs::read(entries))
    }

    fn of(entries: &[(Time, Entry)], groups: &'a [Group], runs: &[Run<'_>]) -> Self {
        let mut closed = BTreeSet::new();
        let mut failures: BTreeMap<_, u32> = BTreeMap::new();
        for run in runs {
            let Some(group) = find(groups, run.group, run.topic) else {
                continue;
            };
            let rules = group.rules;
            let failed = failures.entry((run.subscription, run.stream, run.sequence));
            let failed = failed.or_default();
            *failed += u32::from(run.has_failed());
            let over = match run.said {
                Some(Said::Done | Said::Discard) => true,
                // Nobody keeps it.
                Some(Said::DeadLetter) => !rules.dead_letters,
                Some(said) if said.has_failed() => {
                    !rules.dead_letters && (rules.gives_up_at_share || *failed >= rules.attempts)
                }
                _ => false,
            };
            if over || run.unconfirmed || rules.at_most_once {
                let stream = run.stream.to_owned();
                closed.insert((group.name.clone(), stream, run.sequence));
            }
        }
        for (_, entry) in entries {
            // Acknowledged before it is handled: whether that came through is not known.
            if let Entry::Acknowledged(passage) = entry {
                let group = groups
                    .iter()
                    .find(|group| group.rules.at_most_once && group.consumer == passage.consumer);
                let account = group
                    .map(|group| (group.name.clone(), passage.stream.clone(), passage.sequence));
                closed.extend(account);
            }
        }
        Self { groups, closed }
    }

    /// Adds what is kept as dead letters.
    pub fn add(&mut self, letters: &[Letter]) {
        let accounts = letters.iter().map(|letter| {
            let Letter { group, stream, .. } = letter;
            (group.clone(), stream.clone(), letter.sequence)
        });
        self.closed.extend(accounts);
    }

    /// What nothing is known of: for each the group, and the event.
    pub fn open<'s>(
        &'s self,
        stored: &'s BTreeMap<(String, u64), Stored>,
    ) -> impl Iterator<Item = (&'s Group, &'s (String, u64), u64)> {
        stored.iter().flat_map(move |(at, stored)| {
            let groups = self.groups.iter();
            let reading = groups.filter(|group| group.topic == stored.topic);
            let open = reading.filter(|group| {
                let account = (group.name.clone(), at.0.clone(), at.1);
                !self.closed.contains(&account)
            });
            open.map(move |group| (group, at, stored.event))
        })
    }
}

/// The group of this name that reads this topic.
pub(super) fn find<'a>(groups: &'a [Group], name: &str, topic: &str) -> Option<&'a Group> {
    groups
        .iter()
        .find(|group| group.name == name && group.topic == topic)
}

/// Every stored event was handled by every group of its topic, or given up and is kept,
/// or discarded. What was redriven was handled, too.
pub(super) fn handled(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
    let mut accounts = Accounts::of(&history.entries, &history.groups, runs);
    accounts.add(&history.letters);
    for (group, at, event) in accounts.open(&history.stored) {
        found.push(Violation::NotHandled {
            group: group.name.clone(),
            event,
            at: at.clone(),
        });
    }
    let redriving = history.redriving.iter().cloned();
    found.extend(redriving.map(|(group, at)| Violation::NotRedriven { group, at }));
}

/// What was handled had been published, and is stored.
pub(super) fn true_handling(history: &History, runs: &[Run<'_>], found: &mut Vec<Violation>) {
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
