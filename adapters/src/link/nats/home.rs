//! Where the client's own tasks live.

use std::any::Any;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime as Rt};
use tokio::task::JoinHandle;

use crate::runtime::Runtime;

/// The caller's tokio runtime, or a private one with one thread. Only connecting
/// and the client's own tasks need it; everything else runs where it is called.
#[derive(Debug)]
pub(super) struct Home {
    handle: Handle,
    private: Mutex<Option<Rt>>,
}

impl Home {
    pub(super) fn beside(runtime: &dyn Runtime) -> std::io::Result<Self> {
        if let Some(handle) = shared(runtime) {
            let private = Mutex::new(None);
            return Ok(Self { handle, private });
        }
        let private = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("jetbus-nats")
            .enable_all()
            .build()?;
        Ok(Self {
            handle: private.handle().clone(),
            private: Mutex::new(Some(private)),
        })
    }

    /// Runs `work` there; `None` when it panicked or the runtime is gone. Dropping
    /// the future stops the work.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut task = Stop(self.handle.spawn(work));
        (&mut task.0).await.ok()
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }

    /// Stops the private runtime, if there is one, without waiting for its thread.
    pub(super) fn close(&self) {
        let private = self.private.lock();
        if let Some(private) = private.unwrap_or_else(PoisonError::into_inner).take() {
            private.shutdown_background();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A plain drop of a runtime panics inside async code.
        self.close();
    }
}

fn shared(runtime: &dyn Runtime) -> Option<Handle> {
    let runtime: &dyn Any = runtime;
    #[cfg(feature = "tokio")]
    if let Some(tokio) = runtime.downcast_ref::<crate::runtime::Tokio>() {
        return Some(tokio.handle().clone());
    }
    let _ = runtime;
    None
}

struct Stop<T>(JoinHandle<T>);

impl<T> Drop for Stop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
