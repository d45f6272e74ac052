//! Dead letters and redriven events, whatever somebody stored in their place.

use bytes::Bytes;
use jetbus_core::dead_letter::{DeadLetter, Names, Record, Redriven};
use jetbus_core::jetstream::admin::StoredMessage;
use jetbus_core::{Headers, Timestamp};

use crate::driver::Target;

const LETTER: &str = "Jetbus-Dead-Group:billing\nJetbus-Dead-Subscription:orders.*\n\
    Jetbus-Dead-Subject:orders.placed\nJetbus-Dead-Stream:ORDERS\nJetbus-Dead-Sequence:7\n\
    Jetbus-Dead-Stored:2026-11-22T11:48:01Z\nJetbus-Dead-Redrives:1\n\
    Jetbus-Dead-Reason:exhausted\nJetbus-Dead-Attempts:5\nJetbus-Dead-Deliveries:6\n\
    Jetbus-Dead-First-Failed:2026-11-22T11:48:02Z\nJetbus-Dead-Last-Failed:2026-11-22T11:48:03Z\n\
    Jetbus-Dead-Key:order-7\nJetbus-Dead-Event-Id:e\nJetbus-Dead-Error:not today\n\
    Jetbus-Dead-Source-Nats-Msg-Id:e/orders.placed\nX-Note:a: b\n\n{\"payload\":1}";

const WORDS: &[&str] = &[
    "\n",
    "\n\n",
    ":",
    "Jetbus-Dead-",
    "Jetbus-Dead-Source-",
    "Jetbus-Dead-Reason:terminal\n",
    "Jetbus-Dead-Reason:undecodable\n",
    "Jetbus-Dead-Subject:",
    "Jetbus-Dead-Sequence:0\n",
    "nats-",
    "Jetbus-Dead-Cut:9\n",
    "+1",
    "2026-11-22T11:48:01Z",
    ".",
    "*",
    ">",
    " ",
    "jetbus.redrive.",
];

/// Lines of headers, an empty line, and a payload.
fn stored(input: &[u8]) -> StoredMessage {
    let text = String::from_utf8_lossy(input);
    let (head, payload) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut headers = Headers::new();
    for line in head.lines() {
        if let Some((name, value)) = line.split_once(':') {
            // What could not have been sent is not there.
            let _ = headers.append(name, value);
        }
    }
    StoredMessage {
        subject: "jetbus.dead.billing.orders.placed".into(),
        seq: 3,
        time: Timestamp::from_unix_nanos(1),
        headers,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

fn written(letter: &DeadLetter, names: &Names, max: usize) -> StoredMessage {
    let record = Record {
        origin: &letter.origin,
        key: letter.key.as_deref(),
        event_id: letter.event_id.as_deref(),
        reason: letter.reason,
        error: &letter.error,
        attempts: letter.attempts,
        deliveries: letter.deliveries,
        last_failed: letter.last_failed,
        headers: &letter.headers,
        payload: &letter.payload,
    };
    let message = record.write(names, max);
    let len = message.headers.wire_len() + message.payload.len();
    // Room for what cannot be cut.
    assert!(len <= max || max < 16 * 1_024, "{len} bytes of {max}");
    StoredMessage {
        subject: message.subject,
        seq: letter.sequence,
        time: letter.stored_at,
        headers: message.headers,
        payload: message.payload,
    }
}

pub(crate) fn dead_letters() -> Target {
    let short = "Jetbus-Dead-Group:g\nJetbus-Dead-Subscription:>\nJetbus-Dead-Subject:a\n\
        Jetbus-Dead-Stream:S\nJetbus-Dead-Sequence:1\nJetbus-Dead-Stored:2026-11-22T11:48:01Z\n\
        Jetbus-Dead-Reason:terminal";
    Target::new(1, [LETTER, short], WORDS, |input| {
        let names = Names::new("jetbus").expect("a prefix");
        let Ok(letter) = DeadLetter::read(&stored(input)) else {
            return false;
        };
        // A letter that was cut is written as one that is whole.
        let again = DeadLetter::read(&written(&letter, &names, 1 << 20)).expect("it was written");
        let twice = DeadLetter::read(&written(&again, &names, 1 << 20)).expect("it was written");
        assert_eq!(twice, again);
        assert_eq!(
            (&again.origin, again.reason),
            (&letter.origin, letter.reason)
        );
        assert_eq!(again.payload, letter.payload);
        assert_eq!(again.headers, letter.headers);
        // With little room something is left out, and said to be.
        let cut = DeadLetter::read(&written(&letter, &names, 2_048)).expect("it was written");
        let is_whole = cut.payload == letter.payload && cut.headers == letter.headers;
        assert_eq!(is_whole, !cut.is_cut());
        // Redriven, it is read as what it was, once more.
        if let Ok(message) = letter.redrive(&names) {
            let redriven = Redriven::read(&message.headers).expect("it was written");
            assert_eq!(
                redriven.origin.redrives,
                letter.origin.redrives.saturating_add(1)
            );
            assert_eq!(redriven.origin.subject, letter.origin.subject);
        }
        true
    })
}

pub(crate) fn redriven_events() -> Target {
    Target::new(2, [LETTER], WORDS, |input| {
        let Ok(redriven) = Redriven::read(&stored(input).headers) else {
            return false;
        };
        // What it gives back to handlers is free of our own headers.
        let own = |(name, _): (&str, &str)| name.starts_with("Jetbus-Dead-");
        let source = redriven
            .headers
            .iter()
            .filter(|header| own(*header))
            .count();
        let nested = String::from_utf8_lossy(input)
            .matches("Jetbus-Dead-Source-")
            .count();
        assert!(source <= nested, "{:?}", redriven.headers);
        true
    })
}
