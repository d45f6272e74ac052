//! What the models share: how to explore.
//!
//! What a model waits for it awaits with `loom::future::block_on`, which finds a lost
//! wake-up as a deadlock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

/// One model and its name, `part::what_holds`.
pub(crate) struct Model {
    pub(crate) path: &'static str,
    pub(crate) run: fn(),
}

impl Model {
    pub(crate) fn name(&self) -> &'static str {
        self.path.trim_start_matches("models::")
    }
}

/// Lists functions of the module it stands in as its models.
macro_rules! models {
    ($($run:ident),* $(,)?) => {
        &[$($crate::support::Model {
            path: concat!(module_path!(), "::", stringify!($run)),
            run: $run,
        }),*]
    };
}
pub(crate) use models;

static EXPLORED: AtomicU64 = AtomicU64::new(0);

/// How many interleavings this process has run.
pub(crate) fn explored() -> u64 {
    EXPLORED.load(Ordering::Relaxed)
}

/// Runs `model` in every interleaving loom can tell apart.
pub(crate) fn exhaustive(model: impl Fn() + Sync + Send + 'static) {
    explore(None, model);
}

/// Runs `model` in every interleaving with at most `preemptions` switches away
/// from a thread that could have gone on.
pub(crate) fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    explore(Some(preemptions), model);
}

fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    // Set one by one: the environment must not turn a proof into a sample.
    // Loom says nothing when it is cut by duration or permutations.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_duration = None;
    builder.max_permutations = None;
    builder.checkpoint_file = None;
    builder.max_threads = 5;
    builder.max_branches = 10_000;
    builder.check(move || {
        EXPLORED.fetch_add(1, Ordering::Relaxed);
        model();
    });
}

/// A context whose waker does nothing.
pub(crate) fn idly<R>(poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
    poll(&mut Context::from_waker(Waker::noop()))
}
