//! Messages between the core's types and the client's.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use crossbeam_queue::ArrayQueue;
use jetbus_core::{Headers, Message, Publish, Status, Subject, headers, subject};

const BATCH_ID: HeaderName = HeaderName::from_static("Nats-Batch-Id");
const BATCH_SEQUENCE: HeaderName = HeaderName::from_static("Nats-Batch-Sequence");

/// Headers of a message that are sorted without an allocation.
const FEW: usize = 8;

/// Makes subjects and headers out of the client's text, many to an allocation. One
/// that is kept keeps its whole chunk.
#[derive(Debug, Default)]
pub(super) struct Texts {
    subjects: subject::Writer,
    headers: headers::Writer,
}

impl Texts {
    pub(super) fn message(&mut self, message: async_nats::Message) -> Message {
        let headers = match &message.headers {
            Some(map) if !map.is_empty() => self.headers(map),
            _ => Headers::new(),
        };
        let status = message.status.map(|code| Status {
            code: code.as_u16(),
            description: message.description.unwrap_or_default().into(),
        });
        Message {
            subject: self.subjects.write_again(message.subject.as_str()),
            reply: message
                .reply
                .map(|reply| self.subjects.write(reply.as_str())),
            headers,
            status,
            payload: message.payload,
        }
    }

    /// The client hands over headers without their order; names are sorted so that
    /// equal messages look equal.
    fn headers(&mut self, map: &HeaderMap) -> Headers {
        let lines = map
            .iter()
            .map(|(name, values)| (name.as_ref(), values.as_slice()));
        if map.len() == 1 {
            // As most have, and there is nothing to sort.
            lines.for_each(|(name, values)| self.write(name, values));
            return self.headers.finish();
        }
        let mut few: [(&str, &[HeaderValue]); FEW] = [("", &[]); FEW];
        let mut many = Vec::new();
        let all = match few.get_mut(..map.len()) {
            Some(few) => {
                few.iter_mut()
                    .zip(lines)
                    .for_each(|(place, line)| *place = line);
                few
            }
            None => {
                many.extend(lines);
                &mut *many
            }
        };
        all.sort_unstable_by_key(|(name, _)| *name);
        for (name, values) in all {
            self.write(name, values);
        }
        self.headers.finish()
    }

    fn write(&mut self, name: &str, values: &[HeaderValue]) {
        for value in values {
            if let Err(error) = self.headers.append(name, value.as_str()) {
                tracing::debug!(%error, "a received header is left out");
            }
        }
    }
}

/// How many threads find a writer while others have one; more make their own.
const WRITERS: usize = 8;

/// Makes reply subjects, many to an allocation, on whichever threads.
#[derive(Debug)]
pub(super) struct Replies(ArrayQueue<subject::Writer>);

impl Replies {
    pub(super) fn new() -> Self {
        Self(ArrayQueue::new(WRITERS))
    }

    fn write(&self, reply: &str) -> Subject {
        let mut writer = self.0.pop().unwrap_or_default();
        let subject = writer.write(reply);
        // One too many is dropped.
        let _ = self.0.push(writer);
        subject
    }
}

/// `None` when something in it cannot be sent.
pub(super) fn outgoing(
    message: Publish<'_>,
    replies: &Replies,
) -> Option<async_nats::message::OutboundMessage> {
    let reply = match message.reply {
        // The client looks at subjects only.
        Some(reply) if reply.is_empty() || !is_plain(reply) => return None,
        Some(reply) => Some(client_subject(&replies.write(reply))?),
        None => None,
    };
    let headers = match message.headers.is_empty() {
        true => None,
        false => Some(outgoing_headers(message.headers)?),
    };
    Some(async_nats::message::OutboundMessage {
        subject: client_subject(message.subject)?,
        reply,
        headers,
        payload: message.payload.clone(),
    })
}

/// It shares the memory.
fn client_subject(subject: &Subject) -> Option<async_nats::Subject> {
    async_nats::Subject::from_utf8(subject.as_bytes().clone()).ok()
}

/// Whether nothing in it is a blank or a control character. All of it is looked at, which
/// many bytes at a time is faster than to stop early.
fn is_plain(text: &str) -> bool {
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f;
    !text.bytes().fold(false, |any, byte| any | odd(byte))
}

fn outgoing_headers(headers: &Headers) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        // Nearly every message has the first, and those of a batch the others.
        let name: HeaderName = match name {
            "Nats-Msg-Id" => NATS_MESSAGE_ID,
            "Nats-Batch-Id" => BATCH_ID,
            "Nats-Batch-Sequence" => BATCH_SEQUENCE,
            name => name.parse().ok()?,
        };
        let value: HeaderValue = value.parse().ok()?;
        match map.is_empty() {
            // Most have one, of which nothing is there to be looked for.
            true => map.insert(name, value),
            false => map.append(name, value),
        }
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn messages_arrive_whole() {
        let mut map = HeaderMap::new();
        map.append("b", "2");
        map.append("a", "1");
        map.append("b", "3");
        let mut texts = Texts::default();
        let message = texts.message(async_nats::Message {
            subject: "orders.placed".into(),
            reply: Some("_INBOX.1".into()),
            payload: Bytes::from_static(b"x"),
            headers: Some(map),
            status: Some(async_nats::StatusCode::REQUEST_TERMINATED),
            description: Some("Consumer Deleted".into()),
            length: 0,
        });
        assert_eq!(message.subject, "orders.placed");
        assert_eq!(message.reply.unwrap(), "_INBOX.1");
        let headers: Vec<_> = message.headers.iter().collect();
        assert_eq!(headers, [("a", "1"), ("b", "2"), ("b", "3")]);
        let status = message.status.unwrap();
        assert_eq!(
            (status.code, &*status.description),
            (409, "Consumer Deleted")
        );
        assert_eq!(message.payload, "x");
    }

    #[test]
    fn however_many_headers_are_sorted() {
        let names: Vec<String> = (10..99).map(|n| format!("name-{n}")).collect();
        for names in (0..names.len()).map(|len| &names[..len]) {
            let mut map = HeaderMap::new();
            for name in names.iter().rev() {
                map.append(name.as_str(), "x");
            }
            let headers = Texts::default().headers(&map);
            assert!(headers.iter().map(|(name, _)| name).eq(names));
        }
    }

    #[test]
    fn what_would_break_the_protocol_is_refused() {
        let (subject, headers, payload) = ("a".into(), Headers::new(), Bytes::new());
        let publish = |reply| Publish {
            subject: &subject,
            reply,
            headers: &headers,
            payload: &payload,
        };
        assert!(outgoing(publish(Some("_INBOX.1")), &Replies::new()).is_some());
        for bad in ["", "a b", "a\r\nPUB x 0", "a\tb"] {
            assert!(
                outgoing(publish(Some(bad)), &Replies::new()).is_none(),
                "{bad:?}"
            );
        }
    }
}
