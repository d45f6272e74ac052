//! What publishers write: envelopes and headers.

use bytes::Bytes;
use jetbus_core::envelope::{MAX_AGGREGATE_ID, decode, decode_owned, encode_raw};
use jetbus_core::{Headers, Timestamp};

use crate::driver::Target;

const EVENT: &str = r#"{"event_id":"0190-e","aggregate_id":"order-7","event_type":"OrderPlaced","event_version":1,"timestamp":"2026-11-22T11:48:01Z","payload":{"n":[1,2.5e-3,"\u00e9\n"],"ok":null}}"#;

const WORDS: &[&str] = &[
    "\"event_id\":",
    "\"aggregate_id\":",
    "\"event_type\":",
    "\"event_version\":",
    "\"timestamp\":",
    "\"payload\":",
    "\"trace_id\":",
    "\"correlation_id\":",
    "\"tenant_id\":",
    "null",
    "true",
    "\"\"",
    "\" \"",
    "{}",
    "[]",
    "{\"a\":",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "\u{feff}",
    "2026-02-30T24:00:00Z",
    "1.0",
    "[[[[[[[[[[[[[[[[",
];

pub(crate) fn envelopes() -> Target {
    let full = EVENT.replacen(
        '{',
        r#"{"trace_id":"t","correlation_id":"c","tenant_id":-3,"more":[1],"#,
        1,
    );
    let odd = r#" { "payload" : "x" , "event_version" : 9223372036854775807, "event_type":"\u0041 b",
        "aggregate_id":"a:b_c-d./e", "timestamp":"1999-12-31T23:59:59.999999999+14:00","event_id":"é","trace_id":null}"#;
    Target::new(10, [EVENT, &full, odd], WORDS, |input| {
        let body = Bytes::copy_from_slice(input);
        let (borrowed, owned) = (decode(input), decode_owned(&body));
        let (envelope, event) = match (borrowed, owned) {
            (Ok(envelope), Ok(event)) => (envelope, event),
            (Err(error), Err(other)) => {
                assert_eq!(error, other);
                // It may be shown: it is no longer than what can be read.
                assert!(error.to_string().len() < 2_000);
                return false;
            }
            (one, other) => panic!("{one:?} is not {other:?}"),
        };
        let fields = envelope.fields();
        assert_eq!(fields, event.fields());
        assert_eq!(envelope.payload.get().as_bytes(), event.payload);
        assert!((1..=MAX_AGGREGATE_ID).contains(&fields.aggregate_id.len()));
        assert!(fields.event_version > 0 && !fields.event_id.trim().is_empty());
        // What is read is written, and read as the same.
        let written = match encode_raw(&fields, &event.payload) {
            Ok(written) => written,
            // Others may write ids that we do not: as the id of a message they would not
            // be one line.
            Err(error) => {
                assert!(fields.event_id.contains(char::is_control), "{error}");
                return true;
            }
        };
        let again = decode(&written).expect("it was written");
        assert_eq!(again.fields(), fields);
        assert_eq!(again.payload.get().as_bytes(), event.payload);
        // And that as the very bytes.
        let twice = encode_raw(&again.fields(), again.payload.get().as_bytes());
        assert_eq!(twice.expect("it was read"), written);
        // Its fields are headers, or are refused as such.
        let mut headers = Headers::new();
        if fields.mirror(&mut headers).is_ok() {
            assert_eq!(headers.get("X-Event-ID"), Some(fields.event_id));
        }
        true
    })
}

pub(crate) fn headers() -> Target {
    // `name:value` in lines; `!name:value` sets it in place of others.
    let good = [
        "a:1\nb:2\na:3",
        "Nats-Msg-Id:x\n!Nats-Msg-Id:y\nX:",
        "é:1\nX: v: w \n!X:z",
    ];
    Target::new(
        6,
        good,
        &["\n", "\n!", ":", "\r", "\n!a:", "\u{7f}", " ", "Ä", "a"],
        |input| {
            let text = String::from_utf8_lossy(input);
            let (mut headers, mut model) = (Headers::new(), Vec::<(String, String)>::new());
            for line in text.split('\n') {
                let (name, value) = line.split_once(':').unwrap_or((line, "\r"));
                let (name, sets) = match name.strip_prefix('!') {
                    Some(name) => (name, true),
                    None => (name, false),
                };
                let done = match sets {
                    true => headers.insert(name, value),
                    false => headers.append(name, value),
                };
                let may_be = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
                    && !value.contains(['\r', '\n']);
                assert_eq!(done.is_ok(), may_be, "{name:?}: {value:?}");
                if may_be {
                    if sets {
                        model.retain(|(other, _)| other != name);
                    }
                    model.push((name.into(), value.into()));
                }
            }
            let pairs: Vec<_> = model
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            assert!(headers.iter().eq(pairs.iter().copied()));
            for (name, _) in &pairs {
                let first = pairs.iter().find(|(other, _)| other == name);
                assert_eq!(headers.get(name), first.map(|(_, value)| *value));
            }
            // Each line has `: ` and a line break; around them stand the version and a break.
            let lines: usize = pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
            let len = if pairs.is_empty() { 0 } else { lines + 12 };
            assert_eq!(headers.wire_len(), len);
            !pairs.is_empty()
        },
    )
}

pub(crate) fn timestamps() -> Target {
    let good = [
        "2026-11-22T11:48:01Z",
        "1970-01-01T00:00:00.000000001+00:00",
        "1700-01-01T00:00:00-23:59",
        "2262-04-11T23:47:16.854775807Z",
    ];
    Target::new(
        6,
        good,
        &["T", "Z", "+", "-", ":", ".", "24", "60", "9999", "02-29"],
        |input| {
            let Some(time) = std::str::from_utf8(input).ok().and_then(Timestamp::parse) else {
                return false;
            };
            assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
            true
        },
    )
}
