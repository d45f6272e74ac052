mod model;

use super::*;
use crate::{Headers, Status};

const SECOND: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = SECOND;
const EXPIRES: Duration = Duration::from_secs(5);

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn config() -> Config {
    Config {
        request: Subject::from_static("$JS.API.CONSUMER.MSG.NEXT.s.c"),
        inbox: Subject::from_static("_INBOX.x"),
        expires: EXPIRES,
        heartbeat: HEARTBEAT,
        max_batch: 1000,
    }
}

fn connected(free: usize) -> Pull {
    let mut pull = Pull::new(config(), 1);
    pull.handle(Time::ZERO, Input::Connected);
    pull.handle(Time::ZERO, Input::Free(free));
    pull
}

fn delivery(seq: u64) -> Message {
    Message {
        subject: Subject::from_static("orders"),
        reply: Some(Subject::from(format!("$JS.ACK.s.c.1.{seq}.{seq}.1.0"))),
        headers: Headers::new(),
        status: None,
        payload: bytes::Bytes::new(),
    }
}

fn status(pull: u64, code: u16, description: &str, pending: Option<usize>) -> Message {
    let mut headers = Headers::new();
    if let Some(pending) = pending {
        headers
            .append("Nats-Pending-Messages", &pending.to_string())
            .unwrap();
    }
    Message {
        subject: Subject::from(format!("_INBOX.x.{pull}")),
        reply: None,
        headers,
        status: Some(Status {
            code,
            description: description.into(),
        }),
        payload: bytes::Bytes::new(),
    }
}

/// Number and size of the pulls, and the events, put out since the last call.
fn out(pull: &mut Pull) -> (Vec<(u64, usize)>, Vec<PullEvent>) {
    let (mut asked, mut events) = (Vec::new(), Vec::new());
    while let Some(output) = pull.poll() {
        match output {
            Output::Publish(message) => {
                let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                let reply = message.reply.unwrap();
                let number = reply.as_str().rsplit('.').next().unwrap().parse().unwrap();
                asked.push((number, body["batch"].as_u64().unwrap() as usize));
            }
            Output::Event(event) => events.push(event),
        }
    }
    (asked, events)
}

fn asked(pull: &mut Pull) -> Vec<(u64, usize)> {
    out(pull).0
}

#[test]
fn a_request_is_what_the_server_reads() {
    let mut pull = connected(7);
    let Some(Output::Publish(request)) = pull.poll() else {
        panic!("no pull");
    };
    assert_eq!(request.subject, "$JS.API.CONSUMER.MSG.NEXT.s.c");
    assert_eq!(request.reply.unwrap(), "_INBOX.x.0");
    assert_eq!(
        request.payload,
        r#"{"batch":7,"expires":5000000000,"idle_heartbeat":1000000000}"#
    );
}

#[test]
fn it_pulls_again_when_half_of_the_free_places_are_not_owed() {
    let mut pull = connected(10);
    assert_eq!(asked(&mut pull), [(0, 10)]);
    // Handled at once: ten places stay free.
    for seq in 1..=6 {
        assert_eq!(asked(&mut pull), []);
        pull.receive(at(seq), &delivery(seq));
        pull.handle(at(seq), Input::Free(10));
    }
    // The sixth itself takes a place until its owner says that it is free again.
    assert_eq!(asked(&mut pull), [(1, 5)]);
    assert_eq!(pull.owed(), 9);
}

#[test]
fn full_means_no_pull_and_one_free_place_is_pulled_for() {
    let mut pull = connected(2);
    assert_eq!(asked(&mut pull), [(0, 2)]);
    pull.receive(at(1), &delivery(1));
    pull.receive(at(1), &delivery(2));
    assert_eq!(asked(&mut pull), []);
    assert_eq!(pull.deadline(), None);
    pull.handle(at(2), Input::Free(1));
    assert_eq!(asked(&mut pull), [(1, 1)]);
}

#[test]
fn large_demand_is_cut_into_batches() {
    let mut config = config();
    config.max_batch = 40;
    let mut pull = Pull::new(config, 1);
    pull.handle(at(0), Input::Free(100));
    assert_eq!(asked(&mut pull), [], "not connected yet");
    pull.handle(at(0), Input::Connected);
    assert_eq!(asked(&mut pull), [(0, 40), (1, 40)]);
}

#[test]
fn an_expired_pull_is_followed_at_once() {
    for pending in [Some(10), None] {
        let mut pull = connected(10);
        out(&mut pull);
        for beat in 1..5 {
            let message = status(0, 100, "Idle Heartbeat", None);
            assert_eq!(pull.receive(at(beat * 1000), &message), Received::Control);
        }
        pull.receive(at(5000), &status(0, 408, "Request Timeout", pending));
        assert_eq!(asked(&mut pull), [(1, 10)]);
    }
}

#[test]
fn two_silent_heartbeats_void_what_is_owed() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(900), &status(0, 100, "", None));
    assert_eq!(pull.deadline(), Some(at(2900)));
    pull.handle(at(2899), Input::Tick);
    assert_eq!(out(&mut pull), (vec![], vec![]));
    pull.handle(at(2900), Input::Tick);
    let silent = PullEvent::Silent {
        owed: 10,
        silence: 2 * SECOND,
    };
    assert_eq!(out(&mut pull), (vec![(1, 10)], vec![silent]));
    // A late word about the void pull changes nothing.
    pull.receive(at(2901), &status(0, 409, "Leadership Change", None));
    pull.receive(at(2901), &status(0, 408, "Request Timeout", Some(10)));
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.owed(), 10);
}

#[test]
fn a_reconnect_pulls_at_once() {
    let mut pull = connected(10);
    out(&mut pull);
    for failure in 0..10 {
        let message = status(failure, 503, "", None);
        pull.receive(pull.deadline().unwrap(), &message);
        let now = pull.deadline().unwrap();
        pull.handle(now, Input::Tick);
        assert_eq!(asked(&mut pull).len(), 1);
    }
    pull.handle(at(60_000), Input::Disconnected);
    assert_eq!(pull.owed(), 0);
    assert_eq!(pull.deadline(), None);
    pull.handle(at(60_001), Input::Connected);
    assert_eq!(asked(&mut pull).len(), 1);
}

fn lingering(pull: &Pull, now: Time) -> usize {
    pull.lingering(now).count()
}

#[test]
fn lost_pulls_linger_until_the_server_has_ended_them() {
    let mut pull = connected(10);
    out(&mut pull);
    assert_eq!(lingering(&pull, at(1)), 0);
    pull.handle(at(1), Input::Disconnected);
    // Its time and two heartbeats.
    assert_eq!(
        (lingering(&pull, at(6_999)), lingering(&pull, at(7_000))),
        (1, 0)
    );
    // An inbox that is given up over a link that holds is known to the server.
    pull.handle(at(2), Input::Connected);
    out(&mut pull);
    pull.handle(at(3), Input::Left);
    assert_eq!((pull.owed(), lingering(&pull, at(4))), (0, 1));
    // In silence nobody knows.
    pull.handle(at(5), Input::Connected);
    out(&mut pull);
    pull.handle(at(5) + HEARTBEAT * 2, Input::Tick);
    assert_eq!(lingering(&pull, at(5) + HEARTBEAT * 2), 2);
}

#[test]
fn pulls_of_an_inbox_that_was_given_up_linger_when_the_connection_is_lost_before_they_end() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.handle(at(1), Input::Left);
    pull.handle(at(2), Input::Disconnected);
    assert_eq!(lingering(&pull, at(3)), 1);
    // Over the same connection the server has ended them.
    pull.handle(at(4), Input::Connected);
    out(&mut pull);
    pull.handle(at(5), Input::Left);
    pull.handle(at(6), Input::Connected);
    pull.handle(at(7), Input::Disconnected);
    assert_eq!(lingering(&pull, at(8)), 2);
}

#[test]
fn a_missing_consumer_is_told_and_pulled_again_later() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 503, "", None));
    assert_eq!(out(&mut pull), (vec![], vec![PullEvent::ConsumerMissing]));
    let retry = pull.deadline().unwrap();
    assert_eq!(retry, at(1) + BACKOFF.max, "it is looked after meanwhile");
    pull.handle(retry, Input::Tick);
    assert_eq!(asked(&mut pull), [(1, 10)]);
    // The driver knows better: it is there again.
    pull.receive(retry, &status(1, 503, "", None));
    pull.handle(retry, Input::Restart);
    assert_eq!(asked(&mut pull), [(2, 10)]);
}

#[test]
fn what_still_comes_of_a_missing_consumer_does_not_hasten_the_next_pull() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 503, "", None));
    assert_eq!(out(&mut pull), (vec![], vec![PullEvent::ConsumerMissing]));
    pull.receive(at(2), &delivery(1));
    assert_eq!(pull.deadline(), Some(at(1) + BACKOFF.max));
    pull.handle(at(3), Input::Restart);
    assert_eq!(asked(&mut pull).len(), 1, "it is known to be there");
    // Of one that refused a pull it says that it delivers.
    pull.receive(at(4), &status(1, 409, "Exceeded MaxWaiting", None));
    let retry = pull.deadline().unwrap();
    pull.receive(at(5), &delivery(2));
    assert!(pull.deadline().unwrap() <= retry);
}

#[test]
fn a_pull_that_found_its_consumer_again_is_not_made_twice() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 503, "", None));
    let retry = pull.deadline().unwrap();
    pull.handle(retry, Input::Tick);
    assert_eq!(asked(&mut pull), [(1, 10)]);
    // It waits at the server when the consumer is known to be there.
    pull.handle(retry, Input::Restart);
    assert_eq!((asked(&mut pull), pull.owed()), (vec![], 10));
    pull.handle(retry, Input::Disconnected);
    assert_eq!(lingering(&pull, retry), 1);
}

#[test]
fn a_deleted_consumer_is_not_pulled_before_it_is_made_again() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 409, "Consumer Deleted", Some(10)));
    assert_eq!(out(&mut pull), (vec![], vec![PullEvent::ConsumerGone]));
    pull.handle(at(100_000), Input::Free(20));
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.deadline(), None);
    pull.handle(at(100_001), Input::Restart);
    assert_eq!(asked(&mut pull), [(1, 20)]);
}

#[test]
fn an_election_costs_one_immediate_pull_then_backoff() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.receive(at(1), &status(0, 409, "Leadership Change", None));
    let told = vec![PullEvent::LeaderChanged];
    assert_eq!(out(&mut pull), (vec![(1, 10)], told.clone()));
    pull.receive(at(2), &status(1, 409, "Leadership Change", None));
    assert_eq!(out(&mut pull), (vec![], told));
    let retry = pull.deadline().unwrap();
    pull.handle(retry, Input::Tick);
    assert_eq!(asked(&mut pull), [(2, 10)]);
}

#[test]
fn an_election_is_told_once_however_many_pulls_it_ends() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.handle(at(1), Input::Free(30));
    assert_eq!(asked(&mut pull), [(1, 20)]);
    pull.receive(at(5_000), &status(0, 409, "Leadership Change", None));
    pull.receive(at(5_000), &status(1, 409, "Leadership Change", None));
    let (_, told) = out(&mut pull);
    assert_eq!(told, [PullEvent::LeaderChanged]);
}

#[test]
fn no_answer_makes_a_hot_loop() {
    for (code, description) in [
        (400, "Bad Request"),
        (404, "No Messages"),
        (408, "Interest Expired"),
        (409, "Exceeded MaxWaiting"),
        (409, "Exceeded MaxRequestBatch of 1"),
        (409, "Leadership Change"),
        (409, "Server Shutdown"),
        (409, "Consumer is push based"),
        (412, ""),
        (423, "Nats-Wrong-Pin-Id"),
        (503, ""),
    ] {
        let mut pull = connected(10);
        let (mut now, mut pulls, mut events) = (Time::ZERO, 0, 0);
        while now < at(60_000) {
            let (asked, told) = out(&mut pull);
            pulls += asked.len();
            events += told.len();
            for (number, _) in asked {
                // A heartbeat first: it makes no pull a good one.
                pull.receive(now, &status(number, 100, "", None));
                pull.receive(now, &status(number, code, description, None));
            }
            now = now.max(pull.deadline().unwrap());
            pull.handle(now, Input::Tick);
        }
        assert!((25..80).contains(&pulls), "{code} {description}: {pulls}");
        assert!(events <= pulls);
    }
}

#[test]
fn pausing_and_stopping_pull_nothing() {
    let mut pull = connected(10);
    out(&mut pull);
    pull.handle(at(1), Input::Pause);
    pull.receive(at(1), &status(0, 408, "", Some(10)));
    pull.handle(at(1), Input::Free(50));
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.deadline(), None);
    pull.handle(at(2), Input::Resume);
    assert_eq!(asked(&mut pull), [(1, 50)]);
    pull.handle(at(3), Input::Stop);
    assert!(matches!(
        pull.receive(at(4), &delivery(1)),
        Received::Delivery(_)
    ));
    pull.handle(at(100_000), Input::Connected);
    assert_eq!(out(&mut pull), (vec![], vec![]));
    assert_eq!(pull.deadline(), None);
}

#[test]
fn a_status_corrects_which_pull_a_message_belonged_to() {
    let mut pull = connected(10);
    out(&mut pull);
    for seq in 1..=6 {
        pull.receive(at(1), &delivery(seq));
        pull.handle(at(1), Input::Free(10));
    }
    assert_eq!(asked(&mut pull), [(1, 5)]);
    // Four more are taken for the first pull's, but the server served in turns.
    for seq in 7..=10 {
        pull.receive(at(2), &delivery(seq));
        pull.handle(at(2), Input::Free(10));
    }
    assert_eq!(pull.owed(), 5);
    pull.receive(at(1500), &status(0, 408, "Request Timeout", Some(4)));
    assert_eq!(asked(&mut pull), [(2, 9)]);
    assert_eq!(pull.owed(), 1 + 9);
    // Said twice, counted once.
    let owed = pull.owed();
    pull.receive(at(5000), &status(0, 408, "Request Timeout", Some(4)));
    assert_eq!(pull.owed(), owed);
}

#[test]
fn strange_messages_are_no_deliveries_and_change_nothing() {
    let mut pull = connected(10);
    out(&mut pull);
    let mut junk = delivery(1);
    junk.reply = Some(Subject::from_static("$JS.ACK.nonsense"));
    assert_eq!(pull.receive(at(1), &junk), Received::Control);
    let end = Message {
        subject: pull.end(),
        ..junk.clone()
    };
    assert_eq!(pull.receive(at(1), &end), Received::Control);
    junk.reply = None;
    assert_eq!(pull.receive(at(1), &junk), Received::Control);
    for number in [1, 99, u64::MAX] {
        pull.receive(at(1), &status(number, 408, "", Some(usize::MAX)));
    }
    let mut other = status(0, 408, "", None);
    for subject in ["", "_INBOX.x", "_INBOX.x.", "_INBOX.x.0.0", "_INBOX.y.0"] {
        other.subject = Subject::from(subject);
        pull.receive(at(1), &other);
    }
    assert_eq!(pull.owed(), 10);
    assert_eq!(out(&mut pull), (vec![], vec![]));
}
