//! A minute of steady load on a real server.
//!
//! Longer and faster: `cargo run --release -p jetbus-tests --bin soak -- --help`.
#![cfg(all(feature = "nats", feature = "smol", feature = "tokio"))]

use std::alloc::System;
use std::time::Duration;

use jetbus_tests::matrix::RuntimeKind;
use jetbus_tests::soak::{Options, run};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

// The only test of this program: others would share its memory.
#[test]
fn a_minute_of_load_is_handled_and_leaves_nothing_behind() {
    let options = Options {
        rate: 1_000,
        lasts: Duration::from_secs(60),
        keys: 1_000,
        handlers: 64,
        runtime: RuntimeKind::Tokio,
        server: true,
    };
    let summary = run(options, allocations, |line| println!("{line}")).unwrap();
    println!("{summary}");
    assert_eq!(summary.troubles(), [""; 0]);
    assert!(summary.handled > 10_000, "{summary}");
}
