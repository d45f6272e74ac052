//! The whole bus on the embedded broker, in virtual time, behind a network that
//! loses, delays, repeats and breaks, with handlers that fail in every way: 300 seeds,
//! each of which must keep every rule of `sim::check`.
//!
//! A seed that fails says how to run it alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jetbus_tests::sim::history::{Answer, Entry, Said};
use jetbus_tests::sim::run::{Report, run};

/// Runs one seed; what is wrong, in words.
fn failure(seed: u64) -> Option<String> {
    let report = match run(seed) {
        Ok(report) if report.violations.is_empty() => return None,
        Ok(report) => report,
        Err(stuck) => return Some(format!("seed {seed}: {stuck}\n{}", replay(seed))),
    };
    let mut text = format!("seed {seed}: {:?}\n", report.plan);
    for violation in &report.violations {
        let _ = writeln!(text, "  {violation}");
    }
    Some(text + &replay(seed))
}

fn replay(seed: u64) -> String {
    format!("  replay: JETBUS_SEED={seed} cargo test -p jetbus-tests --test simulation\n")
}

fn all_keep_the_rules(seeds: impl Iterator<Item = u64>) {
    if std::env::var_os("JETBUS_SEED").is_some() {
        return;
    }
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
    all_keep_the_rules((0..300).step_by(2));
}

#[test]
fn odd_seeds_keep_the_rules() {
    all_keep_the_rules((1..300).step_by(2));
}

/// With `JETBUS_SEED=n`, that seed alone, with its whole history; with
/// `JETBUS_SEED=n-m`, all from `n` to `m`.
#[test]
fn the_chosen_seeds_keep_the_rules() {
    let Ok(chosen) = std::env::var("JETBUS_SEED") else {
        return;
    };
    let number = |text: &str| text.parse().expect("JETBUS_SEED is n or n-m");
    let failures: String = match chosen.split_once('-') {
        Some((from, to)) => (number(from)..=number(to)).filter_map(failure).collect(),
        None => {
            let seed = number(&chosen);
            if let Ok(report) = run(seed) {
                print(&report);
            }
            failure(seed).into_iter().collect()
        }
    };
    assert!(failures.is_empty(), "{failures}");
}

fn print(report: &Report) {
    println!("{:#?}", report.plan);
    for (time, entry) in &report.history.entries {
        println!(
            "{:>12.6} {entry:?}",
            time.since(jetbus::Time::ZERO).as_secs_f64()
        );
    }
    for ((stream, sequence), stored) in &report.history.stored {
        println!("{stream} {sequence}: {stored:?}");
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_history() {
    for seed in [1, 7, 42, 1_000] {
        let [first, second] = [run(seed), run(seed)].map(|report| report.expect("it ends"));
        if first.digest != second.digest {
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
