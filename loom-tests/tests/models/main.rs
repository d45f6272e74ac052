//! Runs every loom model of the core's shared parts.
//!
//! Takes what `cargo test` and `cargo nextest` pass on: name filters, `--exact`,
//! `--skip NAME`, `--list`, `--test-threads N`. Each model runs in a process of its own, so that
//! one which aborts hides no other. The closing line adds up what was explored.
//!
//! What is proven is the core's logic over the documented semantics of the
//! containers it stands on, at the sizes each model names.
//!
//! A mutant that a model was *seen to fail* with is a change of the core's sources that
//! was made, run and taken back.

#![expect(
    clippy::arc_with_non_send_sync,
    reason = "loom runs its threads on one, and checks the cells inside"
)]

mod budget;
mod composed;
mod counters;
mod credit;
mod directory;
mod flight;
mod gate;
mod handoff;
mod results;
mod router;
mod session;
mod streams;
mod support;
mod topics;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::Model;

/// The models of each part. A model that is in no list is an unused function, and
/// the compiler says so.
const PARTS: &[&[Model]] = &[
    budget::MODELS,
    composed::MODELS,
    counters::MODELS,
    credit::MODELS,
    directory::MODELS,
    flight::MODELS,
    gate::MODELS,
    handoff::MODELS,
    results::MODELS,
    router::MODELS,
    session::MODELS,
    streams::MODELS,
    topics::MODELS,
];

/// Tells a child process which model to run; not for human hands.
const RUN: &str = "--run-model";

fn main() -> ExitCode {
    let models = || PARTS.iter().copied().flatten();
    let asked = Asked::from(std::env::args().skip(1));
    if let Some(name) = asked.run {
        let Some(model) = models().find(|model| model.name() == name) else {
            eprintln!("no model is named `{name}`");
            return ExitCode::FAILURE;
        };
        (model.run)();
        println!("{}", support::explored());
        return ExitCode::SUCCESS;
    }

    let chosen: Vec<_> = models().filter(|model| asked.wants(model.name())).collect();
    if asked.list {
        for model in chosen {
            println!("{}: test", model.name());
        }
        return ExitCode::SUCCESS;
    }

    println!("\nrunning {} models", chosen.len());
    let begun = Instant::now();
    let queue = Mutex::new(chosen.iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic while locked").next();
                    let Some(model) = next else { return };
                    let result = explore(model);
                    result.print();
                    results.lock().expect("no panic while locked").push(result);
                }
            });
        }
    });
    conclude(
        results.into_inner().expect("no panic while locked"),
        models().count() - chosen.len(),
        begun.elapsed(),
    )
}

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    run: Option<String>,
    list: bool,
    exact: bool,
    ignored: bool,
    threads: usize,
    filters: Vec<String>,
    skipped: Vec<String>,
}

impl Asked {
    fn from(mut words: impl Iterator<Item = String>) -> Self {
        let mut asked = Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            ..Self::default()
        };
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let mut value = || value.clone().or_else(|| words.next());
            match flag {
                RUN => asked.run = value(),
                "--list" => asked.list = true,
                "--exact" => asked.exact = true,
                // No model is ignored, so asking for those asks for none.
                "--ignored" => asked.ignored = true,
                "--skip" => asked.skipped.extend(value()),
                "--test-threads" => {
                    let threads = value().and_then(|threads| threads.parse().ok());
                    asked.threads = threads.unwrap_or(1).max(1);
                }
                // Of libtest's other flags with a value the value goes too.
                "--format" | "--color" | "--logfile" | "-Z" => drop(value()),
                _ if flag.starts_with('-') => {}
                _ => asked.filters.push(word),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        !self.ignored
            && (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skipped.iter().any(matches)
    }
}

struct Explored {
    name: &'static str,
    /// What the model explored, or everything it said before it failed.
    outcome: Result<u64, String>,
    took: Duration,
}

/// Runs `model` in a process of its own.
fn explore(model: &Model) -> Explored {
    let begun = Instant::now();
    let child = std::env::current_exe().and_then(|this| {
        Command::new(this)
            .args([RUN, model.name()])
            .stdin(Stdio::null())
            .output()
    });
    let outcome = match child {
        Err(error) => Err(format!("could not be started: {error}")),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let explored = said.lines().last().and_then(|line| line.parse().ok());
            match explored {
                Some(explored) if output.status.success() => Ok(explored),
                _ => Err(format!(
                    "{}\n{}{}",
                    output.status,
                    said,
                    String::from_utf8_lossy(&output.stderr)
                )),
            }
        }
    };
    Explored {
        name: model.name(),
        outcome,
        took: begun.elapsed(),
    }
}

impl Explored {
    fn print(&self) {
        let took = self.took.as_secs_f64();
        let mut out = std::io::stdout().lock();
        // A closed pipe must not fail the models.
        let _ = match &self.outcome {
            Ok(explored) => writeln!(
                out,
                "model {} ... ok ({explored} interleavings, {took:.2}s)",
                self.name
            ),
            Err(_) => writeln!(out, "model {} ... FAILED ({took:.2}s)", self.name),
        };
    }
}

fn conclude(mut results: Vec<Explored>, left_out: usize, took: Duration) -> ExitCode {
    results.sort_by_key(|result| result.name);
    let mut explored = 0;
    let mut failed = Vec::new();
    for result in &results {
        match &result.outcome {
            Ok(count) => explored += count,
            Err(said) => {
                println!("\n---- {} ----\n{said}", result.name);
                failed.push(result.name);
            }
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out; finished in {:.2}s",
        if failed.is_empty() { "ok" } else { "FAILED" },
        results.len() - failed.len(),
        failed.len(),
        took.as_secs_f64(),
    );
    println!("{} models, {explored} interleavings\n", results.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
