//! Work from a single owner to many workers, and completions back.
//!
//! The owner, a driver, pushes jobs; workers take them; what became of them comes
//! back to the driver. Invariants: no job is lost or taken twice; no worker sleeps
//! while a job waits; closing tells everyone.
//!
//! One word holds the number of jobs waiting, the number of idle workers and
//! *closed*. Pushing adds to one part and reads the other in the same step, and so
//! does going idle: whichever of a push and a worker going idle comes second in the
//! order of this word sees the first. The list of idle workers' wakers is behind a
//! short lock, taken only to go idle and to end that.
//!
//! A job has a place from its push until its completion is polled, so completions
//! are bounded with the jobs.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicU64, AtomicUsize, CachePadded, Mutex, Ordering, Queue, WakerCell};

/// Hands jobs `J` to workers and completions `D` back.
pub struct Handoff<J, D> {
    /// [`CLOSED`], [`IDLE`]s, and jobs waiting. Changed by read-modify-writes only.
    word: CachePadded<AtomicU64>,
    jobs: Queue<J>,
    idle: Mutex<Idle>,
    done: Queue<D>,
    driver: WakerCell,
    /// Places taken: jobs waiting, running, and completed but not polled. Changed by
    /// read-modify-writes only.
    taken: CachePadded<AtomicUsize>,
    capacity: usize,
}

/// Idle workers, the latest last: woken first, for its caches are warm. As many as
/// the word counts whenever the lock is free.
#[derive(Default)]
struct Idle {
    wakers: Vec<(u64, Waker)>,
    next_ticket: u64,
}

const CLOSED: u64 = 1 << 63;
const IDLE: u64 = 1 << 32;
const JOBS: u64 = IDLE - 1;

const fn idle(word: u64) -> u64 {
    (word & !CLOSED) / IDLE
}

/// What waits where; of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Jobs that no worker has taken.
    pub jobs: u32,
    /// Workers that found no job.
    pub idle: u32,
}

impl<J, D> Handoff<J, D> {
    /// An open hand-off for at most `capacity` jobs from push to polled completion.
    ///
    /// # Panics
    /// If `capacity` is zero or over 2^31; callers validate it.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(
            u32::try_from(capacity).is_ok_and(|capacity| capacity <= 1 << 31),
            "the jobs have to fit their part of the word"
        );
        Self {
            word: CachePadded::new(AtomicU64::new(0)),
            jobs: Queue::new(capacity),
            idle: Mutex::new(Idle::default()),
            done: Queue::new(capacity),
            driver: WakerCell::new(),
            taken: CachePadded::new(AtomicUsize::new(0)),
            capacity,
        }
    }

    /// Puts a job in line and wakes an idle worker if there is one.
    ///
    /// # Errors
    /// Gives the job back when all places are taken, or after [`close`](Self::close).
    /// A push that races the close may give back another job in line instead of its
    /// own; each is still given back, or taken back, once.
    pub fn push(&self, job: J) -> Result<(), J> {
        // Acquire pairs with the Release in `leave_place`: who gets a place sees that
        // its last job and completion are out of their queues, which have room for
        // all who have places and for no more.
        // ordering: handoff::a_freed_place_comes_with_what_was_done
        let place = self
            .taken
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
                (taken < self.capacity).then_some(taken + 1)
            });
        if place.is_err() {
            return Err(job);
        }
        // Relaxed: only to keep out what comes late; who is not seen here is seen below.
        if self.word.load(Ordering::Relaxed) & CLOSED != 0 {
            self.leave_place();
            return Err(job);
        }
        self.jobs.push(job).inspect_err(|_| self.leave_place())?;
        // Release pairs with the Acquire in `take`: who counts this job off finds it
        // in the queue.
        // ordering: argued in `take`.
        let before = self.word.fetch_add(1, Ordering::Release);
        if before & CLOSED != 0 {
            // The close came between, and the driver may have looked for the last time.
            return self.take_back().map_or(Ok(()), Err);
        }
        if idle(before) > 0 {
            self.wake_one();
        }
        Ok(())
    }

    /// A worker of this hand-off.
    #[must_use]
    pub fn worker(this: &Arc<Self>) -> Worker<J, D> {
        Worker {
            handoff: Arc::clone(this),
            ticket: None,
        }
    }

    /// Tells the driver what became of a job: once for each job taken.
    ///
    /// # Errors
    /// Gives the completion back when there are more of them than places, which
    /// happens only to who completes what it never took.
    pub fn done(&self, done: D) -> Result<(), D> {
        self.done.push(done)?;
        self.driver.wake();
        Ok(())
    }

    /// The next completion; for the driver, whose place it frees. Completions come
    /// also after closing. Only the task that polled last is woken.
    pub fn poll_done(&self, cx: &mut Context<'_>) -> Poll<D> {
        let mut done = self.done.pop();
        if done.is_none() {
            self.driver.register(cx.waker());
            // One may have come before it could see the waker.
            done = self.done.pop();
        }
        match done {
            Some(done) => {
                self.leave_place();
                Poll::Ready(done)
            }
            None => Poll::Pending,
        }
    }

    /// Takes back a job that no worker has taken, and frees its place. After
    /// [`close`](Self::close) nobody else takes any, so the driver gets all that is
    /// left.
    pub fn take_back(&self) -> Option<J> {
        let job = self.take(0)?;
        self.leave_place();
        Some(job)
    }

    /// No job goes in or starts from now on; idle workers are woken to hear it, and
    /// the driver to take back what is left. Running jobs complete as ever.
    pub fn close(&self) {
        let wakers = {
            let mut idle = self.idle.lock();
            // Relaxed: under the lock, or ordered with takes by this word alone.
            self.word.fetch_or(CLOSED, Ordering::Relaxed);
            let wakers = std::mem::take(&mut idle.wakers);
            self.word
                .fetch_sub(IDLE * wakers.len() as u64, Ordering::Relaxed);
            wakers
        };
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
        self.driver.wake();
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Jobs in line and idle workers, for a driver that starts workers as needed.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let word = self.word.load(Ordering::Relaxed);
        Waiting {
            jobs: (word & JOBS) as u32,
            idle: idle(word) as u32,
        }
    }

    /// Jobs that were pushed and whose completion was not polled, nor taken back.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a job unless the word has a bit of `unless`.
    fn take(&self, unless: u64) -> Option<J> {
        // Acquire pairs with the Release in `push`: the count says that a job is in the
        // queue, and with it the push is seen. All changes between the two are
        // read-modify-writes, so the release stays in force.
        // ordering: argued: no model can see this pair, for loom's queue is a lock; the
        // real one could else look empty.
        self.word
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
                (word & JOBS > 0 && word & unless == 0).then(|| word - 1)
            })
            .ok()?;
        self.jobs.pop()
    }

    /// Wakes the worker that went idle last, if one still is.
    fn wake_one(&self) {
        let woken = {
            let mut idle = self.idle.lock();
            let woken = idle.wakers.pop();
            if woken.is_some() {
                // Relaxed here and below: with the list, under its lock.
                self.word.fetch_sub(IDLE, Ordering::Relaxed);
            }
            woken
        };
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }

    /// Puts a worker among the idle ones, if there is no job and it is not closed.
    fn go_idle(&self, waker: &Waker) -> Option<u64> {
        let mut idle = self.idle.lock();
        self.word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                (word & (CLOSED | JOBS) == 0).then_some(word + IDLE)
            })
            .ok()?;
        let ticket = idle.next_ticket;
        idle.next_ticket = ticket.wrapping_add(1);
        idle.wakers.push((ticket, waker.clone()));
        Some(ticket)
    }

    /// Takes a worker from among the idle ones; `false` when it was woken already.
    fn end_idle(&self, ticket: u64) -> bool {
        let removed = {
            let mut idle = self.idle.lock();
            let at = idle.wakers.iter().position(|(other, _)| *other == ticket);
            at.map(|at| {
                self.word.fetch_sub(IDLE, Ordering::Relaxed);
                idle.wakers.remove(at)
            })
        };
        // The waker may be the last of a task, with another worker inside: it is
        // dropped here, after the lock is free.
        removed.is_some()
    }

    fn leave_place(&self) {
        // Release pairs with the Acquire in `push`.
        // ordering: handoff::a_freed_place_comes_with_what_was_done
        self.taken.fetch_sub(1, Ordering::Release);
    }
}

impl<J, D> fmt::Debug for Handoff<J, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handoff")
            .field("waiting", &self.waiting())
            .field("outstanding", &self.outstanding())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Takes jobs, one task at a time.
pub struct Worker<J, D> {
    handoff: Arc<Handoff<J, D>>,
    /// The place among the idle ones; somebody may have taken it out and woken us.
    ticket: Option<u64>,
}

impl<J, D> Worker<J, D> {
    /// The next job; `None` once the hand-off is closed, whatever is left in line.
    ///
    /// # Cancel safety
    /// No job is lost by not polling again: it is taken only by a poll that returns it,
    /// and a worker that is dropped passes its wake-up on. One that was woken and is
    /// neither polled nor dropped keeps it to itself.
    ///
    /// A job that was taken keeps its place until [`done`](Handoff::done): who takes it
    /// sees to that, also when the handling of it panics.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<J>> {
        if let Some(ticket) = self.ticket.take() {
            self.handoff.end_idle(ticket);
        }
        loop {
            if let Some(job) = self.handoff.take(CLOSED) {
                return Poll::Ready(Some(job));
            }
            if self.handoff.is_closed() {
                return Poll::Ready(None);
            }
            self.ticket = self.handoff.go_idle(cx.waker());
            if self.ticket.is_some() {
                return Poll::Pending;
            }
            // A job came, or the end, between the two looks.
        }
    }

    /// The hand-off that this worker works for.
    #[must_use]
    pub const fn handoff(&self) -> &Arc<Handoff<J, D>> {
        &self.handoff
    }
}

impl<J, D> Drop for Worker<J, D> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        if !self.handoff.end_idle(ticket) {
            // Woken for a job and gone before it took one: somebody else must look.
            self.handoff.wake_one();
        }
    }
}

impl<J, D> fmt::Debug for Worker<J, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("idle", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::sync::Ordering::Relaxed;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn wakes() -> (Arc<Wakes>, Waker) {
        let wakes = Arc::new(Wakes::default());
        (Arc::clone(&wakes), wakes.into())
    }

    fn poll<J, D>(worker: &mut Worker<J, D>) -> Poll<Option<J>> {
        worker.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_handoff_is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Handoff<String, String>>();
        shared::<Worker<String, String>>();
    }

    #[test]
    fn a_job_keeps_its_place_until_its_completion_is_polled() {
        let handoff = Arc::new(Handoff::new(1));
        let mut worker = Handoff::worker(&handoff);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(handoff.push("a"), Ok(()));
        assert_eq!(handoff.push("b"), Err("b"));
        assert_eq!(poll(&mut worker), Poll::Ready(Some("a")));
        assert_eq!(handoff.push("b"), Err("b"));
        assert_eq!(handoff.done(1), Ok(()));
        assert_eq!(handoff.push("b"), Err("b"));
        assert_eq!(handoff.poll_done(&mut cx), Poll::Ready(1));
        assert_eq!(handoff.push("b"), Ok(()));
        assert_eq!(handoff.take_back(), Some("b"));
        assert_eq!(handoff.outstanding(), 0);
    }

    #[test]
    fn a_push_wakes_one_idle_worker_and_a_completion_the_driver() {
        let handoff = Arc::new(Handoff::new(4));
        let (one, one_waker) = wakes();
        let (two, two_waker) = wakes();
        let (driver, driver_waker) = wakes();
        let mut workers = [Handoff::worker(&handoff), Handoff::worker(&handoff)];
        for (worker, waker) in workers.iter_mut().zip([&one_waker, &two_waker]) {
            assert!(
                worker
                    .poll_next(&mut Context::from_waker(waker))
                    .is_pending()
            );
        }
        let mut cx = Context::from_waker(&driver_waker);
        assert!(handoff.poll_done(&mut cx).is_pending());
        assert_eq!(handoff.waiting(), Waiting { jobs: 0, idle: 2 });
        handoff.push("a").unwrap();
        assert_eq!(one.0.load(Relaxed) + two.0.load(Relaxed), 1);
        assert_eq!(handoff.waiting(), Waiting { jobs: 1, idle: 1 });
        handoff.done(()).unwrap();
        assert_eq!(driver.0.load(Relaxed), 1);
    }

    #[test]
    fn a_worker_dropped_after_its_wake_up_passes_it_on() {
        let handoff = Arc::new(Handoff::<_, ()>::new(4));
        let (one, one_waker) = wakes();
        let (two, two_waker) = wakes();
        let mut first = Handoff::worker(&handoff);
        let mut second = Handoff::worker(&handoff);
        assert!(
            first
                .poll_next(&mut Context::from_waker(&one_waker))
                .is_pending()
        );
        assert!(
            second
                .poll_next(&mut Context::from_waker(&two_waker))
                .is_pending()
        );
        handoff.push("a").unwrap();
        assert_eq!(two.0.load(Relaxed), 1);
        drop(second);
        assert_eq!(one.0.load(Relaxed), 1);
        assert_eq!(poll(&mut first), Poll::Ready(Some("a")));
    }

    #[test]
    fn closing_wakes_everyone_and_leaves_the_jobs_to_the_driver() {
        let handoff = Arc::new(Handoff::<_, ()>::new(4));
        let (wakes, waker) = wakes();
        let mut idle = Handoff::worker(&handoff);
        assert!(
            idle.poll_next(&mut Context::from_waker(&waker))
                .is_pending()
        );
        handoff.push("a").unwrap();
        handoff.push("b").unwrap();
        handoff.close();
        assert_eq!(wakes.0.load(Relaxed), 1);
        assert_eq!(poll(&mut idle), Poll::Ready(None));
        assert_eq!(handoff.push("c"), Err("c"));
        assert_eq!(handoff.take_back(), Some("a"));
        assert_eq!(handoff.take_back(), Some("b"));
        assert_eq!(handoff.take_back(), None);
        assert_eq!(handoff.outstanding(), 0);
    }

    #[test]
    fn every_job_is_done_once_by_some_worker() {
        const JOBS: usize = 5_000;
        let handoff = Arc::new(Handoff::new(8));
        let mut seen = vec![0; JOBS];
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut worker = Handoff::worker(&handoff);
                scope.spawn(move || {
                    let parked = Waker::from(Arc::new(Unpark(std::thread::current())));
                    loop {
                        match worker.poll_next(&mut Context::from_waker(&parked)) {
                            Poll::Ready(Some(job)) => worker.handoff().done(job).unwrap(),
                            Poll::Ready(None) => return,
                            Poll::Pending => std::thread::park(),
                        }
                    }
                });
            }
            let parked = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut cx = Context::from_waker(&parked);
            let (mut next, mut done) = (0, 0);
            while done < JOBS {
                while next < JOBS && handoff.push(next).is_ok() {
                    next += 1;
                }
                match handoff.poll_done(&mut cx) {
                    Poll::Ready(job) => {
                        let job: usize = job;
                        seen[job] += 1;
                        done += 1;
                    }
                    Poll::Pending => std::thread::park(),
                }
            }
            handoff.close();
        });
        assert!(seen.iter().all(|times| *times == 1));
    }

    #[expect(clippy::disallowed_types, reason = "a test waits like a runtime does")]
    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
