//! The hub's part in what the server does not permit: it finds out whose it was.

use std::sync::Arc;

use jetbus_core::Time;
use jetbus_core::denied::{Denied, Operation};
use jetbus_core::jetstream::publish::{Failure, Verdict};

use super::Hub;
use crate::error::PublishError;
use crate::news::News;

impl Hub {
    /// The server names a subject. All that is on its way there goes nowhere.
    pub(super) fn denied(&mut self, now: Time, denied: &Denied) {
        match denied.operation {
            Operation::Publish => {
                self.publishes_denied(now, denied);
                self.calls_denied(denied);
                self.batches_denied(now, denied);
            }
            Operation::Subscribe if self.bus.replies.subscription().as_str() == denied.subject => {
                let bus = &self.bus;
                // Looked at after a call is in its place: either it is found here, or it
                // finds this.
                bus.denials.deny_answers(self.generation, denied);
                for (token, _) in bus.calls.sweep() {
                    if let Some((call, _place)) = bus.calls.settle(token) {
                        let _ = call.answer.send(Err(denied.clone()));
                    }
                }
            }
            // The link says so to whoever subscribes.
            Operation::Subscribe => {}
        }
        self.bus.news.tell(&News::Denied {
            denied: denied.clone(),
        });
    }

    fn publishes_denied(&mut self, now: Time, denied: &Denied) {
        let bus = Arc::clone(&self.bus);
        for (token, mark) in bus.window.tagged(denied.tag()) {
            if mark == Time::NEVER.as_nanos() {
                // Not sent, or sent again later: then it is denied again.
                continue;
            }
            let Some((mut flight, permit)) = bus.window.settle(token) else {
                continue;
            };
            if flight.subject.as_str() != denied.subject {
                // Of the same tag by chance: its answer does not find it any more.
                self.put_aside(now, flight, permit, Failure::Unanswered);
                continue;
            }
            // Of an attempt before, without an answer, this says nothing.
            let error = match flight.retry.verdict() {
                Verdict::Rejected => PublishError::Denied(denied.clone()),
                Verdict::Unknown => flight.given_up(Verdict::Unknown, now),
            };
            self.end(now, flight, permit, Err(error));
        }
    }

    fn calls_denied(&self, denied: &Denied) {
        let calls = &self.bus.calls;
        for (token, _) in calls.tagged(denied.tag()) {
            let Some((call, _place)) = calls.settle(token) else {
                continue;
            };
            // One of the same tag by chance is dropped, and so asked again.
            if call.subject.as_str() == denied.subject {
                let _ = call.answer.send(Err(denied.clone()));
            }
        }
    }
}
