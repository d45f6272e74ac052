//! The whole bus in one thread and in virtual time, by seed.
//!
//! [`Sim`] is the runtime, [`FaultyLink`] what a network does to a link. A run of
//! [`run`](run::run) writes a [`history`] of what the bus was asked, what it
//! answered and what the broker stored, and [`check`](check::check) says what is
//! wrong with it. One seed gives one history, so a failure can be looked at as often
//! as needed; [`shrink`](shrink::shrink) finds a smaller one that fails in the same way.
//! The binary `simulate` does all this [by command](command).

pub mod check;
pub mod command;
pub mod history;
pub mod link;
pub mod plan;
pub mod rng;
pub mod run;
pub mod runtime;
pub mod shrink;
pub mod tally;
pub mod trial;

pub use link::{Faults, FaultyLink};
pub use rng::Rng;
pub use runtime::{Limits, Sim, Stuck};
