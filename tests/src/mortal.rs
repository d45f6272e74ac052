//! A runtime whose tasks can be dropped.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use jetbus::runtime::Runtime;
use jetbus::{Time, Timestamp};

/// Wraps another runtime.
#[derive(Debug)]
pub struct Mortal {
    runtime: Arc<dyn Runtime>,
    /// Whether tasks are mortal that are spawned now.
    armed: AtomicBool,
    lives: Mutex<Vec<Arc<Life>>>,
}

#[derive(Debug, Default)]
struct Life {
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Mortal {
    /// Tasks of `runtime`, not mortal at first.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            armed: AtomicBool::new(false),
            lives: Mutex::default(),
        })
    }

    /// Whether tasks that are spawned from now on are mortal.
    pub fn arm(&self, mortal: bool) {
        self.armed.store(mortal, Ordering::SeqCst);
    }

    /// How many mortal tasks were spawned.
    #[must_use]
    pub fn spawned(&self) -> usize {
        self.lives().len()
    }

    fn lives(&self) -> Vec<Arc<Life>> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.clone()
    }

    /// Drops all mortal tasks.
    pub fn kill(&self) {
        for life in self.lives() {
            life.over.store(true, Ordering::SeqCst);
            let waker = life.waker.lock().unwrap_or_else(PoisonError::into_inner);
            waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl Runtime for Mortal {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if !self.armed.load(Ordering::SeqCst) {
            return self.runtime.spawn(task);
        }
        let life = Arc::new(Life::default());
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.push(Arc::clone(&life));
        let mut task = Some(task);
        self.runtime.spawn(Box::pin(poll_fn(move |cx| {
            let mut waker = life.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *waker = Some(cx.waker().clone());
            drop(waker);
            if life.over.load(Ordering::SeqCst) {
                task = None;
            }
            task.as_mut()
                .map_or(Poll::Ready(()), |task| task.as_mut().poll(cx))
        })));
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.runtime.sleep_until(deadline)
    }

    fn now(&self) -> Time {
        self.runtime.now()
    }

    fn wall(&self) -> Timestamp {
        self.runtime.wall()
    }
}
