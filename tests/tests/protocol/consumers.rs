//! Consumers: making, changing, asking, listing, removing; where they start and
//! what they take.

use serde_json::{Value, json};

use super::same;
use super::script::{Script, error};

const SECOND: u64 = 1_000_000_000;

/// Fetches until there is nothing more; the payloads.
fn drain(s: &mut Script<'_>, consumer: &str) -> Vec<String> {
    let inbox = s.pull(consumer, json!({"batch": 100, "no_wait": true}));
    let mut payloads = Vec::new();
    loop {
        let message = s.next(&inbox);
        if message.status.is_some() {
            return payloads;
        }
        payloads.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
}

#[test]
fn a_consumer_is_made_asked_for_and_removed() {
    same("consumer", |s| {
        assert_eq!(error(&s.consumer("c", json!({}))), 10059);
        s.stream(json!({}));
        assert_eq!(error(&s.consumer_info("c")), 10014);
        s.consumer("c", json!({}));
        // Once more is no error.
        s.consumer("c", json!({}));
        s.consumer_info("c");
        s.consumer("d", json!({"filter_subject": "consumer.d"}));
        s.api("CONSUMER.NAMES.consumer", Value::Null);
        s.api("CONSUMER.LIST.consumer", Value::Null);
        s.api("CONSUMER.NAMES.consumer", json!({"offset": 1}));
        s.api("CONSUMER.NAMES.consumer", json!({"offset": 5}));
        s.api("CONSUMER.DELETE.consumer.c", Value::Null);
        assert_eq!(
            error(&s.api("CONSUMER.DELETE.consumer.c", Value::Null)),
            10014
        );
        assert_eq!(error(&s.consumer_info("c")), 10014);
        s.api("CONSUMER.NAMES.consumer", Value::Null);
        s.api("CONSUMER.NAMES.missing", Value::Null);
        s.api("CONSUMER.INFO.missing.c", Value::Null);
        s.api("CONSUMER.DELETE.missing.c", Value::Null);
    });
}

#[test]
fn every_option_of_a_consumer_is_told_back() {
    same("settings", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({
            "description": "all of them", "deliver_policy": "by_start_sequence", "opt_start_seq": 5,
            "ack_wait": SECOND, "max_deliver": 7, "filter_subjects": ["settings.a", "settings.b.>"],
            "replay_policy": "instant", "max_ack_pending": 50, "max_waiting": 20, "max_batch": 10,
            "max_expires": 9 * SECOND, "max_bytes": 1000, "inactive_threshold": 60 * SECOND,
            "num_replicas": 1, "mem_storage": true, "metadata": {"k": "v"}, "headers_only": true,
        }));
        s.consumer_info("c");
        s.store("a", "the payload");
        for _ in 0..4 {
            s.store("x", "");
        }
        s.store_with("a", "the payload", &[("Name", "value")]);
        let delivery = s.fetch("c").unwrap();
        assert!(delivery.payload.is_empty());
    });
}

#[test]
fn the_ways_of_making_one_lead_to_the_same() {
    same("ways", |s| {
        s.stream(json!({}));
        let body = |config: Value| json!({"stream_name": "ways", "config": config});
        s.api(
            "CONSUMER.DURABLE.CREATE.ways.old",
            body(json!({"durable_name": "old", "ack_policy": "explicit"})),
        );
        s.api(
            "CONSUMER.CREATE.ways.filtered.ways.a",
            body(json!({"durable_name": "filtered",
            "ack_policy": "explicit", "filter_subject": "ways.a"})),
        );
        s.api(
            "CONSUMER.CREATE.ways.named",
            body(json!({"name": "named", "ack_policy": "explicit"})),
        );
        let made_up = s.api(
            "CONSUMER.CREATE.ways",
            body(json!({"ack_policy": "explicit"})),
        );
        let name = made_up["name"].as_str().unwrap().to_owned();
        s.made_up(&name);
        s.consumer_info(&name);
        // Names and filters that do not agree.
        s.api(
            "CONSUMER.CREATE.ways.filtered.ways.b",
            body(json!({"durable_name": "filtered",
            "ack_policy": "explicit", "filter_subject": "ways.a"})),
        );
        s.api(
            "CONSUMER.CREATE.ways.one",
            body(json!({"durable_name": "two"})),
        );
        s.api("CONSUMER.CREATE.ways.one", body(json!({"name": "two"})));
        s.api(
            "CONSUMER.CREATE.ways.one",
            body(json!({"name": "one", "durable_name": "two"})),
        );
        s.api(
            "CONSUMER.CREATE.ways.one",
            json!({"stream_name": "other", "config": {}}),
        );
        s.api(
            "CONSUMER.DURABLE.CREATE.ways.old",
            body(json!({"durable_name": "new"})),
        );
        s.api("CONSUMER.DURABLE.CREATE.ways.old", body(json!({})));
        for body in ["", "{", "[]", "{}"] {
            s.api_raw("CONSUMER.CREATE.ways.one", body);
        }
    });
}

#[test]
fn consumers_that_make_no_sense_are_refused() {
    same("absurd", |s| {
        s.stream(json!({"max_consumers": 2}));
        for config in [
            json!({"deliver_policy": "sometimes"}),
            json!({"ack_policy": "perhaps"}),
            json!({"deliver_policy": "by_start_sequence"}),
            json!({"deliver_policy": "by_start_time"}),
            json!({"opt_start_seq": 3}),
            json!({"opt_start_time": "2026-01-01T00:00:00Z"}),
            json!({"deliver_policy": "new", "opt_start_seq": 3}),
            json!({"deliver_policy": "last", "opt_start_seq": 3}),
            json!({"deliver_policy": "last_per_subject"}),
            json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 1, "opt_start_time": "2026-01-01T00:00:00Z"}),
            json!({"filter_subject": "absurd.a", "filter_subjects": ["absurd.b"]}),
            json!({"filter_subjects": ["absurd.a", "absurd.*"]}),
            json!({"filter_subjects": ["absurd.a", "absurd.a"]}),
            json!({"filter_subjects": ["absurd.a", ""]}),
            json!({"filter_subject": "absurd..a"}),
            json!({"filter_subject": "other.a"}),
            json!({"filter_subjects": ["absurd.a", "other.a"]}),
            json!({"backoff": [SECOND, SECOND], "max_deliver": 1}),
            json!({"backoff": [SECOND]}),
            json!({"max_waiting": -1}),
            json!({"ack_wait": -1}),
            json!({"max_deliver": -7}),
            json!({"max_deliver": 0}),
            json!({"max_ack_pending": -7}),
            json!({"num_replicas": 3}),
            json!({"num_replicas": -1}),
            json!({"inactive_threshold": -1}),
            json!({"max_batch": -1}),
            json!({"max_expires": 1}),
            json!({"ack_policy": "none", "ack_wait": SECOND}),
            json!({"ack_policy": "none", "max_ack_pending": 5}),
            json!({"description": "x".repeat(5000)}),
            json!({"metadata": {"k": "x".repeat(200_000)}}),
            json!({"replay_policy": "sometimes"}),
            json!({"durable_name": "a.b"}),
            json!({"durable_name": "a*b"}),
            json!({"flow_control": true}),
            json!({"idle_heartbeat": SECOND}),
            json!({"rate_limit_bps": 5}),
            json!({"unheard_of": 5}),
        ] {
            let answer = s.consumer("c", config);
            if error(&answer) == 0 {
                s.api("CONSUMER.DELETE.absurd.c", Value::Null);
            }
        }
        s.consumer("c", json!({}));
        s.consumer("d", json!({}));
        assert_eq!(error(&s.consumer("e", json!({}))), 10026);
    });
}

#[test]
fn a_consumer_can_be_changed_in_some_ways() {
    same("altered", |s| {
        s.stream(json!({}));
        s.store("a", "1");
        s.store("b", "2");
        let base = json!({"filter_subject": "altered.a", "max_deliver": 5});
        s.consumer("c", base.clone());
        for more in [
            json!({"ack_wait": 2 * SECOND}),
            json!({"description": "changed"}),
            json!({"max_deliver": 9}),
            json!({"max_ack_pending": 3}),
            json!({"filter_subject": "altered.b"}),
            json!({"filter_subject": null, "filter_subjects": ["altered.a", "altered.c"]}),
            json!({"metadata": {"k": "v"}}),
            json!({"max_waiting": 7}),
            json!({"inactive_threshold": SECOND}),
            json!({"backoff": [SECOND, 2 * SECOND]}),
            json!({"ack_policy": "none"}),
            json!({"ack_policy": "all"}),
            json!({"deliver_policy": "new"}),
            json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 2}),
            json!({"mem_storage": true}),
            json!({"headers_only": true}),
            json!({}),
        ] {
            s.consumer("c", super::script::with(base.clone(), more));
            s.consumer_info("c");
        }
        let action = |action: &str, name: &str, config: Value| {
            let config = super::script::with(
                json!({"durable_name": name, "ack_policy": "explicit"}),
                config,
            );
            json!({"stream_name": "altered", "action": action, "config": config})
        };
        s.api("CONSUMER.CREATE.altered.c", action("create", "c", base));
        s.api(
            "CONSUMER.CREATE.altered.c",
            action("create", "c", json!({"max_deliver": 2})),
        );
        s.api(
            "CONSUMER.CREATE.altered.c",
            action("update", "c", json!({"max_deliver": 2})),
        );
        s.api(
            "CONSUMER.CREATE.altered.d",
            action("update", "d", json!({})),
        );
        s.api(
            "CONSUMER.CREATE.altered.d",
            action("create", "d", json!({})),
        );
        s.api("CONSUMER.CREATE.altered.d", action("dance", "d", json!({})));
    });
}

#[test]
fn a_consumer_starts_where_its_policy_says() {
    same("start", |s| {
        s.stream(json!({}));
        for (tail, payload) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")] {
            s.store(tail, payload);
        }
        for (name, config, wanted) in [
            (
                "all",
                json!({"deliver_policy": "all"}),
                vec!["1", "2", "3", "4", "5"],
            ),
            ("last", json!({"deliver_policy": "last"}), vec!["5"]),
            ("new", json!({"deliver_policy": "new"}), vec![]),
            (
                "third",
                json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 3}),
                vec!["3", "4", "5"],
            ),
            (
                "late",
                json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 30}),
                vec![],
            ),
            (
                "old",
                json!({"deliver_policy": "by_start_time", "opt_start_time": "2020-01-01T00:00:00Z"}),
                vec!["1", "2", "3", "4", "5"],
            ),
            (
                "future",
                json!({"deliver_policy": "by_start_time", "opt_start_time": "2099-01-01T00:00:00Z"}),
                vec![],
            ),
            (
                "each",
                json!({"deliver_policy": "last_per_subject", "filter_subject": "start.>"}),
                vec!["3", "4", "5"],
            ),
            (
                "each_a",
                json!({"deliver_policy": "last_per_subject", "filter_subject": "start.a"}),
                vec!["3"],
            ),
            (
                "last_b",
                json!({"deliver_policy": "last", "filter_subject": "start.b"}),
                vec!["5"],
            ),
            (
                "last_a",
                json!({"deliver_policy": "last", "filter_subject": "start.a"}),
                vec!["3"],
            ),
            (
                "last_x",
                json!({"deliver_policy": "last", "filter_subject": "start.x"}),
                vec![],
            ),
            (
                "only_b",
                json!({"filter_subject": "start.b"}),
                vec!["2", "5"],
            ),
            (
                "two",
                json!({"filter_subjects": ["start.a", "start.c"]}),
                vec!["1", "3", "4"],
            ),
            (
                "wild",
                json!({"filter_subject": "start.*"}),
                vec!["1", "2", "3", "4", "5"],
            ),
        ] {
            s.consumer(name, config);
            assert_eq!(drain(s, name), wanted, "{name}");
            s.consumer_info(name);
        }
        s.store("a", "6");
        s.store("x", "7");
        for name in [
            "last", "new", "late", "future", "each", "each_a", "last_x", "only_b", "two",
        ] {
            drain(s, name);
            s.consumer_info(name);
        }
    });
}

#[test]
fn a_consumer_starts_at_a_time_between_two_messages() {
    same("between", |s| {
        s.stream(json!({}));
        s.store("a", "1");
        s.store("a", "2");
        let second = s.api("STREAM.MSG.GET.between", json!({"seq": 2}));
        let time = second["message"]["time"].as_str().unwrap().to_owned();
        s.made_up(&time);
        s.consumer(
            "c",
            json!({"deliver_policy": "by_start_time", "opt_start_time": time}),
        );
        assert_eq!(drain(s, "c"), ["2"]);
    });
}

#[test]
fn an_ephemeral_consumer_goes_when_nobody_asks_it() {
    same("ephemeral", |s| {
        s.stream(json!({}));
        s.api(
            "CONSUMER.CREATE.ephemeral.e",
            json!({"stream_name": "ephemeral", "config": {"name": "e",
            "ack_policy": "explicit", "inactive_threshold": SECOND, "mem_storage": true}}),
        );
        s.consumer_info("e");
        let inbox = s.pull("e", json!({"batch": 1, "expires": SECOND}));
        s.status(&inbox, 408);
        s.until(|s| error(&s.consumer_info("e")) == 10014);
    });
}

#[test]
fn consumers_stand_where_a_purge_by_subject_leaves_them() {
    same("standing", |s| {
        s.stream(json!({}));
        for (name, filters) in [
            ("a", json!(["standing.a"])),
            ("both", json!(["standing.a", "standing.b"])),
            ("wide", json!(["standing.>"])),
            ("far", json!(["standing.z"])),
        ] {
            s.consumer(name, json!({"filter_subjects": filters}));
        }
        s.consumer("every", json!({}));
        for purge in [
            json!({"filter": "standing.a"}),
            json!({"filter": "standing.*"}),
            json!({"filter": "standing.*", "keep": 1}),
            json!({"filter": "standing.*", "seq": 12}),
            json!({"filter": "standing.nothing"}),
        ] {
            for tail in ["a", "x", "b", "a"] {
                s.store(tail, "");
            }
            let held = s.fetch("every").unwrap();
            s.api("STREAM.PURGE.standing", purge);
            for name in ["a", "both", "wide", "far", "every"] {
                s.consumer_info(name);
            }
            s.ack(&held, "+ACK");
            s.stream_info();
        }
    });
}

#[test]
fn a_consumer_follows_a_purged_stream() {
    same("follows", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        for number in 1..=4 {
            s.store("a", &number.to_string());
        }
        let first = s.fetch("c").unwrap();
        s.api("STREAM.PURGE.follows", json!({"seq": 4}));
        s.consumer_info("c");
        assert_eq!(drain(s, "c"), ["4"]);
        s.ack(&first, "+ACK");
        s.consumer_info("c");
        s.store("a", "5");
        assert_eq!(drain(s, "c"), ["5"]);
    });
}
