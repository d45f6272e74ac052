//! From a subject to its handlers, among a thousand patterns.

use std::hint::black_box;

use jetbus_core::shared::router::Router;
use jetbus_core::subject::covers;
use jetbus_tests::bench::{Report, timed_on};

use crate::names::cycle;

pub(crate) fn routing(report: &mut Report) {
    let router = Router::new(1, 2_000);
    let mut scan = Vec::new();
    for n in 0..1_000_u64 {
        let pattern = match n % 4 {
            0 => format!("orders.r{n}.*"),
            1 => format!("orders.*.k{n}"),
            2 => format!("orders.r{n}.>"),
            _ => format!("*.r{n}.placed"),
        };
        drop(router.add(&pattern, n).expect("there is room"));
        scan.push((pattern, n));
    }
    let subjects: Vec<String> = (0..1_000)
        .map(|n| format!("orders.r{n}.k{}", n / 3))
        .collect();
    for threads in [1, 2] {
        report.compare(
            &format!("routing, 1000 patterns, scan, {threads} thread(s)"),
            |n| {
                timed_on(threads, n, |thread| {
                    let mut subject = cycle(&subjects, thread);
                    let router = &router;
                    move || router.route(subject(), |handler| _ = black_box(*handler))
                })
            },
            |n| {
                timed_on(threads, n, |thread| {
                    let mut subject = cycle(&subjects, thread);
                    let scan = &scan;
                    move || {
                        let subject = subject();
                        for (_, handler) in scan.iter().filter(|(p, _)| covers(p, subject)) {
                            black_box(*handler);
                        }
                    }
                })
            },
        );
    }
}
