//! x
use jetbus_core::planted::{Bug, plant};
use jetbus_planted_tests::sim::run::run;
use std::collections::BTreeMap;
#[test]
fn survey() {
    let only = std::env::var("BUG").ok();
    let count: u64 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    std::thread::scope(|s| {
        for half in 0..2 {
            let only = only.clone();
            s.spawn(move || {
                for (i, bug) in Bug::ALL.iter().enumerate() {
                    if i % 2 != half { continue; }
                    if only.as_ref().is_some_and(|o| !o.split(',').any(|o| o == format!("{bug:?}"))) { continue; }
                    let began = std::time::Instant::now();
                    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
                    for seed in 0..count {
                        plant(Some(*bug));
                        match std::panic::catch_unwind(|| run(seed)) {
                            Ok(Ok(r)) => {
                                let mut k: Vec<_> = r.violations.iter().map(|v| format!("{v:?}").split([' ', '{']).next().unwrap().to_string()).collect();
                                k.sort(); k.dedup();
                                for k in k { let e = kinds.entry(k).or_insert((seed, 0)); e.1 += 1; }
                            }
                            Ok(Err(e)) => { let e = kinds.entry(format!("stuck {:?}", e.why())).or_insert((seed, 0)); e.1 += 1; }
                            Err(_) => { let e = kinds.entry("panic".into()).or_insert((seed, 0)); e.1 += 1; }
                        }
                    }
                    println!("{bug:?} {:?} {kinds:?}", began.elapsed());
                }
            });
        }
    });
}
