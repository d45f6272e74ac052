use serde_json::{Value, json};

use super::{Bench, code};
use crate::{Outbound, Time};

fn with_messages(subjects: &[&str], config: Value) -> Bench {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.store(subjects);
    assert_eq!(code(&bench.consumer("c", config)), 0);
    bench.take();
    bench
}

#[test]
fn a_pull_gets_its_batch_with_what_is_left_in_the_token() {
    let mut bench = with_messages(&["s.0", "s.1", "s.2"], json!({}));
    bench.pull("c", "r.1", json!(2));
    let tokens: Vec<String> = bench
        .heard
        .drain(..)
        .filter_map(|m| m.reply.map(|r| r.as_str().to_owned()))
        .collect();
    let wall = 1_795_348_800_000_000_000_i64;
    assert_eq!(
        tokens,
        [
            format!("$JS.ACK.S.c.1.1.1.{wall}.2"),
            format!("$JS.ACK.S.c.1.2.2.{wall}.1")
        ]
    );
    let info = bench.info("c");
    assert_eq!(
        (&info["num_pending"], &info["num_ack_pending"]),
        (&json!(1), &json!(2))
    );
}

#[test]
fn pulls_that_do_not_wait_end_with_404() {
    let mut bench = with_messages(&["s.0"], json!({}));
    bench.pull("c", "r.1", json!({"batch": 5, "no_wait": true}));
    bench.pull("c", "r.2", json!({"batch": 5, "no_wait": true}));
    assert_eq!(
        bench.take(),
        ["s.0 1.1.1", "404 No Messages", "404 No Messages"]
    );
}

#[test]
fn waiting_pulls_beat_and_expire_with_what_they_still_owe() {
    let mut bench = with_messages(&[], json!({}));
    let request = json!({"batch": 2, "max_bytes": 500, "expires": 600_000_000, "idle_heartbeat": 200_000_000});
    bench.pull("c", "r.1", request);
    assert_eq!(bench.broker.deadline(), Some(Time::from_millis(200)));
    bench.advance(200);
    assert_eq!(bench.heard[0].headers.get("Nats-Last-Consumer"), Some("0"));
    assert_eq!(bench.take(), ["100 Idle Heartbeat"]);
    bench.advance(100);
    bench.store(&["s.1"]);
    assert_eq!(bench.take(), ["s.1 1.1.1"]);
    bench.advance(199);
    assert!(bench.take().is_empty());
    bench.advance(1);
    assert_eq!(bench.take(), ["100 Idle Heartbeat"]);
    bench.advance(100);
    let last = bench.heard.pop().unwrap();
    assert_eq!(last.headers.get("Nats-Pending-Messages"), Some("1"));
    assert_eq!(last.headers.get("Nats-Pending-Bytes"), Some("457"));
    assert_eq!(last.status.unwrap().code, 408);
    assert_eq!(bench.info("c")["num_waiting"], 0);
}

#[test]
fn pulls_are_served_in_turn() {
    let mut bench = with_messages(&[], json!({}));
    bench.pull("c", "r.1", json!(2));
    bench.pull("c", "r.2", json!(1));
    bench.pull("c", "zz.unheard", json!(1));
    assert_eq!(bench.info("c")["num_waiting"], 2);
    bench.subscribe(7, "q.>");
    bench.take();
    let mut to = Vec::new();
    for _ in 0..3 {
        bench.send(Outbound::new("s.1", "x"));
        to.push(bench.info("c")["num_waiting"].clone());
    }
    assert_eq!(to, [json!(2), json!(1), json!(0)]);
}

#[test]
fn pulls_over_a_limit_are_refused_in_the_servers_words() {
    let limits =
        json!({"max_batch": 2, "max_expires": 1_000_000_000, "max_bytes": 100, "max_waiting": 1});
    let mut bench = with_messages(&[], limits);
    for request in [
        json!({"batch": 3}),
        json!({"batch": 1, "expires": 2_000_000_000_i64}),
        json!({"batch": 1, "max_bytes": 101}),
        json!({"batch": 1, "expires": 1_000_000, "idle_heartbeat": 1_000_000}),
        json!({"batch": 1}),
        json!({"batch": 1}),
        json!({"batch": 1, "expires": 100_000_000, "idle_heartbeat": 1_000_000}),
    ] {
        bench.pull("c", "r.1", request);
    }
    assert_eq!(
        bench.take(),
        [
            "409 Exceeded MaxRequestBatch of 2",
            "409 Exceeded MaxRequestExpires of 1s",
            "409 Exceeded MaxRequestMaxBytes of 100",
            "400 Bad Request - heartbeat value too large",
            "409 Exceeded MaxWaiting",
        ]
    );
}

#[test]
fn a_message_too_big_for_the_pull_ends_it() {
    let mut bench = with_messages(&["s.0", "s.1"], json!({}));
    bench.pull("c", "r.1", json!({"batch": 9, "max_bytes": 80}));
    assert_eq!(
        bench.take(),
        ["s.0 1.1.1", "409 Message Size Exceeds MaxBytes"]
    );
    bench.pull("c", "r.1", json!({"batch": 1, "max_bytes": 500}));
    assert_eq!(bench.take(), ["s.1 1.2.2", "409 Batch Completed"]);
}

#[test]
fn unsettled_deliveries_come_again_before_new_ones() {
    let mut bench = with_messages(&["s.0", "s.1", "s.2"], json!({"ack_wait": 300_000_000}));
    bench.pull("c", "r.1", json!(2));
    bench.take();
    bench.advance(300);
    assert!(bench.take().is_empty());
    bench.pull("c", "r.1", json!(3));
    assert_eq!(bench.take(), ["s.0 2.1.3", "s.1 2.2.4", "s.2 1.3.5"]);
    let info = bench.info("c");
    assert_eq!(info["num_redelivered"], 2);
    assert_eq!(info["delivered"]["stream_seq"], 3);
}

#[test]
fn naks_redeliver_now_or_after_their_delay() {
    let mut bench = with_messages(&["s.0", "s.1"], json!({}));
    bench.pull("c", "r.1", json!(9));
    bench.take();
    bench.ack("c", 1, 1, "-NAK {\"delay\": 300000000}");
    bench.ack("c", 2, 2, "-NAK");
    let told = "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.c";
    assert_eq!(bench.take(), [told, told, "s.1 2.2.3"]);
    bench.advance(299);
    assert!(bench.take().is_empty());
    bench.advance(1);
    assert_eq!(bench.take(), ["s.0 2.1.4"]);
}

#[test]
fn progress_postpones_and_term_ends() {
    let mut bench = with_messages(&["s.0", "s.1"], json!({"ack_wait": 300_000_000}));
    bench.pull("c", "r.1", json!(9));
    bench.take();
    bench.advance(200);
    assert_eq!(bench.ack("c", 1, 1, "+WPI"), Value::Null);
    assert_eq!(bench.ack("c", 2, 2, "+TERM why not"), Value::Null);
    let told = bench.heard.pop().unwrap();
    assert_eq!(
        told.subject,
        "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.c"
    );
    let told: Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!(told["reason"], "why not");
    bench.advance(299);
    assert!(bench.take().is_empty());
    bench.advance(1);
    assert_eq!(bench.take(), ["s.0 2.1.3"]);
}

#[test]
fn backoff_spaces_redeliveries_until_they_run_out() {
    let config = json!({"backoff": [100_000_000, 300_000_000], "max_deliver": 3});
    let mut bench = with_messages(&["s.0"], config);
    bench.pull("c", "r.1", json!(9));
    bench.take();
    let mut seen = Vec::new();
    for _ in 0..10 {
        bench.advance(100);
        let now = bench.now.as_nanos() / 1_000_000;
        seen.extend(bench.take().into_iter().map(|what| format!("{now} {what}")));
    }
    assert_eq!(
        seen,
        [
            "100 s.0 2.1.2",
            "400 s.0 3.1.3",
            "700 $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.c"
        ]
    );
    let info = bench.info("c");
    assert_eq!(info["num_ack_pending"], 0);
    assert_eq!(info["ack_floor"]["stream_seq"], 0);
}

#[test]
fn too_many_unsettled_stall_until_one_is_settled() {
    let mut bench = with_messages(&["s.0", "s.1", "s.2"], json!({"max_ack_pending": 2}));
    bench.pull("c", "r.1", json!({"batch": 9, "no_wait": true}));
    assert_eq!(bench.take(), ["s.0 1.1.1", "s.1 1.2.2"]);
    bench.ack("c", 1, 1, "");
    assert_eq!(bench.take(), ["s.2 1.3.3"]);
}

#[test]
fn the_floor_follows_what_is_settled_without_a_gap() {
    let mut bench = with_messages(&["s.0", "s.1", "s.2"], json!({}));
    bench.pull("c", "r.1", json!(3));
    bench.ack("c", 2, 2, "");
    assert_eq!(bench.info("c")["ack_floor"]["stream_seq"], 0);
    bench.ack("c", 1, 1, "+ACK");
    assert_eq!(bench.info("c")["ack_floor"]["stream_seq"], 2);
    let next = Outbound::new("$JS.ACK.S.c.1.3.3.0.0", "+NXT").with_reply("r.9");
    bench.send(next);
    let info = bench.info("c");
    assert_eq!(info["ack_floor"]["consumer_seq"], 3);
    assert_eq!(info["num_waiting"], 1);
}

#[test]
fn acks_of_all_and_none() {
    let mut bench = with_messages(&["s.0", "s.1", "s.2"], json!({"ack_policy": "all"}));
    bench.pull("c", "r.1", json!(3));
    bench.ack("c", 2, 2, "");
    assert_eq!(bench.info("c")["num_ack_pending"], 1);
    bench.consumer("n", json!({"ack_policy": "none"}));
    bench.pull("n", "r.1", json!(2));
    assert_eq!(bench.info("n")["ack_floor"]["stream_seq"], 2);
    assert_eq!(bench.ack("n", 1, 1, ""), json!({"status": 503}));
}

#[test]
fn acks_to_nobody_are_answered_503() {
    let mut bench = with_messages(&["s.0"], json!({}));
    assert_eq!(bench.ack("gone", 1, 1, ""), json!({"status": 503}));
    let odd = bench.publish("$JS.ACK.S.c.bad", "", &[]);
    assert_eq!(odd, json!({"status": 503}));
    bench.pull("gone", "r.answer", json!(1));
    assert_eq!(bench.answer(), json!({"status": 503}));
}

#[test]
fn deliver_policies_choose_where_to_start() {
    let mut bench = with_messages(&["s.0", "s.1", "s.0", "s.1", "s.2"], json!({}));
    bench.advance(1000);
    bench.store(&["s.0"]);
    let mut starts = |name: &str, config: Value| {
        assert_eq!(code(&bench.consumer(name, config)), 0, "{name}");
        bench.take();
        bench.pull(name, "r.1", json!({"batch": 9, "no_wait": true}));
        bench
            .take()
            .iter()
            .filter_map(|what| what.split('.').nth(2)?.parse::<u64>().ok())
            .collect::<Vec<_>>()
    };
    assert_eq!(starts("last", json!({"deliver_policy": "last"})), [6]);
    assert!(starts("new", json!({"deliver_policy": "new"})).is_empty());
    let seq = json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 4});
    assert_eq!(starts("seq", seq), [4, 5, 6]);
    let time =
        json!({"deliver_policy": "by_start_time", "opt_start_time": "2026-11-22T12:00:00.5Z"});
    assert_eq!(starts("time", time), [6]);
    let per = json!({"deliver_policy": "last_per_subject", "filter_subject": "s.>"});
    assert_eq!(starts("per", per), [4, 5, 6]);
    assert_eq!(starts("one", json!({"filter_subject": "s.1"})), [2, 4]);
    assert_eq!(
        starts("many", json!({"filter_subjects": ["s.1", "s.2"]})),
        [2, 4, 5]
    );
}

#[test]
fn consumers_are_created_updated_and_refused() {
    let mut bench = with_messages(&[], json!({}));
    let mut create = |config: Value, action: &str| {
        let mut full = json!({"durable_name": "c", "ack_policy": "explicit"});
        super::merge(&mut full, config);
        let request = json!({"stream_name": "S", "config": full, "action": action});
        code(&bench.api("CONSUMER.CREATE.S.c", request))
    };
    assert_eq!(create(json!({}), "create"), 0);
    assert_eq!(create(json!({"max_deliver": 3}), "create"), 10148);
    assert_eq!(create(json!({"max_deliver": 3}), "update"), 0);
    assert_eq!(create(json!({"ack_policy": "all"}), ""), 10012);
    assert_eq!(create(json!({"durable_name": "d"}), ""), 10017);
    assert_eq!(create(json!({"filter_subjects": ["a", "a"]}), ""), 10138);
    assert_eq!(create(json!({"opt_start_seq": 1}), ""), 10094);
    assert_eq!(create(json!({"deliver_subject": "d"}), ""), 10012);
    assert_eq!(create(json!({}), "bogus"), 10025);
    let missing = json!({"stream_name": "S", "config": {"name": "x"}, "action": "update"});
    assert_eq!(code(&bench.api("CONSUMER.CREATE.S.x", missing)), 10149);
}

#[test]
fn unused_ephemerals_go_and_waiting_pulls_hear_of_a_deletion() {
    let mut bench = with_messages(&[], json!({}));
    let request =
        json!({"stream_name": "S", "config": {"name": "e", "inactive_threshold": 400_000_000}});
    bench.api("CONSUMER.CREATE.S.e", request);
    bench.pull("e", "r.1", json!({"batch": 1, "expires": 1_000_000_000}));
    bench.advance(1000);
    assert_eq!(code(&bench.info("e")), 0);
    bench.advance(400);
    assert_eq!(code(&bench.info("e")), 10014);
    bench.take();
    bench.pull("c", "r.1", json!(1));
    bench.api("CONSUMER.DELETE.S.c", Value::Null);
    let told = "$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.c";
    assert_eq!(bench.take(), [told, "409 Consumer Deleted"]);
}

#[test]
fn work_queues_hand_each_message_to_one_consumer() {
    let mut bench = Bench::new();
    bench.stream(json!({"retention": "workqueue"}));
    bench.store(&["s.1", "s.2"]);
    assert_eq!(
        code(&bench.consumer("a", json!({"ack_policy": "none"}))),
        10084
    );
    assert_eq!(
        code(&bench.consumer("a", json!({"ack_policy": "all"}))),
        10098
    );
    assert_eq!(
        code(&bench.consumer("a", json!({"deliver_policy": "new"}))),
        10101
    );
    assert_eq!(
        code(&bench.consumer("a", json!({"filter_subject": "s.1"}))),
        0
    );
    assert_eq!(code(&bench.consumer("b", json!({}))), 10099);
    assert_eq!(
        code(&bench.consumer("b", json!({"filter_subject": "s.*"}))),
        10100
    );
    bench.pull("a", "r.1", json!(1));
    bench.ack("a", 1, 1, "");
    assert_eq!(bench.state()["first_seq"], 2);
}

#[test]
fn interest_keeps_a_message_until_all_have_settled_it() {
    let mut bench = Bench::new();
    bench.stream(json!({"retention": "interest"}));
    assert_eq!(bench.publish("s.1", "x", &[])["seq"], 1);
    assert_eq!(bench.state()["messages"], 0);
    bench.consumer("a", json!({}));
    bench.consumer("b", json!({"filter_subject": "s.1"}));
    bench.store(&["s.0", "s.1"]);
    bench.pull("a", "r.1", json!(2));
    bench.ack("a", 2, 1, "");
    bench.ack("a", 3, 2, "");
    let state = bench.state();
    assert_eq!(
        (&state["messages"], &state["first_seq"]),
        (&json!(1), &json!(3))
    );
    bench.api("CONSUMER.DELETE.S.b", Value::Null);
    assert_eq!(bench.state()["messages"], 0);
}

#[test]
fn a_deleted_message_is_settled_for_who_held_it() {
    let mut bench = with_messages(&["s.0", "s.1", "s.2"], json!({}));
    bench.pull("c", "r.1", json!(2));
    bench.api("STREAM.MSG.DELETE.S", json!({"seq": 2}));
    assert_eq!(bench.info("c")["num_ack_pending"], 1);
    bench.api("STREAM.PURGE.S", Value::Null);
    let info = bench.info("c");
    assert_eq!(
        (&info["num_ack_pending"], &info["num_pending"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(info["ack_floor"]["stream_seq"], 3);
}

#[test]
fn a_large_batch_comes_in_bursts_and_whole() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    for _ in 0..1000 {
        bench.send(Outbound::new("s.1", "x"));
    }
    bench.consumer("c", json!({"max_ack_pending": -1}));
    bench.take();
    bench.pull("c", "r.1", json!({"batch": 2000, "no_wait": true}));
    let heard = bench.take();
    assert_eq!(heard.len(), 1001);
    assert_eq!(heard[1000], "404 No Messages");
}
