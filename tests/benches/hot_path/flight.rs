//! Joining what somebody does already.

use std::hint::black_box;
use std::sync::Mutex;

use jetbus_core::Time;
use jetbus_core::shared::streams::{Ensure, StreamState};
use jetbus_tests::bench::{Report, timed_on};

use crate::admission::make_ready;

pub(crate) fn flight(report: &mut Report) {
    let ours = StreamState::<(), ()>::new();
    make_ready(&ours);
    let peer: Mutex<Result<bool, ()>> = Mutex::new(Ok(true));
    for threads in [1, 2] {
        report.compare(
            &format!("flight join when ready, {threads} thread(s)"),
            |n| {
                timed_on(threads, n, |_| {
                    || {
                        assert!(matches!(
                            black_box(ours.ensure(Time::ZERO)),
                            Ensure::Ready(_)
                        ));
                    }
                })
            },
            |n| {
                timed_on(threads, n, |_| {
                    || assert_eq!(black_box(*peer.lock().expect("not poisoned")), Ok(true))
                })
            },
        );
    }
}
