//! Who publishes, and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use jetbus::runtime::Runtime;
use jetbus::{Event, Outcome, PublishError, Receipt, Topic};

use super::record::{Published, Told, Which};

/// Receipts that a writer does not wait for yet.
const UNREAD: usize = 4_096;

/// Keys of each writer.
const KEYS: u32 = 25;

/// Between two rounds of a writer, and how many events it publishes in each.
const ROUND: Duration = Duration::from_millis(50);
const EACH: usize = 5;

/// Writers at work.
pub(super) struct Writers {
    over: Arc<AtomicBool>,
    /// Comes from each task when it ends.
    told: Receiver<Vec<Published>>,
    tasks: usize,
}

/// An event that is on its way since then.
type Sent = (Which, Duration, Receipt);

impl Writers {
    pub(super) fn new() -> (Self, Sender<Vec<Published>>) {
        let (done, told) = async_channel::unbounded();
        let writers = Self {
            over: Arc::default(),
            told,
            tasks: 0,
        };
        (writers, done)
    }

    /// Lets another writer begin, with keys of its own.
    pub(super) fn add(
        &mut self,
        runtime: &Arc<dyn Runtime>,
        topic: &Topic,
        since: Instant,
        done: &Sender<Vec<Published>>,
    ) {
        let keys = (self.tasks / 2) as u32 * KEYS;
        self.tasks += 2;
        let (receipts, unread) = async_channel::bounded(UNREAD);
        let publishing = publish(
            Arc::clone(runtime),
            topic.clone(),
            keys,
            since,
            receipts,
            Arc::clone(&self.over),
        );
        let ended = done.clone();
        runtime.spawn(Box::pin(async move {
            let _ = ended.send(publishing.await).await;
        }));
        let ended = done.clone();
        runtime.spawn(Box::pin(async move {
            let _ = ended.send(read(unread, since).await).await;
        }));
    }

    /// Ends the publishing; what all were told. `None` when a publish does not end.
    pub(super) fn end(self, within: Duration) -> Option<Vec<Published>> {
        self.over.store(true, Ordering::Relaxed);
        let (mut all, mut ended) = (Vec::new(), 0);
        let everybody = super::field::until(within, || {
            while let Ok(some) = self.told.try_recv() {
                all.extend(some);
                ended += 1;
            }
            ended == self.tasks
        });
        everybody.then_some(all)
    }
}

/// Publishes until it is over; what ended at once.
async fn publish(
    runtime: Arc<dyn Runtime>,
    topic: Topic,
    keys: u32,
    since: Instant,
    receipts: Sender<Sent>,
    over: Arc<AtomicBool>,
) -> Vec<Published> {
    let (mut told, mut numbers) = (Vec::new(), [0; KEYS as usize]);
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        let again = runtime.now() + ROUND;
        for _ in 0..EACH {
            turn += 1;
            // Every third event is of one key, of which many are on their way at once.
            let key = if turn % 3 == 0 {
                0
            } else {
                turn % numbers.len()
            };
            numbers[key] += 1;
            let which = Which {
                key: keys + key as u32,
                number: numbers[key],
            };
            let begun = since.elapsed();
            let event = Event::new(which.key_name(), "Counted", which.number);
            match topic.send(&event).await {
                Ok(receipt) => {
                    let sent = receipts.send((which, begun, receipt)).await;
                    sent.expect("receipts are read");
                }
                Err(error) => told.push(Published {
                    which,
                    begun,
                    ended: since.elapsed(),
                    told: said(Err(error)),
                }),
            }
        }
        runtime.sleep_until(again).await;
    }
    told
}

/// Waits for what became of what was sent.
async fn read(sent: Receiver<Sent>, since: Instant) -> Vec<Published> {
    let mut told = Vec::new();
    while let Ok((which, begun, receipt)) = sent.recv().await {
        let outcome = receipt.await;
        told.push(Published {
            which,
            begun,
            ended: since.elapsed(),
            told: said(outcome),
        });
    }
    told
}

fn said(outcome: Result<Outcome, PublishError>) -> Told {
    match outcome {
        Ok(outcome) => Told::At(outcome.sequence().expect("it says where it is stored")),
        Err(PublishError::Unknown { .. }) => Told::Unknown,
        Err(_) => Told::Refused,
    }
}
