//! Models of `shared::handoff`.
//!
//! Release in `push` and Acquire in `take` fail no model when made Relaxed: loom's queue
//! is a lock. The argument for them stands beside them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use core_loom::shared::handoff::{Handoff, Waiting, Worker};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, idly, models};

pub(crate) const MODELS: &[Model] = models![
    no_worker_sleeps_while_a_job_waits,
    no_worker_sleeps_while_jobs_come,
    two_workers_share_two_jobs,
    the_driver_hears_of_every_completion,
    two_completions_and_their_payloads_arrive,
    one_of_two_pushes_gets_the_last_place,
    a_freed_place_comes_with_what_was_done,
    closing_tells_idle_workers,
    closing_tells_the_driver,
    nothing_starts_after_the_close,
    closing_loses_no_job,
    a_dropped_worker_passes_its_wake_up_on,
    push_work_done_and_close,
];

/// A job or completion that tells when two threads touch it unordered.
struct Item(UnsafeCell<()>);

fn item() -> Item {
    let item = Item(UnsafeCell::new(()));
    item.touch();
    item
}

impl Item {
    fn touch(&self) {
        self.0.with_mut(|_| ());
    }
}

fn next<J, D>(worker: &mut Worker<J, D>) -> Option<J> {
    block_on(poll_fn(|cx| worker.poll_next(cx)))
}

/// Invariant: no worker sleeps while a job waits; the job comes with all that was
/// done to it.
/// Threads: one pushes a job, one takes it. Exhaustive.
/// Seen to fail: no look at the jobs in `go_idle`; the wake in `push` left out, or
/// decided before the job is counted; the idle counted outside the lock.
fn no_worker_sleeps_while_a_job_waits() {
    exhaustive(|| hand_over(1));
}

/// Invariant: as above.
/// Threads: one pushes two jobs, one takes two. Bounded at 3 preemptions.
/// Seen to fail: as above; an idle worker not counted off when it is woken or comes
/// back by itself; one that comes back and leaves its old waker in the list.
fn no_worker_sleeps_while_jobs_come() {
    bounded(3, || hand_over(2));
}

fn hand_over(jobs: usize) {
    let handoff = Arc::new(Handoff::<Item, ()>::new(jobs));
    let mut worker = Handoff::worker(&handoff);
    let taker = thread::spawn(move || {
        for _ in 0..jobs {
            next(&mut worker).unwrap().touch();
        }
    });
    for _ in 0..jobs {
        assert!(handoff.push(item()).is_ok());
    }
    taker.join().unwrap();
    assert_eq!(handoff.waiting(), Waiting { jobs: 0, idle: 0 });
}

/// Invariant: no job is lost or taken twice; both workers come to their job.
/// Threads: one pushes the second of two jobs, two take one each. Bounded at 2
/// preemptions.
/// Seen to fail: a wake-up that leaves the woken worker in the list; no look at the
/// jobs in `go_idle`; the wake in `push` left out.
fn two_workers_share_two_jobs() {
    bounded(2, || {
        let handoff = Arc::new(Handoff::<_, ()>::new(2));
        assert!(handoff.push(1).is_ok());
        let mut mine = Handoff::worker(&handoff);
        let mut worker = Handoff::worker(&handoff);
        let taker = thread::spawn(move || next(&mut worker).unwrap());
        let pusher = thread::spawn(move || assert!(handoff.push(2).is_ok()));
        let taken = next(&mut mine).unwrap();
        assert_eq!(taken + taker.join().unwrap(), 3);
        pusher.join().unwrap();
    });
}

/// Invariant: a completion is not missed by a driver that goes to sleep, and comes
/// with all that was done to it; then its place is free.
/// Threads: one works, one drives. Exhaustive.
/// Seen to fail: the second look in `poll_done` removed; the wake in `done` removed, or
/// before the push; the place not left.
fn the_driver_hears_of_every_completion() {
    exhaustive(|| {
        let handoff = Arc::new(Handoff::new(1));
        let mut worker = Handoff::worker(&handoff);
        let taker = thread::spawn(move || {
            let job: Item = next(&mut worker).unwrap();
            job.touch();
            assert!(worker.handoff().done(job).is_ok());
        });
        assert!(handoff.push(item()).is_ok());
        block_on(poll_fn(|cx| handoff.poll_done(cx))).touch();
        assert_eq!(handoff.outstanding(), 0);
        assert!(handoff.push(item()).is_ok());
        taker.join().unwrap();
    });
}

/// Invariant: as above.
/// Threads: two complete once each, one drives. Bounded at 3 preemptions.
/// Seen to fail: as above.
fn two_completions_and_their_payloads_arrive() {
    bounded(3, || {
        let handoff = Arc::new(Handoff::new(2));
        for _ in 0..2 {
            assert!(handoff.push(item()).is_ok());
        }
        let takers = [(); 2].map(|()| {
            let mut worker = Handoff::worker(&handoff);
            let job: Item = next(&mut worker).unwrap();
            thread::spawn(move || {
                job.touch();
                assert!(worker.handoff().done(job).is_ok());
            })
        });
        for _ in 0..2 {
            block_on(poll_fn(|cx| handoff.poll_done(cx))).touch();
        }
        assert_eq!(handoff.outstanding(), 0);
        for taker in takers {
            taker.join().unwrap();
        }
    });
}

/// Invariant: never more places than the capacity, also of jobs that were taken.
/// Threads: one pushes and takes, one pushes, for one place. Exhaustive.
/// Seen to fail: a place taken by a load and an add.
fn one_of_two_pushes_gets_the_last_place() {
    exhaustive(|| {
        let handoff = Arc::new(Handoff::<u8, ()>::new(1));
        let other = thread::spawn({
            let handoff = Arc::clone(&handoff);
            move || {
                let pushed = handoff.push(1).is_ok();
                if pushed {
                    let mut worker = Handoff::worker(&handoff);
                    assert!(idly(|cx| worker.poll_next(cx)).is_ready());
                }
                pushed
            }
        });
        let mine = handoff.push(2).is_ok();
        assert!(mine != other.join().unwrap());
        assert_eq!(handoff.outstanding(), 1);
    });
}

/// Invariant: who gets a place sees what was done before it was freed.
/// Threads: the driver polls the completion that frees the only place, one pushes.
/// Exhaustive.
/// Seen to fail: Release in `leave_place` or Acquire in `push` made Relaxed.
fn a_freed_place_comes_with_what_was_done() {
    exhaustive(|| {
        let handoff = Arc::new(Handoff::new(1));
        let done = Arc::new(item());
        assert!(handoff.push(1).is_ok());
        assert_eq!(next(&mut Handoff::worker(&handoff)), Some(1));
        assert!(handoff.done(()).is_ok());
        let driver = thread::spawn({
            let (handoff, done) = (Arc::clone(&handoff), Arc::clone(&done));
            move || {
                done.touch();
                assert!(idly(|cx| handoff.poll_done(cx)).is_ready());
            }
        });
        if handoff.push(2).is_ok() {
            done.touch();
        }
        driver.join().unwrap();
    });
}

/// Invariant: closing tells everyone.
/// Threads: two wait for a job, one closes. Bounded at 2 preemptions.
/// Seen to fail: no look at CLOSED in `go_idle`; one worker woken in place of all;
/// CLOSED set after the list was emptied.
fn closing_tells_idle_workers() {
    bounded(2, || {
        let handoff = Arc::new(Handoff::<(), ()>::new(1));
        let takers = [(); 2].map(|()| {
            let mut worker = Handoff::worker(&handoff);
            thread::spawn(move || assert_eq!(next(&mut worker), None))
        });
        handoff.close();
        for taker in takers {
            taker.join().unwrap();
        }
    });
}

/// Invariant: closing tells everyone, the driver too.
/// Threads: one drives until the end, one closes. Exhaustive.
/// Seen to fail: the driver not woken by `close`.
fn closing_tells_the_driver() {
    exhaustive(|| {
        let handoff = Arc::new(Handoff::<u8, ()>::new(1));
        let driver = thread::spawn({
            let handoff = Arc::clone(&handoff);
            move || {
                block_on(poll_fn(|cx| {
                    assert!(handoff.poll_done(cx).is_pending());
                    if handoff.is_closed() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                }));
            }
        });
        handoff.close();
        driver.join().unwrap();
    });
}

/// Invariant: no job starts once it is closed: what waits then is left to the driver.
/// Threads: one takes, one closes and takes back. Exhaustive.
/// Seen to fail: a worker that does not look at CLOSED when it takes.
fn nothing_starts_after_the_close() {
    exhaustive(|| {
        let handoff = Arc::new(Handoff::<u8, ()>::new(1));
        assert!(handoff.push(1).is_ok());
        let mut worker = Handoff::worker(&handoff);
        let taker = thread::spawn(move || next(&mut worker).is_some());
        handoff.close();
        let left = handoff.waiting().jobs;
        assert_eq!(handoff.take_back().is_some(), left == 1);
        assert_eq!(taker.join().unwrap(), left == 0);
    });
}

/// Invariant: every job is taken by a worker, taken back, or given back, once, when
/// a push, a worker and a close run against each other.
/// Threads: one pushes, one takes until the end, one closes and takes back.
/// Bounded at 3 preemptions.
/// Seen to fail: the look at CLOSED after the add in `push` removed; a refused push that
/// keeps its place; `close` not counting off the idle.
fn closing_loses_no_job() {
    bounded(3, || {
        let handoff = Arc::new(Handoff::<u8, ()>::new(2));
        let mut worker = Handoff::worker(&handoff);
        let taker = thread::spawn(move || {
            let mut taken = 0;
            while next(&mut worker).is_some() {
                taken += 1;
            }
            taken
        });
        let pusher = thread::spawn({
            let handoff = Arc::clone(&handoff);
            move || usize::from(handoff.push(1).is_err())
        });
        handoff.close();
        let back = usize::from(handoff.take_back().is_some());
        let taken = taker.join().unwrap();
        let refused = pusher.join().unwrap();
        assert_eq!(back + taken + refused, 1);
        assert!(handoff.take_back().is_none());
        assert_eq!(handoff.waiting(), Waiting { jobs: 0, idle: 0 });
        assert_eq!(handoff.outstanding(), taken);
    });
}

/// Invariant: a worker that is dropped after it was woken passes its wake-up on.
/// Threads: one pushes, one drops an idle worker, while another stays idle.
/// Exhaustive.
/// Seen to fail: the `wake_one` in `Worker::drop` removed; a dropped worker that stays
/// in the list.
fn a_dropped_worker_passes_its_wake_up_on() {
    exhaustive(|| {
        let handoff = Arc::new(Handoff::<u8, ()>::new(1));
        let mut stays = Handoff::worker(&handoff);
        let mut goes = Some(Handoff::worker(&handoff));
        let mut dropper = None;
        let taken = block_on(poll_fn(|cx| {
            let polled = stays.poll_next(cx);
            if let Some(mut goes) = goes.take() {
                // Idle after the other one, and so woken first.
                assert!(idly(|cx| goes.poll_next(cx)).is_pending());
                dropper = Some(thread::spawn(move || drop(goes)));
                assert!(handoff.push(1).is_ok());
            }
            polled
        }));
        assert_eq!(taken, Some(1));
        dropper.unwrap().join().unwrap();
        assert_eq!(handoff.waiting(), Waiting { jobs: 0, idle: 0 });
    });
}

/// Push x work x completion x close: what was pushed is completed or taken back, and
/// all places are free in the end.
/// Threads: one works until the end, one drives. Bounded at 2 preemptions.
/// Seen to fail: a place not left by `take_back` or `poll_done`; the wake in `done`
/// removed; no look at CLOSED in `go_idle`.
fn push_work_done_and_close() {
    bounded(2, || {
        let handoff = Arc::new(Handoff::new(2));
        let mut worker = Handoff::worker(&handoff);
        let worker = thread::spawn(move || {
            while let Some(job) = next(&mut worker) {
                let job: Item = job;
                job.touch();
                assert!(worker.handoff().done(job).is_ok());
            }
        });
        assert!(handoff.push(item()).is_ok());
        assert!(handoff.push(item()).is_ok());
        handoff.close();
        while let Some(job) = handoff.take_back() {
            job.touch();
        }
        while handoff.outstanding() > 0 {
            block_on(poll_fn(|cx| handoff.poll_done(cx))).touch();
        }
        worker.join().unwrap();
    });
}
