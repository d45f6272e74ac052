//! Publishing: from a resolved topic to an outcome.
//!
//! The way of a message: [`topic::Topic`] checks and encodes it, and its
//! [`departure`] takes a place in the [`window`] for it. With a key it goes by the
//! [`entrance`] to the bus's hub, which keeps the order of each key; without one it
//! is handed to the link at once. The hub reads the server's answer and settles the
//! place. Many at once go by [`batch`]: one by one, or as a batch that the server knows,
//! which the hub sends when nothing is before it.

mod batch;
mod batching;
mod boarding;
mod departure;
mod entrance;
mod options;
mod outcome;
mod topic;
mod window;

pub use batch::BatchPath;
pub use batching::{BatchPublisher, Batching};
pub(crate) use boarding::{ATOMIC_SINCE, Departing, Member, Way};
pub(crate) use entrance::{Entrance, Entry, Key};
pub(crate) use outcome::Outcomes;
pub use outcome::{Outcome, PublishStats, Receipt};
pub use topic::Topic;
pub(crate) use window::{Back, Flight, refused};
