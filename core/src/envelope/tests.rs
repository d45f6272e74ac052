use proptest::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::*;

const FIELDS: Fields<'static> = Fields {
    event_id: "e-1",
    aggregate_id: "order/7:a_b-c.d",
    event_type: "OrderPlaced",
    event_version: 2,
    timestamp: Timestamp::from_unix_nanos(1_500_000_000),
    trace_id: None,
    correlation_id: None,
    tenant_id: 0,
};

#[test]
fn the_bytes_are_those_of_existing_services() {
    let body = encode(&FIELDS, &json!({"a": [1, "<b>"]})).unwrap();
    assert_eq!(
        body,
        r#"{"event_id":"e-1","aggregate_id":"order/7:a_b-c.d","event_type":"OrderPlaced","event_version":2,"timestamp":"1970-01-01T00:00:01.5Z","payload":{"a":[1,"<b>"]}}"#
    );
    let full = Fields {
        trace_id: Some("t\"1"),
        correlation_id: Some("c"),
        tenant_id: -3,
        ..FIELDS
    };
    let body = encode_raw(&full, b" [1 ] ").unwrap();
    assert_eq!(
        body,
        r#"{"event_id":"e-1","aggregate_id":"order/7:a_b-c.d","event_type":"OrderPlaced","event_version":2,"timestamp":"1970-01-01T00:00:01.5Z","payload": [1 ] ,"trace_id":"t\"1","correlation_id":"c","tenant_id":-3}"#
    );
    assert_eq!(decode(&body).unwrap().fields(), full);
}

#[test]
fn a_foreign_envelope_is_read_without_copies() {
    let body = Bytes::from_static(
        br#" {"payload": {"x": 1.50} , "unknown": [{}], "event_type":"T","event_version":9,
            "aggregate_id":"a","event_id":"\u0065-1","timestamp":"2026-11-22T13:48:01+02:00",
            "trace_id":null,"correlation_id":"","tenant_id":null} "#,
    );
    let view = decode(&body).unwrap();
    assert_eq!(view.payload.get(), r#"{"x": 1.50}"#);
    assert_eq!(view.event_id, "e-1");
    assert!(matches!(view.aggregate_id, Cow::Borrowed("a")));
    assert_eq!(view.timestamp.to_string(), "2026-11-22T11:48:01Z");
    assert_eq!((&view.trace_id, &view.correlation_id), (&None, &None));
    assert_eq!(view.tenant_id, 0);

    let event = decode_owned(&body).unwrap();
    assert_eq!(event.fields(), view.fields());
    assert_eq!(event.payload, r#"{"x": 1.50}"#);
    let range = body.as_ptr_range();
    assert!(range.contains(&event.payload.as_ptr()));
    assert!(range.contains(&event.event_type.as_ptr()));
}

#[test]
fn a_time_out_of_range_is_moved_into_it() {
    let read = |time: &str| {
        let body = String::from_utf8(encode(&FIELDS, &1).unwrap().into()).unwrap();
        decode(body.replace("1970-01-01T00:00:01.5Z", time).as_bytes())
            .map(|envelope| envelope.timestamp.as_unix_nanos())
    };
    assert_eq!(read("0001-01-01T00:00:00Z"), Ok(i64::MIN));
    assert_eq!(read("9999-12-31T00:00:00Z"), Ok(i64::MAX));
    assert!(
        read("yesterday")
            .unwrap_err()
            .to_string()
            .contains("timestamp: \"yesterday\"")
    );
    let extreme = Fields {
        timestamp: Timestamp::from_unix_nanos(i64::MIN),
        ..FIELDS
    };
    let body = encode(&extreme, &1).unwrap();
    assert_eq!(decode(&body).unwrap().timestamp, extreme.timestamp);
}

#[test]
fn refusals_name_field_value_and_rule() {
    let long = "a".repeat(257);
    let table = [
        (
            Fields {
                event_id: " ",
                ..FIELDS
            },
            "event_id",
        ),
        (
            Fields {
                event_id: "a\nb",
                ..FIELDS
            },
            "event_id",
        ),
        (
            Fields {
                aggregate_id: "",
                ..FIELDS
            },
            "aggregate_id",
        ),
        (
            Fields {
                aggregate_id: " \t",
                ..FIELDS
            },
            "aggregate_id",
        ),
        (
            Fields {
                aggregate_id: "a b",
                ..FIELDS
            },
            "aggregate_id",
        ),
        (
            Fields {
                aggregate_id: "ä",
                ..FIELDS
            },
            "aggregate_id",
        ),
        (
            Fields {
                aggregate_id: &long,
                ..FIELDS
            },
            "aggregate_id",
        ),
        (
            Fields {
                event_type: "",
                ..FIELDS
            },
            "event_type",
        ),
        (
            Fields {
                event_version: 0,
                ..FIELDS
            },
            "event_version",
        ),
        (
            Fields {
                event_version: -1,
                ..FIELDS
            },
            "event_version",
        ),
    ];
    for (fields, field) in table {
        let Err(EncodeError::Field(error)) = encode(&fields, &1) else {
            panic!("{fields:?} was accepted");
        };
        assert_eq!(error.what(), field);
        assert!(error.to_string().contains(error.rule()));
    }
    assert!(
        encode(
            &Fields {
                aggregate_id: &long[1..],
                ..FIELDS
            },
            &1
        )
        .is_ok()
    );
}

#[test]
fn only_json_is_a_payload() {
    for bad in [
        &b""[..],
        b" ",
        b"{",
        b"nul",
        b"1 2",
        b"\"\xff\"",
        b"{\"a\":1,}",
        b"01",
    ] {
        assert!(
            matches!(encode_raw(&FIELDS, bad), Err(EncodeError::Payload(_))),
            "{bad:?}"
        );
    }
    assert!(encode_raw(&FIELDS, b"null").is_ok());

    struct Unwritable;
    impl Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    assert!(matches!(
        encode(&FIELDS, &Unwritable),
        Err(EncodeError::Payload(_))
    ));
}

#[test]
fn what_is_no_envelope_says_why() {
    let body = encode(&FIELDS, &1).unwrap();
    let body = std::str::from_utf8(&body).unwrap();
    for field in [
        "event_id",
        "aggregate_id",
        "event_type",
        "event_version",
        "timestamp",
        "payload",
    ] {
        let without = body.replace(field, "other");
        assert_eq!(
            decode(without.as_bytes()).unwrap_err(),
            DecodeError::Missing { field }
        );
    }
    let table = [
        (
            "\"event_version\":2",
            "\"event_version\":\"2\"",
            "event_version: invalid type",
        ),
        (
            "\"event_version\":2",
            "\"event_version\":2.5",
            "event_version: invalid type",
        ),
        (
            "\"event_version\":2",
            "\"event_version\":0",
            "event_version \"0\" is refused",
        ),
        (
            "\"event_id\":\"e-1\"",
            "\"event_id\":7",
            "event_id: invalid type",
        ),
        (
            "\"event_id\":\"e-1\"",
            "\"event_id\":\" \"",
            "it must not be blank",
        ),
        ("order/7", "order 7", "`A-Za-z0-9:_-./`"),
        ("}", "", "EOF"),
        ("}", "}x", "trailing"),
    ];
    for (from, to, says) in table {
        let error = decode(body.replace(from, to).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
    for bad in [&b""[..], b"[]", b"7", b"null", b"\xff", b"{}"] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
    let huge = format!("{{\"event_version\":\"{}\"}}", "x".repeat(10_000));
    assert!(decode(huge.as_bytes()).unwrap_err().to_string().len() < 400);
}

#[test]
fn deep_nesting_is_carried_without_recursion() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let body = encode_raw(&FIELDS, deep.as_bytes()).unwrap();
    assert_eq!(decode(&body).unwrap().payload.get(), deep);
}

#[test]
fn fields_are_mirrored_into_headers() {
    let mut headers = Headers::new();
    let fields = Fields {
        trace_id: Some("t"),
        tenant_id: 4,
        ..FIELDS
    };
    fields.mirror(&mut headers).unwrap();
    assert_eq!(
        headers.iter().collect::<Vec<_>>(),
        [
            ("X-Event-ID", "e-1"),
            ("X-Aggregate-ID", "order/7:a_b-c.d"),
            ("X-Event-Type", "OrderPlaced"),
            ("X-Event-Version", "2"),
            ("X-Trace-ID", "t"),
            ("X-Tenant-ID", "4"),
        ]
    );
    assert_eq!(raw_key(&headers), Some("order/7:a_b-c.d"));
    let evil = Fields {
        trace_id: Some("t\r\nX: y"),
        ..FIELDS
    };
    assert!(evil.mirror(&mut Headers::new()).is_err());
}

#[test]
fn raw_messages_have_their_key_in_a_header_or_none() {
    let mut headers = Headers::new();
    assert_eq!(raw_key(&headers), None);
    headers.append(KEY_HEADER, "  ").unwrap();
    assert_eq!(raw_key(&headers), None);
    headers.insert(KEY_HEADER, " k ").unwrap();
    assert_eq!(raw_key(&headers), Some("k"));
    assert_eq!(message_id("e", "a.b"), "e/a.b");
}

#[test]
fn event_ids_are_uuids_of_version_7() {
    let wall = Timestamp::parse("2022-02-22T19:22:22Z").unwrap();
    // The example of RFC 9562, A.6.
    assert_eq!(
        event_id(wall, [0xffff_ffff_ffff_fcc3, 0x18c4_dc0c_0c07_398f]).to_string(),
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    );
    assert_eq!(
        &*event_id(Timestamp::from_unix_nanos(-1), [0, 0]),
        "00000000-0000-7000-8000-000000000000"
    );
    let later = wall.plus(std::time::Duration::from_millis(1));
    assert!(event_id(later, [0, 0]) > event_id(wall, [u64::MAX; 2]));
}

fn any_fields() -> impl Strategy<Value = (String, String, String, i64, i64, Option<String>, i64)> {
    (
        "[ -~äß\u{1F600}]{0,10}[!-~][ -~]{0,10}",
        "[A-Za-z0-9:_./-]{1,256}",
        ".{0,5}[!-~].{0,5}",
        1..i64::MAX,
        any::<i64>(),
        proptest::option::of(".{1,8}"),
        any::<i64>(),
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        (id, aggregate, kind, version, nanos, trace, tenant) in any_fields(),
        payload in ".{0,30}",
    ) {
        let fields = Fields {
            event_id: &id,
            aggregate_id: &aggregate,
            event_type: &kind,
            event_version: version,
            timestamp: Timestamp::from_unix_nanos(nanos),
            trace_id: trace.as_deref(),
            correlation_id: trace.as_deref(),
            tenant_id: tenant,
        };
        let body = encode(&fields, &payload).unwrap();
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        let event = decode_owned(&body).unwrap();
        prop_assert_eq!(event.fields(), fields);
        prop_assert_eq!(serde_json::from_slice::<String>(&event.payload).unwrap(), payload);
        let again = encode_raw(&event.fields(), &event.payload).unwrap();
        prop_assert_eq!(again, body);
    }

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        _ = decode(&bytes);
        _ = decode_owned(&bytes.into());
    }

    #[test]
    fn reading_damaged_envelopes_never_panics(at in 0..160_usize, byte in any::<u8>(), cut in 0..170_usize) {
        let mut body = encode(&FIELDS, &json!({"a": "\u{e4}\n"})).unwrap().to_vec();
        if let Some(b) = body.get_mut(at) {
            *b = byte;
        }
        body.truncate(cut);
        _ = decode_owned(&body.into());
    }
}
