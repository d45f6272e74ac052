//! What the answer to a publish says.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Message;
use crate::jetstream::api::{ApiError, codes};

/// The answer to a publish (nats-server's `PubAck`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ack<'a> {
    /// The stream has the message.
    Stored {
        /// Which stream.
        stream: Cow<'a, str>,
        /// The sequence of the message, or of the one it repeats.
        seq: u64,
        /// Whether a message with this id was stored before; nothing was added.
        duplicate: bool,
    },
    /// The message was not stored.
    Refused {
        /// Why.
        error: ApiError,
        /// Whether the same message may be stored a little later.
        transient: bool,
    },
    /// Nobody listens on the subject (status 503): there is no such stream, or it
    /// has no leader just now. The message was not stored.
    NoResponders,
    /// No acknowledgement; whether the message was stored is unknown.
    Malformed,
}

/// Whether a refusal with this `err_code` ends by itself: an election, another
/// write in progress, an overfull queue.
#[must_use]
pub const fn transient(err_code: u32) -> bool {
    matches!(
        err_code,
        codes::UNAVAILABLE
            | codes::NOT_LEADER
            | codes::DUPLICATE_IN_PROCESS
            | codes::WRONG_LAST_SEQUENCE_BUSY
            | codes::TOO_MANY_REQUESTS
    )
}

/// Reads the answer to a publish.
#[must_use]
pub fn parse_ack(message: &Message) -> Ack<'_> {
    // An overfull stream says so in a status and in a body: the body says more.
    if message.status.is_none() || !message.payload.is_empty() {
        let ack = fast(&message.payload).unwrap_or_else(|| slow(&message.payload));
        if ack != Ack::Malformed {
            return ack;
        }
    }
    match &message.status {
        None => Ack::Malformed,
        Some(status) if status.code == 503 => Ack::NoResponders,
        Some(status) => Ack::Refused {
            error: ApiError {
                code: status.code,
                err_code: 0,
                description: status.description.to_string(),
            },
            transient: status.code == 429,
        },
    }
}

/// The plain acknowledgement, `{"stream":"S","seq":1,"duplicate": true}` with
/// `domain` anywhere in it; `None` for whatever else.
fn fast(body: &[u8]) -> Option<Ack<'_>> {
    let (mut stream, mut seq, mut duplicate) = (None, None, false);
    let mut scan = Scan(body);
    scan.eat(b'{')?;
    loop {
        let key = scan.string()?;
        scan.eat(b':')?;
        match key {
            "stream" => stream = Some(scan.string()?),
            "seq" => seq = Some(scan.number()?),
            "domain" => _ = scan.string()?,
            "duplicate" => duplicate = scan.boolean()?,
            _ => return None,
        }
        if scan.eat(b',').is_none() {
            break;
        }
    }
    scan.eat(b'}')?;
    scan.0.is_empty().then_some(())?;
    stored(stream?.into(), seq?, duplicate)
}

fn stored(stream: Cow<'_, str>, seq: u64, duplicate: bool) -> Option<Ack<'_>> {
    (!stream.is_empty() && seq > 0).then_some(Ack::Stored {
        stream,
        seq,
        duplicate,
    })
}

/// As much JSON as plain acknowledgements need.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Goes past `byte` and spaces before it.
    fn eat(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.trim_ascii_start();
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.eat(b'"')?;
        let end = self
            .0
            .iter()
            .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
        let text = self.take(end)?;
        self.0 = self.0.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.0 = self.0.trim_ascii_start();
        let end = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        match self.take(end)? {
            [b'0', _, ..] => None,
            digits => std::str::from_utf8(digits).ok()?.parse().ok(),
        }
    }

    fn boolean(&mut self) -> Option<bool> {
        self.0 = self.0.trim_ascii_start();
        for (text, value) in [(&b"true"[..], true), (b"false", false)] {
            if let Some(rest) = self.0.strip_prefix(text) {
                self.0 = rest;
                return Some(value);
            }
        }
        None
    }
}

fn slow(body: &[u8]) -> Ack<'_> {
    #[derive(Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct Wire<'a> {
        error: Option<ApiError>,
        #[serde(borrow)]
        stream: Cow<'a, str>,
        seq: u64,
        duplicate: bool,
    }

    let Ok(wire) = serde_json::from_slice::<Wire<'_>>(body) else {
        return Ack::Malformed;
    };
    match wire.error {
        Some(error) => Ack::Refused {
            transient: transient(error.err_code),
            error,
        },
        None => stored(wire.stream, wire.seq, wire.duplicate).unwrap_or(Ack::Malformed),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{Headers, Status, Subject};

    fn answer(status: Option<u16>, body: &[u8]) -> Message {
        Message {
            subject: Subject::from_static("i.0"),
            reply: None,
            headers: Headers::new(),
            status: status.map(|code| Status {
                code,
                description: "why".into(),
            }),
            payload: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn plain_acknowledgements_take_the_fast_path() {
        let table: [(&str, u64, bool); 6] = [
            (r#"{"stream":"S","seq":1}"#, 1, false),
            (r#"{"stream":"S","seq":1,"duplicate": true}"#, 1, true),
            (
                r#"{"stream":"S", "seq":18446744073709551615}"#,
                u64::MAX,
                false,
            ),
            (
                r#"{"stream":"S","domain":"d","seq":7,"duplicate":true}"#,
                7,
                true,
            ),
            (
                r#"{"stream":"S","seq":7,"domain":"d","duplicate":false}"#,
                7,
                false,
            ),
            (r#" { "seq" : 7 , "stream" : "S" }"#, 7, false),
        ];
        for (body, seq, duplicate) in table {
            let ack = Ack::Stored {
                stream: "S".into(),
                seq,
                duplicate,
            };
            assert_eq!(fast(body.as_bytes()), Some(ack.clone()), "{body}");
            assert_eq!(slow(body.as_bytes()), ack, "{body}");
        }
    }

    #[test]
    fn other_acknowledgements_are_read_too() {
        for body in [
            r#"{"stream":"S","seq":3,"val":"5"}"#,
            r#"{"stream":"S","seq":3,"batch":"b","count":2}"#,
            r#"{"stream":"\u0053","seq":3}"#,
        ] {
            assert_eq!(fast(body.as_bytes()), None);
            assert_eq!(
                parse_ack(&answer(None, body.as_bytes())),
                Ack::Stored {
                    stream: "S".into(),
                    seq: 3,
                    duplicate: false
                }
            );
        }
    }

    #[test]
    fn refusals_say_whether_to_try_again() {
        let body = |code: u32| {
            format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"d"}},"stream":"S","seq":0}}"#
            )
        };
        for (code, again) in [
            (10008, true),
            (10009, true),
            (10158, true),
            (10164, true),
            (10167, true),
            (10071, false),
            (10054, false),
            (10077, false),
            (10060, false),
        ] {
            // A status does not hide the body.
            for status in [None, Some(429), Some(503)] {
                let message = answer(status, body(code).as_bytes());
                let Ack::Refused { error, transient } = parse_ack(&message) else {
                    panic!("{code}");
                };
                assert_eq!((error.err_code, transient), (code, again));
            }
        }
    }

    #[test]
    fn a_bare_status_is_an_answer() {
        assert_eq!(parse_ack(&answer(Some(503), b"")), Ack::NoResponders);
        for (code, again) in [(429, true), (400, false)] {
            let Ack::Refused { error, transient } = parse_ack(&answer(Some(code), b"")).clone()
            else {
                panic!("{code}");
            };
            assert_eq!((error.code, &*error.description), (code, "why"));
            assert_eq!(transient, again);
        }
    }

    #[test]
    fn what_is_no_acknowledgement_is_malformed() {
        for bad in [
            "",
            "{}",
            "[]",
            "1",
            "{",
            r#"{"stream":"S"}"#,
            r#"{"seq":1}"#,
            r#"{"stream":"S","seq":0}"#,
            r#"{"stream":"","seq":1}"#,
            r#"{"stream":"S","seq":-1}"#,
            r#"{"stream":"S","seq":1.5}"#,
            r#"{"stream":"S","seq":01}"#,
            r#"{"stream":"S","seq":18446744073709551616}"#,
            r#"{"stream":"S","seq":1}x"#,
            r#"{"stream":"S","seq":1,}"#,
            "+OK",
        ] {
            assert_eq!(
                parse_ack(&answer(None, bad.as_bytes())),
                Ack::Malformed,
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            _ = parse_ack(&answer(None, &body));
        }

        #[test]
        fn the_fast_path_agrees_with_the_slow_one(
            body in r#"[ ]?\{[ ]?"(stream|seq|domain)":[ ]?("[AS\\u03"]{0,6}"|[0-9]{1,21}),[ ]?"(stream|seq|duplicate)":("S"|[0-9]{1,3}|true|false)\}[ x]?"#,
        ) {
            if let Some(ack) = fast(body.as_bytes()) {
                // Serde refuses a field given twice; the server never does that.
                prop_assert!(ack == slow(body.as_bytes()) || body.matches("\"stream\"").count() > 1);
            }
        }
    }
}
