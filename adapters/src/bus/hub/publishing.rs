//! The hub's part in publishing: it carries between the window, the link and the
//! machines that decide whose turn it is and what is sent again.

use std::sync::Arc;
use std::task::Context;

use jetbus_core::jetstream::api::codes;
use jetbus_core::jetstream::batch;
use jetbus_core::jetstream::publish::line::{self, Ending, Place, Why};
use jetbus_core::jetstream::publish::{self, Ack, Failure, Verdict};
use jetbus_core::shared::credit::{Permit, Token};
use jetbus_core::{Message, Publish, Time};

use super::{BUDGET, Hub};
use crate::error::PublishError;
use crate::link::Refused;
use crate::publish::{Back, Entry, Flight, Outcome, refused};
use crate::streams;

impl Hub {
    /// Takes in what callers put into the entrance; says whether there may be more.
    pub(super) fn entries(&mut self, now: Time, cx: &Context<'_>) -> bool {
        let bus = Arc::clone(&self.bus);
        bus.entrance.register(cx.waker());
        for _ in 0..BUDGET {
            match bus.entrance.pop() {
                Some(Entry::Enter {
                    token,
                    order,
                    key,
                    deadline,
                }) => {
                    let enter = line::Input::Enter {
                        key,
                        order,
                        token,
                        deadline,
                    };
                    self.line.handle(now, enter);
                }
                Some(Entry::Batch(departing)) => self.batch_entered(now, *departing),
                Some(Entry::Asked {
                    token,
                    failure,
                    unavailable,
                }) => self.asked(now, token, failure, unavailable),
                None => {
                    for _ in 0..BUDGET {
                        let Some(order) = bus.entrance.pop_left() else {
                            return false;
                        };
                        self.line.handle(now, line::Input::Left { order });
                    }
                    return true;
                }
            }
        }
        true
    }

    pub(super) fn acknowledged(&mut self, now: Time, message: &Message) {
        let bus = Arc::clone(&self.bus);
        let Some(token) = bus.acks.token(message.subject.as_str()) else {
            return;
        };
        let Some((mut flight, permit)) = bus.window.settle(Token::from_bits(token)) else {
            return;
        };
        let failure = match publish::parse_ack(message) {
            Ack::Stored {
                stream,
                seq: sequence,
                duplicate,
            } => {
                let stream = flight.stream.name_of(&stream);
                let outcome = if duplicate {
                    Outcome::Duplicate { stream, sequence }
                } else {
                    Outcome::Stored { stream, sequence }
                };
                return self.end(now, flight, permit, Ok(outcome));
            }
            Ack::Refused { error, .. } if error.err_code == codes::STREAM_NOT_FOUND => {
                // Asked, not believed.
                streams::suspect(&bus, &flight.stream);
                flight.refusal = Some(error);
                Failure::Refused
            }
            Ack::Refused {
                error,
                transient: false,
            } => {
                // Of an attempt before, without an answer, this says nothing.
                let error = match flight.retry.verdict() {
                    Verdict::Rejected => refused(error),
                    Verdict::Unknown => flight.given_up(Verdict::Unknown, now),
                };
                return self.end(now, flight, permit, Err(error));
            }
            Ack::Refused { error, .. } => {
                flight.refusal = Some(error);
                Failure::Refused
            }
            Ack::NoResponders => {
                flight.refusal = Some(streams::no_responders());
                if flight.may_be_unconfirmed {
                    return self.ask(flight, permit, Failure::Refused);
                }
                // An election, or the stream is gone: asked, not believed.
                streams::suspect(&bus, &flight.stream);
                Failure::Refused
            }
            // Something else answers on our inbox: the outcome is not known yet.
            _ => Failure::Unanswered,
        };
        self.put_aside(now, flight, permit, failure);
    }

    /// Asks the server about the stream of a publish that nobody answers, which may
    /// go without acknowledgement if nobody answers that either. It keeps its place.
    fn ask(&self, mut flight: Flight, permit: Permit<'_, Flight>, failure: Failure) {
        flight.retry.failed(failure);
        let (bus, stream) = (Arc::clone(&self.bus), Arc::clone(&flight.stream));
        let deadline = flight.retry.deadline;
        let token = permit.fill(flight, Time::NEVER.as_nanos()).to_bits();
        stream.doubt();
        bus.runtime.clone().spawn(Box::pin(async move {
            let asked = stream.ensure_unless(&bus, deadline, |_| true).await;
            let unavailable = asked.is_err_and(|error| error.is_unavailable());
            // There is room for each place.
            let kept = bus.entrance.push(Entry::Asked {
                token,
                failure,
                unavailable,
            });
            debug_assert!(kept.is_ok(), "a place is in one entry at a time");
        }));
    }

    fn asked(&mut self, now: Time, token: u64, failure: Failure, unavailable: bool) {
        let bus = Arc::clone(&self.bus);
        let Some((flight, permit)) = bus.window.settle(Token::from_bits(token)) else {
            return;
        };
        let message = Publish {
            subject: &flight.subject,
            reply: None,
            headers: &flight.headers,
            payload: &flight.payload,
        };
        // What was not answered went to whoever listens.
        let is_out = unavailable
            && (failure == Failure::Unanswered || bus.link.try_publish(message).is_ok());
        if is_out {
            self.end(now, flight, permit, Ok(Outcome::Unconfirmed));
        } else {
            self.put_aside(now, flight, permit, failure);
        }
    }

    /// No answer came in time.
    pub(super) fn unanswered(&mut self, now: Time, flight: Flight, permit: Permit<'_, Flight>) {
        if flight.may_be_unconfirmed && now < flight.retry.deadline {
            self.ask(flight, permit, Failure::Unanswered);
        } else {
            self.put_aside(now, flight, permit, Failure::Unanswered);
        }
    }

    /// Keeps a failed attempt in its place until the machine says what becomes of
    /// it.
    pub(super) fn put_aside(
        &mut self,
        now: Time,
        mut flight: Flight,
        permit: Permit<'_, Flight>,
        failure: Failure,
    ) {
        let mut retry = flight.retry;
        flight.retry.failed(failure);
        let token = permit.fill(flight, Time::NEVER.as_nanos());
        retry.token = token.to_bits();
        self.publisher
            .handle(now, publish::Input::Failed(retry, failure));
    }

    /// Does what the machines say, until they say nothing more, or batches have had their
    /// share.
    pub(super) fn advance(&mut self, now: Time, cx: &mut Context<'_>) {
        self.batches.begin_round();
        self.watch_link(now, cx);
        self.publisher.handle(now, publish::Input::Tick);
        self.line.handle(now, line::Input::Tick);
        loop {
            if let Some(output) = self.publisher.poll() {
                match output {
                    publish::Output::Resend(retry) => self.resend(now, retry),
                    publish::Output::Settle { token, verdict } => {
                        self.give_up(now, token, verdict);
                    }
                }
            } else if let Some(output) = self.line.poll() {
                match output {
                    line::Output::Send { token, place } => self.send(now, token, place),
                    line::Output::Fail { token, why } => self.fail(now, token, why),
                }
            } else if !self.advance_batches(now) {
                break;
            }
            // What was refused for now may make the link busy.
            self.watch_link(now, cx);
        }
    }

    /// The link takes nothing for now: it is waited for.
    pub(super) fn busy(&mut self, now: Time) {
        if self.link_ready.is_none() {
            let link = Arc::clone(&self.bus.link);
            self.link_ready = Some(Box::pin(async move { link.ready().await }));
            self.publisher.handle(now, publish::Input::Busy);
            self.batches_hear(now, &batch::Input::Busy);
        }
    }

    /// The link takes messages again.
    pub(super) fn free(&mut self, now: Time) {
        self.link_ready = None;
        self.publisher.handle(now, publish::Input::Free);
        self.line.handle(now, line::Input::Free);
        self.batches_hear(now, &batch::Input::Free);
    }

    /// A link that was found busy is waited for.
    fn watch_link(&mut self, now: Time, cx: &mut Context<'_>) {
        if let Some(ready) = &mut self.link_ready
            && ready.as_mut().poll(cx).is_ready()
        {
            self.free(now);
        }
    }

    fn resend(&mut self, now: Time, retry: publish::Flight) {
        let bus = Arc::clone(&self.bus);
        let Some((mut flight, permit)) = bus.window.settle(Token::from_bits(retry.token)) else {
            return;
        };
        flight.retry = retry;
        self.hand_over(now, flight, permit);
    }

    /// Its turn has come.
    fn send(&mut self, now: Time, token: u64, place: Place) {
        if self.batch_may_go(now, token, place) {
            return;
        }
        let bus = Arc::clone(&self.bus);
        match bus.window.settle(Token::from_bits(token)) {
            Some((mut flight, permit)) => {
                flight.place = Some(place);
                self.hand_over(now, flight, permit);
            }
            // Told when the bus was closed.
            None => self.leave(now, place, Ending::Known),
        }
    }

    fn hand_over(&mut self, now: Time, flight: Flight, permit: Permit<'_, Flight>) {
        if flight.is_recalled() {
            if let Some(place) = flight.place {
                self.leave(now, place, Ending::Known);
            }
            return;
        }
        let bus = Arc::clone(&self.bus);
        let Err(back) = bus.hand_over(permit, flight, now) else {
            return;
        };
        let Back {
            flight,
            permit,
            refused,
        } = *back;
        // Of an attempt before, without an answer, a refusal says nothing.
        if flight.retry.verdict() == Verdict::Rejected
            && let Some(error) = bus.for_good(refused)
        {
            return self.end(now, flight, permit, Err(error));
        }
        if refused == Refused::Busy {
            self.busy(now);
        }
        // What the hub waits for, a line may wait for. A loss that was not told yet
        // is tried again.
        let waits = refused == Refused::Busy || self.generation == 0;
        if waits {
            self.line.handle(now, line::Input::Busy);
        }
        match flight.place {
            Some(place) if waits && !flight.sent => {
                let token = permit.fill(flight, Time::NEVER.as_nanos()).to_bits();
                self.line.handle(now, line::Input::Back { place, token });
            }
            _ => self.put_aside(now, flight, permit, Failure::Refused),
        }
    }

    /// It gets no further answer.
    fn give_up(&mut self, now: Time, token: u64, verdict: Verdict) {
        let bus = Arc::clone(&self.bus);
        let Some((mut flight, permit)) = bus.window.settle(Token::from_bits(token)) else {
            return;
        };
        let error = match verdict {
            Verdict::Rejected if self.is_down_for_callers() => PublishError::Disconnected,
            _ => flight.given_up(verdict, now),
        };
        self.end(now, flight, permit, Err(error));
    }

    /// It is not sent at all.
    fn fail(&mut self, now: Time, token: u64, why: Why) {
        if self.batch_may_not_go(now, token, why) {
            return;
        }
        let bus = Arc::clone(&self.bus);
        let Some((mut flight, permit)) = bus.window.settle(Token::from_bits(token)) else {
            return;
        };
        let error = match why {
            // Nobody to tell.
            Why::Left => return,
            Why::Late if self.is_down_for_callers() => PublishError::Disconnected,
            Why::Late => flight.given_up(Verdict::Rejected, now),
            Why::PredecessorUnknown => PublishError::PredecessorUnknown,
        };
        // It is out of its line.
        flight.place = None;
        self.end(now, flight, permit, Err(error));
    }

    pub(super) fn is_down_for_callers(&self) -> bool {
        self.generation == 0 && !self.bus.settings.wait_for_connection
    }

    /// A publish has ended: its place is free, the next of its key may go, and
    /// whoever waits is told.
    pub(super) fn end(
        &mut self,
        now: Time,
        flight: Flight,
        permit: Permit<'_, Flight>,
        result: Result<Outcome, PublishError>,
    ) {
        drop(permit);
        if let Some(place) = flight.place {
            let ending = match &result {
                Err(PublishError::Unknown { .. }) => Ending::Unknown,
                _ => Ending::Known,
            };
            self.leave(now, place, ending);
        }
        flight.tell(&self.bus, result);
    }

    pub(super) fn leave(&mut self, now: Time, place: Place, ending: Ending) {
        self.line.handle(now, line::Input::Ended { place, ending });
    }
}
