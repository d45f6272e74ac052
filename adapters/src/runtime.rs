//! Runtimes: what spawns tasks, sleeps and tells the time.
//!
//! Two come with the crate, tokio and smol, by feature. To add one, implement
//! [`Runtime`] and hand it to the builder.

use std::fmt;

use futures_core::future::BoxFuture;
use jetbus_core::{Time, Timestamp};

/// What the bus needs of an async runtime.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
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
