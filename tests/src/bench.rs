//! Measuring two things side by side.
//!
//! Ours and its peer run in alternating rounds of about [`ROUND`], so that what else
//! the machine does hits both; the median of the rounds counts. A report prints a
//! table and is written to `target/bench/<name>.json`, and as pictures beside it.

mod plot;
pub mod timeline;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How long a round takes, about.
pub const ROUND: Duration = Duration::from_millis(50);

/// How many rounds each side has.
const ROUNDS: usize = 5;

/// One line of a report.
#[derive(Debug, Serialize)]
struct Line {
    case: String,
    metric: &'static str,
    unit: &'static str,
    ours: f64,
    peer: Option<f64>,
    /// Ours by the peer's: below 1, ours takes less.
    ratio: Option<f64>,
}

/// What was measured so far.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    lines: Vec<Line>,
}

impl Report {
    /// An empty report, to be written to `target/bench/<name>.json`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            lines: Vec::new(),
        }
    }

    /// Measures the time of an operation. Each side gets a number of operations to
    /// do and says how long they took.
    pub fn compare(
        &mut self,
        case: &str,
        mut ours: impl FnMut(u64) -> Duration,
        mut peer: impl FnMut(u64) -> Duration,
    ) {
        let (our_count, peer_count) = (calibrate(&mut ours), calibrate(&mut peer));
        let (mut our_rounds, mut peer_rounds) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            our_rounds.push(nanos_each(ours(our_count), our_count));
            peer_rounds.push(nanos_each(peer(peer_count), peer_count));
        }
        let (ours, peer) = (median(our_rounds), median(peer_rounds));
        self.add(case, "time", "ns", ours, Some(peer));
    }

    /// Adds the medians of rounds that alternated, and prints how far apart the
    /// ratios of the pairs were.
    pub fn rounds(
        &mut self,
        case: &str,
        metric: &'static str,
        unit: &'static str,
        ours: Vec<f64>,
        peer: Vec<f64>,
    ) {
        let mut ratios: Vec<_> = ours.iter().zip(&peer).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        self.add(case, metric, unit, median(ours), Some(median(peer)));
        if let (Some(least), Some(most)) = (ratios.first(), ratios.last()) {
            println!(
                "{:<44} {metric:<12} ratios of the rounds {least:.2} to {most:.2}",
                ""
            );
        }
    }

    /// Adds a figure that was measured otherwise.
    pub fn add(
        &mut self,
        case: &str,
        metric: &'static str,
        unit: &'static str,
        ours: f64,
        peer: Option<f64>,
    ) {
        let line = Line {
            case: case.to_owned(),
            metric,
            unit,
            ours,
            peer,
            ratio: peer.filter(|peer| *peer != 0.0).map(|peer| ours / peer),
        };
        print_line(&line);
        self.lines.push(line);
    }

    /// Writes the report.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> std::io::Result<()> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
            PathBuf::from,
        );
        let folder = target.join("bench");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(self.name).with_extension("json");
        std::fs::write(&file, serde_json::to_vec_pretty(&self.lines)?)?;
        println!("written to {}", file.display());
        for metric in ["cpu", "allocations"] {
            if let Some(svg) = plot::svg(&self.lines, metric) {
                let file = folder.join(format!("{}-{metric}.svg", self.name));
                std::fs::write(&file, svg)?;
                println!("written to {}", file.display());
            }
        }
        Ok(())
    }
}

fn print_line(line: &Line) {
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    println!(
        "{:<44} {:<12} {:>12.2} {:>12} {:>7}  {}",
        line.case,
        line.metric,
        line.ours,
        show(line.peer),
        show(line.ratio),
        line.unit
    );
}

/// Prints what the columns of the lines to come are.
pub fn print_head() {
    println!(
        "{:<44} {:<12} {:>12} {:>12} {:>7}  unit",
        "case", "metric", "ours", "peer", "ratio"
    );
}

/// Times `count` runs of `run` on this thread. What it returns is not optimised away.
pub fn timed<T>(count: u64, mut run: impl FnMut() -> T) -> Duration {
    let begun = Instant::now();
    for _ in 0..count {
        black_box(run());
    }
    begun.elapsed()
}

/// Times `count` runs on each of `threads` threads that begin together, until the
/// last has ended. `make` is called on each thread, with its number, for what it
/// runs.
pub fn timed_on<T, R: FnMut() -> T>(
    threads: usize,
    count: u64,
    make: impl Fn(usize) -> R + Sync,
) -> Duration {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, make) = (&barrier, &make);
                scope.spawn(move || {
                    let mut run = make(thread);
                    barrier.wait();
                    // Each looks at the clock itself: one more thread that did might
                    // not run before the others have ended.
                    let begun = Instant::now();
                    for _ in 0..count {
                        black_box(run());
                    }
                    (begun, Instant::now())
                })
            })
            .collect();
        let spans = running
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"));
        spans
            .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
            .map_or(Duration::ZERO, |(begun, ended)| ended - begun)
    })
}

/// How many operations fill a round; also warms up.
fn calibrate(side: &mut impl FnMut(u64) -> Duration) -> u64 {
    let mut count = 16;
    loop {
        // The shorter of two: a pause by others must not look like work.
        let took = side(count).min(side(count));
        if took >= ROUND / 10 {
            let scale = ROUND.as_secs_f64() / took.as_secs_f64();
            return ((count as f64 * scale) as u64).max(1);
        }
        count *= 4;
    }
}

fn nanos_each(took: Duration, count: u64) -> f64 {
    took.as_nanos() as f64 / count as f64
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}
