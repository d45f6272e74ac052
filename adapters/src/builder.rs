//! Opening a bus.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jetbus_core::names::Api;

use crate::bus::Bus;
use crate::config::{OnMismatch, Persistence, Strategy, Stream};
use crate::dead_letters::DeadLetterOptions;
use crate::error::{OpenError, OptionError};
use crate::link::{EmbeddedBroker, Link};
#[cfg(feature = "nats")]
use crate::link::{Nats, NatsOptions};
use crate::runtime::{self, Runtime};

/// Options of a bus, and the way to open one. Every option has a default but the
/// link.
#[derive(Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    link: LinkChoice,
    runtime: Option<Arc<dyn Runtime>>,
    pub(crate) settings: Settings,
    api: ApiChoice,
}

#[derive(Debug)]
enum LinkChoice {
    Embedded(EmbeddedBroker),
    #[cfg(feature = "nats")]
    Nats(Box<NatsOptions>),
    Given(Arc<dyn Link>),
}

#[derive(Debug)]
enum ApiChoice {
    Default,
    Domain(String),
    Prefix(String),
}

/// Gives the W3C trace context of the caller, if there is one.
#[derive(Clone)]
pub(crate) struct TraceContext(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl TraceContext {
    pub(crate) fn current(&self) -> Option<String> {
        (self.0)()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceContext").finish_non_exhaustive()
    }
}

/// What a bus was told when it opened; fixed from then on.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) streams: Vec<Stream>,
    pub(crate) persistence: Persistence,
    pub(crate) strategy: Strategy,
    pub(crate) on_mismatch: OnMismatch,
    pub(crate) allow_destructive: bool,
    pub(crate) window: usize,
    pub(crate) window_bytes: usize,
    pub(crate) trace_context: Option<TraceContext>,
    pub(crate) publish_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) wait_for_connection: bool,
    pub(crate) close_timeout: Duration,
    pub(crate) dead_letters: DeadLetterOptions,
    pub(crate) owner: String,
    pub(crate) owner_version: u64,
    pub(crate) seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            persistence: Persistence::Persistent,
            strategy: Strategy::default(),
            on_mismatch: OnMismatch::default(),
            allow_destructive: false,
            window: 1_024,
            window_bytes: 64 << 20,
            trace_context: None,
            publish_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(5),
            wait_for_connection: true,
            close_timeout: Duration::from_secs(30),
            dead_letters: DeadLetterOptions::default(),
            owner: "jetbus".into(),
            owner_version: 1,
            seed: None,
        }
    }
}

impl Builder {
    /// A bus on an embedded broker. Buses of one broker see each other's events.
    pub fn embedded(broker: &EmbeddedBroker) -> Self {
        Self::with(LinkChoice::Embedded(broker.clone()))
    }

    /// A bus on a NATS server or cluster.
    #[cfg(feature = "nats")]
    pub fn nats(options: NatsOptions) -> Self {
        Self::with(LinkChoice::Nats(Box::new(options)))
    }

    /// A bus on a link of your own.
    pub fn link(link: Arc<dyn Link>) -> Self {
        Self::with(LinkChoice::Given(link))
    }

    fn with(link: LinkChoice) -> Self {
        Self {
            link,
            runtime: None,
            settings: Settings::default(),
            api: ApiChoice::Default,
        }
    }

    /// The runtime to run on. Default: tokio when [`open`](Self::open) is called
    /// inside a tokio context (feature `tokio`), else smol (feature `smol`).
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Declares a stream: topics that its subjects cover are kept there. May be
    /// called more than once; where several cover a topic, the first does.
    pub fn stream(mut self, stream: Stream) -> Self {
        self.settings.streams.push(stream);
        self
    }

    /// What [`Persistence::Auto`] means. Default: [`Persistence::Persistent`].
    pub const fn persistence(mut self, persistence: Persistence) -> Self {
        self.settings.persistence = persistence;
        self
    }

    /// What is done about streams. Default: [`Strategy::CreateOrUpdate`].
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.settings.strategy = strategy;
        self
    }

    /// What happens when a stream differs and is not changed. Default:
    /// [`OnMismatch::Log`].
    pub const fn on_mismatch(mut self, action: OnMismatch) -> Self {
        self.settings.on_mismatch = action;
        self
    }

    /// Consents to changes of streams that may remove stored messages (smaller
    /// limits, fewer subjects). Default: refused.
    pub const fn allow_destructive_changes(mut self, allow: bool) -> Self {
        self.settings.allow_destructive = allow;
        self
    }

    /// Who owns the streams that this bus creates, and which version of their
    /// configuration it brings. Of two versions the older one yields. Default: the
    /// owner `jetbus`, version 1.
    pub fn owner(mut self, name: impl Into<String>, version: u64) -> Self {
        self.settings.owner = name.into();
        self.settings.owner_version = version;
        self
    }

    /// Most publishes that are not acknowledged yet, 1 to 16 384; further ones
    /// wait. Default: 1 024.
    pub const fn window(mut self, messages: usize) -> Self {
        self.settings.window = messages;
        self
    }

    /// Most bytes (headers and payloads) of publishes that are not acknowledged yet,
    /// at least 1; further ones wait. A message that is larger goes alone. Default:
    /// 64 MiB.
    pub const fn window_bytes(mut self, bytes: usize) -> Self {
        self.settings.window_bytes = bytes;
        self
    }

    /// Asks `current` at every publish for the trace it belongs to, and sends what it
    /// says as the header `traceparent` (W3C trace context), unless the message has
    /// one. It is called where the publish is, before anything is awaited. Default:
    /// nothing is asked and no header sent.
    pub fn trace_context(
        mut self,
        current: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.settings.trace_context = Some(TraceContext(Arc::new(current)));
        self
    }

    /// How long a publish may take in all, also one that waits for others in a
    /// [`BatchPublisher`](crate::BatchPublisher). Default: 30 s.
    pub const fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.settings.publish_timeout = timeout;
        self
    }

    /// How long one request to the server may take. Default: 5 s.
    pub const fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// Whether publishes wait while there is no connection, or fail at once.
    /// Default: they wait, up to the publish timeout.
    pub const fn wait_for_connection(mut self, wait: bool) -> Self {
        self.settings.wait_for_connection = wait;
        self
    }

    /// How long [`Bus::close`] waits for what is running. Default: 30 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// How dead letters are kept. Default: [`DeadLetterOptions::new`].
    pub fn dead_letters(mut self, options: DeadLetterOptions) -> Self {
        self.settings.dead_letters = options;
        self
    }

    /// The JetStream domain to use.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.api = ApiChoice::Domain(domain.into());
        self
    }

    /// What subjects of the JetStream API start with, in place of `$JS.API`.
    pub fn api_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.api = ApiChoice::Prefix(prefix.into());
        self
    }

    /// Where random numbers (ids, jitter, hash seeds) start, so that a run can be
    /// repeated. Never set it in production: keys may be chosen to collide.
    /// Default: random.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Opens the bus.
    ///
    /// # Errors
    /// When an option is out of bounds, no runtime is found or the link cannot
    /// connect.
    pub async fn open(self) -> Result<Bus, OpenError> {
        let Self {
            link,
            runtime,
            settings,
            api,
        } = self;
        check(&settings)?;
        let api = match api {
            ApiChoice::Default => Api::default(),
            ApiChoice::Domain(domain) => Api::domain(&domain).map_err(OpenError::Name)?,
            ApiChoice::Prefix(prefix) => Api::prefix(&prefix).map_err(OpenError::Name)?,
        };
        let runtime = match runtime {
            Some(runtime) => runtime,
            None => runtime::detect().map_err(OpenError::Runtime)?,
        };
        let link: Arc<dyn Link> = match link {
            LinkChoice::Embedded(broker) => Arc::new(broker.connect(Arc::clone(&runtime)).await),
            #[cfg(feature = "nats")]
            LinkChoice::Nats(options) => {
                let connected = Nats::connect(&options, &*runtime).await;
                Arc::new(connected.map_err(OpenError::Link)?)
            }
            LinkChoice::Given(link) => link,
        };
        Bus::start(runtime, link, api, settings).await
    }
}

fn check(settings: &Settings) -> Result<(), OpenError> {
    let refuse = |option, value: &dyn fmt::Debug, rule| {
        Err(OpenError::Option(OptionError {
            option,
            value: format!("{value:?}"),
            rule,
        }))
    };
    if !(1..=16_384).contains(&settings.window) {
        return refuse("window", &settings.window, "it is 1 to 16384 messages");
    }
    if settings.window_bytes == 0 {
        return refuse(
            "window_bytes",
            &settings.window_bytes,
            "it is at least 1 byte",
        );
    }
    for (option, value) in [
        ("publish_timeout", settings.publish_timeout),
        ("request_timeout", settings.request_timeout),
        ("close_timeout", settings.close_timeout),
    ] {
        if value.is_zero() || value > Duration::from_secs(24 * 3600) {
            return refuse(option, &value, "it is more than nothing and at most a day");
        }
    }
    if settings.persistence == Persistence::Auto {
        return refuse(
            "persistence",
            &settings.persistence,
            "it says what `Auto` means, so it is one of the others",
        );
    }
    if settings.owner.trim().is_empty() {
        return refuse("owner", &settings.owner, "it must not be blank");
    }
    settings.dead_letters.check().map_err(OpenError::Name)?;
    for (n, stream) in settings.streams.iter().enumerate() {
        stream.0.check().map_err(OpenError::Name)?;
        let mut others = settings.streams.iter().take(n);
        if others.any(|other| other.0.name == stream.0.name) {
            return refuse("stream", &stream.0.name, "a stream is declared once");
        }
    }
    Ok(())
}
