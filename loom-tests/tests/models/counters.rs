//! Models of `shared::counters`. Every access is relaxed, so there is no ordering to
//! weaken; what can break is the handing on of shards.

use std::sync::Arc;

use core_loom::shared::counters::Counters;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![
    sums_are_exact_once_writers_are_quiet,
    handles_come_and_go_without_losing_counts,
    handles_share_a_shard_without_losing_counts,
    a_histogram_counts_what_was_recorded,
];

/// Invariant: sums are exact once the writers are joined; a snapshot taken before
/// waits for nobody and is never ahead.
/// Threads: two count once, one sums up. Exhaustive.
fn sums_are_exact_once_writers_are_quiet() {
    exhaustive(|| {
        let counters = Arc::new(Counters::<1, 0>::new(2));
        let writers = [1, 2].map(|n| {
            let handle = Counters::handle(&counters);
            thread::spawn(move || handle.add::<0>(n))
        });
        assert!(counters.totals().counts[0] <= 3);
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(counters.totals().counts, [3]);
    });
}

/// Invariant: handles come and go without losing counts, and their shards are used
/// again.
/// Threads: two make a handle, count and drop it, twice in all on one. Exhaustive.
/// Seen to fail: `load` and `swap` of the list in place of `update`.
fn handles_come_and_go_without_losing_counts() {
    exhaustive(|| {
        let counters = Arc::new(Counters::<1, 0>::new(2));
        let other = thread::spawn({
            let counters = Arc::clone(&counters);
            move || Counters::handle(&counters).add::<0>(1)
        });
        Counters::handle(&counters).add::<0>(10);
        Counters::handle(&counters).add::<0>(100);
        other.join().unwrap();
        assert_eq!(counters.totals().counts, [111]);
    });
}

/// Invariant: more handles than shards share them without losing counts.
/// Threads: three make a handle and count, with one shard. Bounded at 3 preemptions.
/// Seen to fail: a load and a store in place of the add; as above.
fn handles_share_a_shard_without_losing_counts() {
    bounded(3, || {
        let counters = Arc::new(Counters::<1, 0>::new(1));
        let others = [1, 10].map(|n| {
            let counters = Arc::clone(&counters);
            thread::spawn(move || Counters::handle(&counters).add::<0>(n))
        });
        Counters::handle(&counters).add::<0>(100);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(counters.totals().counts, [111]);
    });
}

/// Invariant: as the first, for a histogram: count, sum and maximum.
/// Threads: two record once each into one shard. Exhaustive.
/// Seen to fail: a load and a store in place of the read-modify-write of the bucket, of
/// the sum, or of the maximum.
fn a_histogram_counts_what_was_recorded() {
    exhaustive(|| {
        let counters = Arc::new(Counters::<0, 1>::new(1));
        let handles = [(); 2].map(|()| Counters::handle(&counters));
        let [mine, theirs] = handles;
        let other = thread::spawn(move || theirs.record::<0>(32));
        // The same bucket, and a greater value.
        mine.record::<0>(33);
        other.join().unwrap();
        let [histogram] = counters.totals().histograms;
        let (count, sum, max) = (histogram.count(), histogram.sum(), histogram.max());
        assert_eq!((count, sum, max), (2, 65, 33));
    });
}
