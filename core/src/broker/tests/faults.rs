use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, code};
use crate::Time;
use crate::broker::Config;

#[test]
fn a_restart_keeps_files_and_drops_memory_and_connections() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.api("STREAM.CREATE.M", json!({"name": "M", "storage": "memory"}));
    bench.store(&["s.0", "s.1", "M"]);
    bench.consumer("c", json!({"ack_wait": 300_000_000}));
    bench.pull("c", "r.1", json!(1));
    bench.pull("c", "r.1", json!({"batch": 9, "expires": 1_000_000_000}));
    bench.broker.restart(bench.now, None);
    bench.conn = bench.broker.connect(bench.now);
    bench.subscribe(1, "r.>");
    bench.take();
    assert_eq!(code(&bench.api("STREAM.INFO.M", Value::Null)), 10059);
    assert_eq!(bench.state()["messages"], 2);
    assert_eq!(bench.info("c")["num_waiting"], 0);
    bench.advance(300);
    bench.pull("c", "r.1", json!(2));
    assert_eq!(bench.take(), ["s.0 2.1.3", "s.1 2.2.4"]);
}

#[test]
fn a_restart_may_forget_late_acknowledgements() {
    let mut bench = Bench::with(Config {
        ack_memory: Duration::from_millis(100),
        ..Config::default()
    });
    bench.stream(json!({}));
    bench.store(&["s.0", "s.1", "s.2"]);
    bench.consumer("c", json!({}));
    bench.pull("c", "r.1", json!(3));
    bench.ack("c", 1, 1, "");
    bench.advance(50);
    bench.ack("c", 2, 2, "");
    bench.ack("c", 3, 3, "");
    bench.broker.restart(bench.now, Some(Time::from_millis(20)));
    bench.conn = bench.broker.connect(bench.now);
    bench.subscribe(1, "r.>");
    bench.take();
    let info = bench.info("c");
    assert_eq!(info["num_ack_pending"], 2);
    assert_eq!(info["ack_floor"]["stream_seq"], 1);
}

#[test]
fn without_a_leader_nobody_answers_until_there_is_one() {
    let mut bench = Bench::new();
    bench.stream(json!({}));
    bench.consumer("c", json!({}));
    bench.pull("c", "r.1", json!(1));
    bench.take();
    bench
        .broker
        .set_leaderless(bench.now, Time::from_millis(100));
    assert_eq!(bench.publish("s.1", "x", &[]), json!({"status": 503}));
    assert_eq!(bench.take(), ["409 Leadership Change"]);
    bench.pull("c", "r.answer", json!(1));
    assert_eq!(bench.answer(), json!({"status": 503}));
    bench.advance(100);
    assert_eq!(bench.publish("s.1", "x", &[])["seq"], 1);
}
