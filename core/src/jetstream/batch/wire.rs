//! How parts of batches look on the wire.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;

use super::{Answer, Op, Part, Role};
use crate::headers::HeaderError;
use crate::jetstream::api::ApiError;
use crate::jetstream::publish::{Ack, parse_ack};
use crate::subject::NameError;
use crate::{Headers, Message, Subject};

const ID: &str = "Nats-Batch-Id";
const SEQUENCE: &str = "Nats-Batch-Sequence";
const COMMIT: &str = "Nats-Batch-Commit";
const EXPECTED_ID: &str = "Nats-Expected-Last-Msg-Id";

/// The inbox of the answers to batches: `<inbox>.<batch>-<attempt>-<nonce>.<...>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// With the dot after it.
    inbox: Box<str>,
    /// Tells batches of different buses apart.
    nonce: u64,
}

impl Replies {
    /// The inbox at `subject`, which nobody else may use.
    ///
    /// # Errors
    /// When it is no subject of an inbox.
    pub fn new(subject: &str, nonce: u64) -> Result<Self, NameError> {
        // The same rules, and the same room.
        crate::jetstream::publish::Inbox::new(subject)?;
        Ok(Self {
            inbox: format!("{subject}.").into(),
            nonce,
        })
    }

    /// What to subscribe to.
    #[must_use]
    pub fn subscription(&self) -> Subject {
        format!("{}>", self.inbox).into()
    }

    /// Writes the subject that `part` of `batch` is answered on. Why a message in the
    /// middle of an atomic batch is refused is said there alone; a fast-ingest batch is
    /// named there and nowhere else.
    pub fn reply<'a>(&self, batch: u64, part: &Part, to: &'a mut ReplyText) -> &'a str {
        let (flow, end) = match part.role {
            Role::Atomic { .. } | Role::Question => (None, ""),
            Role::Ingest { op, flow } => match op {
                Op::Start => (Some(flow), ".0.$FI"),
                Op::Add => (Some(flow), ".1.$FI"),
                Op::Commit => (Some(flow), ".2.$FI"),
            },
        };
        let text = to.begin((self.nonce, batch, part.attempt, flow), |text| {
            let (inbox, attempt, nonce) = (&self.inbox, part.attempt, self.nonce);
            write!(text, "{inbox}{batch:x}-{attempt:x}-{nonce:016x}.")?;
            match flow {
                Some(flow) => write!(text, "{flow}.fail."),
                None => Ok(()),
            }
        });
        // Nothing that is written to a text fails.
        let _ = write!(text, "{}", part.seq);
        text.push_str(end);
        text
    }

    /// The headers of a message as `part` of a batch, answered on `reply`. There is what
    /// the server is to call this attempt of the batch, in at most 64 bytes, and what it
    /// is to call the part.
    ///
    /// # Errors
    /// When they become too many.
    pub fn headers<'a>(
        &self,
        part: &Part,
        reply: &str,
        headers: &'a Headers,
    ) -> Result<Cow<'a, Headers>, HeaderError> {
        let named = reply.strip_prefix(&*self.inbox).unwrap_or_default();
        let (id, seq) = named.split_once('.').unwrap_or_default();
        match part.role {
            Role::Atomic { commit } => {
                let lines = [(ID, id), (SEQUENCE, seq), (COMMIT, "1")];
                let lines = if commit { &lines } else { &lines[..2] };
                headers.with(lines).map(Cow::Owned)
            }
            // The server looks for the message's id first. It knows no message of
            // this other id, so that it stores nothing.
            Role::Question => headers.with(&[(EXPECTED_ID, id)]).map(Cow::Owned),
            Role::Ingest { .. } => Ok(Cow::Borrowed(headers)),
        }
    }

    /// Which batch, attempt and place in it an answer to `subject` is for.
    #[must_use]
    pub fn read(&self, subject: &str) -> Option<(u64, u32, u64)> {
        let mut tokens = subject.strip_prefix(&*self.inbox)?.split('.');
        let mut id = tokens.next()?.split('-');
        let batch = u64::from_str_radix(id.next()?, 16).ok()?;
        let attempt = u32::from_str_radix(id.next()?, 16).ok()?;
        let seq = match (tokens.next()?, tokens.next()) {
            (seq, None) => seq,
            (_flow, Some(_gap)) => tokens.next()?,
        };
        Some((batch, attempt, seq.parse().ok()?))
    }
}

/// Where the reply subjects of parts are written, one after the other. What those of one
/// attempt begin with is written once.
#[derive(Clone, Debug, Default)]
pub struct ReplyText {
    text: String,
    /// What the beginning is of.
    of: Option<Beginning>,
    /// How long the beginning is.
    begun: usize,
}

/// The bus, by its nonce, the batch, the attempt, and the flow if it has one.
type Beginning = (u64, u64, u32, Option<u32>);

impl ReplyText {
    /// The beginning of what is `of` this, which `write` writes if it is not there.
    fn begin(
        &mut self,
        of: Beginning,
        write: impl FnOnce(&mut String) -> fmt::Result,
    ) -> &mut String {
        if self.of == Some(of) {
            self.text.truncate(self.begun);
        } else {
            self.text.clear();
            // Nothing that is written to a text fails.
            let _ = write(&mut self.text);
            self.of = Some(of);
            self.begun = self.text.len();
        }
        &mut self.text
    }
}

/// Reads an answer to a part of a batch.
#[must_use]
pub fn read_answer(message: &Message) -> Answer {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Wire {
        #[serde(rename = "type")]
        kind: Option<Kind>,
        seq: u64,
        msgs: u64,
        count: u64,
        error: Option<ApiError>,
    }
    #[derive(Clone, Copy, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Ack,
        Gap,
        Err,
    }

    if message.status.is_none() && message.payload.is_empty() {
        return Answer::Taken;
    }
    let wire: Wire = serde_json::from_slice(&message.payload).unwrap_or_default();
    match (wire.kind, wire.error) {
        (Some(Kind::Ack), _) => Answer::Reached {
            seq: wire.seq,
            every: wire.msgs,
        },
        (Some(Kind::Gap), _) => Answer::Gap,
        (Some(Kind::Err), Some(error)) => Answer::Failed {
            seq: wire.seq,
            error,
        },
        (Some(Kind::Err), None) => Answer::Malformed,
        // Of a batch of which all was known before, no sequence is told.
        (None, None) if wire.count > 0 => Answer::Stored {
            seq: wire.seq,
            count: wire.count,
            duplicate: false,
        },
        (None, _) => match parse_ack(message) {
            Ack::Stored { seq, duplicate, .. } => Answer::Stored {
                seq,
                count: 0,
                duplicate,
            },
            Ack::Refused { error, .. } => Answer::Refused(error),
            Ack::NoResponders => Answer::NoResponders,
            Ack::Malformed => Answer::Malformed,
        },
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn part(seq: u64, role: Role) -> Part {
        Part {
            index: 0,
            attempt: 3,
            seq,
            role,
        }
    }

    fn replies() -> Replies {
        Replies::new("_INBOX.x.b", 0xab).unwrap()
    }

    #[test]
    fn replies_are_read_back() {
        let replies = replies();
        assert_eq!(replies.subscription().as_str(), "_INBOX.x.b.>");
        let ingest = |op| Role::Ingest { op, flow: 50 };
        let mut text = ReplyText::default();
        for (seq, role, subject) in [
            (1, Role::Atomic { commit: false }, "1"),
            (7, Role::Atomic { commit: true }, "7"),
            (u64::MAX, Role::Question, "18446744073709551615"),
            (1, ingest(Op::Start), "50.fail.1.0.$FI"),
            (2, ingest(Op::Add), "50.fail.2.1.$FI"),
            (9, ingest(Op::Commit), "50.fail.9.2.$FI"),
        ] {
            let reply = replies.reply(10, &part(seq, role), &mut text);
            let start = "_INBOX.x.b.a-3-00000000000000ab.";
            assert_eq!(reply, format!("{start}{subject}"));
            assert_eq!(replies.read(reply), Some((10, 3, seq)));
        }
    }

    #[test]
    fn what_was_written_before_is_of_another_batch_attempt_or_flow() {
        let ingest = |flow| Role::Ingest { op: Op::Add, flow };
        let mut text = ReplyText::default();
        for (batch, attempt, flow) in [(1, 1, 9), (2, 1, 9), (2, 2, 9), (2, 2, 50), (2, 2, 50)] {
            let next = Part {
                attempt,
                ..part(7, ingest(flow))
            };
            let reply = replies().reply(batch, &next, &mut text).to_owned();
            let ending = format!(".{flow}.fail.7.1.$FI");
            assert!(reply.ends_with(&ending), "{reply}");
            assert_eq!(replies().read(&reply), Some((batch, attempt, 7)));
        }
    }

    #[test]
    fn the_name_of_a_batch_is_as_long_as_the_server_takes() {
        let replies = Replies::new("i", u64::MAX).unwrap();
        let last = Part {
            attempt: u32::MAX,
            ..part(u64::MAX, Role::Atomic { commit: false })
        };
        let mut text = ReplyText::default();
        let reply = replies.reply(u64::MAX, &last, &mut text);
        let plain = Headers::new();
        let headers = replies.headers(&last, reply, &plain).unwrap();
        let longest = headers.get(ID).unwrap();
        assert!(longest.len() <= 64, "{longest}");
    }

    #[test]
    fn other_subjects_are_nobodys() {
        for subject in [
            "",
            "_INBOX.x.b",
            "_INBOX.x.b.",
            "_INBOX.x.b.1",
            "_INBOX.x.b.1.2",
            "_INBOX.x.b.1-2-3",
            "_INBOX.x.b.1-2-3.x",
            "_INBOX.x.b.1-2-3.50.fail",
            "_INBOX.y.b.1-2-3.1",
            "_INBOX.x.b.x-2-3.1",
        ] {
            assert_eq!(replies().read(subject), None, "{subject}");
        }
    }

    #[test]
    fn headers_say_what_the_part_is() {
        let mut plain = Headers::new();
        plain.append("Nats-Msg-Id", "m").unwrap();
        let headers = |role| {
            let (replies, part) = (replies(), part(2, role));
            let mut text = ReplyText::default();
            let reply = replies.reply(1, &part, &mut text);
            let headers = replies.headers(&part, reply, &plain).unwrap();
            let headers = headers
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            headers.collect::<Vec<_>>()
        };
        let id = "Nats-Batch-Id=1-3-00000000000000ab";
        let mut all = vec!["Nats-Msg-Id=m", id, "Nats-Batch-Sequence=2"];
        assert_eq!(headers(Role::Atomic { commit: false }), all);
        all.push("Nats-Batch-Commit=1");
        assert_eq!(headers(Role::Atomic { commit: true }), all);
        let question = [
            "Nats-Msg-Id=m",
            "Nats-Expected-Last-Msg-Id=1-3-00000000000000ab",
        ];
        assert_eq!(headers(Role::Question), question);
        let ingest = Role::Ingest {
            op: Op::Add,
            flow: 1,
        };
        assert_eq!(headers(ingest), ["Nats-Msg-Id=m"]);
    }

    #[test]
    fn answers_say_what_the_server_means() {
        let error = |code: u32| ApiError {
            code: 400,
            err_code: code,
            description: "d".into(),
        };
        for (body, answer) in [
            ("", Answer::Taken),
            (
                r#"{"type":"ack","seq":3,"msgs":2}"#,
                Answer::Reached { seq: 3, every: 2 },
            ),
            (r#"{"type":"gap","last_seq":3,"seq":4}"#, Answer::Gap),
            (
                r#"{"type":"err","seq":6,"error":{"code":400,"err_code":10077,"description":"d"}}"#,
                Answer::Failed {
                    seq: 6,
                    error: error(10077),
                },
            ),
            (
                r#"{"stream":"A","seq":7,"batch":"f1","count":5}"#,
                Answer::Stored {
                    seq: 7,
                    count: 5,
                    duplicate: false,
                },
            ),
            (
                r#"{"stream":"A","seq":0,"batch":"f1","count":7}"#,
                Answer::Stored {
                    seq: 0,
                    count: 7,
                    duplicate: false,
                },
            ),
            (
                r#"{"stream":"A","seq":7,"duplicate": true}"#,
                Answer::Stored {
                    seq: 7,
                    count: 0,
                    duplicate: true,
                },
            ),
            (
                r#"{"error":{"code":400,"err_code":10174,"description":"d"},"stream":"B","seq":0}"#,
                Answer::Refused(error(10174)),
            ),
            (r#"{"type":"err","seq":6}"#, Answer::Malformed),
            (r#"{"type":"other"}"#, Answer::Malformed),
            ("{", Answer::Malformed),
            ("+OK", Answer::Malformed),
        ] {
            let message = Message {
                subject: "i".into(),
                reply: None,
                headers: Headers::new(),
                status: None,
                payload: Bytes::copy_from_slice(body.as_bytes()),
            };
            assert_eq!(read_answer(&message), answer, "{body}");
        }
    }
}
