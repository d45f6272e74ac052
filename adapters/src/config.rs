//! Configuration of topics and streams.

use std::time::Duration;

pub use jetbus_core::jetstream::api::{Compression, Discard, Retention, Storage};
use jetbus_core::provision::WantedStream;
pub use jetbus_core::provision::{OnMismatch, Strategy};

/// Whether events of a topic are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// As the bus was told when it opened; [`Persistence::Persistent`] unless told
    /// otherwise.
    #[default]
    Auto,
    /// In a stream, acknowledged.
    Persistent,
    /// Not at all: core NATS, to whoever listens at the moment.
    Ephemeral,
}

/// A stream that this service wants: a name, the subjects it stores, and how.
///
/// ```
/// use jetbus::{Storage, Stream};
/// use std::time::Duration;
///
/// let orders = Stream::new("ORDERS", ["orders.>"])
///     .storage(Storage::Memory)
///     .max_age(Duration::from_secs(24 * 3600));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a stream is declared with `Builder::stream`"]
pub struct Stream(pub(crate) WantedStream);

impl Stream {
    /// A stream called `name` that stores what is published to `subjects`
    /// (patterns allowed).
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        subjects: impl IntoIterator<Item = S>,
    ) -> Self {
        let subjects = subjects.into_iter().map(Into::into).collect();
        Self(WantedStream::new(name, subjects))
    }
}

/// How a topic is kept. Limits here belong to the topic's own stream; a topic
/// covered by a declared stream has that stream's, and setting others is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a configuration is applied with `Bus::configure`"]
pub struct TopicConfig {
    pub(crate) persistence: Persistence,
    pub(crate) unordered: bool,
    pub(crate) allow_unconfirmed: bool,
    /// Name and subjects are filled in when the topic is known.
    pub(crate) stream: WantedStream,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            persistence: Persistence::Auto,
            unordered: false,
            allow_unconfirmed: false,
            stream: WantedStream::new("", Vec::new()),
        }
    }
}

impl TopicConfig {
    /// Everything as its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether events are stored. Default: [`Persistence::Auto`].
    pub const fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// Whether events of one key may overtake each other. In order, one event of a
    /// key is on its way at a time and the next is sent when it is stored: one
    /// round trip to the server per event of one key, however many keys there are.
    /// Default: in order.
    pub const fn unordered(mut self, unordered: bool) -> Self {
        self.unordered = unordered;
        self
    }

    /// Consents to publishing without acknowledgement while JetStream is not there:
    /// nobody answers a publish, and nobody is there to ask why. The outcome is
    /// then [`Outcome::Unconfirmed`](crate::Outcome::Unconfirmed), and the event is
    /// not stored unless somebody does so unseen. Default: refused; publishing
    /// fails instead.
    pub const fn allow_unconfirmed(mut self, allow: bool) -> Self {
        self.allow_unconfirmed = allow;
        self
    }
}

macro_rules! stream_options {
    ($owner:ty, $stream:tt) => {
        impl $owner {
            /// Where it is kept. Default: [`Storage::File`].
            pub const fn storage(mut self, storage: Storage) -> Self {
                self.$stream.storage = storage;
                self
            }

            /// When messages go. Default: [`Retention::Limits`].
            pub const fn retention(mut self, retention: Retention) -> Self {
                self.$stream.retention = retention;
                self
            }

            /// How long messages stay at most, 100 ms or longer. Default: for ever.
            pub const fn max_age(mut self, age: Duration) -> Self {
                self.$stream.max_age = Some(age);
                self
            }

            /// Most bytes, at least 1. Default: any number.
            pub const fn max_bytes(mut self, bytes: u64) -> Self {
                self.$stream.max_bytes = Some(bytes);
                self
            }

            /// Most messages, at least 1. Default: any number.
            pub const fn max_messages(mut self, messages: u64) -> Self {
                self.$stream.max_msgs = Some(messages);
                self
            }

            /// Most messages of one subject, at least 1. Default: any number.
            pub const fn max_messages_per_subject(mut self, messages: u64) -> Self {
                self.$stream.max_msgs_per_subject = Some(messages);
                self
            }

            /// What happens when it is full. Default: [`Discard::New`], so that
            /// nothing unhandled vanishes silently: publishing fails instead.
            pub const fn discard(mut self, discard: Discard) -> Self {
                self.$stream.discard = discard;
                self
            }

            /// How long message ids are remembered, 100 ms or longer. Default: two
            /// minutes, or the maximum age if that is shorter.
            pub const fn dedupe_window(mut self, window: Duration) -> Self {
                self.$stream.dedupe_window = Some(window);
                self
            }

            /// Copies, 1 to 5. Default: 1.
            pub const fn replicas(mut self, replicas: u32) -> Self {
                self.$stream.replicas = replicas;
                self
            }

            /// How files are compressed. Default: not at all.
            pub const fn compression(mut self, compression: Compression) -> Self {
                self.$stream.compression = compression;
                self
            }

            /// Whether messages may have a [time to live](crate::Event::ttl) of their
            /// own. Cannot be taken back; servers from 2.11. Default: no.
            pub const fn message_ttl(mut self, allow: bool) -> Self {
                self.$stream.message_ttl = allow;
                self
            }

            /// Whether messages may be [published later](crate::Event::deliver_at).
            /// They wait in the same stream, under `jetbus~schedules.<stream>.*`.
            /// Cannot be taken back; servers from 2.12, not the embedded broker, and
            /// only with [`Discard::Old`]. Default: no.
            pub const fn schedules(mut self, allow: bool) -> Self {
                self.$stream.schedules = allow;
                self
            }

            /// Whether [batches](crate::BatchPath::Atomic) may be stored whole or not at
            /// all. Servers from 2.12.1; older ones keep the stream without it. Default:
            /// no.
            pub const fn atomic_batches(mut self, allow: bool) -> Self {
                self.$stream.atomic_batches = allow;
                self
            }

            /// Whether [batches](crate::BatchPath::FastIngest) may be stored on the way,
            /// with few answers. Servers from 2.14; older ones, and the embedded broker,
            /// keep the stream without it. A server older than that which the stream was
            /// made with cannot load it. Default: no.
            pub const fn fast_ingest(mut self, allow: bool) -> Self {
                self.$stream.fast_ingest = allow;
                self
            }

            /// What it is for.
            pub fn description(mut self, text: impl Into<String>) -> Self {
                self.$stream.description = Some(text.into());
                self
            }
        }
    };
}

stream_options!(Stream, 0);
stream_options!(TopicConfig, stream);
