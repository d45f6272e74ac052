//! The directory of all topics, up to a million.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use concurrent_map::ConcurrentMap;
use jetbus_core::shared::directory::Directory;
use jetbus_tests::bench::{Report, timed, timed_on};

use crate::names::{names, write_name};

/// Registering up to some thousands and up to a million, and reads among them.
pub(crate) fn directory(report: &mut Report) {
    directory_of(report, 10_000);
    directory_of(report, 1_000_000);
}

fn directory_of(report: &mut Report, known: usize) {
    let names = names(known);
    let last = known / 100;
    let ours = Directory::new(known);
    let peer = RwLock::new(BTreeMap::<Arc<str>, Arc<usize>>::new());
    let register = |range: std::ops::Range<usize>| {
        let each = |took: Duration| took.as_nanos() as f64 / range.len() as f64;
        let names = || range.clone().zip(&names[range.clone()]);
        let begun = Instant::now();
        for (n, name) in names() {
            ours.register(name, || n).expect("there is room");
        }
        let our_time = begun.elapsed();
        let begun = Instant::now();
        for (n, name) in names() {
            let mut peer = peer.write().expect("not poisoned");
            peer.insert(name.as_str().into(), Arc::new(n));
        }
        (each(our_time), each(begun.elapsed()))
    };
    let (our_time, peer_time) = register(0..known - last);
    let case = format!("directory, up to {known}");
    report.add(&case, "registration", "ns", our_time, Some(peer_time));
    let (our_time, peer_time) = register(known - last..known);
    let case = format!("directory, the last of {known}");
    report.add(&case, "registration", "ns", our_time, Some(peer_time));
    let get = |name: &str| ours.get(name);
    for threads in [1, 2] {
        report.compare(
            &format!("directory, read among {known}, {threads} thread(s)"),
            |n| timed_on(threads, n, |thread| at_random(known, thread, get)),
            |n| {
                let get = |name: &str| peer.read().expect("not poisoned").get(name).cloned();
                timed_on(threads, n, |thread| at_random(known, thread, get))
            },
        );
    }
    drop(peer);
    // What it stands on, without the pool, the limit and names of any length.
    let bare = ConcurrentMap::<[u8; 40], Arc<usize>, 64>::new();
    let one_more = bare.clone();
    for (n, name) in names.iter().enumerate() {
        bare.insert(padded(name), Arc::new(n));
    }
    report.compare(
        &format!("directory, read among {known}, bare tree"),
        |n| timed(n, at_random(known, 0, get)),
        |n| timed(n, at_random(known, 0, |name| one_more.get(&padded(name)))),
    );
}

fn padded(name: &str) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// Gets one name after another, at random. It is at hand, as that of a message is.
fn at_random<T>(known: usize, thread: usize, get: impl Fn(&str) -> T) -> impl FnMut() -> T {
    let (mut at, mut name) = (thread as u64, String::new());
    move || {
        at = at.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        write_name(&mut name, (at >> 33) as usize % known);
        get(&name)
    }
}
