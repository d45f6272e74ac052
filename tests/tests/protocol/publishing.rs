//! Storing: acknowledgements, duplicates, expectations, limits, retention.

use std::time::Duration;

use serde_json::{Value, json};

use super::same;
use super::script::{Script, error};

#[test]
fn what_is_stored_is_acknowledged_with_its_sequence() {
    same("stored", |s| {
        let nobody = s.store("a", "too early");
        assert_eq!(nobody, Value::Null, "status 503");
        s.stream(json!({"subjects": ["stored.a", "stored.b.*"]}));
        assert_eq!(s.store("a", "1")["seq"], 1);
        assert_eq!(s.store("b.x", "")["seq"], 2);
        s.store("b", "not covered");
        s.store("b.x.y", "not covered");
        // Without a reply it is stored all the same.
        let subject = s.subject("a");
        s.send(&subject, "3");
        assert_eq!(s.store("a", "4")["seq"], 4);
        s.stream_info();
    });
}

#[test]
fn a_stream_without_acknowledgements_says_nothing() {
    same("silent", |s| {
        s.stream(json!({"no_ack": true}));
        let inbox = s.subscribe("silent.heard");
        let subject = s.subject("heard");
        s.send(&subject, "x");
        s.delivery(&inbox, "x");
        s.until(|s| s.stream_info()["state"]["messages"] == 1);
    });
}

#[test]
fn an_id_is_stored_once_within_the_window() {
    same("ids", |s| {
        s.stream(json!({"duplicate_window": 1_000_000_000}));
        assert_eq!(s.store_with("a", "1", &[("Nats-Msg-Id", "x")])["seq"], 1);
        let again = s.store_with("a", "2", &[("Nats-Msg-Id", "x")]);
        assert_eq!(
            (&again["seq"], &again["duplicate"]),
            (&json!(1), &json!(true))
        );
        // Whatever its subject; ids compare as they are written.
        s.store_with("b", "3", &[("Nats-Msg-Id", "x")]);
        s.store_with("b", "4", &[("Nats-Msg-Id", "X")]);
        s.store_with("b", "5", &[("Nats-Msg-Id", "")]);
        s.store_with("b", "6", &[("Nats-Msg-Id", "")]);
        s.store_with("b", "7", &[("nats-msg-id", "y")]);
        s.store_with("b", "8", &[("nats-msg-id", "y")]);
        s.stream_info();
        let last = s.stream_info()["state"]["last_seq"].clone();
        s.until(|s| s.store_with("a", "9", &[("Nats-Msg-Id", "x")])["duplicate"].is_null());
        assert_eq!(
            s.stream_info()["state"]["last_seq"],
            last.as_u64().unwrap() + 1
        );
    });
}

#[test]
fn an_id_outlives_its_message() {
    same("outlived", |s| {
        s.stream(json!({"max_msgs": 1}));
        s.store_with("a", "1", &[("Nats-Msg-Id", "x")]);
        s.store("a", "2");
        assert_eq!(
            s.store_with("a", "3", &[("Nats-Msg-Id", "x")])["duplicate"],
            true
        );
        s.api("STREAM.PURGE.outlived", Value::Null);
        s.store_with("a", "4", &[("Nats-Msg-Id", "x")]);
        s.stream_info();
    });
}

#[test]
fn an_expectation_that_fails_stores_nothing() {
    same("expected", |s| {
        s.stream(json!({}));
        s.store_with("a", "1", &[("Nats-Expected-Last-Sequence", "0")]);
        s.store_with(
            "a",
            "2",
            &[("Nats-Msg-Id", "two"), ("Nats-Expected-Last-Sequence", "1")],
        );
        s.store("b", "3");
        let expect = |s: &mut Script<'_>, tail: &str, headers: &[(&str, &str)], code: u64| {
            assert_eq!(error(&s.store_with(tail, "no", headers)), code);
        };
        expect(s, "a", &[("Nats-Expected-Stream", "other")], 10060);
        expect(s, "a", &[("Nats-Expected-Last-Sequence", "2")], 10071);
        expect(s, "a", &[("Nats-Expected-Last-Sequence", "0")], 10071);
        expect(
            s,
            "a",
            &[("Nats-Expected-Last-Subject-Sequence", "1")],
            10071,
        );
        expect(
            s,
            "a",
            &[("Nats-Expected-Last-Subject-Sequence", "3")],
            10071,
        );
        expect(
            s,
            "new",
            &[("Nats-Expected-Last-Subject-Sequence", "1")],
            10071,
        );
        expect(s, "a", &[("Nats-Expected-Last-Msg-Id", "one")], 10070);
        s.store_with("a", "number", &[("Nats-Expected-Last-Sequence", "x")]);
        s.store_with(
            "a",
            "number",
            &[("Nats-Expected-Last-Subject-Sequence", "-1")],
        );
        s.store_with(
            "a",
            "number",
            &[("Nats-Expected-Last-Subject-Sequence", "")],
        );
        s.stream_info();
        // A duplicate is told before an expectation is looked at.
        s.store_with(
            "a",
            "2",
            &[("Nats-Msg-Id", "two"), ("Nats-Expected-Last-Sequence", "1")],
        );
        s.store_with(
            "a",
            "2",
            &[("Nats-Msg-Id", "two"), ("Nats-Expected-Stream", "other")],
        );
        s.store_with(
            "a",
            "4",
            &[
                ("Nats-Expected-Stream", "expected"),
                ("Nats-Expected-Last-Subject-Sequence", "2"),
            ],
        );
        s.store_with("new", "5", &[("Nats-Expected-Last-Subject-Sequence", "0")]);
        s.store_with("a", "6", &[("Nats-Msg-Id", "six")]);
        s.store_with("a", "7", &[("Nats-Expected-Last-Msg-Id", "six")]);
        // The sequence of other subjects than its own.
        s.store_with(
            "a",
            "8",
            &[
                ("Nats-Expected-Last-Subject-Sequence", "3"),
                ("Nats-Expected-Last-Subject-Sequence-Subject", "expected.b"),
            ],
        );
        s.store_with(
            "a",
            "9",
            &[
                ("Nats-Expected-Last-Subject-Sequence", "3"),
                ("Nats-Expected-Last-Subject-Sequence-Subject", "expected.>"),
            ],
        );
        s.stream_info();
    });
}

#[test]
fn of_two_reasons_to_refuse_the_same_is_told() {
    same("reasons", |s| {
        s.stream(json!({"max_msg_size": 300, "max_msgs": 1, "discard": "new"}));
        s.store_with("a", "1", &[("Nats-Msg-Id", "x")]);
        let long = "x".repeat(300);
        let reasons = [
            ("Nats-Expected-Stream", "other"),
            ("Nats-Expected-Last-Sequence", "7"),
            ("Nats-Expected-Last-Subject-Sequence", "7"),
            ("Nats-Expected-Last-Msg-Id", "y"),
            ("Nats-Msg-Id", "x"),
            ("Nats-Rollup", "sub"),
            ("Nats-TTL", "1s"),
            ("Nats-Schedule", "@at 2040-01-01T00:00:00Z"),
            ("Nats-Incr", "1"),
            ("Nats-Batch-Id", "x"),
            ("Long", long.as_str()),
            ("None", ""),
        ];
        for first in &reasons {
            for second in &reasons {
                s.store_with("a", "2", &[*first, *second]);
            }
        }
        s.stream_info();
    });
}

#[test]
fn a_full_stream_discards_the_old_or_refuses_the_new() {
    same("full", |s| {
        for discard in ["old", "new"] {
            for limit in ["max_msgs", "max_bytes", "max_msgs_per_subject"] {
                let most = if limit == "max_bytes" { 120 } else { 2 };
                s.stream(json!({"discard": discard, limit: most}));
                for number in 1..=5 {
                    s.store("a", &format!("message {number}"));
                }
                s.store("b", "another subject");
                s.stream_info();
                s.api("STREAM.DELETE.full", Value::Null);
            }
        }
        s.stream(
            json!({"discard": "new", "discard_new_per_subject": true, "max_msgs_per_subject": 1}),
        );
        s.store("a", "1");
        assert_eq!(error(&s.store("a", "2")), 10077);
        s.store("b", "3");
        s.api("STREAM.PURGE.full", json!({"filter": "full.a"}));
        s.store("a", "4");
        s.stream_info();
        s.api("STREAM.DELETE.full", Value::Null);
        s.stream(json!({"max_msg_size": 20}));
        s.store("a", "exactly twenty bytes");
        assert_eq!(error(&s.store("a", "more than twenty bytes")), 10054);
        assert_eq!(
            error(&s.store_with("a", "short", &[("But", "with a header")])),
            10054
        );
        s.stream_info();
    });
}

#[test]
fn a_refused_message_does_not_use_up_its_id() {
    same("refused", |s| {
        s.stream(json!({"discard": "new", "max_msgs": 1}));
        s.store("a", "1");
        assert_eq!(
            error(&s.store_with("a", "2", &[("Nats-Msg-Id", "x")])),
            10077
        );
        s.api("STREAM.PURGE.refused", Value::Null);
        assert!(s.store_with("a", "3", &[("Nats-Msg-Id", "x")])["duplicate"].is_null());
    });
}

#[test]
fn messages_go_when_they_are_too_old() {
    same("aged", |s| {
        s.stream(json!({"max_age": 300_000_000, "duplicate_window": 100_000_000}));
        s.store("a", "1");
        s.store("a", "2");
        s.until(|s| s.stream_info()["state"]["messages"] == 0);
        assert!(s.elapsed() >= Duration::from_millis(300));
        assert_eq!(s.store("a", "3")["seq"], 3);
    });
}

#[test]
fn interest_keeps_a_message_until_everybody_has_it() {
    same("interest", |s| {
        s.stream(json!({"retention": "interest"}));
        // Nobody is interested: acknowledged, not kept.
        assert_eq!(s.store("a", "0")["seq"], 1);
        s.stream_info();
        s.consumer("all", json!({}));
        s.consumer("some", json!({"filter_subject": "interest.b"}));
        s.store("a", "1");
        s.store("b", "2");
        s.stream_info();
        let first = s.fetch("all").unwrap();
        s.ack(&first, "+ACK");
        s.until(|s| s.stream_info()["state"]["messages"] == 1);
        let second = s.fetch("all").unwrap();
        s.ack(&second, "+ACK");
        assert_eq!(s.stream_info()["state"]["messages"], 1);
        let other = s.fetch("some").unwrap();
        s.ack(&other, "+TERM");
        s.until(|s| s.stream_info()["state"]["messages"] == 0);
        // A consumer that goes takes its interest along.
        s.store("b", "3");
        let third = s.fetch("all").unwrap();
        s.ack(&third, "+ACK");
        assert_eq!(s.stream_info()["state"]["messages"], 1);
        s.api("CONSUMER.DELETE.interest.some", Value::Null);
        s.until(|s| s.stream_info()["state"]["messages"] == 0);
    });
}

#[test]
fn a_work_queue_gives_each_message_to_one_consumer() {
    same("work", |s| {
        s.stream(json!({"retention": "workqueue"}));
        s.store("a", "1");
        s.store("b", "2");
        // What a consumer of a work queue must be.
        for (config, code) in [
            (json!({"ack_policy": "none"}), 10084),
            (json!({"ack_policy": "all"}), 10098),
            (json!({"deliver_policy": "new"}), 10101),
            (json!({"deliver_policy": "last"}), 10101),
        ] {
            assert_eq!(error(&s.consumer("no", config)), code);
        }
        s.consumer("a", json!({"filter_subject": "work.a"}));
        for (config, code) in [
            (json!({"filter_subject": "work.a"}), 10100),
            (json!({"filter_subject": "work.*"}), 10100),
            (json!({"filter_subjects": ["work.c", "work.a"]}), 10100),
            (json!({}), 10099),
        ] {
            assert_eq!(error(&s.consumer("no", config)), code);
        }
        s.consumer("b", json!({"filter_subject": "work.b"}));
        let first = s.fetch("a").unwrap();
        assert!(s.fetch("a").is_none());
        s.ack(&first, "+ACK");
        s.until(|s| s.stream_info()["state"]["messages"] == 1);
        // Ended messages are gone too; what nobody takes stays.
        s.store("c", "3");
        let second = s.fetch("b").unwrap();
        s.ack(&second, "+TERM no use");
        s.until(|s| s.stream_info()["state"]["messages"] == 1);
        s.api("CONSUMER.DELETE.work.a", Value::Null);
        s.api("CONSUMER.DELETE.work.b", Value::Null);
        // One for everything is fine when it is alone.
        s.consumer("all", json!({}));
        let third = s.fetch("all").unwrap();
        s.ack(&third, "+ACK");
        s.until(|s| s.stream_info()["state"]["messages"] == 0);
    });
}

#[test]
fn messages_may_have_a_time_of_their_own() {
    same("ttl", |s| {
        s.stream(json!({"allow_msg_ttl": true}));
        s.store("a", "stays");
        for ttl in ["1", "1s", "0", "500ms", "x", "-5"] {
            s.store_with("a", ttl, &[("Nats-TTL", ttl)]);
        }
        s.stream_info();
        s.until(|s| s.stream_info()["state"]["messages"] == 1);
        s.api(
            "STREAM.UPDATE.ttl",
            json!({"name": "ttl", "subjects": ["ttl.>"]}),
        );
    });
}

#[test]
fn headers_of_other_features_are_refused_where_the_stream_does_not_allow_them() {
    same("features", |s| {
        s.stream(json!({}));
        s.store_with("a", "1", &[("Nats-TTL", "1s")]);
        s.store_with("a", "1", &[("Nats-Rollup", "sub")]);
        s.store_with("a", "1", &[("Nats-Rollup", "whatever")]);
        s.store_with(
            "a",
            "1",
            &[("Nats-Batch-Id", "x"), ("Nats-Batch-Sequence", "1")],
        );
        s.store_with("a", "1", &[("Nats-Incr", "1")]);
        s.store_with(
            "a",
            "1",
            &[
                ("Nats-Schedule", "@at 2040-01-01T00:00:00Z"),
                ("Nats-Schedule-Target", "features.b"),
            ],
        );
        s.stream_info();
    });
}
