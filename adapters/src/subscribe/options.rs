//! What a subscription is told, and the bounds of it.

use std::time::Duration;

use jetbus_core::Timestamp;
use jetbus_core::delivery::{AtShare, Batch, Config};
use jetbus_core::retry::Retry;

use crate::error::OptionError;

/// Where a subscription starts. A group that exists goes on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first stored event.
    Beginning,
    /// At the next event to be stored.
    New,
    /// At this sequence of the stream, or the first after it.
    Sequence(u64),
    /// At the first event stored at this time or after it.
    Time(Timestamp),
}

/// What a subscription was told. `None`: not said.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) topic: String,
    pub(super) group: Option<String>,
    pub(super) start: Option<Start>,
    pub(super) concurrency: Option<usize>,
    pub(super) window: usize,
    pub(super) ack_wait: Duration,
    /// Whether messages are events in envelopes.
    pub(super) events: bool,
    /// Whether keys are ignored.
    pub(super) unordered: bool,
    pub(super) retry: Retry,
    pub(super) attempts: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) suspect_after: u64,
    pub(super) crash_limit: u64,
    pub(super) key_share: Option<(usize, AtShare)>,
    pub(super) dead_letters: bool,
    pub(super) at_most_once: bool,
    pub(super) batch: Option<Batch>,
}

/// What workers have to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handling {
    /// How long one attempt may take.
    pub(super) timeout: Duration,
    /// Whether events are acknowledged before they are handled.
    pub(super) at_most_once: bool,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Options {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            group: None,
            start: None,
            concurrency: None,
            window: 1_024,
            ack_wait: Duration::from_secs(30),
            events: true,
            unordered: false,
            retry: Retry::default(),
            attempts: 20,
            timeout: None,
            suspect_after: 5,
            crash_limit: 10,
            key_share: None,
            dead_letters: true,
            at_most_once: false,
            batch: None,
        }
    }

    /// How many handlers run at once at most.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(64)
    }

    pub(super) fn handling(&self) -> Handling {
        Handling {
            timeout: self.timeout.unwrap_or(Duration::from_secs(300)),
            at_most_once: self.at_most_once,
        }
    }

    /// The same, for the machine that orders and settles.
    pub(super) fn delivery(&self, seed: u64) -> Config {
        let half = (self.window.div_ceil(2), AtShare::Stall);
        let (key_share, at_share) = self.key_share.unwrap_or(half);
        Config {
            window: self.window,
            ack_wait: self.ack_wait,
            retry: self.retry,
            attempts: Some(self.attempts),
            key_share,
            at_share,
            suspect_after: self.suspect_after,
            crash_limit: self.crash_limit,
            batch: self.batch,
            seed,
        }
    }

    /// Refuses what is out of bounds. `handlers`: not a stream of deliveries.
    pub(super) fn check(&self, handlers: bool) -> Result<(), OptionError> {
        let concurrency = self.concurrency();
        let window = self.window;
        let Retry { first, max } = self.retry;
        let (share, _) = self.key_share.unwrap_or((1, AtShare::Stall));
        let timeout = self.handling().timeout;
        let batch = self.batch.unwrap_or(Batch {
            max: 1,
            linger: Duration::ZERO,
        });
        let rules = [
            Rule(
                "concurrency",
                &concurrency,
                (1..=10_000).contains(&concurrency),
                "it is 1 to 10000 handlers",
            ),
            Rule(
                "window",
                &window,
                (1..=65_536).contains(&window),
                "it is 1 to 65536 events",
            ),
            Rule(
                "ack_wait",
                &self.ack_wait,
                (Duration::from_secs(1)..=HOUR).contains(&self.ack_wait),
                "it is one second to one hour",
            ),
            Rule(
                "retry",
                &first,
                (MILLISECOND..=HOUR).contains(&first),
                "its first delay is one millisecond to one hour",
            ),
            Rule(
                "retry",
                &max,
                (first..=DAY).contains(&max),
                "its longest delay is not below the first, and one day at most",
            ),
            Rule(
                "attempts",
                &self.attempts,
                self.attempts > 0,
                "at least one is needed",
            ),
            Rule(
                "timeout",
                &timeout,
                (MILLISECOND..=DAY).contains(&timeout),
                "it is one millisecond to one day",
            ),
            Rule(
                "suspect_after",
                &self.suspect_after,
                self.suspect_after >= 2,
                "everything is delivered once: it is at least 2",
            ),
            Rule(
                "crash_limit",
                &self.crash_limit,
                self.crash_limit > self.suspect_after,
                "it is more than `suspect_after`",
            ),
            Rule(
                "key_share",
                &share,
                (1..=window).contains(&share),
                "it is at least 1, and not more than `window`",
            ),
            Rule(
                "batch",
                &batch.max,
                (1..=window).contains(&batch.max),
                "it has at least one event, and not more than `window`",
            ),
            Rule(
                "batch",
                &batch.linger,
                batch.linger <= HOUR,
                "it waits for an hour at most",
            ),
            Rule(
                "key_share",
                &share,
                self.key_share.is_none() || !self.unordered,
                "keys are ignored by `unordered`",
            ),
            Rule(
                "timeout",
                &timeout,
                self.timeout.is_none() || handlers,
                "a stream of deliveries has no handlers",
            ),
            Rule(
                "concurrency",
                &concurrency,
                self.concurrency.is_none() || handlers,
                "a stream of deliveries has no handlers",
            ),
            Rule(
                "at_most_once",
                &self.at_most_once,
                !self.at_most_once || self.batch.is_none(),
                "a batch is acknowledged after it was handled",
            ),
            Rule(
                "at_most_once",
                &self.at_most_once,
                !self.at_most_once || handlers,
                "a stream of deliveries is acknowledged by its reader",
            ),
        ];
        rules.into_iter().try_for_each(Rule::check)
    }
}

/// An option, its value, whether that is allowed, and what is.
struct Rule<'a>(&'static str, &'a dyn std::fmt::Debug, bool, &'static str);

impl Rule<'_> {
    fn check(self) -> Result<(), OptionError> {
        let Self(option, value, holds, rule) = self;
        match holds {
            true => Ok(()),
            false => Err(OptionError {
                option,
                value: format!("{value:?}"),
                rule,
            }),
        }
    }
}
