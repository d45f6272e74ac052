//! The pure core of jetbus, an event bus over NATS JetStream.
//!
//! Everything that decides lives here; nothing here does I/O. There is no
//! socket, file, thread, clock, environment, logging or async runtime: time comes
//! in as [`Time`], randomness from a seed, bytes from a link that somebody else
//! drives. Waiting is expressed with [`core::task`], which belongs to no runtime.
//!
//! There are two kinds of parts:
//!
//! - [`shared`]: small lock-free parts used through `&self` from many threads.
//!   Their interleavings are explored with loom (package `jetbus-loom-tests`).
//! - machines, used through `&mut self` by one owner: [`jetstream`], [`keyed`],
//!   [`delivery`], [`provision`], [`broker`]. All have one shape: `handle` an
//!   input at a time, `poll` outputs until there are none, sleep until
//!   `deadline`. Outputs are data; a machine never waits.
//!
//! Services use the crate `jetbus`, which binds this one to connections and
//! runtimes.

#[macro_use]
#[doc(hidden)]
pub mod planted;

pub mod broker;
pub mod dead_letter;
pub mod delivery;
pub mod denied;
pub mod envelope;
pub mod headers;
pub mod jetstream;
pub mod keyed;
pub mod message;
pub mod names;
pub mod provision;
pub mod random;
pub mod retry;
pub mod shared;
pub mod subject;
mod sync;
pub mod time;

pub use headers::Headers;
pub use message::{Message, Outbound, Publish, Status};
pub use subject::Subject;
pub use time::{Time, Timestamp};
