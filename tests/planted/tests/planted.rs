//! x
use jetbus_core::planted::{Bug, plant};
use jetbus_planted_tests::sim::run::run;
use std::collections::BTreeMap;
#[test]
fn survey() {
    let only = std::env::var("BUG").ok();
    let count: u64 = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let first = std::env::var("FIRST").is_ok();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let bugs: Vec<Option<Bug>> = std::iter::once(None).chain(Bug::ALL.iter().copied().map(Some)).collect();
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(bug) = bugs.get(i) else { return };
                    if only.as_ref().is_some_and(|o| !o.split(',').any(|o| o == format!("{bug:?}").trim_start_matches("Some(").trim_end_matches(")"))) { continue; }
                    let began = std::time::Instant::now();
                    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
                    for seed in 0..count {
                        plant(*bug);
                        match std::panic::catch_unwind(|| run(seed)) {
                            Ok(Ok(r)) => {
                                if bug.is_none() { for v in &r.violations { println!("{seed}: {v}"); } }
                                let mut k: Vec<_> = r.violations.iter().map(|v| format!("{v:?}").split([' ', '{']).next().unwrap().to_string()).collect();
                                k.sort(); k.dedup();
                                for k in k { let e = kinds.entry(k).or_insert((seed, 0)); e.1 += 1; }
                            }
                            Ok(Err(e)) => { let e = kinds.entry(format!("stuck {:?}", e.why())).or_insert((seed, 0)); e.1 += 1; }
                            Err(_) => { let e = kinds.entry("panic".into()).or_insert((seed, 0)); e.1 += 1; }
                        }
                        if first && !kinds.is_empty() && bug.is_some() { break; }
                    }
                    println!("{bug:?} {:?} {kinds:?}", began.elapsed());
                }
            });
        }
    });
}
