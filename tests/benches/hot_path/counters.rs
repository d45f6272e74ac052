//! Counting a message and its latency.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

use jetbus_core::shared::counters::Counters;
use jetbus_tests::bench::{Report, timed_on};

pub(crate) fn counters(report: &mut Report) {
    let ours = Arc::new(Counters::<1, 1>::new(4));
    let peer = Mutex::new((0_u64, BTreeMap::<u32, u64>::new()));
    for threads in [1, 2] {
        report.compare(
            &format!("count and record, Mutex, {threads} thread(s)"),
            |n| {
                timed_on(threads, n, |_| {
                    let handle = Counters::handle(&ours);
                    move || {
                        handle.add::<0>(1);
                        handle.record::<0>(black_box(1_234));
                    }
                })
            },
            |n| {
                timed_on(threads, n, |_| {
                    || {
                        let mut peer = peer.lock().expect("not poisoned");
                        peer.0 += 1;
                        *peer.1.entry(black_box(1_234_u64).ilog2()).or_default() += 1;
                    }
                })
            },
        );
    }
}
