//! A stream as it is wanted and as it is, field by field.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use crate::jetstream::api::{Discard, Retention, StreamConfig};
use crate::provision::{Change, Difference};
use crate::subject::covers;

/// The server's window when none is given.
pub(super) const DEFAULT_DEDUPE: u64 = 120_000_000_000;

pub(super) fn differences(wanted: &StreamConfig, found: &StreamConfig) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut differ = |field, change, wanted: &dyn Debug, found: &dyn Debug| {
        list.push(Difference {
            field,
            wanted: format!("{wanted:?}"),
            found: format!("{found:?}"),
            change,
        });
    };

    let subjects = |config: &StreamConfig| config.subjects.iter().cloned().collect::<BTreeSet<_>>();
    let (ours, theirs) = (subjects(wanted), subjects(found));
    if ours != theirs {
        let lost = theirs
            .iter()
            .any(|old| !ours.iter().any(|new| covers(new, old)));
        differ("subjects", destructive(lost), &ours, &theirs);
    }
    if wanted.retention != found.retention {
        // nats-server refuses to make or unmake a work queue (10052).
        let queue = Retention::WorkQueue;
        let change = if wanted.retention == queue || found.retention == queue {
            Change::Impossible
        } else {
            destructive(wanted.retention != Retention::Limits)
        };
        differ("retention", change, &wanted.retention, &found.retention);
    }
    if wanted.storage != found.storage {
        differ(
            "storage",
            Change::Impossible,
            &wanted.storage,
            &found.storage,
        );
    }
    for (field, wanted, found) in [
        ("max_msgs", wanted.max_msgs, found.max_msgs),
        ("max_bytes", wanted.max_bytes, found.max_bytes),
        (
            "max_msgs_per_subject",
            wanted.max_msgs_per_subject,
            found.max_msgs_per_subject,
        ),
        ("max_msg_size", wanted.max_msg_size, found.max_msg_size),
    ] {
        let (wanted, found) = (unlimited(wanted), unlimited(found));
        if wanted != found {
            differ(
                field,
                destructive(wanted < found),
                &Limit(wanted),
                &Limit(found),
            );
        }
    }
    for (field, wanted, found) in [
        ("max_age", endless(wanted.max_age), endless(found.max_age)),
        ("duplicate_window", dedupe(wanted), dedupe(found)),
    ] {
        if wanted != found {
            differ(
                field,
                destructive(wanted < found),
                &Age(wanted),
                &Age(found),
            );
        }
    }
    if wanted.discard != found.discard {
        let lossy = wanted.discard == Discard::Old;
        differ(
            "discard",
            destructive(lossy),
            &wanted.discard,
            &found.discard,
        );
    }
    let (ours, theirs) = (wanted.num_replicas.max(1), found.num_replicas.max(1));
    if ours != theirs {
        differ("num_replicas", destructive(ours < theirs), &ours, &theirs);
    }
    if wanted.compression != found.compression {
        differ(
            "compression",
            Change::Safe,
            &wanted.compression,
            &found.compression,
        );
    }
    for (field, wanted, found) in [
        ("allow_msg_ttl", wanted.allow_msg_ttl, found.allow_msg_ttl),
        (
            "allow_msg_schedules",
            wanted.allow_msg_schedules,
            found.allow_msg_schedules,
        ),
        ("allow_atomic", wanted.allow_atomic, found.allow_atomic),
        ("allow_batched", wanted.allow_batched, found.allow_batched),
    ] {
        // What is allowed is never taken back: the server refuses, or somebody else
        // may need it.
        if wanted && !found {
            differ(field, Change::Safe, &wanted, &found);
        }
    }
    if let Some(text) = &wanted.description
        && found.description.as_ref() != Some(text)
    {
        let found = found.description.as_deref().unwrap_or_default();
        differ("description", Change::Safe, text, &found);
    }
    list
}

const fn destructive(loses: bool) -> Change {
    if loses {
        Change::Destructive
    } else {
        Change::Safe
    }
}

/// No limit is the largest.
const fn unlimited(limit: i64) -> i64 {
    if limit <= 0 { i64::MAX } else { limit }
}

pub(super) const fn endless(nanos: u64) -> u64 {
    if nanos == 0 { u64::MAX } else { nanos }
}

fn dedupe(config: &StreamConfig) -> u64 {
    match config.duplicate_window {
        0 => DEFAULT_DEDUPE.min(endless(config.max_age)),
        window => window,
    }
}

/// Shows a limit, or that there is none.
struct Limit(i64);

impl Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            i64::MAX => f.write_str("none"),
            limit => write!(f, "{limit}"),
        }
    }
}

struct Age(u64);

impl Debug for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("none"),
            nanos => write!(f, "{:?}", Duration::from_nanos(nanos)),
        }
    }
}
