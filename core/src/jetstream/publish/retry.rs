//! When an unanswered or refused publish is sent again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::Time;
use crate::random::mix;
use crate::retry::Retry;

/// An election takes 4 to 9 s; the first attempt after it should not be late.
const BACKOFF: Retry = Retry {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};

/// A publish in flight, as far as its retries go. It lies in the publish's slot;
/// [`Output::Resend`] gives back the one to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Which publish. Opaque here.
    pub token: u64,
    /// Its place among all publishes: what was lost together is sent again in this
    /// order.
    pub order: u64,
    /// When its caller stops waiting.
    pub deadline: Time,
    /// How long the stream remembers message ids.
    dedupe_window: Duration,
    /// How long the server knows its message id for sure.
    dedupe_until: Time,
    /// How often it was sent again.
    retries: u32,
    /// Whether some attempt may have been stored without an answer.
    doubtful: bool,
}

impl Flight {
    /// A publish that is first sent at `now` into a stream that remembers message
    /// ids for `dedupe_window`.
    #[must_use]
    pub fn new(token: u64, order: u64, now: Time, deadline: Time, dedupe_window: Duration) -> Self {
        let mut flight = Self {
            token,
            order,
            deadline,
            dedupe_window,
            dedupe_until: now,
            retries: 0,
            doubtful: false,
        };
        flight.begin(now);
        flight
    }

    /// It is handed over for the first time now, not when it was made.
    pub fn begin(&mut self, now: Time) {
        // What is handed over waits a while in the client: keep an eighth for it.
        let window = self.dedupe_window;
        self.dedupe_until = now + (window - window / 8);
    }

    /// An attempt failed so. For who keeps the flight while it waits.
    pub fn failed(&mut self, failure: Failure) {
        self.doubtful |= failure != Failure::Refused && !planted!(ForgottenDoubt);
    }

    /// How often it was sent, the first time included.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }

    /// What may be said of it when no answer comes any more.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.doubtful {
            Verdict::Unknown
        } else {
            Verdict::Rejected
        }
    }

    /// The last moment to send it. A copy of what may be stored already is safe
    /// only while its id is remembered.
    fn limit(&self) -> Time {
        if self.doubtful {
            self.deadline.min(self.dedupe_until)
        } else {
            self.deadline
        }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not stored: refused for now, no responders, or never handed to the
    /// client.
    Refused,
    /// It was handed over, and no answer came in time.
    Unanswered,
    /// It was in flight when the link broke.
    Lost,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Only time went by.
    Tick,
    /// An attempt failed. Read the inbox empty before calling one unanswered or lost.
    Failed(Flight, Failure),
    /// The publish needs nothing more: its answer came after all, or its caller left.
    Settled {
        /// Which.
        token: u64,
    },
    /// The link works.
    Connected,
    /// The link broke. Follow with [`Failure::Lost`] for each publish in flight.
    Disconnected,
    /// The link takes nothing for now: nothing is sent again.
    Busy,
    /// The link takes messages again.
    Free,
}

/// What may be said of a publish that gets no acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every attempt was refused: it is not stored.
    Rejected,
    /// Some attempt was handed over and never answered.
    Unknown,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Send the publish again, with the same id. Keep this in its slot.
    Resend(Flight),
    /// Tell the caller: there is no time for another attempt.
    Settle {
        /// Which.
        token: u64,
        /// What to tell.
        verdict: Verdict,
    },
}

/// The settings of a [`Publisher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most publishes that wait for their retry: the window. One more is settled
    /// at once.
    pub capacity: usize,
    /// Whether publishes wait for the link to work again. If not, they are settled
    /// when it breaks.
    pub wait_for_link: bool,
    /// The jitter's.
    pub seed: u64,
}

/// The publishes that wait to be sent again: after 50 ms, doubled each time up to
/// 2 s, less a jitter of up to half; after a broken link at once when it works
/// again, in their first order.
///
/// One owner. Call [`handle`](Self::handle), then [`poll`](Self::poll) until
/// `None`, and [`Input::Tick`] at [`deadline`](Self::deadline); earlier is
/// harmless.
#[derive(Debug)]
pub struct Publisher {
    config: Config,
    now: Time,
    connected: bool,
    busy: bool,
    waiting: BTreeMap<u64, Waiting>,
    /// By when to send, then by order: (due, order, token).
    due: BTreeSet<(Time, u64, u64)>,
    /// By when it is too late: (limit, token).
    limits: BTreeSet<(Time, u64)>,
    /// What has no time or no room to wait, and must be told.
    ended: VecDeque<Flight>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    flight: Flight,
    due: Time,
}

impl Publisher {
    /// Nothing waits, and the link works.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            now: Time::ZERO,
            connected: true,
            busy: false,
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            limits: BTreeSet::new(),
            ended: VecDeque::new(),
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Failed(flight, failure) => self.failed(flight, failure),
            Input::Settled { token } => _ = self.forget(token),
            Input::Connected => self.connected = true,
            Input::Disconnected => self.disconnected(),
            Input::Busy => self.busy = true,
            Input::Free => self.busy = false,
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(flight) = self.ended.pop_front() {
            return Some(settle(&flight));
        }
        if let Some(&(limit, token)) = self.limits.first()
            && limit <= self.now
        {
            return self.forget(token).map(|flight| settle(&flight));
        }
        let &(due, _, token) = self.due.first()?;
        if !self.can_send() || due > self.now {
            return None;
        }
        let mut flight = self.forget(token)?;
        flight.retries = flight.retries.saturating_add(1);
        Some(Output::Resend(flight))
    }

    /// When to call again at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let limit = self.limits.first().map(|&(limit, _)| limit);
        let due = self.due.first().map(|&(due, ..)| due);
        match (due, limit) {
            (Some(due), Some(limit)) if self.can_send() => Some(due.min(limit)),
            _ => limit,
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    const fn can_send(&self) -> bool {
        self.connected && !self.busy
    }

    fn disconnected(&mut self) {
        self.connected = false;
        if !self.config.wait_for_link {
            while let Some(&(_, _, token)) = self.due.first() {
                let ended = self.forget(token);
                self.ended.extend(ended);
            }
        }
    }

    fn failed(&mut self, mut flight: Flight, failure: Failure) {
        flight.failed(failure);
        if let Some(&Waiting { flight: old, due }) = self.waiting.get(&flight.token) {
            // The link broke while it waited, or it failed twice: it still waits,
            // and doubts stay.
            flight = Flight {
                doubtful: old.doubtful || flight.doubtful,
                ..old
            };
            self.forget(flight.token);
            self.wait(flight, due);
            return;
        }
        let due = match failure {
            Failure::Refused if self.can_send() => self.now + self.delay(&flight),
            // Waiting for the answer, or for the link, is delay enough.
            _ => Time::ZERO,
        };
        let may_wait = self.connected || self.config.wait_for_link;
        if may_wait
            && due.max(self.now) < flight.limit()
            && self.waiting.len() < self.config.capacity
        {
            self.wait(flight, due);
        } else {
            self.ended.push_back(flight);
        }
    }

    fn wait(&mut self, flight: Flight, due: Time) {
        self.due.insert((due, flight.order, flight.token));
        self.limits.insert((flight.limit(), flight.token));
        self.waiting.insert(flight.token, Waiting { flight, due });
    }

    fn forget(&mut self, token: u64) -> Option<Flight> {
        let Waiting { flight, due } = self.waiting.remove(&token)?;
        self.due.remove(&(due, flight.order, token));
        self.limits.remove(&(flight.limit(), token));
        Some(flight)
    }

    fn delay(&self, flight: &Flight) -> Duration {
        let failures = flight.attempts();
        BACKOFF.delay(
            failures,
            mix(self.config.seed ^ mix(flight.token ^ u64::from(failures) << 32)),
        )
    }
}

const fn settle(flight: &Flight) -> Output {
    Output::Settle {
        token: flight.token,
        verdict: flight.verdict(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
