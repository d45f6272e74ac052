//! Lock-free parts, shared between threads through `&self`.
//!
//! Each has one job, and each of its invariants has at least one loom model. The path
//! taken per message takes no lock; the path taken when somebody has to wait, or has
//! to be woken, may hold a short one around its list of wakers. That is all that
//! lock-free means here: the bounded queues underneath may spin for a moment while
//! another thread is half way through a push or a pop.
//!
//! What the models show is this crate's logic over what its containers document, at
//! the size that each model names: with two threads in every interleaving (a few with
//! three), beyond that in those with at most two or three preemptions.

pub mod budget;
pub mod counters;
pub mod credit;
pub mod directory;
pub mod flight;
pub mod gate;
pub mod handoff;
pub mod results;
pub mod router;
pub mod session;
pub mod streams;
pub mod topics;
mod waiters;
