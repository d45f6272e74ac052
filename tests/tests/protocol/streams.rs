//! Streams: making, changing, asking, listing, purging, removing.

use serde_json::{Value, json};

use super::same;
use super::script::{Script, error};

#[test]
fn a_stream_is_made_changed_and_removed() {
    same("made", |s| {
        assert_eq!(error(&s.stream_info()), 10059);
        assert_eq!(s.stream(json!({}))["did_create"], true);
        // The same once more is no error, another configuration is.
        s.stream(json!({}));
        assert_eq!(error(&s.stream(json!({"max_msgs": 3}))), 10058);
        for payload in ["one", "two", "three"] {
            s.store("a", payload);
        }
        s.stream_info();
        let update = json!({"name": "made", "subjects": ["made.>"], "storage": "memory",
            "max_msgs": 2, "description": "a few", "metadata": {"owner": "tests"}});
        s.api("STREAM.UPDATE.made", update);
        assert_eq!(s.stream_info()["state"]["messages"], 2);
        s.api("STREAM.DELETE.made", Value::Null);
        assert_eq!(error(&s.api("STREAM.DELETE.made", Value::Null)), 10059);
        assert_eq!(error(&s.stream_info()), 10059);
    });
}

#[test]
fn every_option_of_a_stream_is_told_back() {
    same("options", |s| {
        s.stream(json!({
            "description": "all of them", "subjects": ["options.a", "options.b.*"],
            "retention": "interest", "max_consumers": 3, "max_msgs": 10, "max_bytes": 10_000,
            "max_age": 60_000_000_000_u64, "max_msgs_per_subject": 5, "max_msg_size": 500,
            "discard": "new", "discard_new_per_subject": true, "storage": "file",
            "num_replicas": 1, "duplicate_window": 30_000_000_000_u64, "compression": "s2",
            "no_ack": false, "deny_delete": true, "deny_purge": false, "allow_direct": true,
            "metadata": {"k": "v"},
        }));
        s.stream_info();
        s.consumer("c", json!({}));
        assert_eq!(s.stream_info()["state"]["consumer_count"], 1);
        s.store("a", "x");
        s.store("b.c", "y");
        // Per subject on request.
        s.api("STREAM.INFO.options", json!({"subjects_filter": ">"}));
        s.api(
            "STREAM.INFO.options",
            json!({"subjects_filter": "options.b.>"}),
        );
        s.api("STREAM.INFO.options", json!({"deleted_details": true}));
    });
}

#[test]
fn bytes_are_counted_alike_in_memory_and_in_files() {
    same("bytes", |s| {
        for storage in ["memory", "file"] {
            s.stream(json!({"storage": storage}));
            s.store("a", "payload");
            s.store_with("a.long.subject", "", &[("Name", "value"), ("Other", "x")]);
            s.stream_info();
            s.api("STREAM.DELETE.bytes", Value::Null);
        }
    });
}

#[test]
fn streams_that_make_no_sense_are_refused() {
    same("nonsense", |s| {
        let refuse = |s: &mut Script<'_>, config: Value| {
            let answer = s.stream(config);
            assert_ne!(error(&answer), 0, "{answer}");
        };
        refuse(s, json!({"name": "other"}));
        refuse(s, json!({"name": ""}));
        refuse(s, json!({"name": null}));
        refuse(s, json!({"num_replicas": 3}));
        refuse(s, json!({"num_replicas": 9}));
        refuse(s, json!({"num_replicas": -1}));
        refuse(s, json!({"retention": "sometimes"}));
        refuse(s, json!({"storage": "paper"}));
        refuse(s, json!({"subjects": ["nonsense.a", "nonsense.a"]}));
        refuse(s, json!({"subjects": ["nonsense.a", "nonsense.*"]}));
        refuse(s, json!({"subjects": ["nonsense..a"]}));
        refuse(s, json!({"subjects": [""]}));
        refuse(s, json!({"subjects": ["nonsense. a"]}));
        refuse(s, json!({"subjects": ["$JS.API.>"]}));
        refuse(s, json!({"subjects": ["$SYS.>"]}));
        refuse(s, json!({"subjects": [">"]}));
        refuse(s, json!({"subjects": "nonsense.a"}));
        refuse(s, json!({"max_age": 1}));
        refuse(s, json!({"duplicate_window": 1}));
        refuse(
            s,
            json!({"max_age": 1_000_000_000, "duplicate_window": 2_000_000_000_u64}),
        );
        refuse(s, json!({"duplicate_window": -1}));
        refuse(s, json!({"discard_new_per_subject": true}));
        refuse(
            s,
            json!({"discard": "new", "discard_new_per_subject": true}),
        );
        refuse(s, json!({"description": "x".repeat(5000)}));
        refuse(s, json!({"metadata": {"k": "x".repeat(200_000)}}));
        for body in ["", "no JSON", "[]", "{\"name\": 1}", "{"] {
            assert_ne!(error(&s.api_raw("STREAM.CREATE.nonsense", body)), 0);
        }
        let body = json!({"name": "x", "subjects": ["nonsense.x"]}).to_string();
        for name in ["a*b", "a>b", "a/b", "a\\b"] {
            assert_ne!(
                error(&s.api_raw(&format!("STREAM.CREATE.{name}"), &body)),
                0
            );
        }
        let long = "n".repeat(256);
        s.api(
            &format!("STREAM.CREATE.{long}"),
            json!({"name": long, "subjects": ["nonsense.x"]}),
        );
        for call in ["INFO", "DELETE", "PURGE"] {
            let answer = s.api(&format!("STREAM.{call}.nonsense"), Value::Null);
            assert_eq!(error(&answer), 10059);
        }
        s.api("STREAM.MSG.GET.nonsense", json!({"seq": 1}));
        s.api("STREAM.MSG.DELETE.nonsense", json!({"seq": 1}));
        s.api("STREAM.INFO.nonsense", json!({"unknown": 1}));
    });
}

#[test]
fn limits_of_nothing_mean_no_limit() {
    same("zeros", |s| {
        s.stream(
            json!({"max_msgs": 0, "max_bytes": 0, "max_consumers": 0, "num_replicas": 0,
            "max_msgs_per_subject": 0, "max_msg_size": 0}),
        );
        s.api("STREAM.DELETE.zeros", Value::Null);
        s.stream(json!({"max_msgs": -5, "max_bytes": -5, "max_consumers": -5,
            "max_msgs_per_subject": -5, "max_msg_size": -5, "max_age": 0}));
        s.api("STREAM.DELETE.zeros", Value::Null);
        // Without subjects a stream takes its name.
        s.stream(json!({"subjects": []}));
        s.api("STREAM.DELETE.zeros", Value::Null);
        s.stream(json!({"max_age": 1_000_000_000}));
        s.api("STREAM.DELETE.zeros", Value::Null);
        // Fields that nobody knows.
        s.stream(json!({"colour": "blue"}));
    });
}

#[test]
fn changes_that_cannot_be_made_are_refused() {
    same("changes", |s| {
        let config = |more: Value| {
            super::script::with(
                json!({"name": "changes", "subjects": ["changes.>"], "storage": "memory"}),
                more,
            )
        };
        let change = |s: &mut Script<'_>, more: Value| s.api("STREAM.UPDATE.changes", config(more));
        assert_eq!(error(&change(s, json!({}))), 10059);
        s.stream(json!({"max_consumers": 2, "max_msgs_per_subject": 3}));
        s.store("a", "1");
        s.store("a", "2");
        s.store("b", "3");
        for more in [
            json!({"storage": "file"}),
            json!({"retention": "workqueue"}),
            json!({"retention": "interest"}),
            json!({"max_consumers": 7}),
            json!({"num_replicas": 3}),
            json!({"name": "other"}),
            json!({"subjects": ["changes..x"]}),
            json!({"subjects": ["$JS.API.>"]}),
        ] {
            change(s, super::script::with(json!({"max_consumers": 2}), more));
            s.stream_info();
        }
        // What can be.
        change(s, json!({"max_consumers": 2, "max_msgs_per_subject": 1}));
        s.stream_info();
        change(
            s,
            json!({"max_consumers": 2, "subjects": ["changes.b"], "max_age": 3_600_000_000_000_u64}),
        );
        s.stream_info();
        change(
            s,
            json!({"max_consumers": 2, "subjects": ["changes.>"], "discard": "new",
            "duplicate_window": 5_000_000_000_u64, "max_msg_size": 10}),
        );
        assert_eq!(error(&s.store("a", "longer than ten bytes")), 10054);
        assert_ne!(error(&s.api_raw("STREAM.UPDATE.changes", "{")), 0);
    });
}

#[test]
fn two_streams_never_share_a_subject() {
    same("shared", |s| {
        s.stream(json!({"subjects": ["shared.a", "shared.b.*"]}));
        for subjects in [
            json!(["shared.a"]),
            json!(["shared.b.c"]),
            json!(["shared.>"]),
        ] {
            let answer = s.api(
                "STREAM.CREATE.shared_2",
                json!({"name": "shared_2", "subjects": subjects}),
            );
            assert_eq!(error(&answer), 10065);
        }
        s.api(
            "STREAM.CREATE.shared_2",
            json!({"name": "shared_2", "subjects": ["shared.c"]}),
        );
        s.api(
            "STREAM.UPDATE.shared_2",
            json!({"name": "shared_2", "subjects": ["shared.b.>"]}),
        );
        // Which stream stores a subject.
        for subject in [
            "shared.a",
            "shared.b.x",
            "shared.c",
            "shared.d",
            "shared.>",
            "shared.*",
        ] {
            s.api("STREAM.NAMES", json!({"subject": subject}));
        }
        s.api("STREAM.LIST", json!({"subject": "shared.c"}));
        s.api("STREAM.DELETE.shared_2", Value::Null);
        s.api("STREAM.NAMES", json!({"subject": "shared.c"}));
        s.api_raw("STREAM.NAMES", "{");
    });
}

#[test]
fn a_purge_removes_what_it_names() {
    same("purged", |s| {
        s.stream(json!({}));
        for number in 1..=6 {
            s.store(
                if number % 2 == 0 { "even" } else { "odd" },
                &number.to_string(),
            );
        }
        s.api(
            "STREAM.PURGE.purged",
            json!({"filter": "purged.even", "keep": 1}),
        );
        s.stream_info();
        s.api("STREAM.PURGE.purged", json!({"seq": 4}));
        s.stream_info();
        s.api(
            "STREAM.PURGE.purged",
            json!({"filter": "purged.odd", "seq": 5}),
        );
        s.stream_info();
        s.api("STREAM.PURGE.purged", json!({"seq": 1, "keep": 1}));
        s.api("STREAM.PURGE.purged", json!({"filter": "purged.nothing"}));
        s.api("STREAM.PURGE.purged", json!({"keep": 1}));
        s.stream_info();
        s.api("STREAM.PURGE.purged", Value::Null);
        s.stream_info();
        assert_eq!(s.store("odd", "7")["seq"], 7);
        s.api("STREAM.PURGE.purged", json!({"seq": 100}));
        s.stream_info();
        s.api_raw("STREAM.PURGE.purged", "{");
    });
}

#[test]
fn a_message_in_a_file_is_removed_once() {
    same("removed_once", |s| {
        s.stream(json!({"storage": "file"}));
        for seq in [0, 1] {
            s.api("STREAM.MSG.DELETE.removed_once", json!({"seq": seq}));
        }
        for payload in ["1", "2", "3"] {
            s.store("a", payload);
        }
        for seq in [2, 2, 1, 1, 0, 9, 3] {
            s.api("STREAM.MSG.DELETE.removed_once", json!({"seq": seq}));
        }
        s.stream_info();
    });
}

#[test]
fn a_stored_message_is_found_by_sequence_and_by_subject() {
    same("found", |s| {
        s.stream(json!({}));
        s.store("a", "1");
        s.store_with("b", "2", &[("Name", "value"), ("Name", "again")]);
        s.store("a", "");
        for request in [
            json!({"seq": 1}),
            json!({"seq": 2}),
            json!({"seq": 3}),
            json!({"seq": 4}),
            json!({"seq": 0}),
            json!({"last_by_subj": "found.a"}),
            json!({"last_by_subj": "found.>"}),
            json!({"last_by_subj": "found.nothing"}),
            json!({"seq": 2, "next_by_subj": "found.a"}),
            json!({"next_by_subj": "found.*"}),
            json!({"seq": 4, "next_by_subj": "found.a"}),
            json!({"seq": 1, "last_by_subj": "found.a"}),
            json!({"last_by_subj": "found.a", "next_by_subj": "found.a"}),
            json!({}),
        ] {
            s.api("STREAM.MSG.GET.found", request);
        }
        for body in ["", "{", "[]"] {
            s.api_raw("STREAM.MSG.GET.found", body);
        }
        // Removed one by one, with a hole in the middle.
        s.api("STREAM.MSG.DELETE.found", json!({"seq": 2}));
        s.api("STREAM.MSG.DELETE.found", json!({"seq": 2}));
        s.api("STREAM.MSG.GET.found", json!({"seq": 2}));
        s.stream_info();
        s.api("STREAM.INFO.found", json!({"deleted_details": true}));
        s.api("STREAM.MSG.DELETE.found", json!({"seq": 1}));
        s.stream_info();
        s.api("STREAM.MSG.DELETE.found", json!({"seq": 9}));
    });
}
