//! Gate, stream, session and credit, from the call to the answer.

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, RwLock};

use foldhash::fast::FixedState;
use jetbus_core::Time;
use jetbus_core::shared::credit::Credit;
use jetbus_core::shared::gate::Gate;
use jetbus_core::shared::session::SessionCell;
use jetbus_core::shared::streams::{Ensure, StreamState};
use jetbus_tests::bench::{Report, timed_on};

use crate::WINDOW;

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

pub(crate) fn make_ready(stream: &StreamState<(), ()>) {
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

pub(crate) fn admission(report: &mut Report) {
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
