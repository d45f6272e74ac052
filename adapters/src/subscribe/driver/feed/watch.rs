//! A look at a consumer that says nothing, or not enough.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use jetbus_core::Time;
use jetbus_core::jetstream::admin::{answer, consumer_info};
use jetbus_core::jetstream::api::ConsumerInfo;

use super::super::super::consumer::Source;
use super::super::super::lanes::Lanes;
use super::{Feed, Phase};
use crate::bus::Inner;
use crate::news::PullNews;

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
        if !matches!(self.phase, Phase::Open) {
            stream.watch.rests(now);
            stream.looking = None;
            return false;
        }
        stream.watch.owed(now, stream.pull.owed());
        if due {
            let (bus, name) = (Arc::clone(&self.bus), &wanted.name);
            let look = look(bus, stream.line.place().stream.clone(), name.clone());
            stream.looking = Some(look);
            stream.watch.asks(now);
        }
        let Some(looking) = &mut stream.looking else {
            return false;
        };
        let Poll::Ready(info) = looking.as_mut().poll(cx) else {
            return false;
        };
        stream.looking = None;
        let silence = stream.watch.asked(now);
        let Some(info) = info else {
            // Silence is noticed by heartbeats, a consumer that is gone by pulls.
            return true;
        };
        if stream.line.looked(&info)
            && let Some(waited) = silence
        {
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
        if !matches!(self.phase, Phase::Open) {
            return None;
        }
        stream.watch.due(stream.pull.owed(), stream.line.asks())
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
