//! What a publish asks of the server beside storing it.

use std::time::Duration;

use jetbus_core::shared::session::Current;
use jetbus_core::subject::NameError;
use jetbus_core::{Headers, Subject, names};

use crate::bus::Inner;
use crate::error::{Invalid, PublishError, Unsupported};
use crate::event::Options;
use crate::streams::Ready;

const TTL: &str = "Nats-TTL";
const LAST_SEQUENCE: &str = "Nats-Expected-Last-Sequence";
const LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
const SCHEDULE: &str = "Nats-Schedule";
const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
const SCHEDULE_TTL: &str = "Nats-Schedule-TTL";

/// Since when servers keep a time to live per message (ADR-43).
const TTL_SINCE: (u32, u32, u32) = (2, 11, 0);
/// Since when servers publish later (ADR-51).
const SCHEDULES_SINCE: (u32, u32, u32) = (2, 12, 0);

/// Writes `options` into the headers of a message to `topic`.
pub(super) fn write(
    options: &Options,
    topic: &str,
    headers: &mut Headers,
) -> Result<(), PublishError> {
    if options.is_plain() {
        return Ok(());
    }
    let refuse = |what, value: &str, rule| {
        Err(PublishError::Invalid(Invalid::Option(NameError::new(
            what, value, rule,
        ))))
    };
    let mut set = |name, value: &str| {
        headers
            .insert(name, value)
            .map_err(|error| PublishError::Invalid(Invalid::Header(error)))
    };
    if let Some(sequence) = options.last_sequence {
        set(LAST_SEQUENCE, &sequence.to_string())?;
    }
    if let Some(sequence) = options.last_subject_sequence {
        if options.deliver_at.is_some() {
            return refuse(
                "expect_last_subject_sequence",
                &sequence.to_string(),
                "what is published later is stored under another subject first",
            );
        }
        set(LAST_SUBJECT_SEQUENCE, &sequence.to_string())?;
    }
    if let Some(ttl) = options.ttl {
        if ttl < Duration::from_secs(1) || ttl.subsec_nanos() != 0 {
            return refuse(
                "ttl",
                &format!("{ttl:?}"),
                "it is whole seconds, at least one",
            );
        }
        // A schedule gives it to what it publishes.
        let name = match options.deliver_at {
            Some(_) => SCHEDULE_TTL,
            None => TTL,
        };
        set(name, &format!("{}s", ttl.as_secs()))?;
    }
    if let Some(at) = options.deliver_at {
        set(SCHEDULE, &format!("@at {at}"))?;
        set(SCHEDULE_TARGET, topic)?;
    }
    Ok(())
}

/// Refuses what the server is too old for.
pub(super) fn check_server(options: &Options, bus: &Inner) -> Result<(), PublishError> {
    if options.ttl.is_none() && options.deliver_at.is_none() {
        return Ok(());
    }
    let version = bus.session.with(|current| match current {
        Current::Up(session) => Some(session.link.version),
        // Not known yet, or not told: the stream will say.
        _ => None,
    });
    let Some(version) = version.filter(|version| *version != (0, 0, 0)) else {
        return Ok(());
    };
    for (asked, option, since) in [
        (options.ttl.is_some(), "ttl", TTL_SINCE),
        (options.deliver_at.is_some(), "deliver_at", SCHEDULES_SINCE),
    ] {
        if asked && version < since {
            return Err(PublishError::Unsupported(Unsupported::Server {
                option,
                since,
                version,
            }));
        }
    }
    Ok(())
}

/// Refuses what the topic's stream does not allow.
pub(super) fn check_stream(options: &Options, ready: &Ready) -> Result<(), PublishError> {
    for (asked, allowed, option, needs) in [
        (
            options.ttl.is_some(),
            ready.message_ttl,
            "ttl",
            "message_ttl",
        ),
        (
            options.deliver_at.is_some(),
            ready.schedules,
            "deliver_at",
            "schedules",
        ),
    ] {
        if asked && !allowed {
            return Err(PublishError::Unsupported(Unsupported::Stream {
                option,
                stream: ready.stream.clone(),
                needs,
            }));
        }
    }
    Ok(())
}

/// Refuses what makes no sense where nothing is stored.
pub(super) fn check_ephemeral(options: &Options) -> Result<(), PublishError> {
    let asked = [
        (options.ttl.is_some(), "ttl"),
        (options.last_sequence.is_some(), "expect_last_sequence"),
        (
            options.last_subject_sequence.is_some(),
            "expect_last_subject_sequence",
        ),
        (options.deliver_at.is_some(), "deliver_at"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, option)) => Err(PublishError::Unsupported(Unsupported::Ephemeral { option })),
        None => Ok(()),
    }
}

/// Where it is stored: under the topic, or where schedules wait, `id` being its own.
pub(super) fn subject(
    options: &Options,
    topic: &Subject,
    ready: &Ready,
    id: impl FnOnce() -> String,
) -> Subject {
    match options.deliver_at {
        Some(_) => names::schedule(&ready.stream, &id()),
        None => topic.clone(),
    }
}
