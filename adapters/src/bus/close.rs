//! Closing a bus: open, draining, closed.

use std::sync::Arc;

use futures_channel::oneshot;

use super::Inner;
use crate::subscribe::{Control, DrainReport, LAST_WORDS, Stop};

/// What closing found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Subscriptions that settled or gave back all they held.
    pub stopped: usize,
    /// Subscriptions whose handlers still ran at the end: their events come again.
    pub abandoned: usize,
    /// Publishes that were not answered in time: their outcome is unknown.
    pub unknown: usize,
}

pub(super) async fn close(bus: &Arc<Inner>) -> CloseReport {
    abandon(bus);
    *bus.life.closed().await
}

/// Begins to close, if nobody has, in a task of its own: a caller that goes away
/// does not stop it.
pub(super) fn abandon(bus: &Arc<Inner>) {
    // Whoever sees the bus refuse something sees no handler start after that.
    bus.subscriptions.hold();
    if bus.life.close() {
        let bus = Arc::clone(bus);
        bus.runtime.clone().spawn(Box::pin(async move {
            let report = run(&bus).await;
            bus.life.finish(report);
        }));
    }
}

async fn run(bus: &Arc<Inner>) -> CloseReport {
    let deadline = bus.runtime.now() + bus.settings.close_timeout;
    let mut report = CloseReport::default();
    // Calls that were let in before (a subscription being made) end first.
    bus.until(deadline, bus.life.drained()).await;

    let mut stopping = Vec::new();
    for mut control in bus.subscriptions.controls() {
        let (done, stopped) = oneshot::channel();
        let stop = Stop {
            by: Some(deadline),
            done: Some(done),
        };
        match control.try_send(Control::Stop(stop)) {
            Ok(()) => stopping.push(stopped),
            Err(_) => report.abandoned += 1,
        }
    }
    for stopped in stopping {
        match bus.until(deadline + LAST_WORDS, stopped).await {
            // Of one that had ended before there is no report.
            Some(Ok(DrainReport { abandoned: 0, .. }) | Err(_)) => report.stopped += 1,
            Some(Ok(_)) | None => report.abandoned += 1,
        }
    }

    bus.publishing.close();
    bus.results.close();
    bus.batches.close();
    bus.window.close();
    bus.bytes.close();
    bus.until(deadline, bus.publishing.drained()).await;
    bus.until(deadline, bus.window.idle()).await;
    report.unknown = bus.tell_all(bus.runtime.now());

    bus.calls.close();
    // Ends the hub too: the link has no more news.
    bus.link.close().await;
    bus.session.close();
    bus.news.close();
    report
}
