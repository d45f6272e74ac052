//! What needs no stream: subscriptions, wildcards, requests that nobody answers.

use jetbus_core::Outbound;

use super::same;

#[test]
fn a_message_goes_to_every_subscription_that_covers_it() {
    same("covered", |s| {
        let inboxes: Vec<_> = ["covered.a.b", "covered.*.b", "covered.>", "covered.a.*"]
            .iter()
            .map(|pattern| s.subscribe(pattern))
            .collect();
        let others: Vec<_> = ["covered.a", "covered.*", "covered.a.b.>", "covered.b.*"]
            .iter()
            .map(|pattern| s.subscribe(pattern))
            .collect();
        let last = s.subscribe("covered_last");
        s.send("covered.a.b", "x");
        s.send("covered_last", "y");
        for inbox in &inboxes {
            s.delivery(inbox, "x");
        }
        // Messages of a connection arrive in the order of their publishing.
        s.delivery(&last, "y");
        for inbox in &others {
            assert!(s.heard(inbox).is_none());
        }
    });
}

#[test]
fn a_request_that_nobody_hears_is_answered_by_the_server() {
    same("unheard", |s| {
        let answer = s.request(Outbound::new("unheard.a", "x"));
        assert_eq!(answer.status.unwrap().code, 503);
        // What looks like a request of the API and is none gets no answer.
        for call in [
            "NOTHING",
            "STREAM.INFO",
            "STREAM.INFO.a.b",
            "CONSUMER.INFO.a",
            "STREAM.DANCE.a",
        ] {
            let inbox = s.subscribe(&format!("_INBOX.unheard.{call}"));
            let request = Outbound::new(format!("$JS.API.{call}"), "");
            s.publish(request.with_reply(format!("_INBOX.unheard.{call}")));
            s.heard(&inbox);
        }
    });
}

#[test]
fn an_unsubscribed_inbox_hears_nothing() {
    same("unsubscribed", |s| {
        let first = s.subscribe("unsubscribed.a");
        let second = s.subscribe("unsubscribed.a");
        s.send("unsubscribed.a", "1");
        s.delivery(&first, "1");
        s.delivery(&second, "1");
        s.unsubscribe(first.clone());
        s.send("unsubscribed.a", "2");
        s.delivery(&second, "2");
        assert!(s.heard(&first).is_none());
    });
}
