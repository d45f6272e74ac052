//! The whole bus on the embedded broker, in virtual time, behind a network that
//! loses, delays, repeats and breaks, with handlers that fail in every way: 1 000 seeds,
//! each of which must keep every rule of `sim::check`.
//!
//! A seed that fails says how to run it alone.

use std::collections::BTreeMap;

use jetbus_tests::sim::history::{Answer, Entry, Said};
use jetbus_tests::sim::plan::{Cuts, Plan};
use jetbus_tests::sim::run::run;
use jetbus_tests::sim::trial::Trial;

/// Runs one seed; what is wrong, in words.
fn failure(seed: u64) -> Option<String> {
    let trial = Trial::of(Plan::new(seed));
    let complaint = || format!("seed {seed} fails:\n{}", trial.complaint(&Cuts::default()));
    (!trial.wrong.is_empty()).then(complaint)
}

fn all_keep_the_rules(seeds: impl Iterator<Item = u64>) {
    let failures: Vec<_> = seeds.filter_map(failure).collect();
    assert!(
        failures.is_empty(),
        "{} seeds failed\n{}",
        failures.len(),
        failures.concat()
    );
}

// Two halves, for two cores.

#[test]
fn even_seeds_keep_the_rules() {
    all_keep_the_rules((0..1_000).step_by(2));
}

#[test]
fn odd_seeds_keep_the_rules() {
    all_keep_the_rules((1..1_000).step_by(2));
}

/// In each of these an event of a key overtook another, was never handled, or ran twice
/// though once was the most.
#[test]
fn seeds_that_failed_once_keep_the_rules() {
    all_keep_the_rules([1_557, 1_775, 1_960, 2_930].into_iter());
}

#[test]
fn a_seed_run_twice_gives_the_same_history() {
    for seed in [1, 7, 42, 1_000] {
        let [first, second] = [run(seed), run(seed)].map(|report| report.expect("it ends"));
        if first.digest() != second.digest() {
            let pairs = first.history.entries.iter().zip(&second.history.entries);
            let differing = pairs.enumerate().find(|(_, (one, other))| one != other);
            panic!("seed {seed} differs from itself, first at {differing:?}");
        }
    }
}

/// The rules are worth nothing when nothing happens.
#[test]
fn the_seeds_see_every_kind_of_weather() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for report in (1_000..1_030).filter_map(|seed| run(seed).ok()) {
        for (_, entry) in &report.history.entries {
            let kind = match entry {
                Entry::Lost(_) => "lost",
                Entry::Down { .. } => "broken",
                Entry::Create { .. } => "created",
                Entry::Ended { said, .. } => match said {
                    Said::Done => "handled",
                    Said::Failed => "failed",
                    Said::Panicked => "panicked",
                    Said::Dropped => "timed out",
                    Said::DeadLetter => "refused",
                    Said::Discard => "discarded",
                    Said::Back => "given back",
                    Said::CalledBack => "called back",
                },
                Entry::DeadLettered { .. } => "dead letter",
                Entry::Redriven { .. } => "redriving",
                Entry::Result { .. } => "result",
                Entry::Drained { .. } => "drained",
                Entry::Restarted { .. } => "restarted",
                Entry::Leaderless { .. } => "leaderless",
                Entry::Answered { answer, .. } => match answer {
                    Answer::Stored {
                        duplicate: false, ..
                    } => "stored",
                    Answer::Stored {
                        duplicate: true, ..
                    } => "duplicate",
                    Answer::Unknown => "unknown",
                    Answer::Failed(_) => "not stored",
                    Answer::Unread => "no room for its result",
                },
                _ => continue,
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    for kind in [
        "lost",
        "broken",
        "created",
        "failed",
        "handled",
        "panicked",
        "timed out",
        "refused",
        "discarded",
        "given back",
        "called back",
        "dead letter",
        "redriving",
        "stored",
        "duplicate",
        "unknown",
        "result",
    ] {
        let count = seen.get(kind).copied().unwrap_or(0);
        assert!(count >= 10, "{kind}: {count} times in {seen:?}");
    }
    for kind in [
        "drained",
        "restarted",
        "leaderless",
        "no room for its result",
    ] {
        assert!(seen.contains_key(kind), "no {kind} in {seen:?}");
    }
}
