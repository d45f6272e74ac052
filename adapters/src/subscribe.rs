//! Subscribing: from a consumer's messages to a handler's word.
//!
//! The way of a message: [`driver`] owns the machines that pull, order and settle;
//! it hands what may run to [`lanes`], where [`worker`] tasks (or a
//! [`stream::Deliveries`]) take it, and brings their word back to the machines.

mod builder;
mod consumer;
mod delivery;
mod driver;
mod handled;
mod lanes;
mod stream;
mod subscription;
mod worker;

pub use builder::{Start, Subscribe};
pub use delivery::Delivery;
pub use handled::{Handled, IntoHandled};
pub(crate) use lanes::{Done, Work};
pub use stream::{Deliveries, Settle, SettleError};
pub(crate) use subscription::Control;
pub use subscription::{Subscription, SubscriptionStats};
