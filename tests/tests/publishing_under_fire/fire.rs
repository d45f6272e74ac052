//! The publishers, and what they are told beside what is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use jetbus::runtime::Runtime;
use jetbus::{Bus, Event, Outcome, PublishError, Receipt, Topic};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::operator::{Stored, all_stored};

/// How many publish at once.
const PUBLISHERS: u32 = 8;

/// Receipts that a publisher does not wait for yet.
const UNREAD: usize = 1_024;

/// Publishes that take no half a minute.
const SOME: u64 = 1_000;

/// Between a publish that failed at once and the next.
const BREATH: Duration = Duration::from_millis(5);

/// What was said of a publish: the sequence at which it is stored, or why it failed.
type Said = Result<u64, PublishError>;

/// What a publisher was told, in the order in which it published.
pub(crate) type Told = Vec<(String, u32, Said)>;

/// Publishers at work.
pub(crate) struct Fire {
    over: Arc<AtomicBool>,
    /// Comes from each task when it ends.
    told: Receiver<Told>,
}

impl Fire {
    /// Publishers of events of so many keys, each of which is one publisher's. Every
    /// fourth event is of the first key of its publisher: these wait for each other.
    pub(crate) fn at(env: &Env, topic: &Topic, keys: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (done, told) = async_channel::bounded(2 * PUBLISHERS as usize);
        for publisher in 0..PUBLISHERS {
            let keys = (publisher..keys).step_by(PUBLISHERS as usize);
            let names = keys.map(|key| format!("key-{key}")).collect();
            let (receipts, unread) = async_channel::bounded(UNREAD);
            let (topic, over) = (topic.clone(), Arc::clone(&over));
            let publishing = publish(Arc::clone(env.runtime()), topic, names, receipts, over);
            let ended = done.clone();
            env.runtime().spawn(Box::pin(async move {
                let _ = ended.send(publishing.await).await;
            }));
            let ended = done.clone();
            env.runtime().spawn(Box::pin(async move {
                let _ = ended.send(read(unread).await).await;
            }));
        }
        Self { over, told }
    }

    /// Ends the publishing, and compares what was told with what is in the stream.
    pub(crate) async fn ends(self, env: &Env, server: &Server, stream: &str) -> Truth {
        self.over.store(true, Ordering::Relaxed);
        let mut told = Told::new();
        for _ in 0..2 * PUBLISHERS {
            let some = env.soon("every publish ends", self.told.recv()).await;
            told.extend(some.expect("no publisher panics"));
        }
        Truth::of(&told, &all_stored(env, server, stream).await)
    }
}

/// Waits until so many more are stored.
pub(crate) async fn goes_on(env: &Env, bus: &Bus, more: u64) {
    let stored = || bus.publish_stats().stored + bus.publish_stats().duplicate;
    let (before, since) = (stored(), Instant::now());
    env.until("the next is stored", || stored() > before).await;
    let first = since.elapsed();
    // However many there are to come, the next few come soon.
    let mut awaited = before;
    while awaited < before + more {
        awaited = (awaited + SOME).min(before + more);
        env.until("publishing goes on", || stored() >= awaited)
            .await;
    }
    println!(
        "the next was stored after {first:.1?}, {more} after {:.1?}",
        since.elapsed()
    );
}

/// Publishes until it is over; what failed at once.
async fn publish(
    runtime: Arc<dyn Runtime>,
    topic: Topic,
    keys: Vec<String>,
    receipts: Sender<(String, u32, Receipt)>,
    over: Arc<AtomicBool>,
) -> Told {
    let (mut told, mut counts, mut turn) = (Told::new(), vec![0; keys.len()], 0);
    while !over.load(Ordering::Relaxed) {
        turn += 1;
        let key = match turn % 4 {
            0 => 0,
            _ => (turn - turn / 4) % keys.len(),
        };
        counts[key] += 1;
        let (key, n) = (keys[key].clone(), counts[key]);
        match topic.send(&Event::new(&*key, "Counted", n)).await {
            Ok(receipt) => receipts.send((key, n, receipt)).await.expect("it is read"),
            Err(error) => {
                told.push((key, n, Err(error)));
                // Refused at once it would be again and again, and nobody else would run.
                runtime.sleep_until(runtime.now() + BREATH).await;
            }
        }
    }
    told
}

/// Waits for what became of what was sent.
async fn read(receipts: Receiver<(String, u32, Receipt)>) -> Told {
    let mut told = Told::new();
    while let Ok((key, n, receipt)) = receipts.recv().await {
        told.push((key, n, said(receipt.await)));
    }
    told
}

/// What an outcome says.
pub(crate) fn said(result: Result<Outcome, PublishError>) -> Said {
    result.map(|outcome| outcome.sequence().expect("it says where it is stored"))
}

/// What is true of a history: how many publishes ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) stored: usize,
    pub(crate) rejected: usize,
    pub(crate) unknown: usize,
}

impl Truth {
    /// Compares what was told with what is stored.
    ///
    /// # Panics
    /// When something that was told is not true, something is stored twice, or the
    /// acknowledged events of a key are not stored in order.
    pub(crate) fn of(told: &Told, stored: &[Stored]) -> Self {
        let mut places = HashMap::new();
        for event in stored {
            let twice = places.insert((&*event.key, event.number), event.sequence);
            assert_eq!(twice, None, "{event:?} is stored twice");
        }
        let mut truth = Self::default();
        let (mut late, mut known) = (0, HashMap::<&str, Vec<(u32, u64)>>::new());
        for (key, n, said) in told {
            let place = places.remove(&(&**key, *n));
            match said {
                Ok(sequence) => {
                    assert_eq!(place, Some(*sequence), "{key} {n} is said to be stored");
                    known.entry(key).or_default().push((*n, *sequence));
                    truth.stored += 1;
                }
                Err(PublishError::Unknown { .. }) => {
                    late += usize::from(place.is_some());
                    truth.unknown += 1;
                }
                Err(error) => {
                    assert_eq!(place, None, "{key} {n} is said not to be: {error}");
                    truth.rejected += 1;
                }
            }
        }
        assert!(places.is_empty(), "nobody was told of {places:?}");
        for (key, mut events) in known {
            events.sort_unstable();
            let sequences = events.iter().map(|(_, sequence)| sequence);
            assert!(sequences.is_sorted(), "{key}: {events:?}");
        }
        println!("{truth:?}; {late} of the unknown are stored");
        truth
    }

    /// As in [`PublishStats`](jetbus::PublishStats): stored, rejected, unknown.
    pub(crate) fn counts(self) -> [u64; 3] {
        [self.stored, self.rejected, self.unknown].map(|count| count as u64)
    }

    /// Every publish was acknowledged.
    pub(crate) fn is_whole(self) -> bool {
        (self.rejected, self.unknown) == (0, 0)
    }
}
