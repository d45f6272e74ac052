use serde_json::{Value, json};

use super::*;
use crate::{Headers, Timestamp};

const TIME: &str = "2026-01-02T03:04:05Z";

/// A consumer of `orders.>` that has delivered, and messages 1 to 9 of its stream, of
/// which those that 3 divides are of another topic.
struct Server {
    delivered: Position,
    waiting: u64,
    company: Company,
    log: Vec<String>,
}

impl Server {
    fn new(consumer_seq: u64, stream_seq: u64) -> Self {
        Self {
            delivered: at(consumer_seq, stream_seq),
            waiting: 0,
            company: Company::Nobody,
            log: Vec::new(),
        }
    }

    fn answer(&mut self, request: &Request) -> Message {
        let subject = request.subject.as_str().trim_start_matches("$JS.API.");
        let body = std::str::from_utf8(&request.payload).unwrap();
        self.log.push(format!("{subject} {body}").trim().to_owned());
        if subject.starts_with("CONSUMER.INFO") {
            return message(&json!({
                "stream_name": "ORDERS", "name": "billing", "created": TIME, "config": {},
                "delivered": self.delivered, "num_waiting": self.waiting,
            }));
        }
        let body: Value = serde_json::from_str(body).unwrap();
        let from = body["seq"].as_u64().unwrap();
        match (from..10).find(|seq| seq % 3 != 0) {
            Some(seq) => message(&json!({"message": {
                "subject": format!("orders.{seq}"), "seq": seq, "time": TIME,
            }})),
            None => message(&json!({"error": {
                "code": 404, "err_code": codes::MESSAGE_NOT_FOUND, "description": "no message found",
            }})),
        }
    }

    /// Runs a recall to its end: what was lost, and what it found.
    fn recall(&mut self, known: Known) -> (Vec<Lost>, Result<Recalled, AdminError>) {
        let mut recall = Recall::new(Api::default(), known);
        let mut lost = Vec::new();
        loop {
            match recall.poll().expect("a request or the end") {
                Output::Request(request) => recall.handle(&self.answer(&request)),
                Output::Readers => recall.company(self.company),
                Output::Lost(message) => lost.push(*message),
                Output::Done(result) => return (lost, result),
            }
        }
    }
}

fn message(body: &Value) -> Message {
    Message {
        subject: "_INBOX.1".into(),
        reply: None,
        headers: Headers::new(),
        status: None,
        payload: body.to_string().into(),
    }
}

const fn at(consumer_seq: u64, stream_seq: u64) -> Position {
    Position {
        consumer_seq,
        stream_seq,
    }
}

fn meta(consumer_seq: u64, stream_seq: u64) -> Meta {
    Meta {
        delivered: 1,
        stream_seq,
        consumer_seq,
        timestamp: Timestamp::parse(TIME).unwrap(),
        pending: 0,
    }
}

fn known(reach: Reach) -> Known {
    Known {
        stream: "ORDERS".into(),
        consumer: "billing".into(),
        filter: "orders.>".into(),
        created: Some(TIME.into()),
        own: false,
        doubt: true,
        reach,
        most: 4,
        waiting: 0,
        reply: None,
    }
}

fn seqs(lost: &[Lost]) -> Vec<u64> {
    lost.iter().map(|lost| lost.meta.stream_seq).collect()
}

fn finding(result: &Result<Recalled, AdminError>) -> Finding {
    result.as_ref().expect("it was answered").finding
}

#[test]
fn what_was_delivered_and_not_received_is_given_back() {
    let mut server = Server::new(5, 8);
    let like = Subject::from("$JS.ACK.hub.h4sh.ORDERS.billing.1.2.2.5.0");
    let known = Known {
        reply: Some(like),
        ..known(Reach::new(at(2, 2)))
    };
    let (lost, result) = server.recall(known);
    assert_eq!(seqs(&lost), [4, 5, 7]);
    let nanos = Timestamp::parse(TIME).unwrap().as_unix_nanos();
    assert_eq!(
        lost[0].reply,
        format!("$JS.ACK.hub.h4sh.ORDERS.billing.1.4.5.{nanos}.0").as_str()
    );
    assert_eq!(lost[0].message.subject, "orders.4");
    let recalled = result.unwrap();
    assert_eq!(recalled.finding, Finding::Lost { count: 3 });
    assert_eq!(recalled.to, at(5, 8));
    assert_eq!(
        server.log,
        [
            "CONSUMER.INFO.ORDERS.billing",
            r#"STREAM.MSG.GET.ORDERS {"seq":3,"next_by_subj":"orders.>"}"#,
            r#"STREAM.MSG.GET.ORDERS {"seq":5,"next_by_subj":"orders.>"}"#,
            r#"STREAM.MSG.GET.ORDERS {"seq":6,"next_by_subj":"orders.>"}"#,
        ]
    );
}

#[test]
fn what_came_beyond_the_gap_is_not_given_back() {
    let mut reach = Reach::new(at(2, 2));
    // 3 and 4 of the consumer were lost; the server's word is older than what came.
    assert!(reach.is_gap(&meta(5, 7)));
    reach.hold(&meta(5, 7));
    reach.hold(&meta(5, 7));
    let (lost, result) = Server::new(4, 5).recall(known(reach.clone()));
    assert_eq!(seqs(&lost), [4, 5]);
    let recalled = result.unwrap();
    assert_eq!(recalled.to, at(5, 7));
    assert!(!Reach::new(recalled.to).is_gap(&meta(6, 8)));
    reach.give_up();
    assert_eq!(reach.at(), at(5, 7));
}

#[test]
fn when_all_was_received_nothing_is_read() {
    let mut server = Server::new(2, 2);
    let (lost, result) = server.recall(known(Reach::new(at(2, 2))));
    assert_eq!((lost, finding(&result)), (Vec::new(), Finding::Whole));
    assert_eq!(server.log.len(), 1);
}

#[test]
fn lost_redeliveries_name_no_new_messages() {
    // Two deliveries more, and none of a message beyond the last.
    let (lost, result) = Server::new(4, 2).recall(known(Reach::new(at(2, 2))));
    assert_eq!(lost, []);
    assert_eq!(finding(&result), Finding::Lost { count: 2 });
}

#[test]
fn what_another_process_may_have_is_left_alone() {
    let mut server = Server::new(5, 8);
    server.waiting = 1;
    let (lost, result) = server.recall(known(Reach::new(at(2, 2))));
    assert_eq!((lost, finding(&result)), (Vec::new(), Finding::Shared));
    // More was delivered than was asked for here.
    let (lost, result) = Server::new(7, 8).recall(known(Reach::new(at(2, 2))));
    assert_eq!((lost, finding(&result)), (Vec::new(), Finding::Shared));
}

#[test]
fn nothing_is_given_back_where_others_say_that_they_are_there() {
    let lost = Finding::Lost { count: 3 };
    for (company, doubt, found) in [
        (Company::Others, true, Finding::Shared),
        (Company::Others, false, Finding::Shared),
        (Company::Nobody, true, lost),
        (Company::Nobody, false, lost),
        // Who hears nothing knows no more than what happened.
        (Company::Unknown, true, lost),
        (Company::Unknown, false, Finding::Shared),
    ] {
        let mut server = Server::new(5, 8);
        server.company = company;
        let known = Known {
            doubt,
            ..known(Reach::new(at(2, 2)))
        };
        let (given_back, result) = server.recall(known);
        assert_eq!(finding(&result), found, "{company:?}, {doubt}");
        assert_eq!(given_back.is_empty(), found == Finding::Shared);
    }
}

#[test]
fn what_was_not_asked_is_not_taken_in() {
    let mut recall = Recall::new(Api::default(), known(Reach::default()));
    recall.company(Company::Others);
    assert!(matches!(recall.poll(), Some(Output::Request(_))));
    recall.company(Company::Others);
    assert_eq!(recall.poll(), None);
}

#[test]
fn a_consumer_that_nobody_else_knows_of_is_never_taken_for_shared() {
    let own = Known {
        own: true,
        ..known(Reach::new(at(2, 2)))
    };
    let mut server = Server::new(7, 8);
    server.company = Company::Others;
    for (waiting, found) in [(1, Finding::Unclear), (0, Finding::Lost { count: 5 })] {
        server.waiting = waiting;
        let (_, result) = server.recall(own.clone());
        assert_eq!(finding(&result), found);
    }
}

#[test]
fn nothing_is_decided_while_pulls_of_a_lost_connection_may_wait() {
    let lingering = Known {
        waiting: 2,
        ..known(Reach::new(at(2, 2)))
    };
    let mut server = Server::new(5, 8);
    for (waiting, found) in [
        (3, Finding::Shared),
        (2, Finding::Unclear),
        (0, Finding::Lost { count: 3 }),
    ] {
        server.waiting = waiting;
        let (_, result) = server.recall(lingering.clone());
        assert_eq!(finding(&result), found);
    }
    // Nothing is lost yet.
    server.waiting = 1;
    let (_, result) = server.recall(Known {
        reach: Reach::new(at(5, 8)),
        ..lingering
    });
    assert_eq!(finding(&result), Finding::Unclear);
}

#[test]
fn a_consumer_made_since_has_a_count_of_its_own() {
    let known = Known {
        created: Some("2025-01-01T00:00:00Z".into()),
        ..known(Reach::new(at(2, 2)))
    };
    let (lost, result) = Server::new(5, 8).recall(known);
    assert_eq!((lost, finding(&result)), (Vec::new(), Finding::Another));
    assert_eq!(result.unwrap().to, at(5, 8));
}

#[test]
fn a_message_that_left_the_stream_is_not_looked_for() {
    // 10 and 11 were delivered, and are gone.
    let (lost, result) = Server::new(6, 11).recall(known(Reach::new(at(2, 7))));
    assert_eq!(seqs(&lost), [8]);
    assert_eq!(finding(&result), Finding::Lost { count: 4 });
}

#[test]
fn a_refusal_ends_it() {
    let mut recall = Recall::new(Api::default(), known(Reach::default()));
    assert!(matches!(recall.poll(), Some(Output::Request(_))));
    recall.handle(&message(
        &json!({"error": {"code": 404, "err_code": 10014}}),
    ));
    let Some(Output::Done(Err(error))) = recall.poll() else {
        panic!("it is over");
    };
    assert!(error.is_not_found());
    recall.handle(&message(&json!({})));
    assert_eq!(recall.poll(), None);
}

#[test]
fn a_gap_shows_at_the_next_delivery_or_heartbeat() {
    let mut reach = Reach::new(at(2, 2));
    assert!(!reach.lacks(2));
    assert!(reach.lacks(3));
    assert!(!reach.is_gap(&meta(3, 4)));
    reach.skip_to(&meta(3, 4));
    assert!(!reach.is_gap(&meta(3, 4)), "a repetition is no gap");
    assert!(!reach.lacks(3));
    assert!(reach.is_gap(&meta(5, 7)));
    reach.hold(&meta(5, 7));
    assert!(reach.lacks(3));
    assert!(reach.is_gap(&meta(6, 8)), "what follows is held, too");
    reach.give_up();
    assert!(!reach.is_gap(&meta(6, 8)));
    // Whoever shares a consumer takes gaps as they come.
    reach.skip_to(&meta(9, 9));
    assert!(!reach.lacks(9));
    assert_eq!(reach.at(), at(9, 9));
}
