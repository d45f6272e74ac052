//! The streams of a bus: which are wanted, and whether they are ready.

use std::sync::Arc;
use std::time::Duration;

use jetbus_core::Time;
use jetbus_core::jetstream::api::ApiError;
use jetbus_core::provision::WantedStream;
use jetbus_core::shared::streams::{Ensure, Ensured, Ensuring, StreamState, Streams};

use crate::bus::Inner;
use crate::error::StreamError;
use crate::provision;

/// Most streams, in different wanted configurations, that a bus knows.
const LIMIT: usize = 65_536;

/// How long a failure is remembered, so that not every publish asks again.
const REMEMBER: Duration = Duration::from_millis(250);

type State = StreamState<Ready, Arc<StreamError>>;

/// What is known of a stream that is as wanted.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// Its name.
    pub(crate) stream: Arc<str>,
    /// How long it remembers message ids.
    pub(crate) dedupe_window: Duration,
    /// Whether messages may have a time to live of their own.
    pub(crate) message_ttl: bool,
    /// Whether it publishes later what waits under its schedules.
    pub(crate) schedules: bool,
    /// Whether it takes batches whole or not at all.
    pub(crate) atomic_batches: bool,
    /// Whether it takes batches that are stored on the way.
    pub(crate) fast_ingest: bool,
}

/// What a stream is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// Declared when the bus was opened.
    Declared(WantedStream),
    /// For this topic: the stream that the server has for it, else one of its own
    /// with these options.
    OfTopic(String, WantedStream),
}

/// A stream, wanted in one configuration. All topics that want the same share its
/// state.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    wanted: Arc<Wanted>,
    state: Arc<State>,
}

#[derive(Debug)]
pub(crate) struct StreamTable(Streams<Arc<Wanted>, Ready, Arc<StreamError>>);

impl StreamTable {
    pub(crate) fn new() -> Self {
        Self(Streams::new(LIMIT))
    }

    /// The entry of what is wanted: the unit of work is a stream and its wanted
    /// configuration, never the stream alone.
    pub(crate) fn entry(&self, wanted: Wanted) -> Result<Arc<StreamEntry>, Arc<StreamError>> {
        let wanted = Arc::new(wanted);
        let state = self.0.entry(wanted.name(), &wanted);
        let state = state.map_err(|full| Arc::new(StreamError::TooMany { limit: full.limit }))?;
        Ok(Arc::new(StreamEntry { wanted, state }))
    }
}

impl Wanted {
    /// The stream's name, or the topic's that it is for.
    fn name(&self) -> &str {
        match self {
            Self::Declared(stream) => &stream.name,
            Self::OfTopic(topic, _) => topic,
        }
    }
}

impl StreamEntry {
    /// What `read` says of the stream, when it is ready: one atomic load and a read.
    pub(crate) fn with<R>(&self, mut read: impl FnMut(&Ready) -> R) -> Option<R> {
        self.state.with(|_, ready| read(ready))
    }

    /// The shared name of the stream that an answer names.
    pub(crate) fn name_of(&self, stream: &str) -> Arc<str> {
        let known = self
            .state
            .with(|_, ready| (*ready.stream == *stream).then(|| Arc::clone(&ready.stream)));
        known.flatten().unwrap_or_else(|| stream.into())
    }

    /// The stream may be gone: asks before it is used again.
    pub(crate) fn doubt(&self) {
        if let Some(seen) = self.state.ready() {
            self.state.invalidate(seen);
        }
    }

    /// Makes the stream ready, once however many ask, and waits for it until
    /// `deadline`. Failures that pass are tried again.
    pub(crate) async fn ensure(
        &self,
        bus: &Arc<Inner>,
        deadline: Time,
    ) -> Result<Ready, Arc<StreamError>> {
        self.ensure_unless(bus, deadline, |_| false).await
    }

    /// As [`ensure`](Self::ensure), but does not try again after a failure that
    /// `ends` says is one.
    pub(crate) async fn ensure_unless(
        &self,
        bus: &Arc<Inner>,
        deadline: Time,
        ends: impl Fn(&StreamError) -> bool,
    ) -> Result<Ready, Arc<StreamError>> {
        let began = bus.runtime.now();
        loop {
            let now = bus.runtime.now();
            let mut lead = None;
            let failed = match self.state.ensure(now) {
                Ensure::Ready(_) => match self.state.with(|_, ready| ready.clone()) {
                    Some(ready) => return Ok(ready),
                    // Gone again in between.
                    None => None,
                },
                Ensure::Lead(task) => {
                    lead = Some(task);
                    None
                }
                Ensure::Follow(following) => match bus.until(deadline, following).await {
                    Some(Ensured::Done) => None,
                    Some(Ensured::Lead(task)) => {
                        lead = Some(task);
                        None
                    }
                    Some(Ensured::Failed(error, until)) => Some((error, until)),
                    None => return Err(Arc::new(self.late(bus, began))),
                },
                Ensure::Failed(error, until) => Some((error, until)),
            };
            let failed = match lead {
                Some(task) => self.lead(bus, task, began, deadline).await,
                None => failed,
            };
            if let Some((error, until)) = failed {
                if !error.is_transient() || until >= deadline || ends(&error) {
                    return Err(error);
                }
                bus.runtime.sleep_until(until).await;
            }
        }
    }

    /// Does the work for everybody.
    async fn lead(
        &self,
        bus: &Arc<Inner>,
        mut task: Ensuring<'_, Ready, Arc<StreamError>>,
        began: Time,
        deadline: Time,
    ) -> Option<(Arc<StreamError>, Time)> {
        loop {
            // Dropped at the deadline, the work goes to the next who waits.
            let result = bus
                .until(
                    deadline,
                    provision::stream(bus, &self.wanted, task.is_again()),
                )
                .await;
            match result {
                Some(Ok(ready)) => match task.ready(ready) {
                    Ok(_) => return None,
                    Err(again) => task = again,
                },
                Some(Err(error)) => {
                    let now = bus.runtime.now();
                    let spread = Duration::from_millis(bus.random() % 250);
                    let (error, until) = (Arc::new(error), now + REMEMBER + spread);
                    task.fail(Arc::clone(&error), until);
                    return Some((error, until));
                }
                None => {
                    let error = Arc::new(self.late(bus, began));
                    drop(task);
                    return Some((error, deadline));
                }
            }
        }
    }

    fn late(&self, bus: &Inner, since: Time) -> StreamError {
        StreamError::NoAnswer {
            subject: format!("questions about the stream of {:?}", self.wanted.name()),
            waited: bus.runtime.now().since(since),
        }
    }
}

/// Somebody says that the stream may be gone: asks the server, once however often
/// it is said.
pub(crate) fn suspect(bus: &Arc<Inner>, stream: &Arc<StreamEntry>) {
    if stream.state.ready().is_none() {
        return;
    }
    stream.doubt();
    let (bus, stream) = (Arc::clone(bus), Arc::clone(stream));
    bus.runtime.clone().spawn(Box::pin(async move {
        let deadline = bus.runtime.now() + bus.settings.publish_timeout;
        // Whoever needs the stream sees a failure itself.
        let _ = stream.ensure(&bus, deadline).await;
    }));
}

/// Nobody answered on a stream's subject, as an error of the server.
pub(crate) fn no_responders() -> ApiError {
    ApiError {
        code: 503,
        err_code: 0,
        description:
            "no responders: no stream takes the subject, or it has no leader at the moment".into(),
    }
}
