//! What a subscription reads: a consumer, or core NATS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::jetstream::recall::Place;
use jetbus_core::provision::{self, WantedConsumer};
use jetbus_core::{Subject, Timestamp, names, subject};
use serde::Deserialize;

use super::options::{Options, Start};
use crate::bus::Inner;
use crate::dead_letters;
use crate::error::{OptionError, StreamError, SubscribeError, TopicError};
use crate::provision as provisioning;
use crate::streams::StreamEntry;
use crate::topics::{self, Kept};

/// How long a pull stays open.
pub(super) const EXPIRES: Duration = Duration::from_secs(10);

/// How often the server says that a pull is open: a silent one is noticed after
/// twice this.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// After how long without a pull the consumer of a subscription without a group is
/// removed: long enough for a restart of the server.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// How often a consumer that could not be created is tried again.
const REFUSALS: u32 = 10;

/// How long making a stream or consumer ready may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after a failure it is tried again to make a lost consumer ready.
pub(super) const REPAIR: Duration = Duration::from_secs(1);

/// What a subscription reads.
#[derive(Debug)]
pub(super) enum Source {
    /// A consumer of a stream.
    Stream {
        entry: Arc<StreamEntry>,
        wanted: Box<WantedConsumer>,
        /// Where pulls go.
        request: Subject,
        /// Where the consumer stood when the subscription began.
        place: Place,
        /// It reads redriven events: a work queue, whose consumers start at the first
        /// message.
        redrives: bool,
    },
    /// What is published at the moment.
    Core {
        pattern: Subject,
        group: Option<Subject>,
    },
}

/// Where a consumer that is made again starts.
struct Again<'a> {
    place: &'a Place,
    /// The lowest sequence that is not known to be settled.
    floor: u64,
}

impl Again<'_> {
    /// The start, in a stream that was `created` then.
    fn start(&self, created: Option<&String>) -> provision::Start {
        match created {
            Some(created) if self.place.created.as_ref() == Some(created) => {
                provision::Start::Sequence(self.floor.max(1))
            }
            _ => provision::Start::All,
        }
    }
}

/// Finds out what to read, and makes it ready.
pub(super) async fn prepare(bus: &Arc<Inner>, options: &Options) -> Result<Source, SubscribeError> {
    let topic = &options.topic;
    subject::check_pattern(topic).map_err(SubscribeError::Name)?;
    if let Some(group) = &options.group {
        names::check_group(group).map_err(SubscribeError::Name)?;
    }
    let entry = match topics::kept_for(bus, topic) {
        Ok(Kept::In(entry)) => entry,
        Ok(Kept::Nowhere) => {
            let past = options.start.filter(|start| *start != Start::New);
            if let Some(start) = past {
                return Err(SubscribeError::Option(OptionError {
                    option: "start",
                    value: format!("{start:?}"),
                    rule: "an ephemeral topic has new events only",
                }));
            }
            return Ok(Source::Core {
                pattern: Subject::from(topic.as_str()),
                group: options.group.as_deref().map(Subject::from),
            });
        }
        Err(TopicError::Name(error)) => return Err(SubscribeError::Name(error)),
        Err(TopicError::Stream(error)) => return Err(SubscribeError::Stream(error)),
        Err(error) => return Err(SubscribeError::Topic(error)),
    };
    let name = match &options.group {
        Some(group) => names::durable(group, topic, None).map_err(SubscribeError::Name)?,
        None => format!("e{:016x}{:016x}", bus.random(), bus.random()),
    };
    let mut wanted = WantedConsumer::durable("", name, topic);
    wanted.ack_wait = options.ack_wait;
    wanted.max_ack_pending = u32::try_from(options.window).unwrap_or(u32::MAX).max(1_000);
    wanted.durable = options.group.is_some();
    wanted.start = match options.start {
        Some(Start::Beginning) => provision::Start::All,
        Some(Start::New) => provision::Start::New,
        Some(Start::Sequence(sequence)) => provision::Start::Sequence(sequence),
        Some(Start::Time(time)) => provision::Start::Time(time),
        None if wanted.durable => provision::Start::All,
        None => provision::Start::New,
    };
    wanted.inactive_threshold = (!wanted.durable).then_some(FORGOTTEN);
    ready(bus, entry, wanted, None)
        .await
        .map_err(SubscribeError::Stream)
}

/// Makes ready what the subscription reads redriven events from, and the stream of
/// dead letters, so that nothing is left to be made when an event is given up.
pub(super) async fn redrives(
    bus: &Arc<Inner>,
    options: &Options,
    letters: &dead_letters::Place,
) -> Result<Source, SubscribeError> {
    let (topic, group) = (&options.topic, options.group.as_deref().unwrap_or_default());
    let names = &letters.names;
    let name = names::durable(group, topic, None).map_err(SubscribeError::Name)?;
    let pattern = names.redrive_pattern(group, topic);
    let pattern = pattern.map_err(SubscribeError::Name)?;
    let deadline = bus.runtime.now() + PATIENCE;
    letters
        .dead
        .ensure(bus, deadline)
        .await
        .map_err(SubscribeError::Stream)?;
    let mut wanted = WantedConsumer::durable("", name, pattern);
    wanted.ack_wait = options.ack_wait;
    let mut source = ready(bus, Arc::clone(&letters.redrive), wanted, None)
        .await
        .map_err(SubscribeError::Stream)?;
    if let Source::Stream { redrives, .. } = &mut source {
        *redrives = true;
    }
    Ok(source)
}

/// Makes stream and consumer ready; a consumer that has to be made again starts as
/// `again` says.
async fn ready(
    bus: &Arc<Inner>,
    entry: Arc<StreamEntry>,
    mut wanted: WantedConsumer,
    again: Option<Again<'_>>,
) -> Result<Source, Arc<StreamError>> {
    let deadline = bus.runtime.now() + PATIENCE;
    let mut refusals = 0;
    loop {
        let stream = entry.ensure(bus, deadline).await?.stream;
        wanted.stream = stream.as_ref().into();
        let created = created(bus, &stream).await;
        if let Some(again) = &again {
            wanted.start = again.start(created.as_ref());
        }
        match provisioning::consumer(bus, wanted.clone()).await {
            Ok(ready) => {
                let mut fresh = false;
                if let Some(event) = ready.event {
                    provisioning::tell_consumer(bus, &stream, &wanted.name, &event);
                    fresh = event.outcome == provision::Outcome::Created
                        && ready.info.delivered.consumer_seq == 0;
                }
                let request = bus.api.next_messages(&wanted.stream, &wanted.name);
                let place = Place {
                    stream: wanted.stream.clone(),
                    consumer: wanted.name.clone(),
                    created,
                    own: !wanted.durable,
                    others: ready.info.num_waiting > 0,
                    fresh,
                    settled: ready.info.settled(),
                    delivered: ready.info.delivered,
                    made: ready.info.created,
                };
                return Ok(Source::Stream {
                    entry,
                    wanted: Box::new(wanted),
                    request,
                    place,
                    redrives: false,
                });
            }
            Err(error) if error.is_stream_gone() => entry.doubt(),
            Err(error) if error.is_transient() => {}
            // A server that has just deleted a consumer of this name says the same as
            // of a wrong configuration.
            Err(error) if error.is_creation_failure() && refusals < REFUSALS => refusals += 1,
            Err(error) => return Err(Arc::new(error)),
        }
        let again = bus.runtime.now() + Duration::from_millis(100 + bus.random() % 400);
        if again >= deadline {
            return Err(Arc::new(StreamError::NoAnswer {
                subject: format!("questions about consumer {}", wanted.name),
                waited: PATIENCE,
            }));
        }
        bus.runtime.sleep_until(again).await;
    }
}

/// Makes the source ready again after it was found missing. Its stream is asked
/// for too: it may have gone with it. A consumer that has to be made starts at
/// `floor`, unless its stream is another one than at `place`, or is a work queue.
pub(super) async fn again(
    bus: &Arc<Inner>,
    source: &Source,
    place: &Place,
    floor: u64,
) -> Result<Place, Arc<StreamError>> {
    let Source::Stream {
        entry,
        wanted,
        redrives,
        ..
    } = source
    else {
        return Err(Arc::new(StreamError::Closed));
    };
    entry.doubt();
    let again = (!redrives).then_some(Again { place, floor });
    match ready(bus, Arc::clone(entry), *wanted.clone(), again).await? {
        Source::Stream { place, .. } => Ok(place),
        Source::Core { .. } => Err(Arc::new(StreamError::Closed)),
    }
}

/// Lets the server forget the pulls that nobody waits for any more: it does so when it
/// is asked about the consumer. As long as they are there, it takes what is given back
/// for them, finds nobody, and puts it behind what was given back after it.
/// Says whether it has answered.
pub(super) async fn forget_pulls(bus: &Arc<Inner>, source: &Source) -> bool {
    let Source::Stream { wanted, .. } = source else {
        return true;
    };
    let subject = bus.api.consumer_info(&wanted.stream, &wanted.name);
    bus.request(&subject, &Bytes::new()).await.is_ok()
}

/// When the server says that a stream was created.
async fn created(bus: &Inner, stream: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Info {
        created: String,
    }
    let subject = bus.api.stream_info(stream);
    let answer = bus.request(&subject, &Bytes::new()).await.ok()?;
    let info: Info = serde_json::from_slice(&answer.payload).ok()?;
    Some(info.created)
}

/// What is known of a message of core NATS: its place among those received.
pub(super) const fn local_meta(received: u64, wall: Timestamp) -> Meta {
    Meta {
        delivered: 1,
        stream_seq: received,
        consumer_seq: received,
        timestamp: wall,
        pending: 0,
    }
}
