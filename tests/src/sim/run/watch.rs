//! What the network of a bus shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jetbus::DeadLetter;
use jetbus_core::jetstream::ack::{self, Meta};
use jetbus_core::jetstream::admin::StoredMessage;
use jetbus_core::jetstream::publish::{self, Ack};
use jetbus_core::{Message, Publish, Subject, Timestamp, names};

use super::super::history::{Entry, Grave, Log, Passage};
use super::super::link::{Sight, Watcher};

const CREATE: &str = "$JS.API.STREAM.CREATE.";

/// What was asked, by where the answer goes.
#[derive(Default)]
struct Asked {
    creations: BTreeSet<String>,
    burials: BTreeMap<String, Grave>,
    spending: BTreeMap<String, Passage>,
}

/// Writes what the link of a bus shows; of the consumers that are `spent` the events are
/// acknowledged before they are handled.
pub(super) fn watcher(log: &Log, bus: usize, spent: BTreeSet<String>) -> Watcher {
    let log = log.clone();
    let asked = Mutex::new(Asked::default());
    Arc::new(move |sight| {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match sight {
            Sight::Handed(message) => asked.handed(bus, message).or_else(|| {
                let passage = at(bus, message.subject)?;
                let spent = spent.contains(&passage.consumer);
                match &message.payload[..] {
                    b"+ACK" if spent => {
                        let reply = message.reply.map(|reply| (reply.into(), passage.clone()));
                        asked.spending.extend(reply);
                        Some(Entry::Acknowledged(passage))
                    }
                    b"+ACK" => Some(Entry::Settled(passage)),
                    word => word
                        .starts_with(b"-NAK")
                        .then_some(Entry::GivenBack(passage)),
                }
            }),
            Sight::Refused(message) => {
                creation(message).map(|(_, reply)| Entry::NotTaken { bus, reply })
            }
            Sight::Arrived(message) => match passage(bus, message) {
                Some(passage) => Some(Entry::Arrived(passage)),
                None => asked.answered(bus, message),
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

impl Asked {
    fn handed(&mut self, bus: usize, message: Publish<'_>) -> Option<Entry> {
        if let Some((stream, reply)) = creation(message) {
            self.creations.insert(reply.clone());
            return Some(Entry::Create { bus, stream, reply });
        }
        let (grave, id) = burial(bus, message)?;
        self.burials.insert(message.reply?.into(), grave.clone());
        Some(Entry::Burying { grave, id })
    }

    fn answered(&mut self, bus: usize, message: &Message) -> Option<Entry> {
        let to = message.subject.as_str();
        if let Some(reply) = self.creations.take(to) {
            return Some(Entry::Created { bus, reply });
        }
        if let Some(passage) = self.spending.remove(to) {
            let counts = message.status.is_none() && message.payload.is_empty();
            return counts.then_some(Entry::Confirmed(passage));
        }
        let stored = matches!(publish::parse_ack(message), Ack::Stored { .. });
        let grave = stored.then(|| self.burials.remove(to)).flatten();
        grave.map(Entry::Buried)
    }
}

fn creation(message: Publish<'_>) -> Option<(String, String)> {
    let stream = message.subject.as_str().strip_prefix(CREATE)?;
    Some((stream.into(), message.reply?.into()))
}

/// The dead letter that is published, and its message id.
fn burial(bus: usize, message: Publish<'_>) -> Option<(Grave, String)> {
    let letter = DeadLetter::read(&StoredMessage {
        subject: message.subject.clone(),
        seq: 0,
        time: Timestamp::from_unix_nanos(0),
        headers: message.headers.clone(),
        payload: message.payload.clone(),
    });
    let origin = letter.ok()?.origin;
    let grave = Grave {
        bus,
        group: origin.group,
        stream: origin.stream,
        sequence: origin.sequence,
        redrives: origin.redrives,
    };
    Some((grave, message.headers.get("Nats-Msg-Id")?.into()))
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
