//! What the core does per message, each part beside the plain way to do it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use concurrent_map::ConcurrentMap;
use foldhash::fast::FixedState;
use jetbus_core::Time;
use jetbus_core::shared::counters::Counters;
use jetbus_core::shared::credit::Credit;
use jetbus_core::shared::directory::Directory;
use jetbus_core::shared::gate::Gate;
use jetbus_core::shared::handoff::Handoff;
use jetbus_core::shared::router::Router;
use jetbus_core::shared::session::SessionCell;
use jetbus_core::shared::streams::{Ensure, StreamState};
use jetbus_core::shared::topics::Topics;
use jetbus_core::subject::covers;
use jetbus_tests::bench::{Report, print_head, timed, timed_on};

/// Each part with its name, by which `cargo bench` can be told to run it alone.
type Part = (&'static str, fn(&mut Report));

const PARTS: &[Part] = &[
    ("admission", admission),
    ("lookup", lookup),
    ("lookup_beside_a_writer", lookup_beside_a_writer),
    ("routing", routing),
    ("credit", credit),
    ("flight", flight),
    ("handoff", handoff),
    ("counters", counters),
    ("directory", directory),
];

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut filters = words
        .iter()
        .filter(|word| !word.starts_with('-'))
        .peekable();
    let all = filters.peek().is_none();
    let filters: Vec<_> = filters.collect();
    let mut report = Report::new("hot_path");
    print_head();
    for (name, part) in PARTS {
        if all || filters.iter().any(|filter| name.contains(filter.as_str())) {
            part(&mut report);
        }
    }
    report.finish()
}

const WINDOW: u16 = 1024;

/// Gate, stream, session and credit, from the call to the answer.
struct Admission {
    gate: Gate<()>,
    stream: StreamState<(), ()>,
    session: SessionCell<u64>,
    credit: Credit<u64>,
}

impl Admission {
    fn new() -> Self {
        let admission = Self {
            gate: Gate::new(),
            stream: StreamState::new(),
            session: SessionCell::new(),
            credit: Credit::new(NonZeroU16::new(WINDOW).expect("not zero")),
        };
        admission.session.connected(7).expect("not closed");
        make_ready(&admission.stream);
        admission
    }

    fn publish(&self) -> Option<u64> {
        let _pass = self.gate.enter().ok()?;
        self.stream.ready()?;
        let generation = self.session.generation()?;
        let token = self.credit.try_take().ok()?.fill(generation, 0);
        let (item, _permit) = self.credit.settle(black_box(token))?;
        Some(item)
    }
}

fn make_ready(stream: &StreamState<(), ()>) {
    let Ensure::Lead(ensuring) = stream.ensure(Time::ZERO) else {
        unreachable!("nobody else is at it");
    };
    ensuring.ready(()).expect("nothing was invalidated");
}

/// The same with a lock for each thing.
struct PlainAdmission {
    inside: Mutex<(bool, usize)>,
    streams: RwLock<HashMap<String, bool, FixedState>>,
    session: RwLock<Option<Arc<u64>>>,
    window: Mutex<PlainWindow>,
}

struct PlainWindow {
    free: VecDeque<usize>,
    in_flight: HashMap<u64, (usize, u64), FixedState>,
    next: u64,
}

impl PlainAdmission {
    fn new() -> Self {
        let mut streams = HashMap::default();
        streams.insert("orders".to_owned(), true);
        Self {
            inside: Mutex::default(),
            streams: RwLock::new(streams),
            session: RwLock::new(Some(Arc::new(7))),
            window: Mutex::new(PlainWindow {
                free: (0..usize::from(WINDOW)).collect(),
                in_flight: HashMap::default(),
                next: 0,
            }),
        }
    }

    fn publish(&self) -> Option<u64> {
        {
            let mut inside = self.inside.lock().ok()?;
            if inside.0 {
                return None;
            }
            inside.1 += 1;
        }
        self.streams
            .read()
            .ok()?
            .get("orders")
            .filter(|ready| **ready)?;
        let session = self.session.read().ok()?.clone()?;
        let token = {
            let mut window = self.window.lock().ok()?;
            let slot = window.free.pop_front()?;
            window.next += 1;
            let token = window.next;
            window.in_flight.insert(token, (slot, *session));
            token
        };
        let item = {
            let mut window = self.window.lock().ok()?;
            let (slot, item) = window.in_flight.remove(&black_box(token))?;
            window.free.push_back(slot);
            item
        };
        self.inside.lock().ok()?.1 -= 1;
        Some(item)
    }
}

fn admission(report: &mut Report) {
    let (ours, peer) = (Admission::new(), PlainAdmission::new());
    assert_eq!((ours.publish(), peer.publish()), (Some(1), Some(7)));
    for threads in [1, 2] {
        report.compare(
            &format!("admission, {threads} thread(s)"),
            |n| timed_on(threads, n, |_| || ours.publish()),
            |n| timed_on(threads, n, |_| || peer.publish()),
        );
    }
    let allocations = |publish: &dyn Fn() -> Option<u64>| {
        let counted = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                black_box(publish());
            }
        });
        counted.count_total as f64 / 1_000.0
    };
    report.add(
        "admission",
        "allocations",
        "each",
        allocations(&|| ours.publish()),
        Some(allocations(&|| peer.publish())),
    );
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| {
            let mut name = String::new();
            write_name(&mut name, n);
            name
        })
        .collect()
}

fn write_name(name: &mut String, n: usize) {
    name.clear();
    write!(name, "orders.region{}.placed{n}", n % 7).expect("strings grow");
}

/// Goes through the names again and again, on each thread from another one on.
fn cycle<'a>(names: &'a [String], thread: usize) -> impl FnMut() -> &'a str {
    let mut next = thread * 31;
    move || {
        next = (next + 1) % names.len();
        &names[next]
    }
}

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

fn lookup(report: &mut Report) {
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
fn lookup_beside_a_writer(report: &mut Report) {
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

fn routing(report: &mut Report) {
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

fn credit(report: &mut Report) {
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

fn flight(report: &mut Report) {
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

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until ready and parks in between.
fn wait<R>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>, waker: &Waker) -> R {
    let mut cx = Context::from_waker(waker);
    loop {
        match poll(&mut cx) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

fn handoff(report: &mut Report) {
    const PLACES: usize = 256;
    report.compare(
        "hand-off and back, channels, 1 thread(s)",
        |n| {
            let handoff = Arc::new(Handoff::new(PLACES));
            let mut worker = Handoff::worker(&handoff);
            let waker = this_thread();
            timed(n, || {
                handoff.push(1_u64).expect("there is room");
                let job = wait(|cx| worker.poll_next(cx), &waker).expect("open");
                handoff.done(job).expect("there is room");
                wait(|cx| handoff.poll_done(cx), &waker)
            })
        },
        |n| {
            let (jobs, take) = async_channel::bounded(PLACES);
            let (done, completed) = async_channel::bounded(PLACES);
            timed(n, || {
                jobs.try_send(1_u64).expect("there is room");
                let job = take.recv_blocking().expect("open");
                done.try_send(job).expect("there is room");
                completed.recv_blocking().expect("open")
            })
        },
    );
    report.compare(
        "hand-off and back, channels, 2 thread(s)",
        |n| {
            let handoff = Arc::new(Handoff::new(PLACES));
            let mut worker = Handoff::worker(&handoff);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let waker = this_thread();
                    while let Some(job) = wait(|cx| worker.poll_next(cx), &waker) {
                        worker.handoff().done(job).expect("there is room");
                    }
                });
                let waker = this_thread();
                let mut pushed = 0;
                let took = timed(n, || {
                    while pushed < n && handoff.push(pushed).is_ok() {
                        pushed += 1;
                    }
                    wait(|cx| handoff.poll_done(cx), &waker)
                });
                handoff.close();
                took
            })
        },
        |n| {
            let (jobs, take) = async_channel::bounded(PLACES);
            let (done, completed) = async_channel::bounded(PLACES);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    while let Ok(job) = take.recv_blocking() {
                        done.send_blocking(job).expect("open");
                    }
                });
                let mut pushed = 0;
                let took = timed(n, || {
                    while pushed < n && jobs.try_send(pushed).is_ok() {
                        pushed += 1;
                    }
                    completed.recv_blocking().expect("open")
                });
                jobs.close();
                took
            })
        },
    );
}

fn counters(report: &mut Report) {
    let ours = Arc::new(Counters::<1, 1>::new(4));
    let peer = Mutex::new((0_u64, BTreeMap::<u32, u64>::new()));
    for threads in [1, 2] {
        report.compare(
            &format!("count and record, Mutex, {threads} thread(s)"),
            |n| {
                timed_on(threads, n, |_| {
                    let handle = Counters::handle(&ours);
                    move || {
                        handle.add::<0>(1);
                        handle.record::<0>(black_box(1_234));
                    }
                })
            },
            |n| {
                timed_on(threads, n, |_| {
                    || {
                        let mut peer = peer.lock().expect("not poisoned");
                        peer.0 += 1;
                        *peer.1.entry(black_box(1_234_u64).ilog2()).or_default() += 1;
                    }
                })
            },
        );
    }
}

/// Registering up to some thousands and up to a million, and reads among them.
fn directory(report: &mut Report) {
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
