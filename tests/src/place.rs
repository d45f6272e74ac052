//! A runtime for programs that are no cases of the matrix: they wait on a thread of
//! their own.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use jetbus::runtime::{Runtime, Smol, Tokio};
use jetbus::{Time, Timestamp};

use crate::failure::{Doing as _, Failure};

/// A runtime that works beside the thread that has it.
pub struct Place {
    runtime: Arc<dyn Runtime>,
    /// Ends with the place. smol's executor is the process's.
    tokio: Option<tokio::runtime::Runtime>,
    /// Each task of smol has one, and the place and its runtime.
    alive: Arc<()>,
}

/// smol, which does not count its tasks itself.
#[derive(Debug)]
struct Counted {
    smol: Smol,
    alive: Arc<()>,
}

impl Runtime for Counted {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let alive = Arc::clone(&self.alive);
        self.smol.spawn(Box::pin(async move {
            task.await;
            drop(alive);
        }));
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        self.smol.sleep_until(deadline)
    }

    fn now(&self) -> Time {
        self.smol.now()
    }

    fn wall(&self) -> Timestamp {
        self.smol.wall()
    }
}

impl Place {
    /// tokio, with two workers.
    ///
    /// # Errors
    /// When its threads do not start.
    pub fn tokio() -> Result<Self, Failure> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .doing("starting tokio")?;
        let inside = tokio.enter();
        let runtime = Tokio::current().ok_or_else(|| Failure::new("entering tokio", "no way"))?;
        drop(inside);
        Ok(Self {
            runtime: Arc::new(runtime),
            tokio: Some(tokio),
            alive: Arc::default(),
        })
    }

    /// smol's global executor.
    #[must_use]
    pub fn smol() -> Self {
        let alive = Arc::default();
        let counted = Counted {
            smol: Smol::new(),
            alive: Arc::clone(&alive),
        };
        Self {
            runtime: Arc::new(counted),
            tokio: None,
            alive,
        }
    }

    /// What the bus runs on.
    #[must_use]
    pub const fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// How many tasks there are.
    #[must_use]
    pub fn tasks(&self) -> usize {
        match &self.tokio {
            Some(tokio) => tokio.metrics().num_alive_tasks(),
            None => Arc::strong_count(&self.alive) - 2,
        }
    }

    /// Runs `work` there; this thread waits for its output.
    ///
    /// # Panics
    /// When the task does.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, output) = async_channel::bounded(1);
        self.runtime.spawn(Box::pin(async move {
            let _ = done.send(work.await).await;
        }));
        output.recv_blocking().expect("the task ends")
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}
