//! Runs of handlers, read out of a history.

use std::collections::BTreeMap;

use jetbus_core::Time;

use crate::sim::history::{Entry, Said};

/// A run of a handler, with the places of its start and end in the history.
pub(super) struct Run<'a> {
    pub(super) run: u64,
    pub(super) subscription: u64,
    pub(super) bus: usize,
    pub(super) group: &'a str,
    pub(super) event: u64,
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) stream: &'a str,
    pub(super) sequence: u64,
    pub(super) redrives: u32,
    pub(super) batch: Option<u64>,
    pub(super) started: usize,
    /// `None` for a run that never ended.
    pub(super) ended: Option<usize>,
    /// What it said; `None` when that came too late to count.
    pub(super) said: Option<Said>,
    /// It was done, and whether the server knows is not known.
    pub(super) unconfirmed: bool,
}

impl Run<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.said.is_some_and(Said::is_done)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.said.is_some_and(Said::has_failed)
    }
}

/// All runs, in the order of their start.
pub(super) fn read(entries: &[(Time, Entry)]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut index = BTreeMap::new();
    // Words count until their subscription or bus has ended.
    let (mut drained, mut closed) = (Vec::new(), Vec::new());
    for (place, (_, entry)) in entries.iter().enumerate() {
        match entry {
            Entry::Started {
                run,
                subscription,
                bus,
                group,
                event,
                topic,
                key,
                stream,
                sequence,
                redrives,
                batch,
            } => {
                index.insert(*run, runs.len());
                runs.push(Run {
                    run: *run,
                    subscription: *subscription,
                    bus: *bus,
                    group,
                    event: *event,
                    topic,
                    key: key.as_deref(),
                    stream,
                    sequence: *sequence,
                    redrives: *redrives,
                    batch: *batch,
                    started: place,
                    ended: None,
                    said: None,
                    unconfirmed: false,
                });
            }
            Entry::Ended { run, said } => {
                if let Some(run) = index.get(run).and_then(|index| runs.get_mut(*index)) {
                    let late = drained.contains(&run.subscription) || closed.contains(&run.bus);
                    run.ended = Some(place);
                    run.said = (!late).then_some(*said);
                }
            }
            Entry::Unconfirmed { run } => {
                if let Some(run) = index.get(run).and_then(|index| runs.get_mut(*index)) {
                    run.said = run.said.map(|_| Said::Failed);
                    run.unconfirmed = true;
                }
            }
            Entry::Drained { subscription, .. } => drained.push(*subscription),
            Entry::Closed { bus, .. } => closed.push(*bus),
            _ => {}
        }
    }
    runs
}
