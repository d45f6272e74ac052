use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::jetstream::api::{Discard, Retention};
use crate::{Headers, Status, Timestamp};

fn message(body: impl Into<Bytes>) -> Message {
    Message {
        subject: Subject::from_static("i"),
        reply: None,
        headers: Headers::new(),
        status: None,
        payload: body.into(),
    }
}

fn status(code: u16) -> Message {
    Message {
        status: Some(Status {
            code,
            description: "why".into(),
        }),
        ..message("")
    }
}

fn body(request: &Request) -> Value {
    if request.payload.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&request.payload).unwrap()
}

#[test]
fn requests_are_those_of_the_server() {
    let api = Api::default();
    let table = [
        (account_info(&api), "INFO", Value::Null),
        (stream_info(&api, "S"), "STREAM.INFO.S", Value::Null),
        (delete_stream(&api, "S"), "STREAM.DELETE.S", Value::Null),
        (
            stream_names(&api, Some("a.b"), 0),
            "STREAM.NAMES",
            json!({"subject": "a.b", "offset": 0}),
        ),
        (
            stream_names(&api, None, 7),
            "STREAM.NAMES",
            json!({"offset": 7}),
        ),
        (purge_stream(&api, "S", None), "STREAM.PURGE.S", Value::Null),
        (
            purge_stream(&api, "S", Some("a")),
            "STREAM.PURGE.S",
            json!({"filter": "a"}),
        ),
        (
            message_at(&api, "S", 3),
            "STREAM.MSG.GET.S",
            json!({"seq": 3}),
        ),
        (
            last_message(&api, "S", "a"),
            "STREAM.MSG.GET.S",
            json!({"last_by_subj": "a"}),
        ),
        (
            consumer_info(&api, "S", "c"),
            "CONSUMER.INFO.S.c",
            Value::Null,
        ),
        (
            delete_consumer(&api, "S", "c"),
            "CONSUMER.DELETE.S.c",
            Value::Null,
        ),
        (
            consumer_names(&api, "S", 0),
            "CONSUMER.NAMES.S",
            json!({"offset": 0}),
        ),
    ];
    for (request, subject, expected) in table {
        assert_eq!(request.subject.as_str(), format!("$JS.API.{subject}"));
        assert_eq!(body(&request), expected);
    }
}

#[test]
fn a_consumer_is_created_under_its_name_and_filter() {
    let mut config = ConsumerConfig {
        name: Some("c".into()),
        filter_subject: Some("a.>".into()),
        ..ConsumerConfig::default()
    };
    let request = create_consumer(&Api::default(), "S", &config, Action::Create);
    assert_eq!(request.subject, "$JS.API.CONSUMER.CREATE.S.c.a.>");
    let sent = body(&request);
    assert_eq!(sent["action"], "create");
    assert_eq!(sent["stream_name"], "S");
    assert_eq!(sent["config"]["name"], "c");

    config.filter_subject = None;
    let request = create_consumer(&Api::default(), "S", &config, Action::Any);
    assert_eq!(request.subject, "$JS.API.CONSUMER.CREATE.S.c");
    assert_eq!(body(&request).get("action"), None);
}

#[test]
fn a_stream_keeps_what_this_crate_does_not_know() {
    let answer_of_server = r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","total":0,"offset":0,"limit":0,"config":{"name":"S1","subjects":["s1.\u003e"],"retention":"workqueue","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"new","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"s2","allow_direct":true,"consumer_limits":{},"placement":{"cluster":"x"},"metadata":{"_nats.level":"5"}},"created":"2026-11-22T12:04:42.212745249Z","state":{"messages":3,"bytes":77,"first_seq":1,"first_ts":"0001-01-01T00:00:00Z","last_seq":3,"last_ts":"0001-01-01T00:00:00Z","consumer_count":2},"ts":"2026-11-22T12:04:42.216235175Z"}"#;
    let info: StreamInfo = answer(&message(answer_of_server)).unwrap();
    assert_eq!(info.config.subjects, ["s1.>"]);
    assert_eq!(info.config.retention, Retention::WorkQueue);
    assert_eq!(info.config.discard, Discard::New);
    assert_eq!((info.state.messages, info.state.consumer_count), (3, 2));
    let sent = body(&update_stream(&Api::default(), &info.config));
    let said: Value = serde_json::from_str(answer_of_server).unwrap();
    assert_eq!(sent, said["config"]);
}

#[test]
fn a_consumer_keeps_what_this_crate_does_not_know() {
    let answer_of_server = r#"{"type":"io.nats.jetstream.api.v1.consumer_info_response","stream_name":"S1","name":"c1","created":"2026-11-22T12:04:42.222814102Z","config":{"durable_name":"c1","name":"c1","deliver_policy":"by_start_time","opt_start_time":"2026-01-01T00:00:00Z","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"filter_subject":"s1.a","replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0,"pause_until":"2027-01-01T00:00:00Z"},"delivered":{"consumer_seq":4,"stream_seq":9},"ack_floor":{"consumer_seq":0,"stream_seq":0},"num_ack_pending":1,"num_redelivered":2,"num_waiting":3,"num_pending":4,"ts":"2026-11-22T12:04:42.224415722Z"}"#;
    let info: ConsumerInfo = answer(&message(answer_of_server)).unwrap();
    assert_eq!((&*info.stream_name, &*info.name), ("S1", "c1"));
    assert_eq!(info.delivered.stream_seq, 9);
    assert_eq!((info.num_ack_pending, info.num_redelivered), (1, 2));
    assert_eq!((info.num_waiting, info.num_pending), (3, 4));
    let request = create_consumer(&Api::default(), "S1", &info.config, Action::Update);
    let said: Value = serde_json::from_str(answer_of_server).unwrap();
    assert_eq!(body(&request)["config"], said["config"]);
}

#[test]
fn lists_may_be_null() {
    let names: StreamNames = answer(&message(
        r#"{"total":0,"offset":0,"limit":1024,"streams":null}"#,
    ))
    .unwrap();
    assert_eq!(names.streams, Vec::<String>::new());
    let names: ConsumerNames =
        answer(&message(r#"{"total":1,"offset":0,"consumers":["c"]}"#)).unwrap();
    assert_eq!(names.consumers, ["c"]);
    let purged: Purged = answer(&message(r#"{"success":true,"purged":4}"#)).unwrap();
    assert_eq!(purged.purged, 4);
    let account: AccountInfo = answer(&message(r#"{"memory":1,"domain":"d"}"#)).unwrap();
    assert_eq!((account.memory, account.domain.as_deref()), (1, Some("d")));
}

#[test]
fn refusals_are_errors() {
    let refused = |code: u32| {
        let body = format!(
            r#"{{"type":"t","error":{{"code":404,"err_code":{code},"description":"gone"}},"total":0}}"#
        );
        answer::<StreamInfo>(&message(body)).unwrap_err()
    };
    assert!(refused(10059).is_not_found() && !refused(10059).is_transient());
    assert!(refused(10008).is_transient());
    assert_eq!(refused(10065).err_code(), Some(10065));
    assert_eq!(
        refused(10014).to_string(),
        "the server refused: gone (10014)"
    );
    assert_eq!(
        answer::<Success>(&status(503)),
        Err(AdminError::NoResponders)
    );
    assert!(AdminError::NoResponders.is_transient());
    assert!(matches!(
        answer::<Success>(&status(408)),
        Err(AdminError::Api(ApiError { code: 408, .. }))
    ));
    for bad in ["", "{", "[]", "7", "{}", r#"{"success":1}"#] {
        assert!(
            matches!(
                answer::<Success>(&message(bad)),
                Err(AdminError::Malformed(_))
            ),
            "{bad}"
        );
    }
}

#[test]
fn stored_messages_are_unpacked() {
    let body = r#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"s1.a","seq":1,"hdrs":"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiAxDQpLOiBWDQoNCg==","data":"aGVsbG8=","time":"2026-11-22T12:04:42.218818374Z"}}"#;
    let stored = stored_message(&message(body)).unwrap();
    assert_eq!((stored.subject.as_str(), stored.seq), ("s1.a", 1));
    assert_eq!(stored.payload, "hello");
    assert_eq!(
        stored.headers.iter().collect::<Vec<_>>(),
        [("Nats-Msg-Id", "1"), ("K", "V")]
    );
    assert_eq!(
        Some(stored.time),
        Timestamp::parse("2026-11-22T12:04:42.218818374Z")
    );
    let bare = r#"{"message":{"subject":"a","seq":2,"time":"2026-11-22T12:04:42Z"}}"#;
    let stored = stored_message(&message(bare)).unwrap();
    assert!(stored.payload.is_empty() && stored.headers.is_empty());
    for bad in [
        r#"{"message":{"subject":"a","seq":2,"time":"2026-11-22T12:04:42Z","data":"!"}}"#,
        r#"{"message":{"subject":"a","seq":2,"time":"2026-11-22T12:04:42Z","hdrs":"aGVsbG8="}}"#,
        "{}",
    ] {
        assert!(
            matches!(stored_message(&message(bad)), Err(AdminError::Malformed(_))),
            "{bad}"
        );
    }
    let gone = r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
    assert!(stored_message(&message(gone)).unwrap_err().is_not_found());
}

proptest! {
    #[test]
    fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let message = message(body);
        _ = answer::<StreamInfo>(&message);
        _ = answer::<ConsumerInfo>(&message);
        _ = stored_message(&message);
    }

    #[test]
    fn packed_messages_never_panic(hdrs in "[A-Za-z0-9+/]{0,20}={0,2}", data in ".{0,8}") {
        let body = json!({"message": {"subject": "a", "seq": 1, "hdrs": hdrs, "data": data, "time": "2026-11-22T12:04:42Z"}});
        _ = stored_message(&message(body.to_string()));
    }
}
