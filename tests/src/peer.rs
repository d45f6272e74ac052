//! Something that speaks NATS: a real server or the embedded broker.

use std::time::Duration;

use jetbus_core::{Message, Outbound};

/// A subscription of a [`Peer`].
pub type Sid = u64;

/// A connection to something that speaks NATS, as a test sees it.
///
/// Its time is its own: a server's passes by itself, the embedded broker's passes
/// while somebody waits in [`next`](Self::next).
pub trait Peer {
    /// Asks for the messages of a subject or pattern.
    fn subscribe(&mut self, pattern: &str) -> Sid;

    /// Asks for no more of them.
    fn unsubscribe(&mut self, sid: Sid);

    /// Publishes a message.
    fn publish(&mut self, message: Outbound);

    /// The next message of any subscription, or `None` once `within` has passed.
    fn next(&mut self, within: Duration) -> Option<(Sid, Message)>;

    /// How much of its time has passed since it was made.
    fn elapsed(&self) -> Duration;
}
