//! Latencies of the interval at hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jetbus_core::shared::counters::{Counters, Handle};

const PUBLISH: usize = 0;
const HANDLING: usize = 1;

/// Histograms that begin anew with each interval.
#[derive(Debug)]
pub(super) struct Latencies(Mutex<Interval>);

#[derive(Debug)]
struct Interval {
    counters: Arc<Counters<0, 2>>,
    counts: Handle<0, 2>,
}

impl Interval {
    fn new() -> Self {
        let counters = Arc::new(Counters::new(1));
        let counts = Counters::handle(&counters);
        Self { counters, counts }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Mutex::new(Interval::new()))
    }
}

impl Latencies {
    fn with<T>(&self, act: impl FnOnce(&mut Interval) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn published(&self, took: Duration) {
        self.with(|interval| interval.counts.record::<PUBLISH>(nanos(took)));
    }

    pub(super) fn handled(&self, took: Duration) {
        self.with(|interval| interval.counts.record::<HANDLING>(nanos(took)));
    }

    /// p50, p99 and p99.9 of both since the last call.
    pub(super) fn taken(&self) -> [[Duration; 3]; 2] {
        let ended = self.with(|interval| std::mem::replace(interval, Interval::new()));
        let totals = ended.counters.totals();
        totals.histograms.map(|histogram| {
            [0.5, 0.99, 0.999].map(|q| {
                let nanos = histogram.quantile(q).unwrap_or_default();
                Duration::from_nanos(nanos)
            })
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_has_its_own_latencies() {
        let latencies = Latencies::default();
        (1..=1_000).for_each(|ms| latencies.published(Duration::from_millis(ms)));
        latencies.handled(Duration::from_millis(800));
        let [publish, handling] = latencies.taken();
        let near =
            |found: Duration, ms: u64| found.as_millis().abs_diff(ms.into()) <= ms as u128 / 20;
        assert!(
            near(publish[0], 500) && near(publish[1], 990) && near(publish[2], 999),
            "{publish:?}"
        );
        assert!(near(handling[2], 800), "{handling:?}");
        assert_eq!(latencies.taken(), [[Duration::ZERO; 3]; 2]);
    }
}
