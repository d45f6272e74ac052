//! The simulation finds bugs: each that can be planted in the core, by the rule that is
//! broken by it, within 200 seeds. Without a bug the same sources keep all rules.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jetbus_core::planted::{Bug, plant};
use jetbus_planted_tests::sim::check::Violation;
use jetbus_planted_tests::sim::run::run;

const SEEDS: std::ops::Range<u64> = 0..200;

/// Whether this is what is wrong with a history because of this bug.
fn fits(bug: Bug, violation: &Violation) -> bool {
    match bug {
        Bug::AckBeforeHandling | Bug::AckBeforeBurying => {
            matches!(violation, Violation::SettledEarly { .. })
        }
        Bug::AnotherId => matches!(violation, Violation::Renamed { .. }),
        Bug::AnyAnswerConfirms => matches!(violation, Violation::NotConfirmed { .. }),
        Bug::CutBatch => matches!(violation, Violation::BatchInParts { .. }),
        Bug::ForgottenDoubt => matches!(violation, Violation::FalselyFailed { .. }),
        Bug::ForgottenKey | Bug::NotCalledBack => {
            matches!(violation, Violation::NotHandled { .. })
        }
        Bug::GivenBackInReverse => matches!(violation, Violation::GivenBackOutOfOrder { .. }),
        Bug::HeldTwice => matches!(violation, Violation::HandledAgain { .. }),
        Bug::LapsedLease => matches!(violation, Violation::Lapsed { .. }),
        Bug::LeakedPlace | Bug::LostInvalidation => {
            matches!(violation, Violation::NotRecovered { .. })
        }
        Bug::LostAttempt => matches!(violation, Violation::GivenUp { .. }),
        Bug::OvertakingPublish => matches!(violation, Violation::StoredOutOfOrder { .. }),
        Bug::OvertakingRetry => matches!(violation, Violation::OutOfOrder { .. }),
        Bug::ResultsCutShort => matches!(violation, Violation::Results { .. }),
        Bug::StaleAnswer => matches!(violation, Violation::FalselyStored { .. }),
        Bug::TwoLeaders => matches!(violation, Violation::CreatedAtOnce { .. }),
    }
}

/// The first seed that shows the bug, and what is wrong there; else what was found
/// instead.
fn find(bug: Bug) -> Result<(u64, Violation), String> {
    let mut others = BTreeSet::new();
    for seed in SEEDS {
        plant(Some(bug));
        let result = run(seed);
        plant(None);
        match result {
            Ok(report) => {
                let mut violations = report.violations.into_iter();
                if let Some(fitting) = violations.find(|violation| fits(bug, violation)) {
                    return Ok((seed, fitting));
                }
                others.extend(violations.next().map(|_| seed));
            }
            Err(_stuck) => _ = others.insert(seed),
        }
    }
    Err(format!(
        "{bug:?} is not found; something else at {others:?}"
    ))
}

/// Does `work` for each of `items`, on as many threads as there are cores.
fn spread<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, Into::into);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

#[test]
fn each_planted_bug_is_found() {
    spread(Bug::ALL, |bug| match find(*bug) {
        Ok((seed, violation)) => println!("{bug:?}: seed {seed}, {violation}"),
        Err(missed) => panic!("{missed}"),
    });
}

#[test]
fn without_a_bug_the_rules_are_kept() {
    let seeds: Vec<u64> = (0..20).collect();
    spread(&seeds, |seed| {
        let report = run(*seed).expect("it ends");
        assert_eq!(report.violations, [], "seed {seed}");
    });
}
