//! Looking a topic up by its name, alone and beside a writer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foldhash::fast::FixedState;
use jetbus_core::shared::topics::Topics;
use jetbus_tests::bench::{Report, timed, timed_on};

use crate::names::{cycle, names};

fn topics(names: &[String]) -> Topics<u64, u64> {
    let topics = Topics::new(1, 2_000, 2_000);
    for (n, name) in (0..).zip(names) {
        topics.resolve(name, || (n, n)).expect("there is room");
    }
    topics
}

fn plain<H: BuildHasher>(names: &[String], hasher: H) -> HashMap<String, (u64, u64), H> {
    let mut map = HashMap::with_hasher(hasher);
    map.extend((0..).zip(names).map(|(n, name)| (name.clone(), (n, n))));
    map
}

pub(crate) fn lookup(report: &mut Report) {
    for count in [10, 1_000] {
        let names = names(count);
        let hasher = FixedState::with_seed(1);
        let (ours, peer) = (topics(&names), plain(&names, hasher));
        report.compare(
            &format!("lookup by name, {count} topics, plain map"),
            |n| {
                let mut name = cycle(&names, 0);
                timed(n, || ours.with(name(), |t| t.name().len()))
            },
            |n| {
                let mut name = cycle(&names, 0);
                timed(n, || peer.get(name()).map(|v| v.1))
            },
        );
        report.compare(
            &format!("lookup and its version, {count} topics, plain map"),
            |n| {
                let mut name = cycle(&names, 0);
                timed(n, || ours.with(name(), |t| t.with(|v| v.stream)))
            },
            |n| {
                let mut name = cycle(&names, 0);
                timed(n, || peer.get(name()).map(|v| v.1))
            },
        );
    }
}

/// Two readers, and a writer that changes the table 1 000 times a second.
pub(crate) fn lookup_beside_a_writer(report: &mut Report) {
    let names = names(1_000);
    beside_plain(report, &names, "SipHash", RandomState::new());
    beside_plain(report, &names, "foldhash", FixedState::with_seed(1));
}

fn beside_plain(
    report: &mut Report,
    names: &[String],
    label: &str,
    hasher: impl BuildHasher + Send + Sync,
) {
    let (ours, peer) = (topics(names), RwLock::new(plain(names, hasher)));
    report.compare(
        &format!("lookup, 2 readers, writer, RwLock, {label}"),
        |n| {
            beside(
                || {
                    ours.resolve("changing", || (1, 1)).expect("there is room");
                    ours.remove("changing");
                },
                || {
                    timed_on(2, n, |thread| {
                        let mut name = cycle(names, thread);
                        let ours = &ours;
                        move || ours.with(name(), |t| t.name().len())
                    })
                },
            )
        },
        |n| {
            beside(
                || {
                    let write = || peer.write().expect("not poisoned");
                    write().insert("changing".to_owned(), (1, 1));
                    write().remove("changing");
                },
                || {
                    timed_on(2, n, |thread| {
                        let mut name = cycle(names, thread);
                        let peer = &peer;
                        move || {
                            let map = peer.read().expect("not poisoned");
                            map.get(name()).map(|v| v.1)
                        }
                    })
                },
            )
        },
    );
}

/// Runs `measured` while another thread makes two changes every two milliseconds.
fn beside(change: impl Fn() + Sync, measured: impl FnOnce() -> Duration) -> Duration {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                change();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let took = measured();
        stop.store(true, Ordering::Relaxed);
        took
    })
}
