//! A consumer that was lost is made ready again.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use jetbus_core::Time;
use jetbus_core::jetstream::pull;
use jetbus_core::jetstream::recall::Place;

use super::super::super::consumer::{self, Source};
use super::super::super::lanes::Lanes;
use super::Feed;
use crate::bus::Inner;
use crate::error::StreamError;
use crate::news::PullNews;

impl Feed {
    /// Looks after a consumer that was lost.
    pub(in super::super) fn repair(
        &mut self,
        now: Time,
        unsettled: impl FnOnce() -> Option<u64>,
        lanes: &Lanes,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let Some(repair) = &mut stream.repair else {
            return false;
        };
        let Poll::Ready(result) = repair.as_mut().poll(cx) else {
            return false;
        };
        stream.repair = None;
        match result {
            Ok(place) if place.made == stream.line.place().made => {
                stream.line.found(&place);
                stream.pull.handle(now, pull::Input::Restart);
            }
            Ok(place) => {
                if !place.same_stream(stream.line.place()) {
                    stream.replaced = true;
                    lanes.tell_pull(PullNews::StreamReplaced {
                        stream: place.stream.as_str().into(),
                    });
                }
                stream.line.renew(place);
                self.leave(now);
            }
            Err(error) => {
                lanes.tell_pull(PullNews::NotRepaired { error });
                let floor = stream.line.floor(unsettled());
                let at = now + consumer::REPAIR;
                let place = stream.line.place();
                stream.repair = Some(repairing(&self.bus, &self.source, place, floor, at));
            }
        }
        true
    }
}

/// Makes a lost consumer ready again, from a time on.
pub(super) fn repairing(
    bus: &Arc<Inner>,
    source: &Arc<Source>,
    place: &Place,
    floor: u64,
    from: Time,
) -> BoxFuture<'static, Result<Place, Arc<StreamError>>> {
    let (bus, source, place) = (Arc::clone(bus), Arc::clone(source), place.clone());
    Box::pin(async move {
        bus.runtime.sleep_until(from).await;
        consumer::again(&bus, &source, &place, floor).await
    })
}
