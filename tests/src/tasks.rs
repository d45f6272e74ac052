//! Many tasks of a case at once.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use crate::matrix::Env;

impl Env {
    /// Runs `work` in tasks of the runtime, and gives what they return, in order.
    ///
    /// # Panics
    /// When one does not end within half a minute.
    pub async fn at_once<T, F>(&self, what: &str, work: impl IntoIterator<Item = F>) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let done: Arc<Mutex<Vec<(usize, T)>>> = Arc::default();
        let mut started = 0;
        for (n, work) in work.into_iter().enumerate() {
            let done = Arc::clone(&done);
            started = n + 1;
            self.runtime().spawn(Box::pin(async move {
                let output = work.await;
                done.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((n, output));
            }));
        }
        let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
        self.until(what, || lock().len() == started).await;
        let mut all = std::mem::take(&mut *lock());
        all.sort_by_key(|(n, _)| *n);
        all.into_iter().map(|(_, output)| output).collect()
    }
}
