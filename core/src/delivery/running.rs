//! Handing messages out, and what is said of them when they have run.

use bytes::Bytes;

use super::Delivery;
use super::held::{Held, State};
use super::recent::Verdict;
use super::words::{DeliveryEvent, Job, JobId, Outcome, Output, Task};
use crate::Time;
use crate::dead_letter::Reason;
use crate::jetstream::ack;
use crate::keyed::Id;

impl<T: Clone> Delivery<T> {
    /// Takes back a job that was handed out and that nobody started, of a batch the
    /// whole batch: it does not count as an attempt, and runs later; when stopping it
    /// is given back. `false` when there is no such job.
    pub fn take_back(&mut self, id: JobId) -> bool {
        if !self.is_running(id) {
            return false;
        }
        let jobs = self
            .batch_of(id)
            .and_then(|number| self.batches.end(number))
            .unwrap_or_else(|| vec![id]);
        self.queue_again(&jobs);
        for job in &jobs {
            if let Some(held) = self.keyed.item_mut(job.id) {
                held.untried();
            }
        }
        if self.stopping {
            self.give_back_ready();
        }
        self.refill();
        true
    }

    pub(super) fn next_run(&mut self) -> Option<Output<T>> {
        if self.alone {
            return None;
        }
        if self.batches.enabled() {
            return self.next_batch();
        }
        let mut id = self.keyed.first_ready()?;
        if self.keyed.item(id)?.runs_alone() {
            id = self.next_suspect()?;
        }
        self.start(id).map(Output::Run)
    }

    /// The suspect whose turn it is, when nothing else runs: any of those that may.
    pub(super) fn next_suspect(&mut self) -> Option<Id> {
        if self.running > 0 {
            return None;
        }
        let mut suspects = Vec::new();
        let mut next = self.keyed.first_ready();
        while let Some(id) = next {
            if self.keyed.item(id).is_some_and(Held::runs_alone) {
                suspects.push(id);
            }
            next = self.keyed.ready_behind(id);
        }
        let chosen = self.random.below(suspects.len());
        let id = suspects.get(chosen).copied()?;
        self.alone = true;
        Some(id)
    }

    /// Hands out a message.
    pub(super) fn start(&mut self, id: Id) -> Option<Job<T>> {
        let held = self.keyed.item_mut(id)?;
        let State::Here(item) = &held.state else {
            return None;
        };
        let item = item.clone();
        let task = held.task();
        if task == Task::Handle {
            held.attempt = held.attempt.saturating_add(1);
        }
        held.runs = held.runs.wrapping_add(1);
        let job = Job {
            id: JobId { id, run: held.runs },
            item,
            meta: held.meta,
            attempt: held.attempt,
            task,
        };
        let early = match job.task {
            Task::Handle => planted!(AckBeforeHandling),
            Task::Bury(_) => planted!(AckBeforeBurying),
        };
        if early {
            let reply = held.reply.clone();
            self.publish(reply, ack::ack());
        }
        self.keyed.hand_out(id);
        self.running += 1;
        Some(job)
    }

    pub(super) fn done(&mut self, now: Time, job: JobId, outcome: Outcome) {
        if !self.is_running(job) {
            return;
        }
        if self.batch_of(job).is_some() {
            self.batch_done(now, vec![(job, outcome)]);
            return;
        }
        self.ended(1);
        self.conclude(now, job.id, outcome);
        if self.stopping {
            self.give_back_ready();
        }
    }

    /// These do not run any more: they are queued again, each where it was.
    pub(super) fn queue_again(&mut self, jobs: &[JobId]) {
        self.ended(jobs.len());
        for job in jobs {
            if let Some(held) = self.keyed.item_mut(job.id) {
                held.batch = None;
            }
            self.keyed.release(job.id);
        }
    }

    fn ended(&mut self, jobs: usize) {
        self.running -= jobs;
        self.alone &= self.running > 0;
    }

    /// What follows from how a run ended.
    pub(super) fn conclude(&mut self, now: Time, id: Id, outcome: Outcome) {
        let Some(held) = self.keyed.item_mut(id) else {
            return;
        };
        let stream_seq = held.meta.stream_seq;
        let letter = held.letter;
        match outcome {
            Outcome::Ack if letter.is_none() => {
                self.settle(id, Verdict::Acked, Some(ack::ack()));
            }
            Outcome::Settled => self.settle(id, Verdict::Acked, None),
            Outcome::Term { reason } => {
                let term = ack::term(reason.as_deref());
                self.settle(id, Verdict::Termed, Some(term));
                self.tell(DeliveryEvent::Discarded { stream_seq, reason });
            }
            Outcome::Buried => {
                self.settle(id, Verdict::Acked, Some(ack::ack()));
                let reason = letter.unwrap_or(Reason::Asked);
                self.tell(DeliveryEvent::DeadLettered { stream_seq, reason });
            }
            Outcome::Ack => {
                self.not_buried(now, id, "nobody said that it is stored".into());
            }
            Outcome::NotBuried { error }
            | Outcome::Failed { error, .. }
            | Outcome::Unconfirmed { error }
            | Outcome::DeadLetter { error, .. }
                if letter.is_some() =>
            {
                self.not_buried(now, id, error);
            }
            Outcome::Failed { retry_after, error } => self.failed(now, id, retry_after, error),
            Outcome::NotBuried { error } => self.failed(now, id, None, error),
            Outcome::Unconfirmed { error } => {
                self.unconfirmed += usize::from(!std::mem::replace(&mut held.unconfirmed, true));
                self.failed(now, id, None, error);
            }
            Outcome::DeadLetter { reason, error } => {
                held.note_failure(now, error);
                self.bury(id, reason);
            }
            Outcome::Nak { after } => self.give_back(now, id, after),
            Outcome::Returned => {
                self.tell(DeliveryEvent::Returned { stream_seq });
                self.give_back(now, id, None);
            }
        }
    }

    fn settle(&mut self, id: Id, verdict: Verdict, payload: Option<Bytes>) {
        let Some(held) = self.remove(id) else {
            return;
        };
        self.report.finished += usize::from(self.stopping);
        self.settled.remember(held.identity(), verdict);
        if let Some(payload) = payload {
            self.publish(held.reply, payload);
        }
    }

    pub(super) fn is_running(&self, job: JobId) -> bool {
        let held = self.keyed.item(job.id);
        self.keyed.is_out(job.id) && held.is_some_and(|held| held.runs == job.run)
    }
}
