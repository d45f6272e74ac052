//! Handling many events at a time.

use std::collections::HashSet;
use std::future::Future;

use jetbus_core::delivery::Outcome;
use tracing::{Instrument as _, debug_span};

use super::attempt::Bench;
use super::delivery::{Decode, Delivery};
use super::failure::Classes;
use super::handled::{Handled, IntoHandledBatch};
use super::lanes::Job;
use super::worker::{Craft, read, word};

/// Events are handled many at a time.
pub(super) struct Batches<T, H> {
    pub(super) decode: Decode<T>,
    pub(super) handler: H,
    pub(super) classes: Classes,
}

impl<T, H, F> Craft for Batches<T, H>
where
    T: Send + 'static,
    H: Fn(Vec<Delivery<T>>) -> F + Send + Sync + 'static,
    F: Future + Send + 'static,
    F::Output: IntoHandledBatch,
{
    async fn one(&self, bench: &mut Bench, job: &Job) -> Outcome {
        let mut outcomes = self.many(bench, std::slice::from_ref(job)).await;
        // There is a word on each.
        outcomes.pop().unwrap_or(Outcome::Returned)
    }

    async fn many(&self, bench: &mut Bench, jobs: &[Job]) -> Vec<Outcome> {
        let span = debug_span!(
            "handle batch",
            topic = &*bench.lanes().topic,
            sequence = first(jobs),
            events = jobs.len(),
        );
        self.attempt(bench, jobs).instrument(span).await
    }
}

impl<T, H, F> Batches<T, H>
where
    T: Send + 'static,
    H: Fn(Vec<Delivery<T>>) -> F + Send + Sync + 'static,
    F: Future + Send + 'static,
    F::Output: IntoHandledBatch,
{
    async fn attempt(&self, bench: &mut Bench, jobs: &[Job]) -> Vec<Outcome> {
        let mut batch = Vec::with_capacity(jobs.len());
        // Keys that wait for an event which is no part of the batch.
        let mut waiting = HashSet::new();
        let early: Vec<_> = jobs
            .iter()
            .map(|job| {
                let key = job.item.key();
                if key.is_some_and(|key| waiting.contains(key)) {
                    return Some(Outcome::Failed {
                        retry_after: None,
                        error: "an event of its key has to be stored first".into(),
                    });
                }
                match read(bench, self.decode, job) {
                    Ok(delivery) => {
                        batch.push(delivery);
                        None
                    }
                    Err(undecodable) => {
                        waiting.extend(key);
                        Some(undecodable)
                    }
                }
            })
            .collect();
        let mut said = self.handle(bench, first(jobs), batch).await.into_iter();
        let words = jobs.iter().zip(early).map(|(job, early)| {
            early.unwrap_or_else(|| {
                let missing = || Handled::retry("the handler gave no outcome for it");
                word(bench, job, said.next().unwrap_or_else(missing), false)
            })
        });
        words.collect()
    }

    /// What the handler says of each event.
    async fn handle(
        &self,
        bench: &mut Bench,
        sequence: u64,
        batch: Vec<Delivery<T>>,
    ) -> Vec<Handled> {
        let events = batch.len();
        if events == 0 {
            return Vec::new();
        }
        let handling = async {
            let said = (self.handler)(batch).await;
            said.into_handled_batch(events, &self.classes)
        };
        match bench.attempt(sequence, handling).await {
            Ok(said) => {
                if said.len() != events {
                    bench.lanes().tell_outcomes(sequence, events, said.len());
                }
                said
            }
            Err(error) => vec![Handled::retry(error); events],
        }
    }
}

/// The sequence that a batch is told by.
fn first(jobs: &[Job]) -> u64 {
    jobs.first().map_or(0, |job| job.item.sequence(&job.meta))
}
