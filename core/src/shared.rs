//! Lock-free parts, shared between threads through `&self`.
//!
//! Each has one job and a table of invariants, and each invariant is at least one
//! loom model. The path taken per message takes no lock; the path taken when
//! somebody has to wait may hold a short one around its list of wakers.

pub mod counters;
pub mod credit;
pub mod directory;
pub mod flight;
pub mod gate;
pub mod handoff;
pub mod router;
pub mod session;
pub mod streams;
pub mod topics;
mod waiters;
