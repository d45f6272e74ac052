//! Publishing with acknowledgement: whose turn it is, whose answer a message is,
//! what it says, and when to send again.
//!
//! All answers come to one inbox. A publish carries the reply subject
//! `<inbox>.<token>`; its answer is stored ([`Ack::Stored`]), refused, or nobody
//! listens there ([`Ack::NoResponders`]: no stream, or an election).

mod ack;
mod inbox;
pub mod line;
mod retry;

pub use ack::{Ack, parse_ack, transient};
pub use inbox::{Inbox, ReplyBuf};
pub use retry::{Config, Failure, Flight, Input, Output, Publisher, Verdict};
