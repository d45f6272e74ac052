//! Pulls: how they end, and what they are told.

use std::time::Duration;

use serde_json::{Value, json};

use super::same;

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_pull_takes_what_is_there_and_waits_for_the_rest() {
    same("waiting", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        s.store("a", "1");
        let inbox = s.pull("c", json!({"batch": 3, "expires": 5 * SECOND}));
        s.delivery(&inbox, "1");
        s.consumer_info("c");
        s.store_with("b", "2", &[("Name", "value")]);
        s.delivery(&inbox, "2");
        s.store("a", "");
        s.delivery(&inbox, "");
        // The batch is complete: the next message waits for the next pull.
        s.store("a", "4");
        s.consumer_info("c");
        let next = s.pull("c", json!({"batch": 1}));
        s.delivery(&next, "4");
    });
}

#[test]
fn a_pull_without_waiting_ends_at_once() {
    same("no_wait", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        let empty = s.pull("c", json!({"batch": 5, "no_wait": true}));
        s.status(&empty, 404);
        s.store("a", "1");
        s.store("a", "2");
        let some = s.pull("c", json!({"batch": 5, "no_wait": true}));
        s.delivery(&some, "1");
        s.delivery(&some, "2");
        s.status(&some, 404);
        // With both, it waits only when there is nothing at all.
        s.store("a", "3");
        let both = s.pull(
            "c",
            json!({"batch": 2, "no_wait": true, "expires": SECOND / 5}),
        );
        s.delivery(&both, "3");
        s.next(&both);
        let nothing = s.pull(
            "c",
            json!({"batch": 2, "no_wait": true, "expires": SECOND / 5}),
        );
        s.next(&nothing);
    });
}

#[test]
fn a_pull_expires_with_what_it_is_still_owed() {
    same("expired", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        s.store("a", "1");
        let start = s.elapsed();
        let inbox = s.pull(
            "c",
            json!({"batch": 3, "expires": SECOND / 4, "max_bytes": 10_000}),
        );
        s.delivery(&inbox, "1");
        s.status(&inbox, 408);
        assert!(s.elapsed() - start >= Duration::from_millis(250));
        let inbox = s.pull("c", json!({"batch": 2, "expires": SECOND / 4}));
        s.status(&inbox, 408);
    });
}

#[test]
fn an_idle_pull_hears_heartbeats() {
    same("heartbeats", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        s.store("a", "1");
        let request = json!({"batch": 5, "expires": 2 * SECOND, "idle_heartbeat": SECOND / 2});
        let inbox = s.pull("c", request);
        s.delivery(&inbox, "1");
        s.status(&inbox, 100);
        s.status(&inbox, 100);
        s.store("a", "2");
        s.delivery(&inbox, "2");
        s.status(&inbox, 100);
        let bad = s.pull(
            "c",
            json!({"batch": 1, "expires": SECOND, "idle_heartbeat": SECOND}),
        );
        s.next(&bad);
        let bad = s.pull("c", json!({"batch": 1, "idle_heartbeat": SECOND}));
        s.next(&bad);
    });
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    same("senseless", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        for request in ["{", "{\"batch\": \"1\"}"] {
            let inbox = s.pull_raw("c", request);
            s.status(&inbox, 400);
        }
        let past = s.pull_raw("c", "{\"expires\": -1}");
        s.status(&past, 408);
        // A pull on nobody's behalf.
        let inbox = s.pull("missing", json!({"batch": 1}));
        s.status(&inbox, 503);
    });
}

#[test]
fn short_requests_are_understood() {
    same("short", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        for number in 1..=12 {
            s.store("a", &number.to_string());
        }
        let one = s.pull_raw("c", "");
        s.delivery(&one, "1");
        let two = s.pull_raw("c", "2");
        s.delivery(&two, "2");
        s.delivery(&two, "3");
        let none = s.pull_raw("c", "{}");
        s.delivery(&none, "4");
        let zero = s.pull_raw("c", "{\"batch\": 0}");
        s.delivery(&zero, "5");
        let unknown = s.pull_raw("c", "{\"batch\": 1, \"colour\": \"blue\"}");
        s.delivery(&unknown, "6");
        // Whatever is neither JSON nor a number asks for one.
        for (request, payload) in [
            ("no JSON", "7"),
            ("[]", "8"),
            ("-1", "9"),
            (" 2", "10"),
            ("{\"batch\": -1}", "12"),
        ] {
            let inbox = s.pull_raw("c", request);
            s.delivery(&inbox, payload);
        }
    });
}

#[test]
fn limits_of_a_consumer_bound_its_pulls() {
    same("bounded", |s| {
        s.stream(json!({}));
        s.consumer(
            "c",
            json!({"max_batch": 2, "max_expires": SECOND, "max_bytes": 1000}),
        );
        for request in [
            json!({"batch": 3}),
            json!({"batch": 1, "expires": 2 * SECOND}),
            json!({"batch": 1, "max_bytes": 2000}),
        ] {
            let inbox = s.pull("c", request);
            s.status(&inbox, 409);
        }
        s.consumer("few", json!({"max_waiting": 2}));
        let first = s.pull("few", json!({"batch": 1, "expires": 30 * SECOND}));
        let second = s.pull("few", json!({"batch": 1, "expires": 30 * SECOND}));
        let third = s.pull("few", json!({"batch": 1, "expires": 30 * SECOND}));
        s.status(&third, 409);
        // Served in turn.
        s.store("a", "1");
        s.delivery(&first, "1");
        s.store("a", "2");
        s.delivery(&second, "2");
    });
}

#[test]
fn a_pull_takes_no_more_bytes_than_it_asks_for() {
    same("weighed", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({"ack_policy": "none"}));
        for number in 1..=3 {
            s.store("a", &format!("{number}{}", "x".repeat(99)));
        }
        let inbox = s.pull(
            "c",
            json!({"batch": 5, "max_bytes": 400, "expires": SECOND}),
        );
        for _ in 0..3 {
            if s.next(&inbox).status.is_some() {
                break;
            }
        }
        let small = s.pull("c", json!({"batch": 5, "max_bytes": 10, "expires": SECOND}));
        s.status(&small, 409);
    });
}

#[test]
fn whoever_waits_hears_that_the_consumer_or_stream_went() {
    same("went", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        let inbox = s.pull("c", json!({"batch": 2, "expires": 30 * SECOND}));
        s.store("a", "1");
        s.delivery(&inbox, "1");
        s.api("CONSUMER.DELETE.went.c", Value::Null);
        s.status(&inbox, 409);
        s.until(|s| {
            let late = s.pull("c", json!({"batch": 1}));
            s.heard(&late).is_some()
        });
        s.consumer("d", json!({"deliver_policy": "new"}));
        let inbox = s.pull("d", json!({"batch": 2, "expires": 30 * SECOND}));
        s.until(|s| s.consumer_info("d")["num_waiting"] == 1);
        s.api("STREAM.DELETE.went", Value::Null);
        s.status(&inbox, 409);
    });
}

#[test]
fn a_pull_whose_inbox_is_gone_takes_nothing() {
    same("deserted", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        let deserted = s.pull("c", json!({"batch": 1, "expires": 30 * SECOND}));
        s.until(|s| s.consumer_info("c")["num_waiting"] == 1);
        s.unsubscribe(deserted);
        let inbox = s.pull("c", json!({"batch": 1, "expires": 30 * SECOND}));
        s.store("a", "1");
        s.delivery(&inbox, "1");
    });
}

#[test]
fn several_pulls_share_the_messages() {
    same("several", |s| {
        s.stream(json!({}));
        s.consumer("c", json!({}));
        let first = s.pull("c", json!({"batch": 2, "expires": 5 * SECOND}));
        let second = s.pull("c", json!({"batch": 2, "expires": 5 * SECOND}));
        // Taken in, in the order in which they were sent.
        s.until(|s| s.consumer_info("c")["num_waiting"] == 2);
        for number in 1..=4 {
            s.store("a", &number.to_string());
            s.next(if number % 2 == 1 { &first } else { &second });
        }
    });
}
