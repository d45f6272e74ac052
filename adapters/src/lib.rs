//! jetbus: an event bus for Rust services over NATS JetStream.

pub mod link;
pub mod runtime;
