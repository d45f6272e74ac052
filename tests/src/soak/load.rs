//! Who publishes at a rate, and who handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use jetbus::runtime::Runtime;
use jetbus::{Bus, Delivery, Event, Receipt, Subscription, Topic};
use serde::{Deserialize, Serialize};

use super::latency::Latencies;
use super::{Options, Summary};
use crate::failure::{Doing as _, Failure};
use crate::place::Place;

const TOPIC: &str = "soak.events";

/// How many publish at once.
const PUBLISHERS: u32 = 4;

/// Receipts that a publisher does not wait for yet.
const UNREAD: usize = 8_192;

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(2);

/// An event: its number among those of its key, and when it was due, in nanoseconds since
/// the beginning.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Payload {
    number: u64,
    due: u64,
}

/// What handlers found.
#[derive(Debug)]
struct Seen {
    /// Of each key, the number of the last event.
    last: Vec<AtomicU64>,
    handled: AtomicU64,
    repeated: AtomicU64,
    gaps: AtomicU64,
}

impl Seen {
    fn of(keys: u32) -> Self {
        Self {
            last: (0..keys).map(|_| AtomicU64::new(0)).collect(),
            handled: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
        }
    }

    /// The events of a key come one at a time, so nobody else changes its number.
    fn note(&self, key: usize, number: u64) {
        let last = self.last[key].load(Ordering::Relaxed);
        if number <= last {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if number > last + 1 {
            self.gaps.fetch_add(1, Ordering::Relaxed);
        }
        self.last[key].store(number, Ordering::Relaxed);
        self.handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// A load at work.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    seen: Arc<Seen>,
    /// Comes from each publisher when it ends: how many were acknowledged, how many not.
    ended: Receiver<(u64, u64)>,
    subscription: Subscription,
}

impl Load {
    pub(super) fn begin(
        place: &Place,
        bus: &Bus,
        options: Options,
        latencies: Arc<Latencies>,
    ) -> Result<Self, Failure> {
        let since = Instant::now();
        let seen = Arc::new(Seen::of(options.keys));
        let (noting, timing) = (Arc::clone(&seen), Arc::clone(&latencies));
        let subscribing = bus
            .subscribe(TOPIC)
            .group("soak")
            .concurrency(options.handlers)
            .handle(move |event: Delivery<Payload>| {
                let due = Duration::from_nanos(event.payload.due);
                timing.handled(since.elapsed().saturating_sub(due));
                let key = event.key().and_then(|key| key.parse().ok());
                let key = key.filter(|key| *key < noting.last.len());
                if let Some(key) = key {
                    noting.note(key, event.payload.number);
                }
                async move { key.map(|_| ()).ok_or("it is none of ours") }
            });
        let subscription = place.run(subscribing).doing("subscribing")?;
        let topic = bus.topic(TOPIC).doing("opening the topic")?;
        let over = Arc::new(AtomicBool::new(false));
        let (done, ended) = async_channel::unbounded();
        for publisher in 0..PUBLISHERS {
            let (receipts, unread) = async_channel::bounded(UNREAD);
            let publishing = Publisher {
                runtime: Arc::clone(place.runtime()),
                topic: topic.clone(),
                publisher,
                options,
                since,
                over: Arc::clone(&over),
            };
            let ended = done.clone();
            place.runtime().spawn(Box::pin(async move {
                let _ = ended.send((0, publishing.run(receipts).await)).await;
            }));
            let (ended, latencies) = (done.clone(), Arc::clone(&latencies));
            place.runtime().spawn(Box::pin(async move {
                let _ = ended.send(read(unread, since, &latencies).await).await;
            }));
        }
        Ok(Self {
            over,
            seen,
            ended,
            subscription,
        })
    }

    /// How many events were handled so far.
    pub(super) fn handled(&self) -> u64 {
        self.seen.handled.load(Ordering::Relaxed)
    }

    /// Ends the publishing, and waits until all is handled, or it takes too long.
    pub(super) fn end(self, place: &Place, within: Duration) -> Summary {
        self.over.store(true, Ordering::Relaxed);
        let (mut published, mut failed) = (0, 0);
        // Publishing has its timeout: this ends.
        for _ in 0..2 * PUBLISHERS {
            let (acknowledged, lost) = self.ended.recv_blocking().unwrap_or_default();
            published += acknowledged;
            failed += lost;
        }
        let deadline = Instant::now() + within;
        while self.handled() < published && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        let seen = Arc::clone(&self.seen);
        place.run(async move { self.subscription.stop().await });
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Summary {
            published,
            failed,
            handled: count(&seen.handled),
            repeated: count(&seen.repeated),
            gaps: count(&seen.gaps),
            grown: Vec::new(),
        }
    }
}

/// Publishes every `PUBLISHERS`th event, of keys of its own.
struct Publisher {
    runtime: Arc<dyn Runtime>,
    topic: Topic,
    publisher: u32,
    options: Options,
    since: Instant,
    over: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes what is due until it is over; how many failed at once.
    async fn run(self, receipts: Sender<(Duration, Receipt)>) -> u64 {
        let keys = (self.publisher..self.options.keys).step_by(PUBLISHERS as usize);
        let keys: Vec<_> = keys.map(|key| key.to_string()).collect();
        if keys.is_empty() {
            return 0;
        }
        let publishers = self.options.keys.min(PUBLISHERS);
        let (mut numbers, mut turn, mut failed) = (vec![0_u64; keys.len()], 0_u64, 0);
        while !self.over.load(Ordering::Relaxed) {
            let nth = turn * u64::from(publishers) + u64::from(self.publisher);
            let due = Duration::from_secs(1).as_nanos() as u64 * nth / u64::from(self.options.rate);
            let due = Duration::from_nanos(due);
            if self.since.elapsed() < due {
                self.runtime.sleep_until(self.runtime.now() + TICK).await;
                continue;
            }
            let key = (turn % keys.len() as u64) as usize;
            turn += 1;
            let payload = Payload {
                number: numbers[key] + 1,
                due: due.as_nanos() as u64,
            };
            match self
                .topic
                .send(&Event::new(&*keys[key], "Soaked", payload))
                .await
            {
                Ok(receipt) => {
                    numbers[key] += 1;
                    let _ = receipts.send((due, receipt)).await;
                }
                Err(_) => failed += 1,
            }
        }
        failed
    }
}

/// Waits for what became of what was sent: how many are stored, and how many not.
async fn read(
    sent: Receiver<(Duration, Receipt)>,
    since: Instant,
    latencies: &Latencies,
) -> (u64, u64) {
    let (mut stored, mut failed) = (0, 0);
    while let Ok((due, receipt)) = sent.recv().await {
        match receipt.await {
            Ok(_) => {
                latencies.published(since.elapsed().saturating_sub(due));
                stored += 1;
            }
            Err(_) => failed += 1,
        }
    }
    (stored, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions_are_seen() {
        let seen = Seen::of(2);
        for (key, number) in [(0, 1), (1, 1), (0, 2), (0, 2), (1, 3)] {
            seen.note(key, number);
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = [&seen.handled, &seen.repeated, &seen.gaps].map(count);
        assert_eq!(counts, [4, 1, 1]);
    }
}
