//! Runtimes: what spawns tasks, sleeps and tells the time.
//!
//! Two come with the crate, tokio and smol, by feature. To add one, implement
//! [`Runtime`] and hand it to the builder.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use jetbus_core::{Time, Timestamp};

#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "smol")]
pub use self::smol::Smol;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;

/// What the bus needs of an async runtime.
///
/// `Any` lets a link recognise a runtime that it can share: the NATS client's own
/// tasks live on [`Tokio`] when that is what the bus runs on.
pub trait Runtime: Any + fmt::Debug + Send + Sync + 'static {
    /// Runs `task` to its end; nobody waits for it. A runtime that shuts down may
    /// drop it.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Completes at `deadline` or a little later, never before. Compare
    /// [`now`](Self::now) to decide whether something expired, not this future.
    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()>;

    /// The time since the runtime's own origin.
    fn now(&self) -> Time;

    /// The wall clock, for timestamps and ids.
    fn wall(&self) -> Timestamp;
}

/// The runtime at hand: tokio when called inside a tokio runtime, else smol when
/// it is compiled in.
///
/// # Errors
/// When there is neither.
pub fn detect() -> Result<Arc<dyn Runtime>, NoRuntime> {
    #[cfg(feature = "tokio")]
    if let Some(tokio) = Tokio::current() {
        return Ok(Arc::new(tokio));
    }
    #[cfg(feature = "smol")]
    return Ok(Arc::new(Smol::new()));
    #[cfg(not(feature = "smol"))]
    Err(NoRuntime(()))
}

/// There is no runtime at hand: the call was made outside tokio, and the feature
/// `smol` is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRuntime(());

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no async runtime found: call this inside a tokio runtime (feature `tokio`), \
             enable the feature `smol`, or give the builder a runtime of your own",
        )
    }
}

impl std::error::Error for NoRuntime {}
