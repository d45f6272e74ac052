//! jetbus: an event bus for Rust services over NATS JetStream.
//!
//! A service publishes typed events and handles them at least once, in order per
//! key, on tokio or smol, against a NATS server or the embedded broker. Three words
//! are needed: a **topic** is what is published to and subscribed to, a **group** is
//! the name that the replicas of a service share, an **outcome** is how a publish
//! ended.
//!
//! ```
//! use jetbus::{Bus, Delivery, Event};
//!
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Bus::embedded().await?; // or Bus::connect("nats://127.0.0.1:4222")
//!
//! let orders = bus.topic("orders.placed")?;
//! let outcome = orders.publish(&Event::new("order-42", "OrderPlaced", 12)).await?;
//! assert_eq!(outcome.sequence(), Some(1));
//!
//! let shipping = bus.subscribe("orders.placed").group("shipping")
//!     .handle(|order: Delivery<u32>| async move {
//!         println!("{} costs {}", order.key().unwrap_or("?"), order.payload);
//!     })
//!     .await?;
//! # drop(shipping);
//! bus.close().await;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! - [`Bus`], [`Builder`]: open, close, configure.
//! - [`Topic`], [`Event`], [`Raw`], [`Outcome`], [`Receipt`]: publish.
//! - [`Results`], [`PublishResult`]: how publishes ended, as a stream, for outboxes.
//! - [`BatchPath`], [`BatchPublisher`]: publish many at once.
//! - [`Subscribe`], [`Delivery`], [`Handled`], [`Failure`], [`Layer`], [`Batch`],
//!   [`Deliveries`], [`Settle`]: handle.
//! - [`Stream`], [`TopicConfig`]: how events are kept.
//! - [`DeadLetters`]: what was given up, to be looked at and tried again.
//! - [`News`]: what changes or fails without a caller to tell.
//! - [`link`], [`runtime`]: what the bus stands on, and how to bring your own.
//! - [`guarantees`]: what holds, when, and which test shows it.

mod builder;
mod bus;
mod config;
mod dead_letters;
mod error;
mod event;
pub mod guarantees;
pub mod link;
mod news;
mod provision;
mod publish;
mod results;
pub mod runtime;
mod streams;
mod subscribe;
mod topics;

pub use builder::Builder;
pub use bus::{Bus, CloseReport};
pub use config::{
    Compression, Discard, OnMismatch, Persistence, Retention, Storage, Strategy, Stream,
    TopicConfig,
};
pub use dead_letters::{DeadLetterError, DeadLetterOptions, DeadLetterPage, DeadLetters, Redriven};
pub use error::{
    Class, Invalid, OpenError, OptionError, PublishError, StreamError, SubscribeError, TopicError,
    Unsupported,
};
pub use event::{Event, Raw};
pub use jetbus_core::dead_letter::{
    DeadLetter, Filter as DeadLetterFilter, NotRedrivable, Origin, Reason, Unreadable,
};
pub use jetbus_core::delivery::{AtShare, Batch};
pub use jetbus_core::denied::{Denied, Operation};
pub use jetbus_core::envelope::{EncodeError, Event as EventFields};
pub use jetbus_core::headers::{HeaderError, Headers};
pub use jetbus_core::jetstream::ack::NotConfirmed;
pub use jetbus_core::jetstream::admin::AdminError;
pub use jetbus_core::jetstream::api::ApiError;
pub use jetbus_core::provision::{Asset, Change, Difference, ProvisionError, RequestFailed};
pub use jetbus_core::retry::Retry;
pub use jetbus_core::shared::results::Overflow;
pub use jetbus_core::subject::NameError;
pub use jetbus_core::{Time, Timestamp};
pub use link::EmbeddedBroker;
#[cfg(feature = "nats")]
pub use link::NatsOptions;
pub use news::{News, NewsStream, PullNews};
pub use publish::{BatchPath, BatchPublisher, Batching, Outcome, PublishStats, Receipt, Topic};
pub use results::{PublishResult, Results, ResultsError, ResultsOptions};
pub use subscribe::{
    Bare, Classes, Deliveries, Delivery, DrainReport, Failure, Handled, Handler, IntoHandled,
    IntoHandledBatch, Layer, Request, Service, Settle, SettleError, Start, Subscribe, Subscription,
    SubscriptionStats, Within,
};
#[cfg(feature = "tower")]
pub use subscribe::{FromTower, Innermost, Towered, tower};
