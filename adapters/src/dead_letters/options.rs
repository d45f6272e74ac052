//! How dead letters are kept.

use std::time::Duration;

use jetbus_core::dead_letter::Names;
use jetbus_core::jetstream::api::Storage;
use jetbus_core::provision::WantedStream;
use jetbus_core::subject::NameError;

/// How dead letters, and redriven events until they are handled, are kept: in the
/// streams `<prefix>-dead` and `<prefix>-redrive`, which all groups of all services
/// with that prefix share. A full one refuses: the key of the event waits then.
///
/// ```
/// use jetbus::DeadLetterOptions;
/// use std::time::Duration;
///
/// let options = DeadLetterOptions::new().replicas(3).max_age(Duration::from_secs(30 * 24 * 3600));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options are set with `Builder::dead_letters`"]
pub struct DeadLetterOptions {
    prefix: Option<String>,
    storage: Storage,
    max_age: Option<Duration>,
    max_bytes: Option<u64>,
    max_messages: Option<u64>,
    replicas: u32,
}

impl Default for DeadLetterOptions {
    fn default() -> Self {
        Self {
            prefix: None,
            storage: Storage::File,
            max_age: None,
            max_bytes: None,
            max_messages: None,
            replicas: 1,
        }
    }
}

impl DeadLetterOptions {
    /// Everything as its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the names of their streams and subjects start with: 1 to 32 letters,
    /// digits, `-` or `_`. Default: `jetbus`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Where they are kept. Default: [`Storage::File`].
    pub const fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// How long dead letters stay at most, 100 ms or longer; then they are gone.
    /// Default: until they are removed. Redriven events have no limits of their own.
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Most bytes of dead letters, at least 1. Default: any number.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Most dead letters, at least 1. Default: any number.
    pub const fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = Some(messages);
        self
    }

    /// Copies, 1 to 5. Default: 1.
    pub const fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    pub(crate) fn names(&self) -> Result<Names, NameError> {
        match &self.prefix {
            Some(prefix) => Names::new(prefix),
            None => Ok(Names::default()),
        }
    }

    pub(crate) fn dead_stream(&self, names: &Names) -> WantedStream {
        WantedStream {
            storage: self.storage,
            max_age: self.max_age,
            max_bytes: self.max_bytes,
            max_msgs: self.max_messages,
            replicas: self.replicas,
            ..names.dead_stream()
        }
    }

    pub(crate) fn redrive_stream(&self, names: &Names) -> WantedStream {
        WantedStream {
            storage: self.storage,
            replicas: self.replicas,
            ..names.redrive_stream()
        }
    }

    pub(crate) fn check(&self) -> Result<(), NameError> {
        let names = self.names()?;
        self.dead_stream(&names).check()
    }
}
