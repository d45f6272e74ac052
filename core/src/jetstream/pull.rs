//! Demand: pull requests that keep the server owing about as many messages as
//! there are free places.
//!
//! Every pull is one request to `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`
//! with a reply of its own, `<inbox>.<n>`. Messages come with their stream's
//! subject and say nothing of the pull that they answer; statuses come to the
//! reply and say how many messages their pull still owed. See ADR-13, and ADR-37
//! for the client's side.
//!
//! It never stalls: while a place is free, something is owed, or a pull follows
//! within the backoff; what is owed in silence for two heartbeats is void. It never
//! spins: pulls that end early again and again follow each other at growing
//! distances. It never asks for more than the free places.

mod owed;
mod status;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use self::owed::Owed;
use self::status::Verdict;
use super::ack::Meta;
use crate::random::Random;
use crate::retry::Retry;
use crate::{Message, Outbound, Subject, Time};

/// Waits after refused pulls. An election takes 4 to 9 s; the first pull after it
/// should not be late.
const BACKOFF: Retry = Retry {
    first: Duration::from_millis(100),
    max: Duration::from_secs(2),
};

/// Most pulls outstanding; a consumer takes 512 of all its clients by default.
const MAX_PULLS: usize = 32;

/// Most lost pulls that are remembered: no more than a consumer takes.
const MAX_LINGERING: usize = 512;

/// How a consumer is pulled from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests go: `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`.
    pub request: Subject,
    /// The prefix of the replies: pull `n` is answered on `<inbox>.<n>`.
    pub inbox: Subject,
    /// After how long the server ends a pull; at least a second counts.
    pub expires: Duration,
    /// How often the server says that a pull still waits. The server takes at most
    /// half of `expires`: that is used when it is longer, or zero.
    pub heartbeat: Duration,
    /// Most messages asked for by one pull; at least one.
    pub max_batch: usize,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The link is connected, anew or for the first time; the inbox is subscribed.
    Connected,
    /// The link is lost, and what is owed with it. The server may not know that yet, and
    /// serve the pulls until they [end](Pull::lingering).
    Disconnected,
    /// The inbox is given up over a link that holds, and with it what is owed. Nothing is
    /// pulled until [`Connected`](Self::Connected).
    Left,
    /// So many places are free now. To be told after every change.
    Free(usize),
    /// No more pulls until [`Resume`](Self::Resume). What is owed still comes.
    Pause,
    /// Pulls again after [`Pause`](Self::Pause).
    Resume,
    /// The consumer was made again after [`PullEvent::ConsumerGone`], or is known to
    /// be there after [`PullEvent::ConsumerMissing`]: pulls again at once.
    Restart,
    /// No more pulls, ever. What is owed still comes.
    Stop,
    /// Time passed.
    Tick,
}

/// What a message that came to the inbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of the stream, to be handled and acknowledged.
    Delivery(Meta),
    /// A word of the server to this machine, or nothing that belongs here.
    Control,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Publish this.
    Publish(Outbound),
    /// This is news.
    Event(PullEvent),
}

/// News of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PullEvent {
    /// The consumer was deleted. Nothing is pulled until [`Input::Restart`] or
    /// [`Input::Connected`].
    ConsumerGone,
    /// Nobody serves the consumer: it does not exist, or has no leader at the
    /// moment. Which is to be found out: until then it is pulled again now and then.
    ConsumerMissing,
    /// Another server serves the consumer from now on. It is pulled again at once; what
    /// the last one sent may not have arrived.
    LeaderChanged,
    /// The server refused a pull. It is pulled again with backoff.
    Refused {
        /// The status.
        code: u16,
        /// What the server says of it.
        description: Box<str>,
    },
    /// Messages were owed, and neither they nor heartbeats came in time. It is
    /// pulled again at once.
    Silent {
        /// Messages that were owed.
        owed: usize,
        /// How long nothing was heard.
        silence: Duration,
    },
}

impl fmt::Display for PullEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsumerGone => f.write_str("the consumer was deleted"),
            Self::ConsumerMissing => f.write_str("nobody serves the consumer"),
            Self::LeaderChanged => f.write_str("another server leads the consumer"),
            Self::Refused { code, description } => {
                write!(f, "a pull was refused with status {code} {description:?}")
            }
            Self::Silent { owed, silence } => write!(
                f,
                "{owed} messages were owed, and nothing was heard for {silence:?}"
            ),
        }
    }
}

/// The pulls of one consumer. See the [module](self).
#[derive(Debug)]
pub struct Pull {
    config: Config,
    random: Random,
    connected: bool,
    paused: bool,
    stopped: bool,
    gone: bool,
    /// Nobody served it, and whoever looks after that has not said yet that it is there.
    missing: bool,
    free: usize,
    owed: Owed,
    /// When the server was last heard, or the wait for it began.
    heard: Time,
    /// Pulls that failed in a row.
    failures: u32,
    /// Pulls before this one were sent before the last failure was known: what
    /// becomes of them is no news.
    round: u64,
    /// No pull before this.
    retry_at: Time,
    /// When each of the pulls is over whose inbox was given up. The server ends them with
    /// its subscription, unless the connection is lost before.
    left: Vec<Time>,
    /// When each of the pulls is over that were lost before they ended.
    lingering: VecDeque<Time>,
    outputs: VecDeque<Output>,
}

impl Pull {
    /// Pulls nothing until [`Input::Connected`] and [`Input::Free`].
    #[must_use]
    pub fn new(mut config: Config, seed: u64) -> Self {
        config.expires = config.expires.max(Duration::from_secs(1));
        let longest = config.expires / 2;
        if config.heartbeat.is_zero() || config.heartbeat > longest {
            config.heartbeat = longest;
        }
        config.max_batch = config.max_batch.max(1);
        Self {
            config,
            random: Random::new(seed),
            connected: false,
            paused: false,
            stopped: false,
            gone: false,
            missing: false,
            free: 0,
            owed: Owed::default(),
            heard: Time::ZERO,
            failures: 0,
            round: 0,
            retry_at: Time::ZERO,
            left: Vec::new(),
            lingering: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Connected => {
                self.connected = true;
                self.left.clear();
                self.restart();
            }
            Input::Disconnected => {
                self.connected = false;
                self.lose(now);
            }
            Input::Left => {
                self.connected = false;
                self.left.extend(self.owed.overs());
                self.owed.void();
            }
            Input::Restart => self.restart(),
            Input::Free(places) => self.free = places,
            Input::Pause => self.paused = true,
            Input::Resume => self.paused = false,
            Input::Stop => self.stopped = true,
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// Takes in a message that came to the inbox. A [delivery](Received::Delivery)
    /// takes one of the free places.
    pub fn receive(&mut self, now: Time, message: &Message) -> Received {
        let received = match (&message.status, &message.reply) {
            (Some(_), _) => {
                self.control(now, message);
                Received::Control
            }
            (None, Some(reply)) => match Meta::parse(reply) {
                Some(meta) => {
                    self.heard = now;
                    self.failures = 0;
                    if !self.missing {
                        self.retry_at = self.retry_at.min(now + BACKOFF.first);
                    }
                    self.owed.delivered();
                    self.free = self.free.saturating_sub(1);
                    Received::Delivery(meta)
                }
                None => Received::Control,
            },
            (None, None) => Received::Control,
        };
        self.advance(now);
        received
    }

    /// What is to be done; to be called until there is nothing after every input.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if !self.connected || self.stopped {
            return None;
        }
        let silence = (self.owed.total() > 0).then(|| self.silent_at());
        let retry = self.wanting().then_some(self.retry_at);
        [silence, retry, self.owed.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Messages that the server still owes.
    #[must_use]
    pub const fn owed(&self) -> usize {
        self.owed.total()
    }

    /// When each of the pulls is over that nobody waits for any more, and that the server
    /// may still have: it did not notice that their connection was lost, or could not be
    /// heard. What it sends for them does not arrive, and they look like those of another
    /// process.
    pub fn lingering(&self, now: Time) -> impl Iterator<Item = Time> {
        let overs = self.lingering.iter().copied();
        overs.filter(move |over| *over > now)
    }

    /// From now on replies go to another inbox. What pulls before owe will not come.
    pub fn moved(&mut self, inbox: Subject) {
        self.config.inbox = inbox;
        self.owed.void();
    }

    /// A subject of the inbox that answers no pull: what is published to it is heard
    /// after all that was sent before, and means nothing.
    #[must_use]
    pub fn end(&self) -> Subject {
        Subject::from(format!("{}.end", self.config.inbox))
    }

    fn control(&mut self, now: Time, message: &Message) {
        let Some(status) = &message.status else {
            return;
        };
        let Some(number) = self.number(&message.subject) else {
            return;
        };
        if !self.owed.is_current(number) {
            return;
        }
        self.heard = now;
        let verdict = status::read(status);
        if verdict == Verdict::Waiting {
            return;
        }
        let Some(sent) = self.owed.ended(number, status::pending(message)) else {
            return;
        };
        let news = number >= self.round;
        match verdict {
            Verdict::Waiting => {}
            Verdict::Ended | Verdict::Moved => {
                if news && verdict == Verdict::Moved {
                    // All that were open end so, and one word is enough.
                    self.round = self.owed.next();
                    self.event(PullEvent::LeaderChanged);
                }
                let early = sent.is_some_and(|sent| now.since(sent) < self.config.heartbeat);
                if !early {
                    self.failures = 0;
                } else if news {
                    self.failed(now, 1);
                }
            }
            Verdict::Refused if news => {
                self.failed(now, 0);
                self.event(PullEvent::Refused {
                    code: status.code,
                    description: status.description.clone(),
                });
            }
            Verdict::Missing if news => {
                self.failed(now, 0);
                // What was sent before says nothing of the one that is there next.
                self.missing = true;
                self.retry_at = now + BACKOFF.max;
                self.event(PullEvent::ConsumerMissing);
            }
            Verdict::Refused | Verdict::Missing => {}
            Verdict::Gone => {
                self.owed.void();
                if !self.gone {
                    self.gone = true;
                    self.event(PullEvent::ConsumerGone);
                }
            }
        }
    }

    /// The number of the pull that is answered on `subject`.
    fn number(&self, subject: &Subject) -> Option<u64> {
        let tail = subject.as_str().strip_prefix(self.config.inbox.as_str())?;
        tail.strip_prefix('.')?.parse().ok()
    }

    /// Counts a failure; the first `pardoned` of a row cost no wait.
    fn failed(&mut self, now: Time, pardoned: u32) {
        self.round = self.owed.next();
        self.failures = self.failures.saturating_add(1);
        if let Some(failures) = self.failures.checked_sub(pardoned)
            && failures > 0
        {
            self.retry_at = now + BACKOFF.delay(failures, self.random.next());
        }
    }

    /// What is owed does not come any more, whatever the server believes.
    fn lose(&mut self, now: Time) {
        self.lingering.retain(|over| *over > now);
        self.lingering.extend(self.left.drain(..));
        self.lingering.extend(self.owed.overs());
        let beyond = self.lingering.len().saturating_sub(MAX_LINGERING);
        self.lingering.drain(..beyond);
        self.owed.void();
    }

    /// What is owed stays: a pull that was tried meanwhile may wait at the server.
    fn restart(&mut self) {
        self.gone = false;
        self.missing = false;
        self.failures = 0;
        self.retry_at = Time::ZERO;
    }

    fn advance(&mut self, now: Time) {
        if !self.connected || self.stopped {
            return;
        }
        if self.owed.total() > 0 && now >= self.silent_at() {
            let news = PullEvent::Silent {
                owed: self.owed.total(),
                silence: now.since(self.heard),
            };
            self.event(news);
            self.lose(now);
        }
        self.owed.expire(now);
        while self.wanting() && now >= self.retry_at {
            self.ask(now);
            if self.failures > 0 {
                // One probe is enough to see whether the server takes pulls again.
                self.retry_at = now + BACKOFF.delay(self.failures, self.random.next());
            }
        }
    }

    /// Whether a pull is due, were it not for the backoff.
    fn wanting(&self) -> bool {
        let owed = self.owed.total();
        self.connected
            && !(self.paused || self.stopped || self.gone)
            && owed < self.free.div_ceil(2)
            && self.owed.pulls() < MAX_PULLS
    }

    fn ask(&mut self, now: Time) {
        if self.owed.total() == 0 {
            self.heard = now;
        }
        let batch = (self.free - self.owed.total()).min(self.config.max_batch);
        // The server ended it long before, and its last word was lost.
        let over = now + self.config.expires + self.config.heartbeat * 2;
        let number = self.owed.asked(now, batch, over);
        let body = format!(
            r#"{{"batch":{batch},"expires":{},"idle_heartbeat":{}}}"#,
            nanos(self.config.expires),
            nanos(self.config.heartbeat)
        );
        let reply = format!("{}.{number}", self.config.inbox);
        self.outputs.push_back(Output::Publish(
            Outbound::new(self.config.request.clone(), body).with_reply(reply),
        ));
    }

    fn silent_at(&self) -> Time {
        self.heard + self.config.heartbeat * 2
    }

    fn event(&mut self, event: PullEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// The server reads a signed 64-bit number.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests;
