//! Handling many events at a time.

use std::collections::HashSet;

use jetbus_core::delivery::Outcome;
use tracing::{Instrument as _, debug_span};

use super::attempt::Bench;
use super::delivery::{Decode, Delivery};
use super::handled::Handled;
use super::lanes::Job;
use super::service::Service;
use super::worker::{Craft, read, word};

/// Events are handled many at a time.
pub(super) struct Batches<T, S> {
    pub(super) decode: Decode<T>,
    /// The handler, with its layers around it.
    pub(super) service: S,
}

impl<T, S> Craft for Batches<T, S>
where
    T: Send + 'static,
    S: Service<Vec<Delivery<T>>>,
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

impl<T, S> Batches<T, S>
where
    T: Send + 'static,
    S: Service<Vec<Delivery<T>>>,
{
    async fn attempt(&self, bench: &mut Bench, jobs: &[Job]) -> Vec<Outcome> {
        let mut batch = Vec::with_capacity(jobs.len());
        let unordered = bench.lanes().handling.unordered;
        // Keys that wait for an event which is no part of the batch.
        let mut waiting = HashSet::new();
        let early: Vec<_> = jobs
            .iter()
            .map(|job| {
                let key = job.item.key().filter(|_| !unordered);
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
        // The call is part of the future: it may panic too.
        let handling = async { self.service.call(batch).await };
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
