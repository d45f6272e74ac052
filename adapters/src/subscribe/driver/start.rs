//! Starts a subscription.

use std::sync::Arc;

use futures_channel::mpsc;
use jetbus_core::delivery::{Delivery, most_held};

use super::super::consumer::{self, Source};
use super::super::lanes::Lanes;
use super::super::options::Options;
use super::super::subscription::Subscription;
use super::super::watch;
use super::feed::Feed;
use super::outbox::Outbox;
use super::stopping::End;
use super::{Driver, Hire};
use crate::bus::{Bus, Inner};
use crate::dead_letters::{Burials, Kept, Place};
use crate::error::SubscribeError;

/// The most redriven events that are asked for at once: they come beside what fills
/// the window.
const REDRIVES: usize = 64;

/// Starts a subscription: its stream and consumer are ready and its driver runs
/// when this returns.
pub(in crate::subscribe) async fn start(
    bus: &Bus,
    options: Options,
    hire: Option<Hire>,
) -> Result<(Subscription, Arc<Lanes>), SubscribeError> {
    let inner = bus.inner();
    let _open = inner.life.enter().map_err(|_| SubscribeError::Closed)?;
    let topic: Arc<str> = options.topic.as_str().into();
    let claim = inner
        .subscriptions
        .claim(&options.topic, options.group.as_deref())?;
    let source = consumer::prepare(inner, &options).await?;
    let kept = kept(inner, &options, &source)?;
    let redrives = match &kept {
        Some(kept) => Some(consumer::redrives(inner, &options, &kept.place).await?),
        None => None,
    };
    let (window, events) = (options.window, options.events);
    let mut feeds = vec![Feed::open(inner, source, window, events).await?];
    if let Some(source) = redrives {
        feeds.push(Feed::open(inner, source, window.min(REDRIVES), events).await?);
    }

    let (control, controls) = mpsc::channel(8);
    // All that the machine holds may be handed out at once.
    let held = most_held(options.window);
    let lanes = Arc::new(Lanes::new(
        Arc::clone(inner),
        topic,
        held,
        options.handling(),
        control,
    ));
    claim.run(lanes.running());
    let delivery = Delivery::new(options.delivery(inner.random()));
    let driver = Driver {
        bus: Arc::clone(inner),
        counts: lanes.counts(),
        lanes: Arc::clone(&lanes),
        controls,
        feeds,
        outbox: Outbox::new(Arc::clone(&inner.link)),
        burials: Burials::new(inner, kept),
        delivery,
        _watch: hire.as_ref().map(|_| watch::start(&lanes)),
        hire,
        options,
        generation: 0,
        sleep: None,
        stopping: false,
        paused: false,
        renews: false,
        refused: Vec::new(),
        end: End::default(),
        _claim: claim,
    };
    inner.runtime.spawn(Box::pin(driver.run()));
    Ok((Subscription::new(Arc::clone(&lanes), bus.clone()), lanes))
}

/// Where the dead letters of a subscription go. Without a group nobody could take
/// them back, and every instance would store its own; what is not stored at all is
/// gone anyway.
fn kept(
    bus: &Arc<Inner>,
    options: &Options,
    source: &Source,
) -> Result<Option<Kept>, SubscribeError> {
    let (Some(group), Source::Stream { .. }, true) = (&options.group, source, options.dead_letters)
    else {
        return Ok(None);
    };
    Ok(Some(Kept {
        group: group.clone(),
        topic: options.topic.clone(),
        place: Place::of(bus).map_err(SubscribeError::Stream)?,
    }))
}
