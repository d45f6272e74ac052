//! The JetStream protocol, spoken over four operations of a link: publish,
//! subscribe, unsubscribe, flush.

pub mod ack;
pub mod admin;
pub mod api;
pub mod batch;
pub mod publish;
pub mod pull;
pub mod recall;
