//! A steady load on one bus, for as long as wanted, and what the process takes meanwhile.
//!
//! Events are published at a rate, whatever became of those before, and handled; their
//! latencies count from the time at which each was due. Of each key the numbers must
//! arrive without a gap. Memory, tasks, threads and sockets may grow while the load warms
//! up, and [hardly](growth) after it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jetbus::{Builder, EmbeddedBroker, NatsOptions, Retention, Stream};

use crate::Server;
use crate::failure::{Doing as _, Failure};
use crate::matrix::RuntimeKind;
use crate::place::Place;

pub mod growth;
mod latency;
mod load;
pub mod sample;

use latency::Latencies;
use load::Load;
use sample::Sample;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Events per second.
    pub rate: u32,
    /// How long it goes on.
    pub lasts: Duration,
    /// How many keys take turns.
    pub keys: u32,
    /// How many handlers may run at once.
    pub handlers: usize,
    /// What the bus runs on.
    pub runtime: RuntimeKind,
    /// On a server of its own, else on the embedded broker.
    pub server: bool,
}

/// What was seen in one interval.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the beginning.
    pub at: Duration,
    /// Events handled per second.
    pub rate: f64,
    /// From when it was due to its acknowledgement, of each publish: p50, p99, p99.9.
    pub publish: [Duration; 3],
    /// The same to the beginning of its handling.
    pub handling: [Duration; 3],
    /// What the process has at its end.
    pub sample: Sample,
    /// Allocations per event, those of the load itself included.
    pub allocations: f64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [publish, handling] = [self.publish, self.handling].map(|quantiles| {
            quantiles
                .map(|time| format!("{:.2}", time.as_secs_f64() * 1e3))
                .join("/")
        });
        write!(
            f,
            "{:>5} s  {:>7.0}/s  publish {publish} ms  end to end {handling} ms  {}  \
             {:.1} allocations per event",
            self.at.as_secs(),
            self.rate,
            self.sample,
            self.allocations
        )
    }
}

/// What is to be said in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that were acknowledged.
    pub published: u64,
    /// Publishes that failed, or of which nobody knows.
    pub failed: u64,
    /// Events that were handled, each once.
    pub handled: u64,
    /// Handlings beyond those.
    pub repeated: u64,
    /// Events that were handled before the one of their key that was due.
    pub gaps: u64,
    /// What grew beyond its bound after the warm-up.
    pub grown: Vec<String>,
}

impl Summary {
    /// What is wrong, in words.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = self.grown.clone();
        let mut count = |count: u64, what: &str| {
            if count > 0 {
                troubles.push(format!("{count} {what}"));
            }
        };
        count(self.failed, "publishes failed");
        count(self.gaps, "events were handled out of order");
        count(
            self.published.saturating_sub(self.handled),
            "events were never handled",
        );
        troubles
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} published, {} failed, {} handled, {} of them again, {} out of order",
            self.published, self.failed, self.handled, self.repeated, self.gaps
        )
    }
}

/// Between two looks at what the process has.
const LOOK: Duration = Duration::from_secs(1);

/// How long the last events may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a publish is tried, and short: a broker of this process keeps the ids.
const DEDUPE: Duration = Duration::from_secs(5);

/// Bears the load, and tells each interval. `allocations` counts those of the process.
///
/// # Errors
/// When there is no server or bus, or nobody can say what the process has.
pub fn run(
    options: Options,
    allocations: impl Fn() -> usize,
    mut tell: impl FnMut(&Line),
) -> Result<Summary, Failure> {
    let server = match options.server {
        true => Some(Server::start()?),
        false => None,
    };
    let place = match options.runtime {
        RuntimeKind::Tokio => Place::tokio()?,
        RuntimeKind::Smol => Place::smol(),
    };
    let broker = EmbeddedBroker::new();
    let builder = match &server {
        Some(server) => Builder::nats(NatsOptions::new(server.url())),
        None => Builder::embedded(&broker),
    };
    // What is handled leaves the stream, so that this may go on for days.
    let stream = Stream::new("SOAK", ["soak.*"])
        .retention(Retention::WorkQueue)
        .dedupe_window(DEDUPE);
    let opening = builder
        .runtime(Arc::clone(place.runtime()))
        .stream(stream)
        .publish_timeout(DEDUPE)
        .open();
    let bus = place.run(opening).doing("opening the bus")?;

    let latencies = Arc::new(Latencies::default());
    let load = Load::begin(&place, &bus, options, Arc::clone(&latencies))?;
    let interval = match options.lasts {
        short if short <= Duration::from_secs(300) => Duration::from_secs(10),
        _ => Duration::from_secs(60),
    };
    let since = Instant::now();
    let (mut samples, mut told) = (Vec::new(), Duration::ZERO);
    let (mut handled, mut allocated) = (0, allocations());
    while since.elapsed() < options.lasts {
        // The load has its own clock; this one only looks.
        std::thread::sleep(LOOK.min(options.lasts.saturating_sub(since.elapsed())));
        let at = since.elapsed();
        let sample = Sample::take(&place)?;
        samples.push((at, sample));
        if at < told + interval && at < options.lasts {
            continue;
        }
        let (now_handled, now_allocated) = (load.handled(), allocations());
        let events = (now_handled - handled) as f64;
        let [publish, handling] = latencies.taken();
        tell(&Line {
            at,
            rate: events / (at - told).as_secs_f64(),
            publish,
            handling,
            sample,
            allocations: (now_allocated - allocated) as f64 / events.max(1.0),
        });
        (told, handled, allocated) = (at, now_handled, now_allocated);
    }
    let mut summary = load.end(&place, PATIENCE);
    place.run(async move { bus.close().await });
    summary.grown = growth::beyond(&samples, growth::warm_up(options.lasts));
    Ok(summary)
}
