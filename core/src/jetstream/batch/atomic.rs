//! A batch of which all messages are stored, or none.

use std::collections::VecDeque;

use super::{ATTEMPT, Answer, Config, End, FIRST, Input, LAST, Output, Part, Role, delay, limit};
use crate::Time;
use crate::jetstream::api::{ApiError, codes};
use crate::jetstream::publish::transient;

/// A batch that is stored whole or not at all, as one run of sequences.
///
/// The server answers the last message alone. What it refuses for a while is sent
/// again, whole. So is what it did not answer. If it says that it knows one of the ids,
/// it is asked for the first and the last of them: they are as far apart as the batch is
/// long exactly if the batch is stored already.
///
/// One owner. Call [`handle`](Self::handle), then [`poll`](Self::poll) until `None`,
/// and [`Input::Tick`] at [`deadline`](Self::deadline); earlier is harmless.
#[derive(Debug)]
pub struct Atomic {
    config: Config,
    now: Time,
    connected: bool,
    busy: bool,
    state: State,
    attempt: u32,
    /// How many attempts failed.
    failures: u32,
    /// When the end of a batch was first handed over.
    began: Option<Time>,
    /// Whether some attempt may have been stored without an answer.
    doubtful: bool,
    /// Why the last attempt was refused.
    refusal: Option<ApiError>,
    out: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Until then nothing is sent.
    Resting(Time),
    /// So many of the attempt were sent.
    Sending(usize),
    /// All were sent; the answer is due.
    Waiting(Time),
    /// The server is asked what it has.
    Asking(Asked),
    Ended,
}

/// The questions after the first and the last message.
#[derive(Clone, Copy, Debug)]
struct Asked {
    sent: usize,
    first: Option<u64>,
    last: Option<u64>,
    due: Time,
}

impl Atomic {
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
            doubtful: false,
            refusal: None,
            out: VecDeque::new(),
        }
    }

    /// Whether all messages have ended; there may be outputs left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether it may be stored without an answer, now that something was sent.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.doubtful || matches!(self.state, State::Waiting(_))
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Answered {
                attempt,
                seq,
                answer,
            } => self.answered(attempt, seq, answer),
            Input::Back => self.back(),
            Input::Unsendable => {
                self.back();
                self.finish(End::Unsendable);
            }
            Input::Denied => self.finish(End::Unsendable),
            Input::Connected => self.connected = true,
            Input::Lost => self.lost(),
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
        let last = self.config.count.saturating_sub(1);
        match &mut self.state {
            State::Resting(until) if *until <= self.now => {
                self.attempt = self.attempt.saturating_add(1);
                self.state = State::Sending(0);
                self.poll()
            }
            State::Sending(sent) => {
                let index = *sent;
                let commit = index + usize::from(planted!(CutBatch)) >= last;
                if commit {
                    self.began.get_or_insert(self.now);
                    self.state = State::Waiting(self.now + ATTEMPT);
                } else {
                    *sent += 1;
                }
                Some(self.part(index, index as u64 + 1, Role::Atomic { commit }))
            }
            State::Asking(asked) if asked.sent < 2 => {
                let (index, seq) = match asked.sent {
                    0 => (0, FIRST),
                    _ => (last, LAST),
                };
                asked.sent += 1;
                asked.due = self.now + ATTEMPT;
                Some(self.part(index, seq, Role::Question))
            }
            _ => None,
        }
    }

    /// When to call again at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let due = match self.state {
            State::Resting(until) if self.connected && !self.busy => until,
            State::Waiting(due) | State::Asking(Asked { due, .. }) => due,
            State::Resting(_) | State::Sending(_) => Time::NEVER,
            State::Ended => return None,
        };
        Some(due.min(self.limit()))
    }

    fn limit(&self) -> Time {
        match self.state {
            // The answer that is awaited may come until then.
            State::Waiting(_) => self.config.deadline,
            _ => limit(&self.config, self.doubtful, self.began),
        }
    }

    const fn part(&self, index: usize, seq: u64, role: Role) -> Output {
        Output::Send(Part {
            index,
            attempt: self.attempt,
            seq,
            role,
        })
    }

    /// What was last to be sent was not taken.
    fn back(&mut self) {
        match &mut self.state {
            State::Sending(sent) => *sent = sent.saturating_sub(1),
            State::Waiting(_) => self.state = State::Sending(self.config.count.saturating_sub(1)),
            State::Asking(asked) => asked.sent = asked.sent.saturating_sub(1),
            State::Resting(_) | State::Ended => {}
        }
    }

    fn lost(&mut self) {
        self.connected = false;
        match self.state {
            State::Waiting(_) => self.again(true),
            // Without its last message nothing of a batch is stored.
            State::Sending(_) => self.again(false),
            State::Asking(_) => self.ask(),
            State::Resting(_) | State::Ended => {}
        }
        if !self.config.wait_for_link {
            self.give_up();
        }
    }

    fn look_at_clock(&mut self) {
        match self.state {
            State::Ended => return,
            _ if self.limit() <= self.now => self.give_up(),
            State::Waiting(due) if due <= self.now => self.again(true),
            State::Asking(Asked { due, .. }) if due <= self.now => self.ask(),
            _ => {}
        }
        // Doubt may have moved it.
        if !self.is_over() && self.limit() <= self.now {
            self.give_up();
        }
    }

    fn answered(&mut self, attempt: u32, seq: u64, answer: Answer) {
        if self.is_over() {
            return;
        }
        let is_question = seq == FIRST || seq == LAST;
        if is_question {
            if attempt == self.attempt {
                self.told(seq, answer);
            }
            return;
        }
        if let Answer::Stored { seq, count, .. } = answer {
            // Of whichever attempt: there is one batch of these ids.
            if count == self.config.count as u64
                && let Some(before) = seq.checked_sub(count)
            {
                return self.finish_with(|index| End::Stored(before + 1 + index));
            }
            return;
        }
        let is_current = attempt == self.attempt;
        if !is_current || !matches!(self.state, State::Sending(_) | State::Waiting(_)) {
            return;
        }
        match answer {
            Answer::Refused(error) => {
                let passes = transient(error.err_code)
                    || matches!(
                        error.err_code,
                        codes::BATCH_INCOMPLETE | codes::TOO_MANY_BATCHES | codes::STREAM_NOT_FOUND
                    );
                let is_known = error.err_code == codes::BATCH_DUPLICATE;
                // A last message that comes twice is told so after the batch was stored.
                self.doubtful |= error.err_code == codes::BATCH_INCOMPLETE
                    && matches!(self.state, State::Waiting(_));
                self.refusal = Some(error);
                self.state = State::Resting(Time::NEVER);
                if passes {
                    self.again(false);
                } else if is_known {
                    // Maybe by this very batch: sent twice, or by somebody before.
                    self.doubtful = true;
                    self.ask();
                } else if self.doubtful {
                    self.ask();
                } else {
                    self.give_up();
                }
            }
            Answer::NoResponders => self.again(false),
            _ => {}
        }
    }

    /// The server said whether it knows an id.
    fn told(&mut self, question: u64, answer: Answer) {
        let State::Asking(asked) = &mut self.state else {
            return;
        };
        match answer {
            Answer::Stored {
                seq,
                duplicate: true,
                ..
            } if question == FIRST => asked.first = Some(seq),
            Answer::Stored {
                seq,
                duplicate: true,
                ..
            } => asked.last = Some(seq),
            // Not stored, so far. What was sent before may still arrive; it is refused
            // too if some id is known, and is unknown else.
            Answer::Refused(error) if error.err_code == codes::WRONG_LAST_ID => {
                let refusal = self.refusal.as_ref();
                let is_known = |error: &ApiError| error.err_code == codes::BATCH_DUPLICATE;
                self.doubtful = !refusal.is_some_and(is_known);
                return self.give_up();
            }
            Answer::Refused(_) | Answer::NoResponders => {
                asked.due = self.now + delay(&self.config, self.failures.max(1));
                self.failures = self.failures.saturating_add(1);
                return;
            }
            _ => return,
        }
        if let State::Asking(Asked {
            first: Some(first),
            last: Some(last),
            ..
        }) = self.state
        {
            if last.checked_sub(first) == Some(self.config.count as u64 - 1) {
                return self.finish_with(|index| End::Duplicate(first + index));
            }
            // They were stored one by one, by somebody else.
            self.doubtful = false;
            self.give_up();
        }
    }

    /// Sends all again, later; `doubtful` when this attempt may be stored.
    fn again(&mut self, doubtful: bool) {
        self.doubtful |= doubtful;
        let until = match doubtful || !self.connected {
            // Waiting for the answer, or for the link, is delay enough.
            true => Time::ZERO,
            false => {
                self.failures = self.failures.saturating_add(1);
                self.now + delay(&self.config, self.failures)
            }
        };
        self.state = State::Resting(until);
    }

    fn ask(&mut self) {
        // Answers to questions before count no more.
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Asking(Asked {
            sent: 0,
            first: None,
            last: None,
            due: Time::NEVER,
        });
    }

    /// Ends it with what is known.
    fn give_up(&mut self) {
        let end = match (self.is_doubtful(), self.refusal.take()) {
            (true, _) => End::Unknown,
            (false, Some(error)) => End::Refused(error),
            (false, None) => End::NotSent,
        };
        self.finish(end);
    }

    fn finish(&mut self, end: End) {
        let end = match end {
            End::Unsendable if self.doubtful => End::Unknown,
            end => end,
        };
        self.finish_with(|_| end.clone());
    }

    fn finish_with(&mut self, end: impl Fn(u64) -> End) {
        if self.is_over() {
            return;
        }
        self.state = State::Ended;
        let ends = (0..self.config.count).map(|index| Output::End {
            index,
            end: end(index as u64),
        });
        self.out.extend(ends);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
