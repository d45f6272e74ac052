//! The command `simulate`: its arguments, and what it does with them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::num::NonZero;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use super::plan::{Cuts, Plan};
use super::shrink::{Shrunk, shrink};
use super::tally::Tally;
use super::trial::Trial;

mod arguments;

pub use arguments::{Arguments, BadArgument, Wish};

/// Failing seeds that are shrunk; of others only is said what is wrong.
const SHRUNK: usize = 3;

/// Plans that are tried to shrink one.
const RUNS: usize = 200;

/// Does what the arguments of a command say.
///
/// The exit code is 0 when every seed kept every rule, 1 when one did not or nothing can
/// be written, 2 when an argument is bad.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match arguments::read(args) {
        Ok(Wish::Run(arguments)) => arguments,
        Ok(Wish::Help) => {
            let told = io::stdout().write_all(arguments::help().as_bytes());
            return ExitCode::from(u8::from(told.is_err()));
        }
        Err(error) => {
            eprintln!("simulate: {error}\nsimulate: `--help` tells what there is");
            return ExitCode::from(2);
        }
    };
    match run(&arguments, &mut io::stdout().lock()) {
        Ok(tally) if tally.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the seeds, and writes what is wrong and, as the last line, what happened.
///
/// # Errors
/// When it cannot be written.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<Tally> {
    let Arguments { seeds, cuts, .. } = arguments;
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    if arguments.trace {
        for seed in seeds.clone() {
            let trial = Trial::of(cuts.of(&Plan::new(seed)));
            trial.trace(out)?;
            tally += note(&trial, cuts, &mut failed, out)?;
        }
    } else {
        in_threads(seeds.clone(), cuts, |trial| {
            tally += note(trial, cuts, &mut failed, out)?;
            Ok(())
        })?;
    }
    failed.sort_by_key(|trial| trial.plan.seed);
    let shrinking = arguments.shrink && !arguments.trace;
    for trial in failed.iter().take(if shrinking { SHRUNK } else { 0 }) {
        smaller(trial, cuts, out)?;
    }
    writeln!(out, "{tally}")?;
    Ok(tally)
}

/// Says what is wrong with a trial, and keeps it.
fn note(
    trial: &Trial,
    cuts: &Cuts,
    failed: &mut Vec<Trial>,
    out: &mut impl Write,
) -> io::Result<Tally> {
    let fails = !trial.wrong.is_empty();
    if fails {
        let seed = trial.plan.seed;
        write!(out, "seed {seed} fails:\n{}", trial.complaint(cuts))?;
        failed.push(Trial {
            plan: trial.plan.clone(),
            history: super::history::History::default(),
            wrong: trial.wrong.clone(),
        });
    }
    Ok(Tally::of(&trial.history, fails))
}

/// Runs all seeds, each as soon as a core is free, and hands over what came of them.
fn in_threads(
    seeds: Range<u64>,
    cuts: &Cuts,
    mut take: impl FnMut(&Trial) -> io::Result<()>,
) -> io::Result<()> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicU64::new(seeds.start);
    // No room: a thread goes on when its last trial was taken.
    let (tell, told) = mpsc::sync_channel(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // An error says that nobody takes any more.
                    if seed >= seeds.end || tell.send(Trial::of(cuts.of(&Plan::new(seed)))).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(tell);
        // Taken along, so that the threads end when it cannot be written.
        for trial in told {
            take(&trial)?;
        }
        Ok(())
    })
}

/// Writes the smallest plan found that fails as this one did.
fn smaller(trial: &Trial, cuts: &Cuts, out: &mut impl Write) -> io::Result<()> {
    let Some(kind) = trial.wrong.first().map(super::trial::Wrong::kind) else {
        return Ok(());
    };
    let seed = trial.plan.seed;
    let plan = Plan::new(seed);
    let Shrunk { cuts, runs } = shrink(&plan, cuts, RUNS, |plan| Trial::of(plan).fails(kind));
    let small = Trial::of(cuts.of(&plan));
    let complaint = small.complaint(&cuts);
    let tally = Tally::of(&small.history, true);
    write!(
        out,
        "seed {seed}, smaller after {runs} runs:\n{complaint}  {tally}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(seeds: Range<u64>, trace: bool) -> Arguments {
        Arguments {
            seeds,
            trace,
            shrink: true,
            cuts: Cuts::default(),
        }
    }

    #[test]
    fn the_last_line_counts_what_happened_in_all_seeds() {
        let mut out = Vec::new();
        let tally = run(&arguments(3..9, false), &mut out).expect("memory takes it");
        assert_eq!((tally.seeds, tally.failed), (6, 0));
        assert!(tally.published >= 6 * 5 && tally.stored > 0 && tally.handled > 0);
        let text = String::from_utf8(out).expect("it is text");
        assert_eq!(text, format!("{tally}\n"));
    }

    #[test]
    fn a_trace_shows_every_event_of_a_seed() {
        let mut out = Vec::new();
        let tally = run(&arguments(3..4, true), &mut out).expect("memory takes it");
        let text = String::from_utf8(out).expect("it is text");
        let lines = text.lines().filter(|line| line.contains(" Published {"));
        assert_eq!(lines.count() as u64, tally.published);
        assert!(text.ends_with(&format!("{tally}\n")));
    }

    #[test]
    fn nothing_more_is_run_when_nobody_reads() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut trials = 0;
        let stopped = in_threads(0..u64::MAX, &Cuts::default(), |_| {
            trials += 1;
            Closed.write_all(b"one")
        });
        assert_eq!(
            stopped.map_err(|error| error.kind()),
            Err(io::ErrorKind::BrokenPipe)
        );
        assert_eq!(trials, 1);
    }
}
