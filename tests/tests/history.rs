//! Three servers under faults, and what everybody was told beside what is stored.
//!
//! Longer, and with other faults: `cargo run --release -p jetbus-tests --bin history --
//! --seconds 600 --seed 7`.
#![cfg(all(feature = "nats", feature = "smol", feature = "tokio"))]

use std::time::Duration;

use jetbus_tests::history::{Options, run};
use jetbus_tests::target;

#[test]
fn no_fault_of_one_server_or_of_connections_breaks_a_promise() {
    let report = run(Options {
        lasts: Duration::from_secs(100),
        seed: 1,
    })
    .unwrap();
    println!("{report}");
    report.save(&target::folder().join("history")).unwrap();
    let violations = &report.verdict.violations;
    assert!(violations.is_empty(), "{violations:?}");
    assert!(report.faults.len() > 3, "{:?}", report.faults);
    assert!(report.verdict.acknowledged > 1_000);
}
