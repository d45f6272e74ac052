//! Deliveries: acknowledged, given back, prolonged, ended, delivered again.

use std::time::Duration;

use jetbus_core::{Message, Outbound};
use serde_json::{Value, json};

use super::same;
use super::script::Script;

const SECOND: u64 = 1_000_000_000;

/// A stream with the messages `1`, `2`, ... and a consumer `c`.
fn filled(s: &mut Script<'_>, messages: u32, consumer: Value) {
    s.stream(json!({}));
    for number in 1..=messages {
        s.store("a", &number.to_string());
    }
    s.consumer("c", consumer);
}

/// The next delivery of a pull that waits.
fn wait(s: &mut Script<'_>) -> Message {
    let inbox = s.pull("c", json!({"batch": 1, "expires": 4 * SECOND}));
    let message = s.next(&inbox);
    s.unsubscribe(inbox);
    message
}

#[test]
fn an_acknowledgement_is_confirmed_by_an_empty_message() {
    same("confirmed", |s| {
        filled(s, 4, json!({}));
        for verb in ["+ACK", "", "+TERM", "+TERM because"] {
            let delivery = s.fetch("c").unwrap();
            let confirmed = s.ack(&delivery, verb);
            assert!(confirmed.payload.is_empty() && confirmed.status.is_none());
            s.consumer_info("c");
        }
        assert!(s.fetch("c").is_none());
    });
}

#[test]
fn acknowledgements_out_of_order_move_the_floor_when_the_gap_closes() {
    same("floor", |s| {
        filled(s, 4, json!({}));
        let all: Vec<Message> = (0..4).map(|_| s.fetch("c").unwrap()).collect();
        for index in [2, 0, 1, 3] {
            s.ack(&all[index], "+ACK");
            s.consumer_info("c");
        }
        // Once more does no harm.
        s.ack(&all[0], "+ACK");
        s.consumer_info("c");
    });
}

#[test]
fn an_unsettled_delivery_comes_again_after_its_wait() {
    same("again", |s| {
        filled(s, 2, json!({"ack_wait": SECOND / 2}));
        let start = s.elapsed();
        let first = s.fetch("c").unwrap();
        let again = wait(s);
        assert_eq!(again.payload, "2", "the next one is ready first");
        s.ack(&again, "+ACK");
        let again = wait(s);
        assert_eq!(again.payload, "1");
        assert!(s.elapsed() - start >= Duration::from_millis(500));
        s.consumer_info("c");
        // The first delivery's acknowledgement counts for the second.
        s.ack(&first, "+ACK");
        s.consumer_info("c");
    });
}

#[test]
fn progress_prolongs_the_wait() {
    same("prolonged", |s| {
        filled(s, 1, json!({"ack_wait": SECOND}));
        let delivery = s.fetch("c").unwrap();
        let inbox = s.pull("c", json!({"batch": 1, "expires": 5 * SECOND}));
        s.quiet(&inbox, Duration::from_millis(400));
        let renewed = s.elapsed();
        s.ack(&delivery, "+WPI");
        s.delivery(&inbox, "1");
        // From the renewal on, not from the delivery on.
        let waited = s.elapsed() - renewed;
        assert!(waited >= Duration::from_millis(700), "{waited:?}");
        s.consumer_info("c");
    });
}

#[test]
fn a_delivery_given_back_comes_again_at_once_and_first() {
    same("back", |s| {
        filled(s, 3, json!({}));
        let first = s.fetch("c").unwrap();
        s.ack(&first, "-NAK");
        let again = s.fetch("c").unwrap();
        assert_eq!(again.payload, "1");
        s.consumer_info("c");
        s.ack(&again, "-NAK");
        let third = s.fetch("c").unwrap();
        assert_eq!(third.payload, "1");
        s.ack(&third, "+ACK");
        s.consumer_info("c");
        // Given back after it was acknowledged: nothing happens.
        s.ack(&third, "-NAK");
        assert_eq!(s.fetch("c").unwrap().payload, "2");
    });
}

/// What was lost on its way is given back with a subject that nobody received: all that
/// is known of it is where it is in the stream.
#[test]
fn a_message_is_given_back_by_its_sequence_in_the_stream() {
    same("by_sequence", |s| {
        filled(s, 4, json!({}));
        let all: Vec<Message> = (0..4).map(|_| s.fetch("c").unwrap()).collect();
        s.ack(&all[0], "+ACK");
        s.consumer_info("c");
        let reply = all[3].reply.clone().unwrap();
        let back = |stream: u64, consumer: u64| {
            let mut tokens: Vec<String> = reply.as_str().split('.').map(Into::into).collect();
            // From the end: pending, time, and the sequences in consumer and stream.
            let last = tokens.len() - 1;
            tokens[last - 1] = "1".into();
            tokens[last - 2] = consumer.to_string();
            tokens[last - 3] = stream.to_string();
            Outbound::new(tokens.join("."), "-NAK")
        };
        // The consumer has delivered 1 to 4 and 1 is acknowledged: each is in range.
        for (stream, consumer) in [(2, 4), (3, 2), (4, 3)] {
            s.request(back(stream, consumer));
            s.consumer_info("c");
            let again = s.fetch("c").unwrap();
            assert_eq!(again.payload, stream.to_string());
            s.consumer_info("c");
        }
        assert!(s.fetch("c").is_none());
    });
}

/// A sequence in the consumer that is acknowledged, or was not delivered yet.
#[test]
fn a_message_is_not_given_back_with_a_sequence_that_is_out_of_range() {
    same("out_of_range", |s| {
        filled(s, 3, json!({}));
        let all: Vec<Message> = (0..3).map(|_| s.fetch("c").unwrap()).collect();
        s.ack(&all[0], "+ACK");
        s.consumer_info("c");
        let reply = all[1].reply.clone().unwrap();
        for consumer in [0, 1, 1_000] {
            let mut tokens: Vec<String> = reply.as_str().split('.').map(Into::into).collect();
            let place = tokens.len() - 3;
            tokens[place] = consumer.to_string();
            s.publish(Outbound::new(tokens.join("."), "-NAK"));
            s.consumer_info("c");
            assert!(s.fetch("c").is_none());
        }
        s.ack(&all[1], "-NAK");
        assert_eq!(s.fetch("c").unwrap().payload, "2");
    });
}

#[test]
fn a_delivery_given_back_with_a_delay_comes_again_after_it() {
    same("delayed", |s| {
        filled(s, 2, json!({}));
        let first = s.fetch("c").unwrap();
        let back = s.elapsed();
        s.ack(&first, "-NAK {\"delay\": 600000000}");
        let second = s.fetch("c").unwrap();
        assert_eq!(second.payload, "2");
        s.ack(&second, "+ACK");
        assert!(s.fetch("c").is_none());
        s.consumer_info("c");
        assert_eq!(wait(s).payload, "1");
        assert!(s.elapsed() - back >= Duration::from_millis(600));
        s.consumer_info("c");
    });
}

#[test]
fn a_delay_can_be_said_in_several_ways() {
    same("said", |s| {
        filled(s, 1, json!({}));
        let mut delivery = s.fetch("c").unwrap();
        for (words, least) in [
            ("-NAK {\"delay\": 100000000}", 100),
            ("-NAK 100ms", 100),
            ("-NAK {}", 0),
            ("-NAK {\"delay\": 0}", 0),
            ("-NAK {\"delay\": -5}", 0),
            ("-NAK {\"delay\": \"100ms\"}", 0),
            ("-NAK soon", 0),
            ("-NAK ", 0),
        ] {
            let back = s.elapsed();
            s.ack(&delivery, words);
            delivery = wait(s);
            let waited = s.elapsed() - back;
            assert!(
                waited >= Duration::from_millis(least),
                "{words}: {waited:?}"
            );
        }
    });
}

#[test]
fn the_next_message_can_be_asked_for_with_the_acknowledgement() {
    same("next", |s| {
        filled(s, 3, json!({}));
        let first = s.fetch("c").unwrap();
        let inbox = s.subscribe("_INBOX.next.more");
        let ack = Outbound::new(first.reply.unwrap(), "+NXT").with_reply("_INBOX.next.more");
        s.publish(ack);
        let second = s.delivery(&inbox, "2");
        s.consumer_info("c");
        let ack = Outbound::new(
            second.reply.unwrap(),
            "+NXT {\"batch\": 2, \"no_wait\": true}",
        );
        s.publish(ack.with_reply("_INBOX.next.more"));
        s.delivery(&inbox, "3");
        s.status(&inbox, 404);
    });
}

#[test]
fn after_the_last_delivery_an_advisory_tells() {
    same("last", |s| {
        let advisories = s.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.last.>");
        filled(s, 2, json!({"max_deliver": 2, "ack_wait": SECOND / 2}));
        s.fetch("c").unwrap();
        let inbox = s.pull("c", json!({"batch": 3, "expires": 4 * SECOND}));
        let second = s.delivery(&inbox, "2");
        s.ack(&second, "+ACK");
        s.delivery(&inbox, "1");
        s.next(&advisories);
        s.consumer_info("c");
        s.store("a", "3");
        s.delivery(&inbox, "3");
        s.stream_info();
    });
}

#[test]
fn a_message_given_back_for_the_last_time_is_given_up() {
    same("given_up", |s| {
        let advisories = s.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.given_up.>");
        filled(s, 2, json!({"max_deliver": 2}));
        for _ in 0..2 {
            let delivery = s.fetch("c").unwrap();
            assert_eq!(delivery.payload, "1");
            s.ack(&delivery, "-NAK");
        }
        assert_eq!(s.fetch("c").unwrap().payload, "2");
        s.next(&advisories);
        s.consumer_info("c");
    });
}

#[test]
fn settling_is_advised() {
    same("advised", |s| {
        let naks = s.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.advised.c");
        let terms = s.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.advised.c");
        filled(s, 1, json!({}));
        let delivery = s.fetch("c").unwrap();
        s.ack(&delivery, "-NAK");
        s.next(&naks);
        let delivery = s.fetch("c").unwrap();
        s.ack(&delivery, "+TERM no use");
        s.next(&terms);
    });
}

#[test]
fn waits_grow_by_the_list() {
    same("growing", |s| {
        filled(
            s,
            1,
            json!({"backoff": [SECOND / 5, SECOND], "max_deliver": 3}),
        );
        let mut last = s.elapsed();
        s.fetch("c").unwrap();
        for least in [200, 1000] {
            assert_eq!(wait(s).payload, "1");
            let waited = s.elapsed() - last;
            assert!(waited >= Duration::from_millis(least / 2), "{waited:?}");
            last = s.elapsed();
        }
        s.consumer_info("c");
    });
}

#[test]
fn no_more_than_the_limit_is_unsettled() {
    same("unsettled", |s| {
        filled(s, 3, json!({"max_ack_pending": 2}));
        let inbox = s.pull("c", json!({"batch": 3, "expires": 5 * SECOND}));
        let first = s.delivery(&inbox, "1");
        s.delivery(&inbox, "2");
        s.consumer_info("c");
        s.quiet(&inbox, Duration::from_millis(100));
        // The pull still waits, and goes on as soon as there is room.
        s.ack(&first, "+ACK");
        s.delivery(&inbox, "3");
        // At the limit a pull that does not wait is told that there is nothing.
        let empty = s.pull("c", json!({"batch": 1, "no_wait": true}));
        s.next(&empty);
    });
}

#[test]
fn an_acknowledgement_of_all_covers_those_before() {
    same("covering", |s| {
        filled(s, 4, json!({"ack_policy": "all"}));
        let all: Vec<Message> = (0..4).map(|_| s.fetch("c").unwrap()).collect();
        s.consumer_info("c");
        s.ack(&all[2], "+ACK");
        s.consumer_info("c");
        s.ack(&all[0], "+ACK");
        s.consumer_info("c");
        s.ack(&all[3], "-NAK");
        s.fetch("c").unwrap();
        s.consumer_info("c");
    });
}

#[test]
fn without_acknowledgements_nothing_comes_again() {
    same("unacknowledged", |s| {
        filled(s, 2, json!({"ack_policy": "none"}));
        let first = s.fetch("c").unwrap();
        s.consumer_info("c");
        s.ack(&first, "+ACK");
        s.fetch("c").unwrap();
        assert!(s.fetch("c").is_none());
        s.consumer_info("c");
    });
}

#[test]
fn acknowledging_to_nobody_is_told() {
    same("nobody", |s| {
        filled(s, 1, json!({}));
        let delivery = s.fetch("c").unwrap();
        s.api("CONSUMER.DELETE.nobody.c", Value::Null);
        let answer = s.ack(&delivery, "+ACK");
        assert_eq!(answer.status.unwrap().code, 503);
    });
}

#[test]
fn an_unknown_verb_is_ignored_and_the_delivery_comes_again() {
    same("unknown", |s| {
        filled(s, 1, json!({"ack_wait": SECOND / 5}));
        let delivery = s.fetch("c").unwrap();
        s.publish(Outbound::new(delivery.reply.unwrap(), "+WHAT"));
        assert_eq!(wait(s).payload, "1");
    });
}

#[test]
fn a_removed_message_does_not_come_again() {
    same("removed", |s| {
        filled(s, 3, json!({"ack_wait": SECOND}));
        s.fetch("c").unwrap();
        s.fetch("c").unwrap();
        s.api("STREAM.MSG.DELETE.removed", json!({"seq": 1}));
        assert_eq!(s.fetch("c").unwrap().payload, "3");
        assert_eq!(wait(s).payload, "2");
        s.consumer_info("c");
        s.api("STREAM.PURGE.removed", Value::Null);
        s.consumer_info("c");
        assert!(s.fetch("c").is_none());
    });
}
