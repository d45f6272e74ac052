//! The one place that knows what the shared parts stand on.
//!
//! Everything shared between threads is built from the roles below. Each role
//! has two arms: the real one, and one that the model checker loom can see.
//! arc-swap, crossbeam's queue, concurrent-map and atomic-waker are opaque to
//! loom, so its arm puts a linearizable stand-in in their place: what the models
//! prove is this crate's logic over what those containers document, not the
//! containers themselves.
//!
//! A stand-in built from a lock is *stronger* than the real container where it
//! also orders a reader before the next writer. Nothing in this crate may rely on
//! that: only "what was written before a value was put in is seen by whoever gets
//! it out" may be used.
//!
//! Each ordering stronger than `Relaxed` has a comment that begins with `ordering:` and
//! names the loom models that were seen to fail when it is weakened; or, where no model
//! can see it, `argued` and why it is needed. A test of the models' package reads them.

#[cfg(loom)]
mod model;
#[cfg(not(loom))]
mod real;

/// A key type with a smallest key, where the ordered tree begins.
pub(crate) use concurrent_map::Minimum;
pub(crate) use crossbeam_utils::CachePadded;
#[cfg(loom)]
pub(crate) use model::*;
#[cfg(not(loom))]
pub(crate) use real::*;
