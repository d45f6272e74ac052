//! What the network of a bus shows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jetbus_core::jetstream::ack::{self, Meta};
use jetbus_core::{Message, Publish, Subject, names};

use super::super::history::{Entry, Log, Passage};
use super::super::link::{Sight, Watcher};

const CREATE: &str = "$JS.API.STREAM.CREATE.";

/// Writes what the link of a bus shows.
///
/// Acknowledgements only of the consumers that are `spent`: whose events are acknowledged
/// before they are handled.
pub(super) fn watcher(log: &Log, bus: usize, spent: BTreeSet<String>) -> Watcher {
    let log = log.clone();
    // Where answers to creations go.
    let replies = Mutex::new(BTreeSet::new());
    Arc::new(move |sight| {
        let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match sight {
            Sight::Handed(message) => match creation(message) {
                Some((stream, reply)) => {
                    replies.insert(reply.clone());
                    Some(Entry::Create { bus, stream, reply })
                }
                None => acknowledged(bus, message)
                    .filter(|passage| spent.contains(&passage.consumer))
                    .map(Entry::Acknowledged),
            },
            Sight::Refused(message) => {
                creation(message).map(|(_, reply)| Entry::NotTaken { bus, reply })
            }
            Sight::Arrived(message) => match passage(bus, message) {
                Some(passage) => Some(Entry::Arrived(passage)),
                None => {
                    let reply = replies.take(message.subject.as_str());
                    reply.map(|reply| Entry::Created { bus, reply })
                }
            },
            Sight::Lost(message) => passage(bus, message).map(Entry::Lost),
            Sight::Down => Some(Entry::Down { bus }),
            Sight::Up => Some(Entry::Up { bus }),
        };
        if let Some(entry) = entry {
            log.add(entry);
        }
    })
}

fn creation(message: Publish<'_>) -> Option<(String, String)> {
    let stream = message.subject.as_str().strip_prefix(CREATE)?;
    Some((stream.into(), message.reply?.into()))
}

fn acknowledged(bus: usize, message: Publish<'_>) -> Option<Passage> {
    let ack = message.payload.starts_with(b"+ACK");
    ack.then(|| at(bus, message.subject)).flatten()
}

fn passage(bus: usize, message: &Message) -> Option<Passage> {
    at(bus, message.reply.as_ref()?)
}

/// The delivery that is acknowledged there.
fn at(bus: usize, subject: &Subject) -> Option<Passage> {
    let (meta, (stream, consumer)) = (Meta::parse(subject)?, ack::names(subject)?);
    // Names of durables hold the group's and the topic's, separated.
    let made_up = names::parse_durable(consumer).is_none();
    Some(Passage {
        bus,
        consumer: if made_up {
            String::new()
        } else {
            consumer.into()
        },
        stream: stream.into(),
        sequence: meta.stream_seq,
    })
}
