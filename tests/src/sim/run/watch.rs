//! What the network of a bus shows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jetbus_core::jetstream::ack::{self, Meta};
use jetbus_core::{Message, Publish, names};

use super::super::history::{Entry, Log, Passage};
use super::super::link::{Sight, Watcher};

const CREATE: &str = "$JS.API.STREAM.CREATE.";

/// Writes what the link of a bus shows.
pub(super) fn watcher(log: &Log, bus: usize) -> Watcher {
    let log = log.clone();
    // Where answers to creations go.
    let replies = Mutex::new(BTreeSet::new());
    Arc::new(move |sight| {
        let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match sight {
            Sight::Handed(message) => creation(message).map(|(stream, reply)| {
                replies.insert(reply.clone());
                Entry::Create { bus, stream, reply }
            }),
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

fn passage(bus: usize, message: &Message) -> Option<Passage> {
    let reply = message.reply.as_ref()?;
    let (meta, (stream, consumer)) = (Meta::parse(reply)?, ack::names(reply)?);
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
