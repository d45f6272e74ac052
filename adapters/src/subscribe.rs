//! Subscribing: from a consumer's messages to a handler's word.
//!
//! The way of a message: [`driver`] owns the machines that pull, order and settle;
//! it hands what may run to [`lanes`], where [`worker`] tasks (or a
//! [`stream::Deliveries`]) take it, and brings their word back to the machines. What
//! is given up never gets there: the driver has it stored.
//!
//! # The stages around a handler
//!
//! Their order is fixed. Each has one place:
//!
//! 1. decode: the envelope in [`driver`], which has to know the key; the payload in
//!    [`worker`], beside others;
//! 2. trace: [`worker`] opens a span for each attempt;
//! 3. in-flight dedupe: the machine, which knows what is held;
//! 4. retry: the machine, which parks the key;
//! 5. timeout: [`attempt`], which also catches panics and drops the future;
//! 6. the user's layers: [`service`];
//! 7. the handler: [`service::Handler`], or [`batch`] for many events at a time;
//! 8. settle: the word of [`worker`], then the machine.

mod attempt;
mod batch;
mod builder;
mod confirm;
mod consumer;
mod delivery;
mod driver;
mod failure;
mod gauges;
mod handled;
mod lanes;
mod options;
mod service;
mod stream;
mod subscription;
#[cfg(feature = "tower")]
mod tower;
mod watch;
mod wishes;
mod worker;

pub use builder::Subscribe;
pub use confirm::SettleError;
pub use delivery::Delivery;
pub(crate) use driver::LAST_WORDS;
pub use failure::{Classes, Failure};
pub use handled::{Handled, IntoHandled, IntoHandledBatch};
pub(crate) use lanes::{Done, Job, Work};
pub use options::Start;
pub use service::{Bare, Handler, Layer, Request, Service, Within};
pub use stream::{Deliveries, Settle};
pub(crate) use subscription::{Control, Stop};
pub use subscription::{DrainReport, Subscription, SubscriptionStats};
#[cfg(feature = "tower")]
pub use tower::{FromTower, Innermost, Towered, tower};
