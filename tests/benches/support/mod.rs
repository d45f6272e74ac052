//! What the benchmarks share: costs of a stretch of work, runtimes, and notes that
//! tasks leave behind.

mod meter;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) use meter::{Cost, Meter, add};

/// A task that somebody runs to its end.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a task on a runtime, to its end.
pub(crate) type Run = fn(Task);

/// Both runtimes, by name.
pub(crate) const RUNTIMES: [(&str, Run); 2] = [("tokio", on_tokio), ("smol", on_smol)];

pub(crate) fn on_tokio(task: Task) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(task);
}

pub(crate) fn on_smol(task: Task) {
    smol::block_on(smol::spawn(task));
}

/// What tasks found, in their order.
#[derive(Debug)]
pub(crate) struct Notes<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Notes<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    pub(crate) fn add(&self, note: T) {
        self.0.lock().expect("no panic").push(note);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

/// A name that nothing of this run had before.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Says which cases were chosen on the command line: those that hold one of its words.
pub(crate) fn wanted() -> impl Fn(&str) -> bool {
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    move |name| only.is_empty() || only.iter().any(|only| name.contains(only))
}
