//! Messages that are handed out together.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Delivery;
use super::held::Held;
use super::words::{Batch, Job, JobId, Key, Outcome, Output};
use crate::Time;
use crate::keyed::Id;

/// The batches that run, and the one that fills.
#[derive(Debug)]
pub(super) struct Batches {
    config: Option<Batch>,
    now: Time,
    /// Since when something could run.
    filling: Option<Time>,
    /// What could run has waited long enough.
    due: bool,
    /// Messages held that may not be one of so many as a batch takes.
    odd: usize,
    /// The jobs of each that runs.
    running: HashMap<u64, Vec<JobId>, FixedState>,
    numbers: u64,
}

impl Batches {
    pub(super) fn new(config: Option<Batch>) -> Self {
        Self {
            config,
            now: Time::ZERO,
            filling: None,
            due: false,
            odd: 0,
            running: HashMap::default(),
            numbers: 0,
        }
    }

    pub(super) const fn enabled(&self) -> bool {
        self.config.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let since = self.filling.filter(|_| !self.due)?;
        Some(since + self.config?.linger)
    }

    /// Time passed; `ready` says whether something could run.
    pub(super) fn advance(&mut self, now: Time, ready: bool) {
        let Some(config) = self.config else {
            return;
        };
        self.now = now;
        if ready {
            let since = *self.filling.get_or_insert(now);
            self.due |= now >= since + config.linger;
        } else {
            self.filling = None;
            self.due = false;
        }
    }

    /// A message may not be one of so many as a batch takes any more.
    pub(super) const fn odd(&mut self) {
        self.odd += 1;
    }

    /// A message left.
    pub(super) const fn leaves(&mut self, odd: bool) {
        if odd {
            self.odd -= 1;
        }
    }

    /// The jobs of a batch that does not run any more.
    pub(super) fn end(&mut self, number: u64) -> Option<Vec<JobId>> {
        self.running.remove(&number)
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.filling.is_none() && self.odd == 0
    }

    pub(super) fn clear(&mut self) {
        self.running.clear();
    }
}

impl<T: Clone> Delivery<T> {
    /// A batch that is full or has waited; or a message that is never one of many.
    pub(super) fn next_batch(&mut self) -> Option<Output<T>> {
        let max = self.batches.config?.max.max(1);
        let waiting = self.keyed.len() - self.running;
        if self.batches.odd == 0 && !self.batches.due && waiting < max {
            return None;
        }
        let mut chosen = Vec::new();
        let mut most = max;
        let mut next = self.keyed.first_ready();
        while let Some(id) = next
            && chosen.len() < most
        {
            let held = self.keyed.item(id)?;
            if held.letter.is_some() {
                let job = self.start(id)?;
                self.refill();
                return Some(Output::Run(job));
            }
            if held.suspect {
                // Those before it go first, when their time has come.
                if chosen.is_empty() {
                    let id = self.next_suspect()?;
                    return self.start_batch(&[id]);
                }
                break;
            }
            most = self.choose_of_key(id, most, &mut chosen);
            next = self.keyed.ready_behind(id);
        }
        if chosen.is_empty() || (chosen.len() < most && !self.batches.due) {
            return None;
        }
        self.start_batch(&chosen)
    }

    /// A head, and right behind it those of its key that may run with it. Says how many
    /// may run together with what is chosen now.
    fn choose_of_key(&self, head: Id, mut most: usize, chosen: &mut Vec<Id>) -> usize {
        let mut next = Some(head);
        while let Some(id) = next
            && let Some(held) = self.keyed.item(id)
            && chosen.len() < most.min(held.together)
        {
            most = most.min(held.together);
            chosen.push(id);
            let plain = |id: &Id| self.keyed.item(*id).is_some_and(Held::is_plain);
            next = self.keyed.follower(id).filter(plain);
        }
        most
    }

    fn start_batch(&mut self, ids: &[Id]) -> Option<Output<T>> {
        let number = self.batches.numbers;
        self.batches.numbers = number.wrapping_add(1);
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            jobs.extend(self.start(*id));
            if let Some(held) = self.keyed.item_mut(*id) {
                held.batch = Some(number);
            }
        }
        let started = jobs.iter().map(|job: &Job<T>| job.id).collect();
        self.batches.running.insert(number, started);
        // What is left could not run, or did not fit, until now.
        self.batches.filling = None;
        self.batches.due = false;
        self.refill();
        Some(Output::RunBatch(jobs))
    }

    /// Something was handed out or taken back at the time that was last heard of.
    pub(super) fn refill(&mut self) {
        let ready = self.keyed.first_ready().is_some();
        self.batches.advance(self.batches.now, ready);
    }

    /// The batch that a running job is one of.
    pub(super) fn batch_of(&self, job: JobId) -> Option<u64> {
        self.keyed.item(job.id)?.batch
    }

    pub(super) fn batch_done(&mut self, now: Time, outcomes: Vec<(JobId, Outcome)>) {
        let mut said = HashMap::with_hasher(FixedState::default());
        let mut numbers = Vec::new();
        for (job, outcome) in outcomes {
            if !self.is_running(job) {
                continue;
            }
            match self.batch_of(job) {
                Some(number) => {
                    said.entry(job).or_insert(outcome);
                    numbers.push(number);
                }
                None => self.done(now, job, outcome),
            }
        }
        for number in numbers {
            if let Some(jobs) = self.batches.end(number) {
                self.queue_again(&jobs);
                self.conclude_batch(now, &jobs, &mut said);
            }
        }
        if self.stopping {
            self.give_back_ready();
        }
    }

    fn conclude_batch(
        &mut self,
        now: Time,
        jobs: &[JobId],
        said: &mut HashMap<JobId, Outcome, FixedState>,
    ) {
        let together = together(jobs, said);
        // The key of which one is not settled; those of one key are side by side.
        let mut waiting: Option<Key> = None;
        for job in jobs {
            let outcome = said.remove(job).unwrap_or_else(|| Outcome::Failed {
                retry_after: None,
                error: "nothing was said of it".into(),
            });
            let key = self.keyed.key(job.id);
            // The server has forgotten what is settled: nothing calls that back.
            let waits = key.is_some() && key == waiting.as_ref() && !planted!(NotCalledBack);
            if waits && outcome != Outcome::Settled {
                continue;
            }
            if !settles(&outcome) {
                waiting = key.cloned();
            }
            self.conclude(now, job.id, outcome);
        }
        if let Some(together) = together {
            for job in jobs {
                self.separate(job.id, together);
            }
        }
    }

    /// Runs with no more than so many from now on; in what may be its last attempt alone.
    fn separate(&mut self, id: Id, together: usize) {
        let attempts = self.config.attempts;
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        let failures = held.failures();
        let last = attempts.is_some_and(|most| failures.saturating_add(1) >= most);
        let was_odd = held.is_odd();
        held.together = held.together.min(if last { 1 } else { together });
        if !was_odd {
            self.batches.odd();
        }
    }
}

/// With how many each is to run the next time, when several failed and nothing went well:
/// half as many, for one of them may be why all have failed.
fn together(jobs: &[JobId], said: &HashMap<JobId, Outcome, FixedState>) -> Option<usize> {
    let failed = |job: &&JobId| matches!(said.get(*job), None | Some(Outcome::Failed { .. }));
    let half = jobs.iter().filter(failed).count() / 2;
    let well = jobs.iter().filter_map(|job| said.get(job)).any(settles);
    (half > 0 && !well).then_some(half)
}

const fn settles(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Ack | Outcome::Settled | Outcome::Term { .. } | Outcome::Buried
    )
}
