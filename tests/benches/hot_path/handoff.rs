//! Handing work to workers, and taking it.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use jetbus_core::shared::handoff::Handoff;
use jetbus_tests::bench::{Report, timed};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until ready and parks in between.
fn wait<R>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>, waker: &Waker) -> R {
    let mut cx = Context::from_waker(waker);
    loop {
        match poll(&mut cx) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

pub(crate) fn handoff(report: &mut Report) {
    const PLACES: usize = 256;
    report.compare(
        "hand-off and back, channels, 1 thread(s)",
        |n| {
            let handoff = Arc::new(Handoff::new(PLACES));
            let mut worker = Handoff::worker(&handoff);
            let waker = this_thread();
            timed(n, || {
                handoff.push(1_u64).expect("there is room");
                let job = wait(|cx| worker.poll_next(cx), &waker).expect("open");
                handoff.done(job).expect("there is room");
                wait(|cx| handoff.poll_done(cx), &waker)
            })
        },
        |n| {
            let (jobs, take) = async_channel::bounded(PLACES);
            let (done, completed) = async_channel::bounded(PLACES);
            timed(n, || {
                jobs.try_send(1_u64).expect("there is room");
                let job = take.recv_blocking().expect("open");
                done.try_send(job).expect("there is room");
                completed.recv_blocking().expect("open")
            })
        },
    );
    report.compare(
        "hand-off and back, channels, 2 thread(s)",
        |n| {
            let handoff = Arc::new(Handoff::new(PLACES));
            let mut worker = Handoff::worker(&handoff);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let waker = this_thread();
                    while let Some(job) = wait(|cx| worker.poll_next(cx), &waker) {
                        worker.handoff().done(job).expect("there is room");
                    }
                });
                let waker = this_thread();
                let mut pushed = 0;
                let took = timed(n, || {
                    while pushed < n && handoff.push(pushed).is_ok() {
                        pushed += 1;
                    }
                    wait(|cx| handoff.poll_done(cx), &waker)
                });
                handoff.close();
                took
            })
        },
        |n| {
            let (jobs, take) = async_channel::bounded(PLACES);
            let (done, completed) = async_channel::bounded(PLACES);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    while let Ok(job) = take.recv_blocking() {
                        done.send_blocking(job).expect("open");
                    }
                });
                let mut pushed = 0;
                let took = timed(n, || {
                    while pushed < n && jobs.try_send(pushed).is_ok() {
                        pushed += 1;
                    }
                    completed.recv_blocking().expect("open")
                });
                jobs.close();
                took
            })
        },
    );
}
