//! What handles and the bus tell a driver.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use jetbus_core::Time;
use jetbus_core::delivery;

use super::super::subscription::Control;
use super::{BUDGET, Driver};

impl Driver {
    /// What handles and the bus want.
    pub(super) fn controls(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for _ in 0..BUDGET {
            let Poll::Ready(control) = Pin::new(&mut self.controls).poll_next(cx) else {
                break;
            };
            any = true;
            match control {
                Some(Control::Link) => {}
                Some(Control::Renew) => self.renews = true,
                Some(Control::Pause) => {
                    if let Some(paused) = self.lanes.wishes.take_pause() {
                        self.pause(paused);
                    }
                }
                Some(Control::Stop(stop)) => {
                    self.end.heed(stop);
                    self.stop();
                }
                // The bus and all handles are gone.
                None => {
                    self.stop();
                    return false;
                }
            }
        }
        any
    }

    /// Renews the leases that handles wish to be renewed. While the link is behind they
    /// are only gathered: what is not sent yet is not said again and again.
    pub(super) fn renewals(&mut self, now: Time) {
        if !self.renews || !self.outbox.is_empty() {
            return;
        }
        self.renews = false;
        for id in self.lanes.wishes.take_renewals() {
            self.delivery.handle(now, delivery::Input::Progress { id });
        }
    }

    fn pause(&mut self, paused: bool) {
        let now = self.bus.runtime.now();
        self.paused = paused;
        self.lanes.gauges.pause(paused);
        for feed in &mut self.feeds {
            feed.pause(now, paused);
        }
    }
}
