//! The hub's part in batches: it waits until nothing is before them, and carries
//! between the window, the link and the machines that send them.
//!
//! Of each key of a batch the first message stands in the key's line, for all of that
//! key. When it is the turn of all of them, the batch goes; when it has ended, so has
//! their turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jetbus_core::denied::Denied;
use jetbus_core::jetstream::api::codes;
use jetbus_core::jetstream::batch::{
    Answer, Atomic, Config, End, Ingest, Input, Output, Part, ReplyText, Role, read_answer,
};
use jetbus_core::jetstream::publish::Failure;
use jetbus_core::jetstream::publish::line::{self, Ending, Place, Why};
use jetbus_core::shared::credit::Token;
use jetbus_core::{Message, Publish, Time};

use super::Hub;
use crate::error::{Invalid, PublishError};
use crate::link::Refused;
use crate::publish::{Departing, Key, Member, Outcome, Way, refused};
use crate::streams::{self, StreamEntry};

/// How many messages of batches are handed over before the task lets others run: the
/// first are on their way while the last are made.
const PARTS: usize = 128;

/// The batches that have not ended.
#[derive(Debug, Default)]
pub(super) struct Batches {
    next: u64,
    running: BTreeMap<u64, Running>,
    /// Which batch stands in a line, by the place of the message that does so.
    heads: BTreeMap<u64, u64>,
    /// Where the reply subject of a message is written.
    reply: ReplyText,
    /// How much more may be done in this round.
    left: usize,
}

/// A batch that has not ended.
#[derive(Debug)]
struct Running {
    machine: Machine,
    members: Vec<Member>,
    stream: Arc<StreamEntry>,
    name: Arc<str>,
    lines: Vec<Line>,
    /// How many lines it is not the first in.
    behind: usize,
    /// For each member, whether its place in the window says that it was sent.
    marked: Vec<bool>,
    /// Why the link will never take one of it.
    unsendable: Option<PublishError>,
}

/// Where a batch stands in the line of a key.
#[derive(Debug)]
struct Line {
    key: Key,
    head: u64,
    order: u64,
    /// Once it is its turn.
    place: Option<Place>,
    /// Whether a message of this key may or may not be stored.
    is_unknown: bool,
}

#[derive(Debug)]
enum Machine {
    Atomic(Atomic),
    Ingest(Ingest),
}

impl Machine {
    fn handle(&mut self, now: Time, input: Input) {
        match self {
            Self::Atomic(batch) => batch.handle(now, input),
            Self::Ingest(batch) => batch.handle(now, input),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        match self {
            Self::Atomic(batch) => batch.poll(),
            Self::Ingest(batch) => batch.poll(),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Atomic(batch) => batch.deadline(),
            Self::Ingest(batch) => batch.deadline(),
        }
    }

    const fn is_over(&self) -> bool {
        match self {
            Self::Atomic(batch) => batch.is_over(),
            Self::Ingest(batch) => batch.is_over(),
        }
    }
}

impl Batches {
    /// When to advance at the latest. Those in line are the lines' business.
    pub(super) fn deadline(&self) -> Option<Time> {
        let going = self.running.values().filter(|batch| batch.behind == 0);
        going.filter_map(|batch| batch.machine.deadline()).min()
    }

    /// Another round begins.
    pub(super) const fn begin_round(&mut self) {
        self.left = PARTS;
    }

    /// Whether this round has had its share, and there may be more to do.
    pub(super) const fn had_enough(&self) -> bool {
        self.left == 0
    }
}

impl Hub {
    /// A batch came with all its messages.
    pub(super) fn batch_entered(&mut self, now: Time, departing: Departing) {
        let bus = Arc::clone(&self.bus);
        let Departing {
            way,
            stream,
            name,
            deadline,
            dedupe_window,
            members,
        } = departing;
        let config = Config {
            count: members.len(),
            deadline,
            dedupe_window,
            wait_for_link: bus.settings.wait_for_connection,
            seed: bus.random(),
        };
        let mut machine = match way {
            Way::Atomic => Machine::Atomic(Atomic::new(config)),
            Way::Ingest => Machine::Ingest(Ingest::new(config)),
        };
        if self.link_ready.is_some() {
            machine.handle(now, Input::Busy);
        }
        if self.generation == 0 {
            machine.handle(now, Input::Lost);
        }
        let number = self.batches.next;
        self.batches.next += 1;
        let mut seen = BTreeSet::new();
        let mut lines = Vec::new();
        for member in &members {
            let Some(key) = &member.key else { continue };
            if !seen.insert((key.0.as_str(), &*key.1)) {
                continue;
            }
            self.batches.heads.insert(member.token, number);
            let (head, order) = (member.token, member.order);
            lines.push(Line {
                key: key.clone(),
                head,
                order,
                place: None,
                is_unknown: false,
            });
        }
        let entries: Vec<_> = lines
            .iter()
            .map(|line| line::Input::Enter {
                key: line.key.clone(),
                order: line.order,
                token: line.head,
                deadline,
            })
            .collect();
        let running = Running {
            machine,
            marked: vec![false; members.len()],
            members,
            stream,
            name,
            behind: lines.len(),
            lines,
            unsendable: None,
        };
        self.batches.running.insert(number, running);
        for entry in entries {
            self.line.handle(now, entry);
        }
    }

    /// It is the turn of the message with this place in the window: whether it stands
    /// there for a batch.
    pub(super) fn batch_may_go(&mut self, now: Time, token: u64, place: Place) -> bool {
        let Some(number) = self.batches.heads.remove(&token) else {
            return false;
        };
        let running = self.batches.running.get_mut(&number);
        let line = running.and_then(|batch| {
            batch.behind = batch.behind.saturating_sub(1);
            batch.lines.iter_mut().find(|line| line.head == token)
        });
        match line {
            Some(line) => line.place = Some(place),
            None => self.leave(now, place, Ending::Known),
        }
        true
    }

    /// The message with this place in the window is not sent: whether it stood in line
    /// for a batch, of which nothing is sent then.
    pub(super) fn batch_may_not_go(&mut self, now: Time, token: u64, why: Why) -> bool {
        let Some(number) = self.batches.heads.remove(&token) else {
            return false;
        };
        let Some(running) = self.batches.running.remove(&number) else {
            return true;
        };
        for index in 0..running.members.len() {
            let error = |hub: &Self, waited| match why {
                Why::PredecessorUnknown => PublishError::PredecessorUnknown,
                Why::Late | Why::Left if hub.is_down_for_callers() => PublishError::Disconnected,
                Why::Late | Why::Left => PublishError::NotSent { waited },
            };
            self.end_member(now, &running, index, |hub, waited| Err(error(hub, waited)));
        }
        self.batch_leaves(now, &running);
        true
    }

    /// Tells all batches what happened to the link.
    pub(super) fn batches_hear(&mut self, now: Time, input: &Input) {
        for running in self.batches.running.values_mut() {
            running.machine.handle(now, input.clone());
        }
    }

    /// Nothing published to a subject is stored: nor a batch that is stored whole or not
    /// at all, nor one that goes nowhere else.
    pub(super) fn batches_denied(&mut self, now: Time, denied: &Denied) {
        for running in self.batches.running.values_mut() {
            let is_there = |member: &Member| member.subject.as_str() == denied.subject;
            let is_denied = match &running.machine {
                Machine::Atomic(_) => running.members.iter().any(is_there),
                Machine::Ingest(_) => running.members.iter().all(is_there),
            };
            if running.behind == 0 && is_denied {
                running.unsendable = Some(PublishError::Denied(denied.clone()));
                running.machine.handle(now, Input::Denied);
            }
        }
    }

    pub(super) fn batch_answered(&mut self, now: Time, message: &Message) {
        let bus = Arc::clone(&self.bus);
        let Some((number, attempt, seq)) = bus.batch_replies.read(message.subject.as_str()) else {
            return;
        };
        let Some(running) = self.batches.running.get_mut(&number) else {
            return;
        };
        let answer = read_answer(message);
        let is_doubted = match &answer {
            Answer::NoResponders => true,
            Answer::Refused(error) => matches!(
                error.err_code,
                codes::STREAM_NOT_FOUND | codes::BATCH_DISABLED | codes::INGEST_DISABLED
            ),
            _ => false,
        };
        if is_doubted {
            // Asked, not believed.
            streams::suspect(&bus, &running.stream);
        }
        running.machine.handle(
            now,
            Input::Answered {
                attempt,
                seq,
                answer,
            },
        );
    }

    /// Does what the machines of the batches say; says whether that was anything.
    pub(super) fn advance_batches(&mut self, now: Time) -> bool {
        if self.batches.had_enough() {
            return false;
        }
        let numbers: Vec<u64> = self
            .batches
            .running
            .iter()
            .filter(|(_, batch)| batch.behind == 0)
            .map(|(number, _)| *number)
            .collect();
        let mut any = false;
        for number in numbers {
            any |= self.advance_batch(now, number);
            if self.batches.had_enough() {
                break;
            }
        }
        any
    }

    fn advance_batch(&mut self, now: Time, number: u64) -> bool {
        // Out while it is worked on: nothing else looks for it meanwhile.
        let Some(mut running) = self.batches.running.remove(&number) else {
            return false;
        };
        running.machine.handle(now, Input::Tick);
        let mut any = false;
        while let Some(output) = running.machine.poll() {
            any = true;
            match output {
                Output::End { index, end } => self.tell_end(now, &mut running, index, end),
                Output::Send(part) => {
                    if !self.send_part(now, number, &mut running, &part) {
                        // The bus was closed, and all were told.
                        self.batch_leaves(now, &running);
                        return true;
                    }
                    self.batches.left -= 1;
                    if self.batches.left == 0 {
                        self.batches.running.insert(number, running);
                        return true;
                    }
                }
            }
        }
        if running.machine.is_over() {
            self.batch_leaves(now, &running);
        } else {
            self.batches.running.insert(number, running);
        }
        any
    }

    /// Hands a part over; false when its place in the window is gone.
    fn send_part(&mut self, now: Time, number: u64, running: &mut Running, part: &Part) -> bool {
        let bus = Arc::clone(&self.bus);
        // Whoever closes the bus is to find what may be stored.
        let marked = match part.role {
            Role::Atomic { commit: true } => {
                (0..running.members.len()).all(|index| self.mark(now, running, index))
            }
            Role::Ingest { .. } => self.mark(now, running, part.index),
            Role::Atomic { commit: false } | Role::Question => true,
        };
        let Some(member) = running.members.get(part.index).filter(|_| marked) else {
            return false;
        };
        let replies = &bus.batch_replies;
        let reply = replies.reply(number, part, &mut self.batches.reply);
        let Ok(headers) = replies.headers(part, reply, &member.headers) else {
            running.unsendable = Some(PublishError::Invalid(Invalid::Unsendable));
            running.machine.handle(now, Input::Unsendable);
            return true;
        };
        let nothing = Bytes::new();
        let sent = bus.link.try_publish(Publish {
            subject: &member.subject,
            reply: Some(reply),
            headers: &headers,
            payload: match part.role {
                Role::Question => &nothing,
                _ => &member.payload,
            },
        });
        match sent {
            Ok(()) => {}
            Err(Refused::Busy) => {
                running.machine.handle(now, Input::Back);
                running.machine.handle(now, Input::Busy);
                self.busy(now);
            }
            Err(Refused::Disconnected) => {
                running.machine.handle(now, Input::Back);
                // It connects again, and says so, or is told to be lost first.
                running.machine.handle(now, Input::Lost);
            }
            Err(other) => {
                running.unsendable = bus.for_good(other);
                running.machine.handle(now, Input::Unsendable);
            }
        }
        true
    }

    /// Marks the place of a member as that of one that was sent and may be stored;
    /// false when it is gone.
    fn mark(&self, now: Time, running: &mut Running, index: usize) -> bool {
        let (Some(marked), Some(member)) = (
            running.marked.get_mut(index),
            running.members.get_mut(index),
        ) else {
            return false;
        };
        if std::mem::replace(marked, true) {
            return true;
        }
        let window = &self.bus.window;
        let Some((mut flight, permit)) = window.settle(Token::from_bits(member.token)) else {
            return false;
        };
        flight.sent = true;
        flight.retry.begin(now);
        flight.retry.failed(Failure::Unanswered);
        let token = permit.fill(flight, Time::NEVER.as_nanos());
        member.token = token.to_bits();
        true
    }

    fn tell_end(&mut self, now: Time, running: &mut Running, index: usize, end: End) {
        if end == End::Unknown {
            let key = running.members.get(index).and_then(|m| m.key.as_ref());
            let lines = running.lines.iter_mut();
            for line in lines.filter(|line| key == Some(&line.key)) {
                line.is_unknown = true;
            }
        }
        let (name, unsendable) = (Arc::clone(&running.name), running.unsendable.clone());
        self.end_member(now, running, index, |hub, waited| match end {
            End::Stored(sequence) => Ok(Outcome::Stored {
                stream: name,
                sequence,
            }),
            End::Duplicate(sequence) => Ok(Outcome::Duplicate {
                stream: name,
                sequence,
            }),
            End::Ingested => Ok(Outcome::Ingested { stream: name }),
            End::Refused(error) => Err(refused(error)),
            End::Unsendable => {
                Err(unsendable.unwrap_or(PublishError::Invalid(Invalid::Unsendable)))
            }
            End::Behind => Err(PublishError::PredecessorUnknown),
            End::NotSent if hub.is_down_for_callers() => Err(PublishError::Disconnected),
            End::NotSent => Err(PublishError::NotSent { waited }),
            _ => Err(PublishError::Unknown { waited }),
        });
    }

    fn end_member(
        &mut self,
        now: Time,
        running: &Running,
        index: usize,
        result: impl FnOnce(&Self, std::time::Duration) -> Result<Outcome, PublishError>,
    ) {
        let bus = Arc::clone(&self.bus);
        let member = running.members.get(index);
        let token = member.map(|member| Token::from_bits(member.token));
        // Else it was told when the bus was closed.
        if let Some((flight, permit)) = token.and_then(|token| bus.window.settle(token)) {
            let result = result(self, now.since(flight.began));
            self.end(now, flight, permit, result);
        }
    }

    /// All of a batch has ended: those behind it in line may go.
    fn batch_leaves(&mut self, now: Time, running: &Running) {
        for line in &running.lines {
            let ending = match line.is_unknown {
                true => Ending::Unknown,
                false => Ending::Known,
            };
            match line.place {
                Some(place) => self.leave(now, place, ending),
                None => {
                    self.batches.heads.remove(&line.head);
                    let order = line.order;
                    self.line.handle(now, line::Input::Left { order });
                }
            }
        }
    }
}
