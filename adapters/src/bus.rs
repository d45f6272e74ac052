//! The bus: what a service opens, and what its parts share.

mod close;
mod denials;
mod hub;
mod registry;
mod requests;

use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use jetbus_core::Time;
use jetbus_core::jetstream::batch::Replies;
use jetbus_core::jetstream::publish::line::Line;
use jetbus_core::jetstream::publish::{self, Publisher};
use jetbus_core::names::Api;
use jetbus_core::random::mix;
use jetbus_core::shared::budget::Budget;
use jetbus_core::shared::credit::Credit;
use jetbus_core::shared::gate::Gate;
use jetbus_core::shared::session::{Closed, SessionCell};
use serde::Serialize;

pub use self::close::CloseReport;
use self::denials::Denials;
pub(crate) use self::hub::ATTEMPT;
pub(crate) use self::registry::{Claim, Registry, Running};
pub(crate) use self::requests::{Call, NoAnswer};
use crate::builder::{Builder, Settings};
use crate::config::TopicConfig;
use crate::dead_letters::DeadLetters;
use crate::error::{OpenError, PublishError, TopicError};
use crate::event::Event;
#[cfg(feature = "nats")]
use crate::link::NatsOptions;
use crate::link::{EmbeddedBroker, Link, ServerInfo};
use crate::news::{NewsStream, Newsroom};
use crate::publish::{Entrance, Flight, Outcome, Outcomes, PublishStats, Topic};
use crate::results::{Registrar, Results, ResultsError, ResultsOptions};
use crate::runtime::Runtime;
use crate::streams::StreamTable;
use crate::subscribe::Subscribe;
use crate::topics::TopicTable;

/// Most requests to the server that are under way at once.
const CALLS: NonZeroU16 = NonZeroU16::new(256).unwrap();

/// An open bus. Clones are the same bus; it lives until [`close`](Self::close),
/// or until the last clone and all topics and subscriptions are dropped.
#[derive(Clone)]
pub struct Bus(Arc<Owner>);

/// What keeps the bus open: dropped with the last handle, it closes the bus.
struct Owner(Arc<Inner>);

impl Drop for Owner {
    fn drop(&mut self) {
        close::abandon(&self.0);
    }
}

/// What all parts of a bus share.
pub(crate) struct Inner {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) settings: Settings,
    pub(crate) api: Api,
    /// Open for subscribing and the like; its closing is the bus's.
    pub(crate) life: Gate<CloseReport>,
    /// Open for publishing: a little longer, so that handlers can finish.
    pub(crate) publishing: Gate<()>,
    pub(crate) session: SessionCell<ServerInfo>,
    pub(crate) window: Credit<Flight>,
    /// Bytes of what is in the window.
    pub(crate) bytes: Arc<Budget>,
    /// Where publishes of a key come to the hub.
    pub(crate) entrance: Entrance,
    /// Whose turn it is to take places for a batch.
    pub(crate) batches: Credit<()>,
    pub(crate) outcomes: Outcomes,
    pub(crate) calls: Credit<Call>,
    /// What the server does not permit.
    denials: Denials,
    pub(crate) acks: publish::Inbox,
    pub(crate) replies: publish::Inbox,
    /// Where batches are answered.
    pub(crate) batch_replies: Replies,
    pub(crate) topics: TopicTable,
    pub(crate) streams: StreamTable,
    pub(crate) subscriptions: Registry,
    pub(crate) news: Arc<Newsroom>,
    /// Who wants the results of publishes.
    pub(crate) results: Registrar,
    /// The place of a publish among all, so that what is lost together is sent
    /// again in order.
    order: AtomicU64,
    inbox_base: String,
    inboxes: AtomicU64,
    random: AtomicU64,
}

impl Bus {
    /// Opens a bus on an embedded broker of its own: no server needed, everything
    /// in memory, gone with the bus.
    ///
    /// # Errors
    /// When no runtime is found; see [`Builder::runtime`].
    pub async fn embedded() -> Result<Self, OpenError> {
        Builder::embedded(&EmbeddedBroker::new()).open().await
    }

    /// Opens a bus on the server at `url`, such as `nats://127.0.0.1:4222`. More
    /// options: [`Builder::nats`].
    ///
    /// # Errors
    /// When the URL cannot be used, the server cannot be reached or refuses, or no
    /// runtime is found.
    #[cfg(feature = "nats")]
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Builder::nats(NatsOptions::new(url)).open().await
    }

    /// Resolves a topic once, so that publishing to it needs no lookup.
    ///
    /// A bus knows every topic from its first use to its end: a million of them, and
    /// 65 536 streams. A topic outside of declared streams has one of its own, so where
    /// there is a topic for each of many things, declare the stream that holds them
    /// ([`Builder::stream`]).
    ///
    /// # Errors
    /// When the name cannot be used, and when there would be one too many.
    pub fn topic(&self, name: &str) -> Result<Topic, TopicError> {
        Topic::resolve(self, name)
    }

    /// Publishes to a topic by name. Where a topic is used often, resolve it once.
    ///
    /// # Errors
    /// As [`Topic::publish`].
    pub async fn publish<T: Serialize>(
        &self,
        topic: &str,
        event: &Event<'_, T>,
    ) -> Result<Outcome, PublishError> {
        match self.topic(topic) {
            Ok(topic) => topic.publish(event).await,
            Err(error) => {
                self.inner().outcomes.count_rejected();
                Err(error.into_publish())
            }
        }
    }

    /// A subscription to a topic or pattern, still to be told how.
    pub fn subscribe(&self, topic: &str) -> Subscribe {
        Subscribe::new(self.clone(), topic)
    }

    /// Sets how a topic is kept, and makes its stream so, as far as the bus's
    /// [`Strategy`](crate::Strategy) goes.
    ///
    /// # Errors
    /// When the name or a value cannot be used, a declared stream keeps the topic,
    /// or the stream cannot be made ready.
    pub async fn configure(&self, topic: &str, config: TopicConfig) -> Result<(), TopicError> {
        crate::topics::configure(self.inner(), topic, config).await
    }

    /// How a topic was configured; `None` when it was not.
    #[must_use]
    pub fn topic_config(&self, topic: &str) -> Option<TopicConfig> {
        self.inner().topics.config(topic)
    }

    /// The configured topics whose names start with `prefix`, in order.
    #[must_use]
    pub fn configured_topics(&self, prefix: &str) -> Vec<String> {
        self.inner().topics.configured(prefix)
    }

    /// Forgets how a topic was configured. Its stream stays as it is. True when
    /// there was something to forget.
    pub fn remove_topic_config(&self, topic: &str) -> bool {
        crate::topics::unconfigure(self.inner(), topic)
    }

    /// The events that groups gave up: to look at, to have them handled again, to
    /// remove. Those of all services whose dead letters have this bus's
    /// [prefix](crate::DeadLetterOptions::prefix).
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner().session.generation().is_some()
    }

    /// How publishes have ended so far.
    #[must_use]
    pub fn publish_stats(&self) -> PublishStats {
        PublishStats {
            results_undelivered: self.inner().results.undelivered(),
            ..self.inner().outcomes.stats()
        }
    }

    /// The results of all events without a tenant that are published from now on: for an
    /// outbox, which marks its rows by them and need not wait for each receipt. Events
    /// with a tenant are not among them, whoever reads those.
    ///
    /// The place of a result is reserved before anything is sent: an event that has one
    /// gives exactly one result, however it ends: stored or not, its receipt dropped, its
    /// caller gone, the bus closed. What fails before that is told to the caller alone,
    /// and gives none: an event that cannot be encoded, a batch with more events than the
    /// reader has places, a closed bus, and [`PublishError::ResultsUnread`]. Dead letters and redrives of the bus give none
    /// either.
    ///
    /// Read it in a task of its own, or never publish more at once than it has room for:
    /// beyond that publishers wait until a result is read, in order, up to the publish
    /// timeout.
    ///
    /// # Errors
    /// When an option is out of bounds, somebody reads these results, or the bus is
    /// closing.
    pub fn results(&self, options: ResultsOptions) -> Result<Results, ResultsError> {
        self.open_results(0, options)
    }

    /// The results of all events of `tenant` that are published from now on, as
    /// [`results`](Self::results). Events of a tenant whose results nobody reads give
    /// none, and never to another.
    ///
    /// # Errors
    /// As [`results`](Self::results), and when `tenant` is 0.
    pub fn tenant_results(
        &self,
        tenant: i64,
        options: ResultsOptions,
    ) -> Result<Results, ResultsError> {
        match tenant {
            0 => Err(ResultsError::NoTenant),
            _ => self.open_results(tenant, options),
        }
    }

    fn open_results(&self, tenant: i64, options: ResultsOptions) -> Result<Results, ResultsError> {
        let _open = self
            .inner()
            .life
            .enter()
            .map_err(|_| ResultsError::Closed)?;
        self.inner().results.open(tenant, options)
    }

    /// The tenants whose results are read, in order.
    #[must_use]
    pub fn result_tenants(&self) -> Vec<i64> {
        self.inner().results.tenants()
    }

    /// What happens from now on without a caller to tell. Bounded: a listener that
    /// does not read misses news, and is told how many.
    #[must_use]
    pub fn news(&self) -> NewsStream {
        self.inner().news.listen()
    }

    /// Closes the bus: stops subscriptions (what runs is finished, what waits is
    /// given back), answers every publish, ends the connection. Every caller gets
    /// the same report.
    ///
    /// # Cancel safety
    /// The closing goes on when the future is dropped.
    pub async fn close(&self) -> CloseReport {
        close::close(self.inner()).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    pub(crate) async fn start(
        runtime: Arc<dyn Runtime>,
        link: Arc<dyn Link>,
        api: Api,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let seed = settings.seed.unwrap_or_else(random_seed);
        let random = AtomicU64::new(mix(seed));
        let inbox_base = format!("{}.{:016x}", link.inbox_prefix(), next(&random));
        let acks = publish::Inbox::new(&format!("{inbox_base}.a")).map_err(OpenError::Name)?;
        let replies = publish::Inbox::new(&format!("{inbox_base}.r")).map_err(OpenError::Name)?;
        let acks_inbox = link
            .subscribe(acks.subscription(), None)
            .await
            .map_err(OpenError::Link)?;
        let replies_inbox = link
            .subscribe(replies.subscription(), None)
            .await
            .map_err(OpenError::Link)?;
        let batch_replies = Replies::new(&format!("{inbox_base}.b"), next(&random));
        let batch_replies = batch_replies.map_err(OpenError::Name)?;
        let batches_inbox = link
            .subscribe(batch_replies.subscription(), None)
            .await
            .map_err(OpenError::Link)?;
        let slots = u16::try_from(settings.window)
            .ok()
            .and_then(NonZeroU16::new)
            .unwrap_or(NonZeroU16::MIN);
        let publisher = Publisher::new(publish::Config {
            capacity: settings.window,
            wait_for_link: settings.wait_for_connection,
            seed: next(&random),
        });
        let news = Arc::new(Newsroom::default());
        let inner = Arc::new(Inner {
            results: Registrar::new(Arc::clone(&runtime), Arc::clone(&news)),
            topics: TopicTable::new(next(&random)),
            streams: StreamTable::new(),
            runtime,
            link,
            api,
            life: Gate::new(),
            publishing: Gate::new(),
            session: SessionCell::new(),
            window: Credit::new(slots),
            bytes: Arc::new(Budget::new(settings.window_bytes as u64)),
            entrance: Entrance::new(slots.get().into()),
            batches: Credit::new(NonZeroU16::MIN),
            outcomes: Outcomes::new(),
            calls: Credit::new(CALLS),
            denials: Denials::default(),
            acks,
            replies,
            batch_replies,
            subscriptions: Registry::default(),
            news,
            order: AtomicU64::new(0),
            inbox_base,
            inboxes: AtomicU64::new(0),
            random,
            settings,
        });
        let line = Line::new(inner.random());
        let inboxes = hub::Inboxes {
            acks: acks_inbox,
            replies: replies_inbox,
            batches: batches_inbox,
        };
        hub::start(&inner, inboxes, publisher, line);
        Ok(Self(Arc::new(Owner(inner))))
    }
}

impl Inner {
    /// A well-mixed number.
    pub(crate) fn random(&self) -> u64 {
        next(&self.random)
    }

    /// The next place among all publishes.
    pub(crate) fn next_order(&self) -> u64 {
        // Relaxed: only the numbers matter.
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    /// An inbox prefix that nobody else uses.
    pub(crate) fn inbox(&self) -> String {
        // Relaxed: only that it is another one matters.
        let n = self.inboxes.fetch_add(1, Ordering::Relaxed);
        format!("{}.d{n}", self.inbox_base)
    }

    /// Waits for a connection after the link refused for want of one. The link knows
    /// before the hub does: the others, the hub too, run before the session is
    /// looked at.
    pub(crate) async fn reconnected(&self) -> Result<(), Closed> {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.session.up().await.map(drop)
    }

    /// The output of `future`, or `None` once `deadline` has passed.
    pub(crate) async fn until<F: Future>(&self, deadline: Time, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            // Made only when there is something to wait for.
            let sleep = sleep.get_or_insert_with(|| self.runtime.sleep_until(deadline));
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}

/// The next of a sequence of well-mixed numbers.
fn next(state: &AtomicU64) -> u64 {
    // Relaxed: each caller gets a number of its own.
    mix(state.fetch_add(1, Ordering::Relaxed))
}

/// Randomness from the standard library's hash seeds.
fn random_seed() -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(0)
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("link", &self.inner().link)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
