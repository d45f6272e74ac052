//! Taking a place in the window of publishes, and giving it back.

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Mutex;

use jetbus_core::shared::credit::Credit;
use jetbus_tests::bench::{Report, timed_on};

use crate::WINDOW;

pub(crate) fn credit(report: &mut Report) {
    let ours = Credit::<u64>::new(NonZeroU16::new(WINDOW).expect("not zero"));
    let peer: Mutex<VecDeque<usize>> = Mutex::new((0..usize::from(WINDOW)).collect());
    for threads in [1, 2] {
        report.compare(
            &format!("credit take and return, {threads} thread(s)"),
            |n| timed_on(threads, n, |_| || ours.try_take().is_ok()),
            |n| {
                timed_on(threads, n, |_| {
                    || {
                        let free = || peer.lock().expect("not poisoned");
                        let slot = free().pop_front();
                        free().extend(black_box(slot));
                    }
                })
            },
        );
    }
}
