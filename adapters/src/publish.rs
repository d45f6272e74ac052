//! Publishing: from a resolved topic to an outcome.
//!
//! The way of a message: [`topic::Topic`] checks and encodes it, [`window`] takes
//! a place for it and hands it to the link, the bus's hub reads the server's answer
//! and settles the place.

mod outcome;
mod topic;
mod window;

pub use outcome::{Outcome, Receipt};
pub use topic::Topic;
pub(crate) use window::Flight;
