//! What servers answer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jetbus_core::denied::{Denied, Operation};
use jetbus_core::jetstream::admin::{AdminError, Answer as Wanted, answer, stored_message};
use jetbus_core::jetstream::api::{
    AccountInfo, ConsumerInfo, ConsumerNames, Purged, StreamInfo, StreamNames, Success,
};
use jetbus_core::jetstream::batch::{Answer, read_answer};
use jetbus_core::jetstream::publish::{Ack, parse_ack};
use jetbus_core::jetstream::pull::{Config, Input, Output, Pull, Received};
use jetbus_core::{Headers, Message, Status, Subject, Time};
use serde::Serialize;
use serde_json::{Value, json};

use crate::driver::Target;

const WORDS: &[&str] = &[
    "\"stream\":",
    "\"seq\":",
    "\"duplicate\":",
    "true",
    "false",
    "null",
    "\"error\":{",
    "}",
    "{",
    "\"err_code\":10071",
    "\"description\":\"\"",
    "\"type\":\"ack\"",
    "\"type\":\"gap\"",
    "\"type\":\"err\"",
    "\"msgs\":",
    "\"count\":",
    "\"batch\":",
    "\"config\":{",
    "[]",
    "\"\\u0000\"",
    ",",
    ":",
];

fn message(payload: impl Into<Bytes>) -> Message {
    Message {
        subject: Subject::from_static("_INBOX.a"),
        reply: None,
        headers: Headers::new(),
        status: None,
        payload: payload.into(),
    }
}

/// The same with a status, if the input begins with one: `503 text|payload`.
fn with_status(input: &[u8]) -> Message {
    let split = input.iter().position(|byte| *byte == b'|');
    let (head, payload) = match split {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&b""[..], input),
    };
    let head = String::from_utf8_lossy(head);
    let (code, description) = head.split_once(' ').unwrap_or((&head, ""));
    let status = code.parse().ok().map(|code| Status {
        code,
        description: description.into(),
    });
    Message {
        status,
        ..message(payload.to_vec())
    }
}

pub(crate) fn acknowledgements_of_publishes() -> Target {
    let good = [
        r#"{"stream":"S","seq":1}"#,
        r#"{"stream":"ORDERS","seq":42,"domain":"hub","duplicate": true}"#,
        r#" { "seq" : 7 , "stream" : "\u0053" } "#,
        r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}"#,
        "503 No Responders|",
        r#"429 Too Many|{"error":{"code":429,"err_code":10167,"description":"busy"}}"#,
    ];
    Target::new(10, good, WORDS, |input| {
        let message = with_status(input);
        match parse_ack(&message) {
            Ack::Stored {
                stream,
                seq,
                duplicate,
            } => {
                assert!(!stream.is_empty() && seq > 0);
                let again = json!({"stream": stream, "seq": seq, "duplicate": duplicate});
                let again = self::message(again.to_string());
                let same = Ack::Stored {
                    stream,
                    seq,
                    duplicate,
                };
                assert_eq!(parse_ack(&again), same);
                true
            }
            Ack::Refused { error, .. } => {
                let again = json!({"error": error, "stream": "S", "seq": 0});
                let read = self::message(again.to_string());
                let read = parse_ack(&read);
                assert!(matches!(read, Ack::Refused { error: same, .. } if same == error));
                true
            }
            Ack::NoResponders => {
                assert_eq!(message.status.map(|status| status.code), Some(503));
                true
            }
            _ => false,
        }
    })
}

/// What is read as an answer of a kind is written, and read as the same.
fn comes_back<T: Wanted + Serialize + PartialEq + std::fmt::Debug>(input: &[u8]) -> bool {
    match answer::<T>(&message(input.to_vec())) {
        Ok(read) => {
            let written = serde_json::to_value(&read).expect("it was read");
            let is_exact = !has_fractions(&written);
            let again = answer::<T>(&message(written.to_string())).expect("it was written");
            // Numbers that no server writes are kept about as they were.
            assert!(again == read || !is_exact, "{again:?} is not {read:?}");
            true
        }
        Err(AdminError::Api(error)) => {
            let written = json!({ "error": error }).to_string();
            let again = answer::<T>(&message(written)).expect_err("it is an error");
            assert_eq!(again, AdminError::Api(error));
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Whether there is a number that is no integer of 64 bits.
fn has_fractions(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(all) => all.iter().any(has_fractions),
        Value::Object(all) => all.values().any(has_fractions),
        _ => false,
    }
}

pub(crate) fn answers_to_requests() -> Target {
    let good = [
        r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","config":{"name":"S","subjects":["a.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"storage":"file","discard":"new","num_replicas":3,"duplicate_window":120000000000,"compression":"s2","allow_direct":true,"metadata":{"a":"b"},"later":{"x":[1]}},"created":"2026-11-22T11:48:01Z","state":{"messages":1,"bytes":40,"first_seq":1,"last_seq":1,"consumer_count":0}}"#,
        r#"{"stream_name":"S","name":"c","created":"2026-11-22T11:48:01Z","config":{"durable_name":"c","name":"c","deliver_policy":"by_start_sequence","opt_start_seq":7,"ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"filter_subject":"a.b","replay_policy":"instant","max_ack_pending":1000,"num_replicas":0},"delivered":{"consumer_seq":1,"stream_seq":2},"ack_floor":{"consumer_seq":0,"stream_seq":0},"num_ack_pending":1,"num_redelivered":0,"num_waiting":0,"num_pending":5}"#,
        r#"{"total":2,"offset":0,"limit":1024,"streams":["A","B"]}"#,
        r#"{"total":0,"offset":0,"limit":1024,"consumers":null}"#,
        r#"{"success":true,"purged":3}"#,
        r#"{"memory":0,"storage":1,"streams":2,"consumers":3,"domain":"hub"}"#,
        r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#,
    ];
    Target::new(4, good, WORDS, |input| {
        // All of them: an answer may come to the wrong question.
        let read = [
            comes_back::<StreamInfo>(input),
            comes_back::<ConsumerInfo>(input),
            comes_back::<StreamNames>(input),
            comes_back::<ConsumerNames>(input),
            comes_back::<Success>(input),
            comes_back::<Purged>(input),
            comes_back::<AccountInfo>(input),
        ];
        read.contains(&true)
    })
}

pub(crate) fn answers_to_batches() -> Target {
    let good = [
        "",
        r#"{"type":"ack","seq":64,"msgs":64}"#,
        r#"{"type":"gap","last_seq":3,"seq":5}"#,
        r#"{"type":"err","seq":2,"error":{"code":400,"err_code":10003,"description":"bad request"}}"#,
        r#"{"stream":"S","seq":12,"batch":"b","count":10}"#,
        r#"{"stream":"S","seq":12,"duplicate":true}"#,
        r#"{"error":{"code":400,"err_code":10176,"description":"atomic publish batch is incomplete"}}"#,
        "503 No Responders|",
    ];
    Target::new(8, good, WORDS, |input| {
        let message = with_status(input);
        let answer = read_answer(&message);
        let again = match &answer {
            Answer::Taken => {
                assert!(message.payload.is_empty());
                return true;
            }
            Answer::Stored {
                seq,
                count,
                duplicate,
            } => match count {
                0 => json!({"stream": "S", "seq": seq, "duplicate": duplicate}),
                count => json!({"stream": "S", "seq": seq, "count": count}),
            },
            Answer::Reached { seq, every } => json!({"type": "ack", "seq": seq, "msgs": every}),
            Answer::Gap => json!({"type": "gap"}),
            Answer::Failed { seq, error } => json!({"type": "err", "seq": seq, "error": error}),
            Answer::Refused(error) => json!({ "error": error }),
            Answer::NoResponders => return true,
            _ => return false,
        };
        assert_eq!(read_answer(&self::message(again.to_string())), answer);
        true
    })
}

pub(crate) fn stored_messages() -> Target {
    // A subject, a sequence, a time, headers as they are on the wire, and a payload.
    let good = [
        "a.b\u{1}7\u{1}2026-11-22T11:48:01.5Z\u{1}NATS/1.0\r\nNats-Msg-Id: x\r\nB:  y \r\n\r\n\u{1}payload",
        "a\u{1}1\u{1}2026-11-22T11:48:01Z\u{1}\u{1}",
        "é\u{1}18446744073709551615\u{1}1999-01-01T00:00:00+01:00\u{1}NATS/1.0 404 x\r\na:\r\n\u{1}\0\0",
    ];
    let words = &[
        "\u{1}", "\r\n", "NATS/1.0", ": ", ":", "\r\n\r\n", "a:b\r\n", "\n", " ",
    ];
    Target::new(6, good, words, |input| {
        let mut parts = input.splitn(5, |byte| *byte == 1);
        let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let (subject, seq, time) = (text(), text(), text());
        let headers = parts.next().unwrap_or_default();
        let payload = parts.next().unwrap_or_default();
        let seq: Value = serde_json::from_str(&seq).unwrap_or_default();
        let wire = |subject: &str, seq: &Value, time: &str, headers: &[u8], payload: &[u8]| {
            let text = json!({"message": {
                "subject": subject, "seq": seq, "time": time,
                "hdrs": STANDARD.encode(headers), "data": STANDARD.encode(payload),
            }});
            stored_message(&message(text.to_string()))
        };
        let Ok(stored) = wire(&subject, &seq, &time, headers, payload) else {
            // Nor are the bytes themselves an answer that panics.
            let _ = stored_message(&message(input.to_vec()));
            return false;
        };
        assert_eq!(stored.payload, payload);
        let mut block = String::from("NATS/1.0\r\n");
        for (name, value) in stored.headers.iter() {
            assert!(!value.contains(['\r', '\n']));
            block.push_str(&format!("{name}: {value}\r\n"));
        }
        block.push_str("\r\n");
        let (time, seq) = (stored.time.to_string(), json!(stored.seq));
        let again = wire(
            stored.subject.as_str(),
            &seq,
            &time,
            block.as_bytes(),
            payload,
        );
        assert_eq!(again.expect("it was written"), stored);
        true
    })
}

pub(crate) fn permission_violations() -> Target {
    let good = [
        r#"Permissions Violation for Publish to "orders.placed""#,
        r#"Permissions Violation for Subscription to "orders.>" using queue "billing""#,
        r#"permissions violation for publish to "a\\b\"c""#,
    ];
    let words = &[
        "\"",
        "\\",
        "\\\\",
        "\\\"",
        " using queue ",
        "Publish to ",
        "Subscription to ",
        "é",
    ];
    Target::new(6, good, words, |input| {
        let text = String::from_utf8_lossy(input);
        let Some(denied) = Denied::parse(&text) else {
            return false;
        };
        let what = match denied.operation {
            Operation::Publish => "Publish",
            Operation::Subscribe => "Subscription",
        };
        let subject = denied.subject.replace('\\', "\\\\").replace('"', "\\\"");
        let again = format!("Permissions Violation for {what} to \"{subject}\"");
        assert_eq!(Denied::parse(&again), Some(denied));
        true
    })
}

pub(crate) fn statuses_of_pulls() -> Target {
    // One thing that happens in a line: a status, a delivery, or what the driver says.
    let good = [
        "connected\nfree 10\n100 Idle Heartbeat\n408 Request Timeout;5\nfree 3\ntick 3000",
        "connected\nfree 5\ndelivery\ndelivery\n409 Consumer Deleted\nrestart\nfree 5\n404 No Messages",
        "connected\nfree 7\n409 Leadership Change\n503\ntick 500\n400 Bad Request\n423 x\n412 y\ntick 60000",
        "connected\nfree 2\ndelivery\ndisconnected\nconnected\n408 Request Timeout;18446744073709551615\nstop\nfree 9",
        "connected\nfree 4\n409 Batch Completed;1\n409 Message Size Exceeds MaxBytes;2\npause\nresume\n409 Exceeded MaxWaiting\ntick 1000",
    ];
    let words = &[
        "\n",
        "connected\n",
        "disconnected\n",
        "free 1000000\n",
        "delivery\n",
        "tick 9000\n",
        "408 \n",
        "409 ",
        "Consumer Deleted\n",
        "503\n",
        "100 \n",
        ";0\n",
        ";1\n",
        "404 No Messages\n",
        "stop\n",
        "restart\n",
    ];
    Target::new(2, good, words, |input| {
        const MOST: usize = 16;
        let config = Config {
            request: Subject::from_static("$JS.API.CONSUMER.MSG.NEXT.S.c"),
            inbox: Subject::from_static("_INBOX.p"),
            expires: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
            max_batch: MOST,
        };
        let (mut pull, mut now) = (Pull::new(config, 1), Time::ZERO);
        let (mut last, mut words, mut lines) = (None::<Subject>, 0, 0);
        let mut free = 0;
        for line in String::from_utf8_lossy(input).lines().take(200) {
            lines += 1;
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "connected" => pull.handle(now, Input::Connected),
                "disconnected" => pull.handle(now, Input::Disconnected),
                "pause" => pull.handle(now, Input::Pause),
                "resume" => pull.handle(now, Input::Resume),
                "restart" => pull.handle(now, Input::Restart),
                "stop" => pull.handle(now, Input::Stop),
                "free" => {
                    let places = rest.parse().unwrap_or(1);
                    free = places.max(free);
                    pull.handle(now, Input::Free(places));
                }
                "tick" => {
                    now = now + Duration::from_millis(rest.parse::<u32>().unwrap_or(1).into());
                    pull.handle(now, Input::Tick);
                }
                _ => {
                    let (text, pending) = line.split_once(';').unwrap_or((line, ""));
                    let mut headers = Headers::new();
                    let _ = headers.append("Nats-Pending-Messages", pending);
                    let said = with_status(&[text.as_bytes(), b"|"].concat());
                    let reply = (word == "delivery").then(|| "$JS.ACK.S.c.1.1.1.1.1".into());
                    let subject = last.clone().unwrap_or_else(|| said.subject.clone());
                    let said = Message {
                        subject,
                        reply,
                        headers,
                        ..said
                    };
                    words += u32::from(said.status.is_some());
                    let received = pull.receive(now, &said);
                    let is_delivery = matches!(received, Received::Delivery(_));
                    assert!(
                        said.status.is_none() || !is_delivery,
                        "a status is no delivery"
                    );
                }
            }
            // It comes to rest, and asks for no more than it may.
            let mut outputs = 0;
            while let Some(output) = pull.poll() {
                outputs += 1;
                assert!(outputs < 100, "it never comes to rest");
                if let Output::Publish(request) = output {
                    last = request.reply;
                }
            }
            assert!(pull.owed() <= free, "{} are owed", pull.owed());
            assert!(pull.deadline().is_none_or(|due| due < Time::NEVER));
        }
        words > 0 && lines > 2
    })
}
