//! The end of a subscription.

use std::future::poll_fn;
use std::time::Duration;

use futures_channel::oneshot;
use jetbus_core::Time;
use jetbus_core::delivery;

use super::super::subscription::{DrainReport, Stop};
use super::Driver;
use super::feed::Feed;

/// How long the last words may take to leave, after handlers were given up.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a subscription ends.
#[derive(Debug, Default)]
pub(super) struct End {
    /// When handlers that still run are given up.
    by: Option<Time>,
    /// They were given up: when it ends at the latest.
    last: Option<Time>,
    waiting: Vec<oneshot::Sender<DrainReport>>,
}

impl End {
    /// The earliest deadline counts.
    pub(super) fn heed(&mut self, stop: Stop) {
        self.by = self.by.into_iter().chain(stop.by).min();
        self.waiting.extend(stop.done);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.last.or(self.by)
    }
}

impl Driver {
    /// Runs until it is told to end, and to the end.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        let counts = self.delivery.report();
        let mut report = DrainReport {
            finished: counts.finished,
            returned: counts.returned,
            abandoned: counts.abandoned,
            confirmed: true,
        };
        // What was settled has come to the server before anybody hears of the end.
        let now = self.bus.runtime.now();
        let by = match self.end.by {
            Some(by) => by.max(now) + LAST_WORDS,
            None => now + self.bus.settings.request_timeout,
        };
        let flushed = self.bus.until(by, self.bus.link.flush()).await;
        if !self.end.waiting.is_empty() {
            report.confirmed = self.outbox.is_empty() && matches!(flushed, Some(Ok(())));
            let answers: Vec<_> = self.feeds.iter().map(Feed::round_trip).collect();
            for answer in answers {
                report.confirmed =
                    report.confirmed && self.bus.until(by, answer).await == Some(true);
            }
        }
        // Who waits may subscribe again at once.
        drop(self._claim);
        for waiting in self.end.waiting {
            // Nobody waits any more: nothing to tell.
            let _ = waiting.send(report);
        }
    }

    /// Starts nothing more, and gives back what waits.
    pub(super) fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        let now = self.bus.runtime.now();
        for place in 0..self.feeds.len() {
            let Some(feed) = self.feeds.get_mut(place) else {
                break;
            };
            let redriven = feed.redriven();
            for (began, meta, message) in feed.stop(now) {
                self.receive(began, meta, message, redriven);
            }
        }
        // What no worker took is as good as never handed out.
        self.lanes.handoff().close();
        while let Some(work) = self.lanes.handoff().take_back() {
            self.refused.extend(work.ids());
        }
        for id in self.refused.drain(..) {
            self.delivery.take_back(id);
        }
        self.delivery.handle(now, delivery::Input::Stop);
    }

    /// Gives up what still runs when its time is over.
    pub(super) fn give_up(&mut self, now: Time) -> bool {
        if !self.stopping || self.end.last.is_some() || self.end.by.is_none_or(|by| now < by) {
            return false;
        }
        self.end.last = Some(now + LAST_WORDS);
        self.delivery.handle(now, delivery::Input::Abandon);
        for feed in &mut self.feeds {
            feed.give_up();
        }
        true
    }

    /// Whether there is nothing more to do, or no more time for it.
    pub(super) fn has_ended(&self, now: Time) -> bool {
        if !self.stopping {
            return false;
        }
        let draining = self.feeds.iter().any(Feed::is_draining);
        let late = self
            .end
            .last
            .is_some_and(|last| now >= last || self.generation == 0);
        !draining && self.settled() || late
    }

    /// Whether nothing is held, and nothing said of it is still to be sent.
    pub(super) fn settled(&self) -> bool {
        self.delivery.idle() && self.outbox.is_empty()
    }
}
