//! Counts and latency histograms, a shard per handle.
//!
//! A handle owns a shard of its own cache lines, so writers do not disturb each
//! other. Shards only ever grow: one whose handle was dropped goes to the next
//! handle with what it holds, so nothing is lost and sums need no folding.
//!
//! Invariants: sums are exact when the writers are quiet; a snapshot never blocks a
//! writer; handles come and go without losing counts.
//!
//! Every access here is `Relaxed`: counts order nothing, and "quiet" means that
//! the reader already happens after the writers by other means (a join, a channel).

use std::fmt;
use std::sync::Arc;

use crate::sync::{AtomicU64, Ordering, Queue, Snapshot};

/// `C` counts and `H` histograms, by index. An index out of range does not compile.
pub struct Counters<const C: usize, const H: usize> {
    shards: Snapshot<Vec<Arc<Shard<C, H>>>>,
    /// Shards whose handles were dropped.
    free: Queue<Arc<Shard<C, H>>>,
    limit: usize,
}

/// Aligned as `CachePadded` aligns: two shards never share a cache line.
#[repr(align(128))]
struct Shard<const C: usize, const H: usize> {
    counts: [AtomicU64; C],
    histograms: [Buckets; H],
}

impl<const C: usize, const H: usize> Shard<C, H> {
    fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            histograms: std::array::from_fn(|_| Buckets::new()),
        }
    }
}

impl<const C: usize, const H: usize> Counters<C, H> {
    /// All zero. Up to `shards` handles have a shard of their own; more share.
    ///
    /// # Panics
    /// If `shards` is zero.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            shards: Snapshot::new(vec![]),
            free: Queue::new(shards),
            limit: shards,
        }
    }

    /// A handle to count with; one for each thread or task that counts often.
    #[must_use]
    pub fn handle(this: &Arc<Self>) -> Handle<C, H> {
        let (shard, owned) = this.shard();
        Handle {
            counters: Arc::clone(this),
            shard,
            owned,
        }
    }

    fn shard(&self) -> (Arc<Shard<C, H>>, bool) {
        if let Some(shard) = self.free.pop() {
            return (shard, true);
        }
        let new = Arc::new(Shard::new());
        let mut shared = None;
        self.shards.update(|shards| {
            if shards.len() >= self.limit {
                // Adds are read-modify-writes, so sharing costs time, not counts.
                shared = shards.last().cloned();
                return None;
            }
            let mut shards = shards.clone();
            shards.push(Arc::clone(&new));
            Some(shards)
        });
        shared.map_or((new, true), |shard| (shard, false))
    }

    /// The sums over all handles there ever were. Exact when nobody is counting;
    /// else each number is somewhere between its values before and after the call.
    #[must_use]
    pub fn totals(&self) -> Totals<C, H> {
        let mut totals = Totals {
            counts: [0; C],
            histograms: std::array::from_fn(|_| Histogram::default()),
        };
        self.shards.with(|shards| {
            for shard in shards {
                for (sum, count) in totals.counts.iter_mut().zip(&shard.counts) {
                    *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
                }
                for (sum, buckets) in totals.histograms.iter_mut().zip(&shard.histograms) {
                    sum.add(buckets);
                }
            }
        });
        totals
    }
}

impl<const C: usize, const H: usize> fmt::Debug for Counters<C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

/// Counts into a shard.
pub struct Handle<const C: usize, const H: usize> {
    counters: Arc<Counters<C, H>>,
    shard: Arc<Shard<C, H>>,
    /// Whether the shard goes to the next handle when this one is dropped.
    owned: bool,
}

impl<const C: usize, const H: usize> Handle<C, H> {
    /// Adds `n` to count `I`.
    pub fn add<const I: usize>(&self, n: u64) {
        const { assert!(I < C, "there is no such count") }
        self.shard.counts[I].fetch_add(n, Ordering::Relaxed);
    }

    /// Puts `value` into histogram `I`.
    pub fn record<const I: usize>(&self, value: u64) {
        const { assert!(I < H, "there is no such histogram") }
        self.shard.histograms[I].record(value);
    }
}

impl<const C: usize, const H: usize> Drop for Handle<C, H> {
    fn drop(&mut self) {
        if self.owned {
            // There is room: no more shards than places, each owned once.
            drop(self.counters.free.push(Arc::clone(&self.shard)));
        }
    }
}

impl<const C: usize, const H: usize> fmt::Debug for Handle<C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// What [`Counters::totals`] found.
#[derive(Clone, Debug)]
pub struct Totals<const C: usize, const H: usize> {
    /// The counts, by index.
    pub counts: [u64; C],
    /// The histograms, by index.
    pub histograms: [Histogram; H],
}

/// Each power of two is cut into so many buckets of one width: a value is off by at
/// most half of one, 1/32 of itself.
const STEPS: u64 = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Values below [`STEPS`] have a bucket each, then come the powers of two.
const BUCKETS: usize = (STEPS + (64 - STEP_BITS) as u64 * STEPS) as usize;

/// The bucket of a value.
const fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    // The highest bit says which power, the next ones which step of it.
    let shift = value.ilog2() - STEP_BITS;
    let step = (value >> shift) - STEPS;
    ((shift as u64 + 1) * STEPS + step) as usize
}

/// The value in the middle of a bucket.
const fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let low = (bucket % STEPS + STEPS) << shift;
    low + ((1 << shift) >> 1)
}

/// Written by one handle, as a rule.
struct Buckets {
    /// On the heap: eight kilobytes are much for a stack that builds them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Buckets {
    fn new() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    fn record(&self, value: u64) {
        if let Some(count) = self.counts.get(bucket(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        // Seldom a new maximum: a load is cheaper than the read-modify-write it saves.
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }
}

/// How often which values came. Buckets are log-linear and fixed: a quantile is off
/// by at most 1/32 of its value; sum, count and maximum are exact.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Empty as long as nothing was recorded.
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Histogram {
    fn add(&mut self, buckets: &Buckets) {
        self.counts.resize(BUCKETS, 0);
        for (sum, count) in self.counts.iter_mut().zip(buckets.counts.iter()) {
            let count = count.load(Ordering::Relaxed);
            *sum = sum.wrapping_add(count);
            self.count = self.count.wrapping_add(count);
        }
        self.sum = self.sum.wrapping_add(buckets.sum.load(Ordering::Relaxed));
        self.max = self.max.max(buckets.max.load(Ordering::Relaxed));
    }

    /// How many values were recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values; wraps at 2^64.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The greatest value; 0 when there is none.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed; `None` when
    /// there is none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let last = self.count.checked_sub(1)?;
        // A rank beyond 2^53 is rounded, which no quantile can show.
        let rank = (q.clamp(0.0, 1.0) * last as f64) as u64;
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen > rank {
                return Some(middle(bucket).min(self.max));
            }
        }
        Some(self.max)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Counters<1, 1>>();
        shared::<Handle<1, 1>>();
    }

    #[test]
    fn every_value_is_within_a_thirty_second_of_its_bucket() {
        let around = (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [
                power - 1,
                power,
                power + 1,
                power + power / 3,
                power | power >> 1,
            ]
        });
        for value in around.chain(0..5_000).chain([u64::MAX, u64::MAX - 1]) {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS, "{value}");
            assert!(middle(bucket).abs_diff(value) <= value / 32, "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_are_ordered_as_their_values() {
        assert!((1..BUCKETS).all(|b| middle(b - 1) < middle(b)));
        assert!((0..BUCKETS).all(|b| bucket(middle(b)) == b));
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let counters = Arc::new(Counters::<0, 1>::new(4));
        let handle = Counters::handle(&counters);
        (1..=10_000).for_each(|value| handle.record::<0>(value * 1_000));
        let [histogram] = counters.totals().histograms;
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.sum(), 10_000 * 10_001 / 2 * 1_000);
        assert_eq!(histogram.max(), 10_000_000);
        for (q, truth) in [(0.5, 5_000_000_u64), (0.99, 9_900_000), (1.0, 10_000_000)] {
            let found = histogram.quantile(q).unwrap();
            assert!(found.abs_diff(truth) <= truth / 30, "{q}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn handles_come_and_go_without_losing_counts() {
        let counters = Arc::new(Counters::<2, 0>::new(2));
        for _ in 0..10 {
            let handles: Vec<_> = (0..5).map(|_| Counters::handle(&counters)).collect();
            handles.iter().for_each(|handle| handle.add::<1>(3));
        }
        assert_eq!(counters.totals().counts, [0, 150]);
        counters.shards.with(|shards| assert_eq!(shards.len(), 2));
    }

    #[test]
    fn sums_are_exact_once_the_writers_are_quiet() {
        let counters = Arc::new(Counters::<1, 1>::new(2));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let handle = Counters::handle(&counters);
                scope.spawn(move || {
                    for value in 0..10_000 {
                        handle.add::<0>(1);
                        handle.record::<0>(value);
                    }
                });
            }
            for _ in 0..100 {
                assert!(counters.totals().counts[0] <= 30_000);
            }
        });
        let totals = counters.totals();
        assert_eq!(totals.counts, [30_000]);
        assert_eq!(totals.histograms[0].count(), 30_000);
    }
}
