//! How a server is started.

use std::path::Path;

use super::{Server, ServerBinary};
use crate::Failure;

/// How a server is started. See [`Server::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    version: Option<String>,
    name: String,
    jetstream: Option<String>,
    extra: String,
    /// Without one: any free one.
    pub(super) port: Option<u16>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            version: None,
            name: "test".to_owned(),
            jetstream: Some("max_memory_store: 256MB\nmax_file_store: 1GB".to_owned()),
            extra: String::new(),
            port: None,
        }
    }

    /// Runs this version, whatever the environment says.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Its name; `test` unless given.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Without JetStream.
    pub fn without_jetstream(mut self) -> Self {
        self.jetstream = None;
        self
    }

    /// Lines for the configuration's `jetstream` block, in place of the limits of
    /// 256 MB in memory and 1 GB in files. `sync_interval: always` makes stored
    /// messages survive a power failure.
    pub fn jetstream(mut self, lines: &str) -> Self {
        self.jetstream = Some(lines.to_owned());
        self
    }

    /// Lines for the configuration: users, TLS, limits.
    pub fn config(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Listens on this port.
    pub(super) fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts the server and waits until it takes connections.
    ///
    /// # Errors
    /// When there is no such program, or it does not start: what its log says.
    pub fn start(self) -> Result<Server, Failure> {
        let binary = match &self.version {
            Some(version) => ServerBinary::of_version(version)?,
            None => ServerBinary::find()?,
        };
        Server::launched(binary, self)
    }

    /// The configuration of a server that keeps its things in `folder` and listens
    /// on `port`.
    pub(super) fn configuration(&self, folder: &Path, port: u16) -> String {
        let jetstream = self.jetstream.as_ref().map(|lines| {
            let store = folder.join("jetstream");
            format!("jetstream {{\nstore_dir: {store:?}\n{lines}\n}}\n")
        });
        format!(
            "server_name: {:?}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:-1\"\n\
             ports_file_dir: {:?}\n{}{}",
            self.name,
            folder.join("ports"),
            jetstream.unwrap_or_default(),
            self.extra,
        )
    }
}
