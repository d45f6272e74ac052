//! Atomic batches in time; what a server answers is compared over the wire.

use std::time::Duration;

use serde_json::{Value, json};

use super::Bench;
use crate::broker::Config;

/// Sends a message of the batch `x`; the answer.
fn part(bench: &mut Bench, seq: u64, commit: bool) -> Value {
    let seq = seq.to_string();
    let mut headers = vec![("Nats-Batch-Id", "x"), ("Nats-Batch-Sequence", &*seq)];
    if commit {
        headers.push(("Nats-Batch-Commit", "1"));
    }
    bench.publish("s.a", "0123456789", &headers)
}

fn abandoned(bench: &mut Bench) -> Vec<Value> {
    let heard = std::mem::take(&mut bench.heard).into_iter();
    heard
        .filter(|m| m.subject == "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S")
        .map(|m| serde_json::from_slice(&m.payload).unwrap())
        .collect()
}

#[test]
fn a_batch_that_is_not_gone_on_with_is_abandoned() {
    let mut bench = Bench::new();
    bench.stream(json!({"allow_atomic": true}));
    let used = bench.broker.world.used;
    part(&mut bench, 1, false);
    bench.advance(9_000);
    part(&mut bench, 2, false);
    assert!(bench.broker.world.used > used);
    bench.advance(9_000);
    assert_eq!(abandoned(&mut bench), Vec::<Value>::new());
    assert_eq!(
        bench.broker.deadline(),
        Some(bench.now + Duration::from_secs(1))
    );
    bench.advance(1_000);
    let told = abandoned(&mut bench);
    assert_eq!(
        (&told[0]["batch"], &told[0]["reason"]),
        (&json!("x"), &json!("timeout"))
    );
    assert_eq!(bench.broker.world.used, used);
    assert_eq!(part(&mut bench, 3, true)["error"]["err_code"], 10_176);
}

#[test]
fn a_restart_and_an_election_forget_what_is_not_whole() {
    let mut bench = Bench::new();
    bench.stream(json!({"allow_atomic": true}));
    let used = bench.broker.world.used;
    part(&mut bench, 1, false);
    bench.broker.set_leaderless(bench.now, bench.now);
    assert_eq!(part(&mut bench, 2, true)["error"]["err_code"], 10_176);
    part(&mut bench, 1, false);
    bench.broker.restart(bench.now, None);
    assert_eq!(bench.broker.world.used, used);
    let stream = bench.broker.streams.get("S").unwrap();
    assert_eq!(stream.store.len(), 0);
}

#[test]
fn a_batch_that_does_not_fit_the_memory_is_refused_and_gives_it_back() {
    let mut bench = Bench::with(Config {
        max_bytes: 400,
        ..Config::default()
    });
    bench.stream(json!({"allow_atomic": true}));
    let refused = (1..10).map(|seq| part(&mut bench, seq, false));
    let refused = refused.filter(|answer| answer["error"]["err_code"] == 10_023);
    assert_eq!(refused.count(), 1);
    assert_eq!(bench.broker.world.used, 0);
    part(&mut bench, 1, false);
    assert_eq!(part(&mut bench, 2, true)["count"], 2);
}

#[test]
fn consumers_see_a_batch_whole() {
    let mut bench = Bench::new();
    bench.stream(json!({"allow_atomic": true}));
    bench.consumer("c", json!({}));
    bench.pull("c", "r.pull", json!({"batch": 10}));
    part(&mut bench, 1, false);
    part(&mut bench, 2, false);
    let seen = |bench: &Bench| bench.heard.iter().filter(|m| m.subject == "s.a").count();
    assert_eq!(seen(&bench), 0);
    part(&mut bench, 3, true);
    assert_eq!(seen(&bench), 3);
}
