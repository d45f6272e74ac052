//! What a stretch of work costs this process: time, CPU, allocations.

use std::alloc::System;
use std::time::{Duration, Instant};

use jetbus_tests::bench::Report;
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The beginning of a stretch of work.
pub(crate) struct Meter {
    begun: Instant,
    cpu: Duration,
    allocations: usize,
}

/// What a stretch of work cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    /// Of all threads of this process; the server is another one.
    pub(crate) cpu: Duration,
    /// Of all threads, growing an allocation included.
    pub(crate) allocations: usize,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self {
            allocations: allocations(),
            cpu: cpu(),
            begun: Instant::now(),
        }
    }

    pub(crate) fn stop(&self) -> Cost {
        Cost {
            time: self.begun.elapsed(),
            cpu: cpu() - self.cpu,
            allocations: allocations() - self.allocations,
        }
    }
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = Duration::from_secs(spent.tv_sec.unsigned_abs());
    seconds + Duration::from_nanos(spent.tv_nsec.unsigned_abs())
}

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// Adds what `count` messages cost on both sides, from rounds that alternated.
pub(crate) fn add(report: &mut Report, case: &str, count: usize, ours: &[Cost], peer: &[Cost]) {
    let count = count as f64;
    type Figure = (&'static str, &'static str, fn(&Cost, f64) -> f64);
    let figures: [Figure; 3] = [
        ("rate", "msg/s", |cost, count| {
            count / cost.time.as_secs_f64()
        }),
        ("cpu", "us/msg", |cost, count| {
            cost.cpu.as_secs_f64() * 1e6 / count
        }),
        ("allocations", "per msg", |cost, count| {
            cost.allocations as f64 / count
        }),
    ];
    for (metric, unit, figure) in figures {
        let each = |costs: &[Cost]| costs.iter().map(|cost| figure(cost, count)).collect();
        report.rounds(case, metric, unit, each(ours), each(peer));
    }
}
