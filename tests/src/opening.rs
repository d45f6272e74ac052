//! Buses on servers that a case configures itself: they open, or say why not.

use std::path::PathBuf;
use std::sync::Arc;

use jetbus::link::{ConnectError, LinkError};
use jetbus::{Builder, Bus, Event, NatsOptions, OpenError, Outcome};

use crate::matrix::Env;
use crate::target::TempFolder;

/// An event of a key.
pub fn event() -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", 1)
}

/// A builder for a bus with these options, on the case's runtime.
pub fn builder(env: &Env, options: &NatsOptions) -> Builder {
    Builder::nats(options.clone()).runtime(Arc::clone(env.runtime()))
}

/// Opens a bus that works, uses it, and closes it.
///
/// # Panics
/// When it does not.
pub async fn opens(env: &Env, options: &NatsOptions) {
    let bus = builder(env, options).open().await.expect("the bus opens");
    works(env, &bus).await;
    bus.close().await;
}

/// Publishes to `orders.placed`.
///
/// # Panics
/// When that is not stored.
pub async fn works(env: &Env, bus: &Bus) {
    let outcome = env
        .soon("a publish", bus.publish("orders.placed", &event()))
        .await;
    assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
}

/// Why a bus does not open.
///
/// # Panics
/// When it does, or for another reason than its connection.
pub async fn refused(env: &Env, options: &NatsOptions) -> ConnectError {
    let opened = env.soon("an answer", builder(env, options).open()).await;
    match opened.expect_err("the bus does not open") {
        OpenError::Link(LinkError::Connect(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Lines of a server's configuration that change between its restarts.
#[derive(Debug)]
pub struct Included(TempFolder);

impl Included {
    /// None so far.
    ///
    /// # Panics
    /// When there is no place for them.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(TempFolder::new(name).expect("a folder"))
    }

    /// From the server's next start on.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, lines: &str) {
        std::fs::write(self.file(), lines).expect("a file");
    }

    /// The line of the configuration that includes them.
    ///
    /// # Panics
    /// Never: the folder has a name.
    #[must_use]
    pub fn line(&self) -> String {
        // Relative to the folder of the server, which is a sister of this one.
        let folder = self.0.path().file_name().expect("a name");
        format!(
            "include {:?}",
            PathBuf::from("..").join(folder).join("lines.conf")
        )
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("lines.conf")
    }
}
