//! A look at a consumer that says nothing.
//!
//! Heartbeats only show that the server knows of a pull. Consumers were seen that had
//! messages and delivered none of them (nats-server #4736, #7680).
//!
//! A consumer that others read is looked at all the same, from time to time: what is
//! settled of it only the server knows.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use jetbus_core::Time;
use jetbus_core::jetstream::admin::{answer, consumer_info};
use jetbus_core::jetstream::api::ConsumerInfo;

use super::super::super::consumer::Source;
use super::super::super::lanes::Lanes;
use super::{Feed, Phase};
use crate::bus::Inner;
use crate::news::PullNews;

/// How long nothing comes before the consumer is looked at, and between two looks; up
/// to a third more, so that not all look at once.
const IDLE: Duration = Duration::from_secs(30);

/// Since when nothing came, and whether that is looked into.
pub(super) struct Watch {
    interval: Duration,
    /// When the last message came, or the consumer was looked at.
    since: Time,
    /// When the consumer was looked at, if it was.
    looked: Option<Time>,
    /// What the server says, and since when it is asked.
    looking: Option<(Time, BoxFuture<'static, Option<ConsumerInfo>>)>,
}

impl Watch {
    pub(super) fn new(random: u64) -> Self {
        let third = IDLE.as_millis() as u64 / 3;
        Self {
            interval: IDLE + Duration::from_millis(random % third),
            since: Time::ZERO,
            looked: None,
            looking: None,
        }
    }

    /// A message came.
    pub(super) const fn heard(&mut self, now: Time) {
        self.since = now;
    }
}

impl Feed {
    /// Looks at the consumer when it is time, and pulls anew from one that has messages
    /// when nothing came for a while though pulls are open.
    pub(in super::super) fn watch(
        &mut self,
        now: Time,
        lanes: &Lanes,
        cx: &mut Context<'_>,
    ) -> bool {
        let due = self.watch_at().is_some_and(|at| at <= now);
        let (Some(stream), Source::Stream { wanted, .. }) = (&mut self.stream, &*self.source)
        else {
            return false;
        };
        let watch = &mut stream.watch;
        if !matches!(self.phase, Phase::Open) {
            watch.heard(now);
            watch.looking = None;
            return false;
        }
        if stream.pull.owed() == 0 {
            // Nothing is to come; it is waited for from then on.
            watch.heard(now);
        }
        watch.looked.get_or_insert(now);
        if due {
            let (bus, name) = (Arc::clone(&self.bus), &wanted.name);
            let look = look(bus, stream.line.place().stream.clone(), name.clone());
            watch.looking = Some((now, look));
        }
        let Some((asked, looking)) = &mut watch.looking else {
            return false;
        };
        let Poll::Ready(info) = looking.as_mut().poll(cx) else {
            return false;
        };
        let idle = *asked >= watch.since + watch.interval;
        let waited = now.since(watch.since);
        watch.looking = None;
        watch.looked = Some(now);
        if idle {
            watch.heard(now);
        }
        let Some(info) = info else {
            // Silence is noticed by heartbeats, a consumer that is gone by pulls.
            return true;
        };
        if stream.line.looked(&info) && idle {
            lanes.tell_pull(PullNews::Stuck {
                pending: info.num_pending,
                waited,
            });
            self.leave(now);
        }
        true
    }

    /// When the consumer is looked at.
    pub(super) fn watch_at(&self) -> Option<Time> {
        let stream = self.stream.as_ref()?;
        let watch = &stream.watch;
        if watch.looking.is_some() || !matches!(self.phase, Phase::Open) {
            return None;
        }
        let idle = (stream.pull.owed() > 0).then_some(watch.since);
        let asks = watch.looked.filter(|_| stream.line.asks());
        let since = idle.into_iter().chain(asks).min()?;
        Some(since + watch.interval)
    }
}

fn look(
    bus: Arc<Inner>,
    stream: String,
    consumer: String,
) -> BoxFuture<'static, Option<ConsumerInfo>> {
    Box::pin(async move {
        let request = consumer_info(&bus.api, &stream, &consumer);
        let answered = bus.request(&request.subject, &request.payload).await;
        answer(&answered.ok()?).ok()
    })
}
