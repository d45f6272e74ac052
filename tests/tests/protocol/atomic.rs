//! Atomic batches: whole or not at all, and what they are refused for.

use serde_json::{Value, json};

use super::same;
use super::script::{Script, error};

/// Sends a message of a batch; the answer.
fn part(s: &mut Script<'_>, id: &str, seq: u64, more: &[(&str, &str)]) -> Value {
    part_to(s, "a", id, seq, more)
}

fn part_to(s: &mut Script<'_>, tail: &str, id: &str, seq: u64, more: &[(&str, &str)]) -> Value {
    let seq = seq.to_string();
    let mut headers = vec![("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &*seq)];
    headers.extend(more);
    s.store_with(tail, &seq, &headers)
}

const COMMIT: (&str, &str) = ("Nats-Batch-Commit", "1");

#[test]
fn a_batch_is_stored_when_it_is_whole() {
    same("atomic", |s| {
        s.stream(json!({"allow_atomic": true}));
        s.consumer("c", json!({}));
        assert_eq!(part(s, "x", 1, &[]), Value::Null);
        part_to(s, "b", "x", 2, &[]);
        // Others are stored meanwhile, and other batches.
        assert_eq!(s.store("a", "between")["seq"], 1);
        assert_eq!(part(s, "y", 1, &[COMMIT])["seq"], 2);
        s.stream_info();
        let stored = part(s, "x", 3, &[COMMIT]);
        assert_eq!((&stored["seq"], &stored["count"]), (&json!(5), &json!(3)));
        s.stream_info();
        for _ in 0..5 {
            assert!(s.fetch("c").is_some());
        }
        // The name is free again. A batch may end with a message that is not of it.
        part(s, "x", 1, &[]);
        part(s, "x", 2, &[]);
        assert_eq!(part(s, "x", 3, &[("Nats-Batch-Commit", "eob")])["count"], 2);
        s.stream_info();
    });
}

#[test]
fn a_batch_that_breaks_a_rule_is_refused() {
    same("unwhole", |s| {
        s.stream(json!({"allow_atomic": true, "max_msg_size": 200}));
        let abandoned = s.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.unwhole");
        // Not the first; one missing; one twice.
        assert_eq!(error(&part(s, "x", 2, &[COMMIT])), 10176);
        part(s, "x", 1, &[]);
        assert_eq!(error(&part(s, "x", 3, &[])), 10176);
        s.next(&abandoned);
        assert_eq!(error(&part(s, "x", 4, &[COMMIT])), 10176);
        part(s, "x", 1, &[]);
        part(s, "x", 1, &[]);
        s.next(&abandoned);
        part(s, "x", 1, &[]);
        for commit in ["0", "yes"] {
            assert_eq!(
                error(&part(s, "x", 2, &[("Nats-Batch-Commit", commit)])),
                if commit == "0" { 10200 } else { 10176 }
            );
        }
        s.store_with("a", "1", &[("Nats-Batch-Id", "x")]);
        s.store_with(
            "a",
            "1",
            &[("Nats-Batch-Id", "x"), ("Nats-Batch-Sequence", "y")],
        );
        s.store_with("a", "1", &[("Nats-Batch-Sequence", "1")]);
        part(s, &"x".repeat(64), 1, &[COMMIT]);
        part(s, &"x".repeat(65), 1, &[COMMIT]);
        part(s, "", 1, &[COMMIT]);
        // Too large a message leaves a gap.
        part(s, "z", 1, &[]);
        assert_eq!(
            error(&part(s, "z", 2, &[("X-Long", &"x".repeat(200))])),
            10054
        );
        assert_eq!(error(&part(s, "z", 3, &[COMMIT])), 10176);
        s.stream_info();
    });
}

#[test]
fn a_batch_with_an_id_that_is_known_stores_nothing() {
    same("twice", |s| {
        s.stream(json!({"allow_atomic": true}));
        let id = |id| ("Nats-Msg-Id", id);
        part(s, "x", 1, &[id("1")]);
        part(s, "x", 2, &[id("2"), COMMIT]);
        for ids in [["1", "2"], ["3", "1"], ["4", "4"]] {
            part(s, "y", 1, &[id(ids[0])]);
            assert_eq!(error(&part(s, "y", 2, &[id(ids[1]), COMMIT])), 10201);
        }
        // Of what was refused no id is kept.
        s.store_with("a", "3", &[id("3")]);
        // Whether an id is known can be asked without storing anything.
        let nothing = ("Nats-Expected-Last-Msg-Id", "nothing");
        assert_eq!(s.store_with("a", "?", &[id("2"), nothing])["seq"], 2);
        assert_eq!(error(&s.store_with("a", "?", &[id("4"), nothing])), 10070);
        s.stream_info();
    });
}

#[test]
fn expectations_of_a_batch_count_what_is_before_it_in_the_batch() {
    same("awaited", |s| {
        s.stream(json!({"allow_atomic": true}));
        s.store("a", "1");
        let last = |seq| ("Nats-Expected-Last-Sequence", seq);
        let of_subject = |seq| ("Nats-Expected-Last-Subject-Sequence", seq);
        for (first, second) in [
            (last("1"), last("2")),
            (last("1"), last("2")),
            (last("3"), last("3")),
            (of_subject("1"), ("X", "y")),
            (of_subject("3"), of_subject("4")),
            (of_subject("3"), of_subject("3")),
            (of_subject("3"), ("Nats-Expected-Stream", "other")),
            (of_subject("3"), ("Nats-Expected-Last-Msg-Id", "")),
            (of_subject("3"), ("Nats-Expected-Last-Msg-Id", "z")),
            (of_subject("3"), ("Nats-TTL", "5s")),
            (of_subject("3"), ("Nats-Incr", "1")),
            (of_subject("3"), ("X", "y")),
        ] {
            part(s, "x", 1, &[first]);
            part(s, "x", 2, &[second, COMMIT]);
        }
        s.stream_info();
    });
}

#[test]
fn a_batch_for_which_there_is_no_room_stores_nothing() {
    same("narrow", |s| {
        s.stream(json!({"allow_atomic": true, "max_msgs": 5, "discard": "new"}));
        for count in [3, 3, 2, 1] {
            for seq in 1..count {
                part(s, "x", seq, &[]);
            }
            part(s, "x", count, &[COMMIT]);
            s.stream_info();
        }
        s.api("STREAM.PURGE.narrow", Value::Null);
        s.api(
            "STREAM.UPDATE.narrow",
            json!({"name": "narrow", "subjects": ["narrow.>"], "storage": "memory",
                "allow_atomic": true, "discard": "new", "max_bytes": 300}),
        );
        for count in [2, 2, 1] {
            for seq in 1..count {
                part(s, "x", seq, &[]);
            }
            part(s, "x", count, &[COMMIT]);
        }
        s.stream_info();
    });
}

#[test]
fn batches_are_taken_where_the_stream_allows_them() {
    same("allowed", |s| {
        s.stream(json!({}));
        assert_eq!(error(&part(s, "x", 1, &[])), 10174);
        assert_eq!(error(&part(s, "x", 1, &[COMMIT])), 10174);
        let allowed = json!({"name": "allowed", "subjects": ["allowed.>"],
            "storage": "memory", "allow_atomic": true});
        s.api("STREAM.UPDATE.allowed", allowed);
        part(s, "x", 1, &[]);
        part(s, "x", 2, &[COMMIT]);
        s.stream_info();
        let denied = json!({"name": "allowed", "subjects": ["allowed.>"], "storage": "memory"});
        s.api("STREAM.UPDATE.allowed", denied);
        part(s, "x", 1, &[COMMIT]);
        // So are fast-ingest batches, which this stream does not allow.
        let message = jetbus_core::Outbound::new(s.subject("a"), "1");
        let inbox = s.subscribe("_INBOX.allowed.fast.>");
        s.publish(message.with_reply("_INBOX.allowed.fast.x.10.fail.1.2.$FI"));
        s.next(&inbox);
        s.stream_info();
    });
}

#[test]
fn batches_under_way_are_limited() {
    same("many", |s| {
        s.stream(json!({"allow_atomic": true}));
        for n in 0..52 {
            part(s, &format!("x{n}"), 1, &[]);
        }
        for seq in 2..=1_001 {
            part(s, "x0", seq, &[]);
        }
        assert_eq!(error(&part(s, "x0", 1_002, &[COMMIT])), 10199);
        for seq in 2..=999 {
            part(s, "x1", seq, &[]);
        }
        assert_eq!(part(s, "x1", 1_000, &[COMMIT])["count"], 1_000);
        s.stream_info();
    });
}
