//! One server for many tests.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Builder, Server};
use crate::Failure;

/// A server that tests of one program share, made for a `static`: it starts with
/// the first of them and stops with the last.
#[derive(Debug)]
pub struct Shared {
    settings: fn() -> Builder,
    server: Mutex<Weak<Server>>,
}

impl Shared {
    /// A server with these settings, not started yet.
    #[must_use]
    pub const fn new(settings: fn() -> Builder) -> Self {
        Self {
            settings,
            server: Mutex::new(Weak::new()),
        }
    }

    /// The running server, started unless somebody holds it already.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start(&self) -> Result<Arc<Server>, Failure> {
        let mut shared = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new((self.settings)().start()?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }
}
