//! Streams and consumers made ready: drives the core's machines with requests.

use std::sync::Arc;
use std::time::Duration;

use jetbus_core::Message;
use jetbus_core::provision::{
    ConsumerReady, EnsureConsumer, EnsureStream, Mark, Output, Policy, ProvisionError,
    ProvisionEvent, RequestFailed, Resolution, ResolveTopic, WantedConsumer, WantedStream,
};
use jetbus_core::shared::session::Current;
use jetbus_core::subject::covers;

use crate::bus::{Inner, NoAnswer};
use crate::error::StreamError;
use crate::news::News;
use crate::publish::ATOMIC_SINCE;
use crate::streams::{Ready, Wanted};

/// How long a server may be busy with what a deleted stream or consumer leaves behind.
/// One of the same name that is made meanwhile may find messages of the old one, or lose
/// its files.
pub(crate) const DELETION: Duration = Duration::from_millis(200);

/// Makes a stream ready; `again` when it is known to have been there.
pub(crate) async fn stream(
    bus: &Inner,
    wanted: &Wanted,
    again: bool,
) -> Result<Ready, StreamError> {
    let policy = Policy {
        strategy: bus.settings.strategy,
        on_mismatch: bus.settings.on_mismatch,
        allow_destructive: bus.settings.allow_destructive,
        mark: mark(bus),
    };
    let api = bus.api.clone();
    let ensure = match wanted {
        Wanted::Declared(stream) => {
            EnsureStream::new(api, possible(bus, stream.clone()).await?, policy)
        }
        Wanted::OfTopic(topic, options) => {
            let machine = ResolveTopic::new(&api, topic, []);
            let resolution = drive(bus, machine, ResolveTopic::poll, ResolveTopic::handle).await?;
            let mut wanted = possible(bus, options.clone()).await?;
            wanted.subjects = vec![topic.clone()];
            match resolution {
                Resolution::Existing(name) => {
                    wanted.name = jetbus_core::names::own_stream(topic);
                    EnsureStream::existing(api, &name, wanted, policy)
                }
                Resolution::Own(name) => {
                    wanted.name = name;
                    EnsureStream::new(api, wanted, policy)
                }
                // None was given to choose from.
                Resolution::Declared(_) => return Err(StreamError::Closed),
            }
        }
    };
    let poll = |machine: &mut EnsureStream| {
        let output = machine.poll();
        let creates = matches!(&output, Some(Output::Request(request))
            if request.subject.as_str().contains(".STREAM.CREATE."));
        (output, creates && again)
    };
    let ready = drive_slowly(bus, ensure, poll, EnsureStream::handle).await?;
    let stream: Arc<str> = ready.name.into();
    if let Some(event) = ready.event {
        bus.news.tell(&News::Stream {
            stream: Arc::clone(&stream),
            what: event.to_string().into(),
        });
    }
    let waiting = jetbus_core::names::schedules(&stream);
    let subjects = &ready.config.subjects;
    Ok(Ready {
        dedupe_window: Duration::from_nanos(ready.config.duplicate_window),
        message_ttl: ready.config.allow_msg_ttl,
        schedules: ready.config.allow_msg_schedules
            && subjects.iter().any(|subject| covers(subject, &waiting)),
        atomic_batches: ready.config.allow_atomic,
        fast_ingest: ready.config.allow_batched,
        stream,
    })
}

/// `wanted`, without the batches that the server does not take. While there is none that
/// could tell, it is waited for, as its answer would be.
async fn possible(bus: &Inner, mut wanted: WantedStream) -> Result<WantedStream, StreamError> {
    if !wanted.atomic_batches && !wanted.fast_ingest {
        return Ok(wanted);
    }
    let patience = bus.settings.request_timeout;
    let by = bus.runtime.now() + patience;
    let (atomic, ingest) = loop {
        let up = bus.until(by, bus.session.up()).await;
        let up = up.ok_or_else(|| StreamError::NoAnswer {
            subject: "INFO".to_owned(),
            waited: patience,
        })?;
        up.map_err(|_| StreamError::Closed)?;
        let known = bus.session.with(|current| match current {
            Current::Up(session) => {
                let server = &session.link;
                Some((server.version >= ATOMIC_SINCE, server.fast_ingest))
            }
            _ => None,
        });
        if let Some(known) = known {
            break known;
        }
    };
    wanted.atomic_batches &= atomic;
    wanted.fast_ingest &= ingest;
    Ok(wanted)
}

/// Makes a consumer ready.
pub(crate) async fn consumer(
    bus: &Inner,
    wanted: WantedConsumer,
) -> Result<ConsumerReady, StreamError> {
    let machine = EnsureConsumer::new(bus.api.clone(), wanted, mark(bus));
    drive(bus, machine, EnsureConsumer::poll, EnsureConsumer::handle).await
}

/// Tells what was done about a consumer.
pub(crate) fn tell_consumer(
    bus: &Inner,
    stream: &Arc<str>,
    consumer: &str,
    event: &ProvisionEvent,
) {
    bus.news.tell(&News::Consumer {
        stream: Arc::clone(stream),
        consumer: consumer.into(),
        what: event.to_string().into(),
    });
}

fn mark(bus: &Inner) -> Mark {
    Mark {
        owner: bus.settings.owner.clone(),
        version: bus.settings.owner_version,
    }
}

/// Runs a machine to its end: its requests there, their answers back.
async fn drive<M, T>(
    bus: &Inner,
    machine: M,
    poll: fn(&mut M) -> Option<Output<T>>,
    handle: fn(&mut M, Result<&Message, RequestFailed>),
) -> Result<T, StreamError> {
    drive_slowly(bus, machine, |machine| (poll(machine), false), handle).await
}

/// As [`drive`]; requests of which `poll` says so wait for the end of a deletion.
async fn drive_slowly<M, T>(
    bus: &Inner,
    mut machine: M,
    poll: impl Fn(&mut M) -> (Option<Output<T>>, bool),
    handle: fn(&mut M, Result<&Message, RequestFailed>),
) -> Result<T, StreamError> {
    loop {
        let (output, waits) = poll(&mut machine);
        if waits {
            let runtime = &bus.runtime;
            runtime.sleep_until(runtime.now() + DELETION).await;
        }
        match output {
            Some(Output::Request(request)) => match bus
                .request(&request.subject, &request.payload)
                .await
            {
                Ok(answer) => handle(&mut machine, Ok(&answer)),
                Err(NoAnswer::Timeout { .. }) => handle(&mut machine, Err(RequestFailed::Timeout)),
                Err(NoAnswer::Denied(denied)) => return Err(StreamError::Denied(denied)),
                Err(NoAnswer::Closed) => return Err(StreamError::Closed),
            },
            Some(Output::Done(result)) => return result.map_err(StreamError::Provision),
            // Not reached: a machine that waits has asked.
            None => {
                return Err(StreamError::Provision(ProvisionError::Request(
                    RequestFailed::Timeout,
                )));
            }
        }
    }
}
