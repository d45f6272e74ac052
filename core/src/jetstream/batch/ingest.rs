//! A batch whose messages are stored on the way, in order.

use std::collections::VecDeque;

use super::{ATTEMPT, Answer, Config, End, Input, Op, Output, Part, Role, delay, limit};
use crate::Time;
use crate::jetstream::api::{ApiError, codes};
use crate::jetstream::publish::transient;

/// After how many messages the server is to say how far it is.
const FLOW: u32 = 250;

/// A batch of which the server stores each message as it comes, says now and then how
/// far it is, and stops at the first that is missing or refused.
///
/// After a stop the rest goes on in a new batch: past a message that is refused for
/// good, else with the same. What was sent and not answered is sent again; the server
/// skips what it knows by its id. Nothing overtakes.
///
/// One owner. Call [`handle`](Self::handle), then [`poll`](Self::poll) until `None`,
/// and [`Input::Tick`] at [`deadline`](Self::deadline); earlier is harmless.
#[derive(Debug)]
pub struct Ingest {
    config: Config,
    now: Time,
    connected: bool,
    busy: bool,
    state: State,
    attempt: u32,
    /// How many attempts failed, one after the other.
    failures: u32,
    /// When something was first handed over.
    began: Option<Time>,
    /// What has not ended, in order. All before its first `doubtful` may be stored.
    left: VecDeque<usize>,
    doubtful: usize,
    /// Of `left`, in the running attempt: how many were sent.
    sent: usize,
    /// Of the running attempt, how many have ended: they are not in `left`.
    reached: u64,
    /// After how many messages the server says how far it is.
    every: u64,
    /// What the server refused in the running attempt.
    failed: Option<(u64, ApiError)>,
    /// Why the last attempt was refused.
    refusal: Option<ApiError>,
    out: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Until then nothing is sent.
    Resting(Time),
    /// An attempt runs; by then the server says something.
    Running(Time),
    Ended,
}

impl Ingest {
    /// A batch that is still to be sent; the link works.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Time::ZERO,
            connected: true,
            busy: false,
            state: State::Resting(Time::ZERO),
            attempt: 0,
            failures: 0,
            began: None,
            left: (0..config.count).collect(),
            doubtful: 0,
            sent: 0,
            reached: 0,
            every: FLOW.into(),
            failed: None,
            refusal: None,
            out: VecDeque::new(),
        }
    }

    /// Whether all messages have ended; there may be outputs left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        if self.is_over() {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Answered {
                attempt,
                seq,
                answer,
            } if attempt == self.attempt => self.answered(seq, answer),
            // What an earlier attempt stored is found by its id.
            Input::Answered { .. } => {}
            Input::Back => self.sent = self.sent.saturating_sub(1),
            Input::Unsendable => self.unsendable(),
            Input::Denied => self.denied(),
            Input::Connected => self.connected = true,
            Input::Lost => {
                self.connected = false;
                self.rest(false);
                if !self.config.wait_for_link {
                    self.give_up();
                }
            }
            Input::Busy => self.busy = true,
            Input::Free => self.busy = false,
        }
        self.look_at_clock();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        if self.busy || !self.connected {
            return None;
        }
        match self.state {
            State::Resting(until) if until <= self.now => self.begin(),
            State::Running(_) => {}
            _ => return None,
        }
        // Twice, so that there is always something on its way.
        let most = self.every.saturating_mul(2);
        if self.sent as u64 >= most {
            return None;
        }
        let index = *self.left.get(self.sent)?;
        let seq = self.reached + self.sent as u64 + 1;
        let op = match seq {
            _ if self.sent + 1 == self.left.len() => Op::Commit,
            1 => Op::Start,
            _ => Op::Add,
        };
        if self.sent == 0 {
            self.state = State::Running(self.now + ATTEMPT);
        }
        self.began.get_or_insert(self.now);
        self.sent += 1;
        let (attempt, flow) = (self.attempt, FLOW);
        let role = Role::Ingest { op, flow };
        Some(Output::Send(Part {
            index,
            attempt,
            seq,
            role,
        }))
    }

    /// When to call again at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let due = match self.state {
            State::Resting(until) if self.connected && !self.busy => until,
            State::Running(due) if self.sent > 0 => due,
            State::Resting(_) | State::Running(_) => Time::NEVER,
            State::Ended => return None,
        };
        Some(due.min(self.limit()))
    }

    fn limit(&self) -> Time {
        match self.state {
            // The answer that is awaited may come until then.
            State::Running(_) => self.config.deadline,
            _ => limit(&self.config, self.doubtful > 0, self.began),
        }
    }

    fn begin(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
        self.reached = 0;
        self.sent = 0;
        self.every = FLOW.into();
        self.failed = None;
        self.state = State::Running(self.now + ATTEMPT);
    }

    fn look_at_clock(&mut self) {
        match self.state {
            State::Ended => return,
            _ if self.limit() <= self.now => self.give_up(),
            State::Running(due) if due <= self.now && self.sent > 0 => self.rest(false),
            _ => {}
        }
        // Doubt may have moved it.
        if !self.is_over() && self.limit() <= self.now {
            self.give_up();
        }
    }

    fn answered(&mut self, seq: u64, answer: Answer) {
        if !matches!(self.state, State::Running(_)) {
            return;
        }
        match answer {
            Answer::Reached { seq, every } => {
                if every > 0 {
                    self.every = every;
                }
                self.reach(seq);
                self.state = State::Running(self.now + ATTEMPT);
            }
            Answer::Failed { seq, error } => self.failed = Some((seq, error)),
            Answer::Stored { count, .. } if count > 0 => {
                self.failures = 0;
                self.reach(count);
                if self.left.is_empty() {
                    self.state = State::Ended;
                } else {
                    self.stopped(count);
                }
            }
            Answer::NoResponders => self.rest(true),
            Answer::Refused(error) => match error.err_code {
                // Forgotten: an election, or another stream of this name.
                codes::INGEST_UNKNOWN => self.rest(true),
                codes::INGEST_DISABLED => self.refuse_all(&error),
                code if passes(code) => {
                    self.refusal = Some(error);
                    self.rest(true);
                }
                _ if seq == self.reached + 1 => {
                    // Nothing behind it was stored.
                    self.sent = 1;
                    self.refuse_next(error);
                    self.rest(false);
                }
                // About which the server says no more.
                _ => self.rest(true),
            },
            _ => {}
        }
    }

    /// All up to `seq` of the attempt are stored.
    fn reach(&mut self, seq: u64) {
        while self.reached < seq && self.sent > 0 {
            let Some(index) = self.left.pop_front() else {
                break;
            };
            self.reached += 1;
            self.sent -= 1;
            self.doubtful = self.doubtful.saturating_sub(1);
            let end = End::Ingested;
            self.out.push_back(Output::End { index, end });
        }
    }

    /// The server ended the attempt after `count` messages: what was sent behind them
    /// is not stored by it.
    fn stopped(&mut self, count: u64) {
        self.sent = 0;
        match self.failed.take() {
            Some((seq, error)) if seq == count + 1 && !passes(error.err_code) => {
                self.refuse_next(error);
                self.rest(false);
            }
            Some((_, error)) => {
                self.refusal = Some(error);
                self.rest(true);
            }
            None => self.rest(false),
        }
    }

    /// The next message is refused for good.
    fn refuse_next(&mut self, error: ApiError) {
        self.sent = self.sent.saturating_sub(1);
        self.end_next(End::Refused(error));
    }

    fn unsendable(&mut self) {
        self.sent = self.sent.saturating_sub(1);
        let before = self.sent;
        let Some(index) = self.left.remove(before) else {
            return;
        };
        let end = match self.doubtful > before {
            true => End::Unknown,
            false => End::Unsendable,
        };
        if self.doubtful > before {
            self.doubtful -= 1;
        }
        self.out.push_back(Output::End { index, end });
        // The attempt was to end with another.
        self.rest(false);
        if self.left.is_empty() {
            self.state = State::Ended;
        }
    }

    /// What was sent before may be stored; what the running attempt sent is not.
    fn denied(&mut self) {
        while let Some(index) = self.left.pop_front() {
            let end = match self.doubtful {
                0 => End::Unsendable,
                _ => End::Unknown,
            };
            self.doubtful = self.doubtful.saturating_sub(1);
            self.out.push_back(Output::End { index, end });
        }
        self.state = State::Ended;
    }

    /// Ends the next message. Behind one whose outcome is unknown nothing is sent.
    fn end_next(&mut self, end: End) {
        let was_doubtful = self.doubtful > 0;
        let Some(index) = self.left.pop_front() else {
            return;
        };
        self.doubtful = self.doubtful.saturating_sub(1);
        let end = if was_doubtful { End::Unknown } else { end };
        self.out.push_back(Output::End { index, end });
        if was_doubtful {
            while let Some(index) = self.left.pop_front() {
                let end = match self.doubtful {
                    0 => End::Behind,
                    _ => End::Unknown,
                };
                self.doubtful = self.doubtful.saturating_sub(1);
                self.out.push_back(Output::End { index, end });
            }
        }
        if self.left.is_empty() {
            self.state = State::Ended;
        }
    }

    fn refuse_all(&mut self, error: &ApiError) {
        self.sent = 0;
        while !self.is_over() {
            self.end_next(End::Refused(error.clone()));
        }
    }

    /// Ends the attempt. What it sent without an answer may be stored. The rest is
    /// sent again: at once, or with `delayed` later.
    fn rest(&mut self, delayed: bool) {
        if self.is_over() {
            return;
        }
        self.doubtful = self.doubtful.max(self.sent);
        self.sent = 0;
        let until = match delayed && self.connected {
            true => {
                self.failures = self.failures.saturating_add(1);
                self.now + delay(&self.config, self.failures)
            }
            false => Time::ZERO,
        };
        self.state = State::Resting(until);
    }

    /// Ends it with what is known.
    fn give_up(&mut self) {
        self.doubtful = self.doubtful.max(self.sent);
        let refusal = self.refusal.take();
        while let Some(index) = self.left.pop_front() {
            let end = match (self.doubtful, &refusal) {
                (0, Some(error)) => End::Refused(error.clone()),
                (0, None) => End::NotSent,
                _ => End::Unknown,
            };
            self.doubtful = self.doubtful.saturating_sub(1);
            self.out.push_back(Output::End { index, end });
        }
        self.state = State::Ended;
    }
}

/// Whether a refusal ends by itself.
const fn passes(code: u32) -> bool {
    transient(code) || matches!(code, codes::STREAM_NOT_FOUND | codes::TOO_MANY_INGESTS)
}

#[cfg(all(test, not(loom)))]
mod tests;
