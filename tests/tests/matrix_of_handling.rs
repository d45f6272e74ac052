//! Every combination of what surrounds a handler, in virtual time: attempts, dead letters,
//! one by one or in batches, bare or within a layer, keyed or unordered.
//!
//! Of each key one event fails once and one fails always; one key has no such events. Each
//! cell asserts all that holds for it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::Stream as _;
use jetbus::link::EmbeddedBroker;
use jetbus::runtime::Runtime;
use jetbus::{
    Batch, Builder, Bus, DeadLetterFilter, Delivery, Event, Handled, Layer, News, Reason, Request,
    Retry, Service, Subscription,
};
use jetbus_tests::sim::Sim;

const TOPIC: &str = "orders.placed";
const KEYS: u32 = 4;
const EVENTS: u32 = 6;
/// Of each key but the last.
const FAILS_ONCE: u32 = 1;
const FAILS_ALWAYS: u32 = 3;
const ATTEMPTS: u32 = 3;
/// Shorter than this, the wait for another attempt would prove nothing about others.
const WAIT: Duration = Duration::from_secs(2);

macro_rules! cells {
    ($($name:ident: $again:expr, $kept:expr, $batch:expr, $layered:expr, $keyed:expr;)+) => {
        $(#[test]
        fn $name() {
            let (again, kept, batch) = ($again, $kept, $batch);
            let (layered, keyed) = ($layered, $keyed);
            Cell { again, kept, batch, layered, keyed }.holds();
        })+
    };
}

const ONCE: bool = false;
const AGAIN: bool = true;
const DISCARDED: bool = false;
const KEPT: bool = true;
const SINGLE: bool = false;
const BATCH: bool = true;
const BARE: bool = false;
const LAYERED: bool = true;
const KEYED: bool = true;
const UNORDERED: bool = false;

cells! {
    tried_once_discarded_single_bare_keyed: ONCE, DISCARDED, SINGLE, BARE, KEYED;
    tried_once_discarded_single_bare_unordered: ONCE, DISCARDED, SINGLE, BARE, UNORDERED;
    tried_once_discarded_single_layered_keyed: ONCE, DISCARDED, SINGLE, LAYERED, KEYED;
    tried_once_discarded_single_layered_unordered: ONCE, DISCARDED, SINGLE, LAYERED, UNORDERED;
    tried_once_discarded_batch_bare_keyed: ONCE, DISCARDED, BATCH, BARE, KEYED;
    tried_once_discarded_batch_bare_unordered: ONCE, DISCARDED, BATCH, BARE, UNORDERED;
    tried_once_discarded_batch_layered_keyed: ONCE, DISCARDED, BATCH, LAYERED, KEYED;
    tried_once_discarded_batch_layered_unordered: ONCE, DISCARDED, BATCH, LAYERED, UNORDERED;
    tried_once_kept_single_bare_keyed: ONCE, KEPT, SINGLE, BARE, KEYED;
    tried_once_kept_single_bare_unordered: ONCE, KEPT, SINGLE, BARE, UNORDERED;
    tried_once_kept_single_layered_keyed: ONCE, KEPT, SINGLE, LAYERED, KEYED;
    tried_once_kept_single_layered_unordered: ONCE, KEPT, SINGLE, LAYERED, UNORDERED;
    tried_once_kept_batch_bare_keyed: ONCE, KEPT, BATCH, BARE, KEYED;
    tried_once_kept_batch_bare_unordered: ONCE, KEPT, BATCH, BARE, UNORDERED;
    tried_once_kept_batch_layered_keyed: ONCE, KEPT, BATCH, LAYERED, KEYED;
    tried_once_kept_batch_layered_unordered: ONCE, KEPT, BATCH, LAYERED, UNORDERED;
    tried_again_discarded_single_bare_keyed: AGAIN, DISCARDED, SINGLE, BARE, KEYED;
    tried_again_discarded_single_bare_unordered: AGAIN, DISCARDED, SINGLE, BARE, UNORDERED;
    tried_again_discarded_single_layered_keyed: AGAIN, DISCARDED, SINGLE, LAYERED, KEYED;
    tried_again_discarded_single_layered_unordered: AGAIN, DISCARDED, SINGLE, LAYERED, UNORDERED;
    tried_again_discarded_batch_bare_keyed: AGAIN, DISCARDED, BATCH, BARE, KEYED;
    tried_again_discarded_batch_bare_unordered: AGAIN, DISCARDED, BATCH, BARE, UNORDERED;
    tried_again_discarded_batch_layered_keyed: AGAIN, DISCARDED, BATCH, LAYERED, KEYED;
    tried_again_discarded_batch_layered_unordered: AGAIN, DISCARDED, BATCH, LAYERED, UNORDERED;
    tried_again_kept_single_bare_keyed: AGAIN, KEPT, SINGLE, BARE, KEYED;
    tried_again_kept_single_bare_unordered: AGAIN, KEPT, SINGLE, BARE, UNORDERED;
    tried_again_kept_single_layered_keyed: AGAIN, KEPT, SINGLE, LAYERED, KEYED;
    tried_again_kept_single_layered_unordered: AGAIN, KEPT, SINGLE, LAYERED, UNORDERED;
    tried_again_kept_batch_bare_keyed: AGAIN, KEPT, BATCH, BARE, KEYED;
    tried_again_kept_batch_bare_unordered: AGAIN, KEPT, BATCH, BARE, UNORDERED;
    tried_again_kept_batch_layered_keyed: AGAIN, KEPT, BATCH, LAYERED, KEYED;
    tried_again_kept_batch_layered_unordered: AGAIN, KEPT, BATCH, LAYERED, UNORDERED;
}

/// A combination.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "these are the axes")]
struct Cell {
    again: bool,
    kept: bool,
    batch: bool,
    layered: bool,
    keyed: bool,
}

/// One run of the handler, or an event's part of one.
#[derive(Clone, Copy, Debug)]
struct Run {
    event: u32,
    attempt: u32,
    done: bool,
    /// An earlier event of its key in the same batch failed: it runs again.
    called_back: bool,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    runs: Vec<Run>,
    /// Keys that are being handled.
    busy: BTreeSet<u32>,
    /// Runs that began while one of their key was going on.
    overlaps: Vec<u32>,
    /// Events that the layer passed on.
    passed: usize,
    given_up: BTreeSet<u64>,
}

type Notes = Arc<Mutex<Seen>>;

const fn key(event: u32) -> u32 {
    event % KEYS
}

const fn place(event: u32) -> u32 {
    event / KEYS
}

const fn fails(event: u32, attempt: u32) -> bool {
    key(event) != KEYS - 1
        && (place(event) == FAILS_ALWAYS || (place(event) == FAILS_ONCE && attempt == 1))
}

impl Cell {
    const fn attempts(self) -> u32 {
        if self.again { ATTEMPTS } else { 1 }
    }

    /// Whether an event is given up at last.
    const fn gives_up(self, event: u32) -> bool {
        fails(event, self.attempts())
    }

    fn holds(self) {
        for seed in 0..3 {
            let sim = Sim::new(seed);
            sim.block_on(self.run(&sim)).expect("it ends");
            sim.abandon();
        }
    }

    async fn run(self, sim: &Sim) {
        let runtime: Arc<dyn Runtime> = Arc::new(sim.clone());
        let broker = EmbeddedBroker::default();
        let link = broker.connect(Arc::clone(&runtime)).await;
        let bus = Builder::link(Arc::new(link)).runtime(runtime).open().await;
        let bus = bus.expect("there is a broker");
        let notes = Notes::default();
        self.listen(sim, &bus, &notes);
        let topic = bus.topic(TOPIC).expect("it is a name");
        for event in 0..KEYS * EVENTS {
            let key = format!("key-{}", key(event));
            let stored = topic.publish(&Event::new(&key, "Placed", event)).await;
            stored.expect("there is a broker");
        }
        let subscription = self.subscribe(sim, &bus, &notes).await;
        let expected = (0..KEYS * EVENTS).filter(|event| self.gives_up(*event));
        let expected: BTreeSet<u64> = expected.map(|event| u64::from(event) + 1).collect();
        while !self.is_over(&notes.lock().unwrap(), expected.len()) {
            sim.sleep(Duration::from_millis(100)).await;
        }
        let report = subscription.drain(Duration::from_secs(10)).await;
        assert!(report.confirmed, "{report:?}");
        assert_eq!((report.returned, report.abandoned), (0, 0));

        self.nothing_comes_again(sim, &bus, &notes).await;
        self.seen_is_right(&notes, &expected);
        self.letters_are_kept(&bus, &expected).await;
        bus.close().await;
    }

    fn seen_is_right(self, notes: &Notes, expected: &BTreeSet<u64>) {
        let seen = notes.lock().unwrap();
        assert_eq!(&seen.given_up, expected, "what was given up is told");
        self.attempts_are_as_told(&seen.runs);
        self.others_were_not_hindered(&seen.runs);
        if self.keyed {
            assert_eq!(seen.overlaps, [0; 0], "one event of a key at a time");
            self.keys_are_in_order(&seen.runs);
        }
        let passed = if self.layered { seen.runs.len() } else { 0 };
        assert_eq!(seen.passed, passed, "the layer saw every attempt");
    }

    /// Notes what the bus tells of events that are given up.
    fn listen(self, sim: &Sim, bus: &Bus, notes: &Notes) {
        let (mut news, notes) = (bus.news(), Arc::clone(notes));
        sim.spawn(Box::pin(async move {
            while let Some(news) = poll_fn(|cx| Pin::new(&mut news).poll_next(cx)).await {
                let sequence = match news {
                    News::DeadLettered { sequence, .. } if self.kept => sequence,
                    News::Discarded { sequence, .. } if !self.kept => sequence,
                    _ => continue,
                };
                let fresh = notes.lock().unwrap().given_up.insert(sequence);
                assert!(fresh, "{sequence} is given up once");
            }
        }));
    }

    async fn subscribe(self, sim: &Sim, bus: &Bus, notes: &Notes) -> Subscription {
        let mut subscribe = bus
            .subscribe(TOPIC)
            .group("billing")
            .attempts(self.attempts())
            .dead_letters(self.kept)
            .retry(Retry {
                first: WAIT,
                max: WAIT,
            });
        if !self.keyed {
            subscribe = subscribe.unordered();
        }
        let (clock, seen) = (sim.clone(), Arc::clone(notes));
        let one = move |event: Delivery<u32>| {
            let (sim, seen) = (clock.clone(), Arc::clone(&seen));
            async move {
                let said = self.handle(&sim, &seen, &[event]).await;
                said.into_iter().next().expect("a word for each")
            }
        };
        let (clock, seen) = (sim.clone(), Arc::clone(notes));
        let many = move |events: Vec<Delivery<u32>>| {
            let (sim, seen) = (clock.clone(), Arc::clone(&seen));
            async move { self.handle(&sim, &seen, &events).await }
        };
        let size = Batch {
            max: 5,
            linger: Duration::from_millis(1),
        };
        let layer = Counting(Arc::clone(notes));
        let subscription = match (self.batch, self.layered) {
            (false, false) => subscribe.handle(one).await,
            (false, true) => subscribe.layer(layer).handle(one).await,
            (true, false) => subscribe.handle_batch(size, many).await,
            (true, true) => subscribe.layer(layer).handle_batch(size, many).await,
        };
        subscription.expect("there is a broker")
    }

    /// Handles events together; the word on each.
    async fn handle(self, sim: &Sim, notes: &Notes, events: &[Delivery<u32>]) -> Vec<Handled> {
        let keys: BTreeSet<_> = events.iter().map(|event| key(event.payload)).collect();
        {
            let mut seen = notes.lock().unwrap();
            for key in &keys {
                if !seen.busy.insert(*key) {
                    seen.overlaps.push(*key);
                }
            }
        }
        sim.sleep(Duration::from_millis(5)).await;
        let mut seen = notes.lock().unwrap();
        let mut failed = BTreeSet::new();
        let said = events.iter().map(|event| {
            let (number, attempt) = (event.payload, event.attempt());
            let key = key(number);
            let called_back = self.keyed && failed.contains(&key);
            // Its attempts are counted here: those that were called back fail nothing.
            let before = seen
                .runs
                .iter()
                .filter(|run| run.event == number && !run.called_back);
            let fails = fails(number, u32::try_from(before.count()).unwrap_or(0) + 1);
            if fails {
                failed.insert(key);
            }
            seen.runs.push(Run {
                event: number,
                attempt,
                done: !fails,
                called_back,
            });
            match fails {
                true => Handled::retry("as planned"),
                false => Handled::Done,
            }
        });
        let said = said.collect();
        for key in &keys {
            seen.busy.remove(key);
        }
        said
    }

    /// Whether every event is done or given up.
    fn is_over(self, seen: &Seen, given_up: usize) -> bool {
        let runs = seen.runs.iter().filter(|run| run.done && !run.called_back);
        let done: BTreeSet<_> = runs.map(|run| run.event).collect();
        done.len() + given_up == (KEYS * EVENTS) as usize && seen.given_up.len() == given_up
    }

    /// The server has everything settled: after the lease nothing is delivered again.
    async fn nothing_comes_again(self, sim: &Sim, bus: &Bus, notes: &Notes) {
        let before = notes.lock().unwrap().runs.len();
        let again = self.subscribe(sim, bus, notes).await;
        sim.sleep(Duration::from_secs(60)).await;
        assert_eq!(again.stats().received, 0);
        again.stop().await;
        assert_eq!(notes.lock().unwrap().runs.len(), before);
    }

    fn attempts_are_as_told(self, runs: &[Run]) {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for run in runs.iter().filter(|run| !run.called_back) {
            let count = counts.entry(run.event).or_default();
            *count += 1;
            if !self.batch {
                assert_eq!(run.attempt, *count, "{run:?}");
            }
        }
        for event in 0..KEYS * EVENTS {
            let needed =
                (1..).find(|attempt| !fails(event, *attempt) || *attempt == self.attempts());
            assert_eq!(
                counts.get(&event).copied(),
                needed,
                "attempts of event {event}"
            );
        }
        let called_back = runs.iter().any(|run| run.called_back);
        assert!(!called_back || (self.keyed && self.batch));
    }

    /// Events of a key are done or given up in the order in which they were stored.
    fn keys_are_in_order(self, runs: &[Run]) {
        for of in 0..KEYS {
            let mut failures: BTreeMap<u32, u32> = BTreeMap::new();
            let mut over = Vec::new();
            for run in runs
                .iter()
                .filter(|run| key(run.event) == of && !run.called_back)
            {
                let failures = failures.entry(run.event).or_default();
                *failures += u32::from(!run.done);
                if run.done || *failures == self.attempts() {
                    over.push(place(run.event));
                }
            }
            assert!(over.iter().copied().eq(0..EVENTS), "key {of}: {over:?}");
        }
    }

    /// What does not have to wait for a failing event is done before its second attempt.
    fn others_were_not_hindered(self, runs: &[Run]) {
        let mut failed = BTreeSet::new();
        let again = runs.iter().position(|run| {
            let counts = fails(run.event, 1) && !run.called_back;
            counts && !failed.insert(run.event)
        });
        let before = &runs[..again.unwrap_or(runs.len())];
        for event in (0..KEYS * EVENTS).filter(|event| !fails(*event, 1)) {
            let waits = self.keyed && key(event) != KEYS - 1;
            let done = || before.iter().any(|run| run.event == event && run.done);
            assert!(waits || done(), "event {event} waited for others");
        }
    }

    async fn letters_are_kept(self, bus: &Bus, expected: &BTreeSet<u64>) {
        let letters = bus.dead_letters();
        let page = letters
            .list(&DeadLetterFilter::new(), 0, 1_000)
            .await
            .unwrap();
        assert_eq!(page.unreadable, [0; 0]);
        let found: Vec<_> = page
            .letters
            .iter()
            .map(|letter| letter.origin.sequence)
            .collect();
        let unique: BTreeSet<_> = found.iter().copied().collect();
        assert_eq!(unique.len(), found.len(), "each once");
        match self.kept {
            true => assert_eq!(unique, *expected),
            false => assert_eq!(found, [0; 0]),
        }
        for letter in &page.letters {
            assert_eq!(letter.reason, Reason::Exhausted);
            assert_eq!(letter.group(), "billing");
            assert!(letter.attempts >= self.attempts(), "{letter:?}");
        }
    }
}

/// Counts what passes.
struct Counting(Notes);

struct Counted<S>(Notes, S);

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted(Arc::clone(&self.0), inner)
    }
}

impl<R: Request, S: Service<R>> Service<R> for Counted<S> {
    async fn call(&self, request: R) -> R::Said {
        self.0.lock().unwrap().passed += request.events();
        self.1.call(request).await
    }
}
