use serde_json::{Value, json};

use super::{Bench, code};
use crate::broker::{Config, Input, Output};
use crate::{Message, Outbound, Time};

#[test]
fn messages_reach_every_subscription_and_one_of_a_group() {
    let mut bench = Bench::new();
    let (a, b) = (bench.conn, bench.broker.connect(Time::ZERO));
    for (conn, sid, pattern, group) in [
        (a, 10, "x.*", None),
        (b, 11, "x.>", None),
        (a, 12, "x.y", Some("g")),
        (b, 13, "x.y", Some("g")),
    ] {
        bench.handle(Input::Subscribe {
            conn,
            sid,
            pattern: pattern.into(),
            group: group.map(Into::into),
        });
    }
    bench.send(Outbound::new("x.y", "1"));
    assert_eq!(bench.take().len(), 3);
    bench.handle(Input::Disconnect { conn: b });
    bench.send(Outbound::new("x.y", "2"));
    assert_eq!(bench.take().len(), 2);
    bench.handle(Input::Unsubscribe { conn: a, sid: 10 });
    bench.handle(Input::Unsubscribe { conn: a, sid: 12 });
    let answer = bench.publish("x.y", "3", &[]);
    assert_eq!(answer, json!({"status": 503}));
    assert_eq!(bench.publish("x..y", "3", &[]), json!({"status": 503}));
}

#[test]
fn publishing_is_acknowledged_with_stream_and_sequence() {
    let mut bench = Bench::new();
    assert_eq!(bench.stream(json!({}))["did_create"], true);
    assert_eq!(
        bench.publish("s.1", "x", &[]),
        json!({"stream": "S", "seq": 1})
    );
    bench.send(Outbound::new("s.1", "silent"));
    assert_eq!(
        bench.publish("s.1", "x", &[]),
        json!({"stream": "S", "seq": 3})
    );
    assert_eq!(bench.state()["messages"], 3);
    assert_eq!(bench.state()["bytes"], 34 + 39 + 34);
}

#[test]
fn a_message_id_counts_once_in_its_window() {
    let mut bench = Bench::new();
    bench.stream(json!({"duplicate_window": 1_000_000_000}));
    let id = [("Nats-Msg-Id", "a")];
    assert_eq!(bench.publish("s.1", "x", &id)["seq"], 1);
    let again = bench.publish("s.2", "x", &id);
    assert_eq!(again, json!({"stream": "S", "seq": 1, "duplicate": true}));
    bench.advance(999);
    assert_eq!(bench.publish("s.1", "x", &id)["duplicate"], true);
    bench.advance(1);
    assert_eq!(bench.publish("s.1", "x", &id)["seq"], 2);
}

#[test]
fn expectations_are_checked() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.publish("s.1", "x", &[("Nats-Msg-Id", "a")]);
    let cases = [
        ("Nats-Expected-Stream", "T", 10060),
        ("Nats-Expected-Last-Sequence", "9", 10071),
        ("Nats-Expected-Last-Sequence", "abc", 10071),
        ("Nats-Expected-Last-Subject-Sequence", "9", 10071),
        ("Nats-Expected-Last-Msg-Id", "b", 10070),
        ("Nats-Expected-Last-Subject-Sequence-Subject", "s.1", 10193),
        ("Nats-Rollup", "sub", 10111),
        ("Nats-TTL", "5s", 10166),
        ("Nats-Incr", "1", 10168),
        ("Nats-Batch-Id", "1", 10174),
        ("Nats-Schedule", "@at x", 10188),
    ];
    for (name, value, expected) in cases {
        let answer = bench.publish("s.1", "x", &[(name, value)]);
        assert_eq!(code(&answer), expected, "{name}");
        assert_eq!(answer["seq"], 0);
    }
    let fine = [
        ("Nats-Expected-Stream", "S"),
        ("Nats-Expected-Last-Sequence", "1"),
        ("Nats-Expected-Last-Subject-Sequence", "1"),
        ("Nats-Expected-Last-Msg-Id", "a"),
    ];
    assert_eq!(bench.publish("s.1", "x", &fine)["seq"], 2);
}

#[test]
fn messages_go_when_their_own_time_is_over() {
    let mut bench = Bench::new();
    bench.stream(json!({"allow_msg_ttl": true}));
    for (ttl, seq) in [("2", 1), ("1s", 2), ("1m", 3), ("", 4)] {
        assert_eq!(bench.publish("s.1", "x", &[("Nats-TTL", ttl)])["seq"], seq);
    }
    for bad in ["0", "500ms", "-1", "s", "never"] {
        let answer = bench.publish("s.1", "x", &[("Nats-TTL", bad)]);
        assert_eq!(code(&answer), 10165, "{bad}");
    }
    for (millis, left) in [(999, 4), (1, 3), (999, 3), (1, 2), (58_000, 1)] {
        bench.advance(millis);
        assert_eq!(bench.state()["messages"], left);
    }
}

#[test]
fn full_streams_discard_old_or_refuse_new() {
    let mut bench = Bench::new();
    bench.stream(json!({"max_msgs": 2}));
    bench.store(&["s.1", "s.1", "s.1"]);
    assert_eq!(bench.state()["first_seq"], 2);
    for (limits, text) in [
        (json!({"max_msgs": 1}), "maximum messages exceeded"),
        (json!({"max_bytes": 34}), "maximum bytes exceeded"),
        (
            json!({"max_msgs_per_subject": 1, "discard_new_per_subject": true}),
            "maximum messages per subject exceeded",
        ),
    ] {
        bench.api("STREAM.DELETE.S", Value::Null);
        let mut config = limits;
        config["discard"] = json!("new");
        bench.stream(config);
        assert_eq!(bench.publish("s.1", "x", &[])["seq"], 1);
        let refused = bench.publish("s.1", "x", &[]);
        assert_eq!(code(&refused), 10077);
        assert_eq!(refused["error"]["description"], text);
    }
    bench.api("STREAM.DELETE.S", Value::Null);
    bench.stream(json!({"max_msg_size": 3}));
    assert_eq!(code(&bench.publish("s.1", "long", &[])), 10054);
}

#[test]
fn old_messages_go_when_their_age_is_reached() {
    let mut bench = Bench::new();
    bench.stream(json!({"max_age": 200_000_000}));
    bench.store(&["s.1"]);
    bench.advance(100);
    bench.store(&["s.2"]);
    assert_eq!(bench.broker.deadline(), Some(Time::from_millis(200)));
    bench.advance(100);
    assert_eq!(bench.state()["first_seq"], 2);
    bench.advance(100);
    let state = bench.state();
    assert_eq!(state["messages"], 0);
    assert_eq!(
        (&state["first_seq"], &state["last_seq"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(state["first_ts"], "0001-01-01T00:00:00Z");
}

#[test]
fn a_full_memory_refuses_and_freed_memory_takes_again() {
    let mut bench = Bench::with(Config {
        max_bytes: 100,
        ..Config::default()
    });
    bench.stream(json!({}));
    bench.store(&["s.1", "s.1"]);
    let refused = bench.publish("s.1", "x", &[]);
    assert_eq!(
        (code(&refused), &refused["error"]["code"]),
        (10023, &json!(503))
    );
    bench.api("STREAM.PURGE.S", Value::Null);
    assert_eq!(bench.publish("s.1", "x", &[])["seq"], 3);
    let greedy = json!({"name": "T", "max_bytes": 101});
    assert_eq!(code(&bench.api("STREAM.CREATE.T", greedy)), 10047);
    assert_eq!(bench.broker.world.used, 34);
    bench.api("STREAM.DELETE.S", Value::Null);
    assert_eq!(bench.broker.world.used, 0);
}

#[test]
fn a_message_over_the_payload_limit_goes_nowhere() {
    let mut bench = Bench::with(Config {
        max_payload: 200,
        ..Config::default()
    });
    bench.stream(json!({}));
    let refused = bench.publish("s.1", &"x".repeat(201), &[]);
    assert_eq!(code(&refused), 10054);
    assert_eq!(bench.publish("s.1", &"x".repeat(200), &[])["seq"], 1);
}

#[test]
fn streams_are_created_once_and_do_not_overlap() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    assert_eq!(code(&bench.stream(json!({}))), 0);
    assert_eq!(code(&bench.stream(json!({"max_msgs": 5}))), 10058);
    let overlap = json!({"name": "T", "subjects": ["*.x"]});
    assert_eq!(code(&bench.api("STREAM.CREATE.T", overlap)), 10065);
    for (config, expected) in [
        (json!({"name": "T", "num_replicas": 3}), 10074),
        (json!({"name": "X"}), 10056),
        (json!({"name": "T", "foo": 1}), 10025),
        (json!({"name": "T", "subjects": ["a..b"]}), 10052),
        (json!({"name": "T", "mirror": {"name": "S"}}), 10052),
        (json!({"name": "T", "max_age": 5}), 10052),
    ] {
        assert_eq!(code(&bench.api("STREAM.CREATE.T", config)), expected);
    }
    let names = |bench: &mut Bench, subject| {
        bench.api("STREAM.NAMES", json!({"subject": subject}))["streams"].take()
    };
    assert_eq!(names(&mut bench, "s.1"), json!(["S"]));
    assert_eq!(names(&mut bench, "t"), Value::Null);
    bench.api("STREAM.DELETE.S", Value::Null);
    assert_eq!(code(&bench.api("STREAM.INFO.S", Value::Null)), 10059);
    assert_eq!(bench.publish("s.1", "x", &[]), json!({"status": 503}));
}

#[test]
fn updates_apply_limits_and_refuse_what_cannot_change() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.store(&["s.1", "s.1", "s.2"]);
    let mut update = |more: Value| {
        let mut config = json!({"name": "S", "subjects": ["s.>", "t"]});
        super::merge(&mut config, more);
        bench.api("STREAM.UPDATE.S", config)
    };
    assert_eq!(code(&update(json!({"storage": "memory"}))), 10052);
    assert_eq!(code(&update(json!({"retention": "workqueue"}))), 10052);
    let updated = update(json!({"max_msgs_per_subject": 1}));
    assert_eq!(updated["state"]["messages"], 2);
    assert_eq!(bench.publish("t", "x", &[])["seq"], 4);
}

#[test]
fn purges_take_what_they_name() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.store(&["s.0", "s.1", "s.0", "s.1", "s.0"]);
    let mut purge = |request: Value| bench.api("STREAM.PURGE.S", request)["purged"].clone();
    assert_eq!(purge(json!({"filter": "s.1", "keep": 1})), 1);
    assert_eq!(purge(json!({"filter": "s.0", "seq": 5})), 2);
    assert_eq!(purge(json!({"keep": 2})), 0);
    assert_eq!(purge(json!({"seq": 50})), 2);
    assert_eq!(bench.state()["first_seq"], 50);
    assert_eq!(bench.publish("s.1", "x", &[])["seq"], 50);
    assert_eq!(
        code(&bench.api("STREAM.PURGE.S", json!({"seq": 1, "keep": 1}))),
        10003
    );
}

#[test]
fn messages_are_read_and_deleted_by_sequence_and_subject() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.store(&["s.0", "s.1"]);
    bench.publish("s.0", "body", &[("a", "b")]);
    let mut get = |request: Value| bench.api("STREAM.MSG.GET.S", request);
    let last = get(json!({"last_by_subj": "s.0"}));
    assert_eq!(last["message"]["hdrs"], "TkFUUy8xLjANCmE6IGINCg0K");
    assert_eq!(last["message"]["data"], "Ym9keQ==");
    assert_eq!(
        get(json!({"next_by_subj": "s.*", "seq": 2}))["message"]["seq"],
        2
    );
    assert_eq!(code(&get(json!({"seq": 9}))), 10037);
    assert_eq!(code(&get(json!({}))), 10003);
    let mut delete = |seq| bench.api("STREAM.MSG.DELETE.S", json!({"seq": seq}));
    assert_eq!(delete(2)["success"], true);
    assert_eq!(delete(2)["error"]["description"], "sequence 2 not found");
    assert_eq!(delete(9)["error"]["description"], "stream store EOF");
    let info = bench.api(
        "STREAM.INFO.S",
        json!({"deleted_details": true, "subjects_filter": ">"}),
    );
    assert_eq!(info["state"]["deleted"], json!([2]));
    assert_eq!(info["state"]["subjects"], json!({"s.0": 2}));
}

#[test]
fn a_rollup_replaces_what_was_before() {
    let mut bench = Bench::new();
    bench.stream(json!({"allow_rollup_hdrs": true}));
    bench.store(&["s.0", "s.1", "s.0"]);
    bench.publish("s.0", "x", &[("Nats-Rollup", "sub")]);
    assert_eq!(bench.state()["messages"], 2);
    bench.publish("s.0", "x", &[("Nats-Rollup", "all")]);
    assert_eq!(bench.state()["first_seq"], 5);
}

#[test]
fn advisories_are_stored_by_a_stream_that_captures_them() {
    let mut bench = Bench::new();
    let config = json!({"name": "A", "subjects": ["$JS.EVENT.ADVISORY.>"]});
    bench.api("STREAM.CREATE.A", config);
    bench.stream(json!({}));
    let heard: Vec<Message> = std::mem::take(&mut bench.heard);
    assert!(
        heard
            .iter()
            .any(|m| m.subject == "$JS.EVENT.ADVISORY.STREAM.CREATED.S")
    );
    let info = bench.api("STREAM.INFO.A", Value::Null);
    assert_eq!(info["state"]["messages"], 2);
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut bench = Bench::new();
        bench.stream(json!({}));
        let config = json!({"stream_name": "S", "config": {"ack_policy": "explicit"}});
        bench.api("CONSUMER.CREATE.S", config);
        bench.take();
        let Some(Output::Deliver { message, .. }) = bench.broker.poll() else {
            return bench.api("CONSUMER.NAMES.S", Value::Null).to_string();
        };
        format!("{message:?}")
    };
    assert_eq!(run(), run());
}
