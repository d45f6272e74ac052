use super::*;
use crate::jetstream::api::ApiError;
use crate::{Headers, Status, Timestamp};

const REPLY: &str = "$JS.ACK.ORDERS.billing.1.4.2.1700000000000000000.0";

fn place(delivered: u64) -> Place {
    Place {
        stream: "ORDERS".into(),
        consumer: "billing".into(),
        created: Some("monday".into()),
        made: Some("tuesday".into()),
        settled: at(delivered).stream_seq,
        delivered: at(delivered),
        ..Place::default()
    }
}

/// A delivery of every message: the sequence in the stream is twice that in the
/// consumer.
const fn at(consumer_seq: u64) -> Position {
    Position {
        consumer_seq,
        stream_seq: consumer_seq * 2,
    }
}

fn message(headers: Headers) -> Message {
    Message {
        subject: "orders.placed".into(),
        reply: Some(REPLY.into()),
        headers,
        status: None,
        payload: "{}".into(),
    }
}

/// Receives a delivery over an inbox that may have dropped some. Whether it is held.
fn receive(line: &mut Line, consumer_seq: u64, dropped: bool) -> bool {
    let meta = Meta {
        delivered: 1,
        stream_seq: at(consumer_seq).stream_seq,
        consumer_seq,
        timestamp: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
        pending: 0,
    };
    line.received(&meta, &message(Headers::default()), dropped)
}

/// Whether a heartbeat leads to a recall that says how far deliveries have come.
fn lacks(line: &mut Line, consumer_seq: u64, dropped: bool) -> bool {
    let mut headers = Headers::default();
    headers
        .insert("Nats-Last-Consumer", &consumer_seq.to_string())
        .unwrap();
    let heartbeat = Message {
        status: Some(Status {
            code: 100,
            description: "Idle Heartbeat".into(),
        }),
        ..message(headers)
    };
    line.lacks(&heartbeat, dropped)
}

/// What a recall found; all that was delivered is settled.
fn recalled(to: u64, finding: Finding) -> Recalled {
    Recalled {
        to: at(to),
        settled: at(to).stream_seq,
        created: Some("wednesday".into()),
        finding,
    }
}

/// What the server says of a consumer that is no more.
fn gone() -> AdminError {
    AdminError::Api(ApiError {
        code: 404,
        err_code: codes::CONSUMER_NOT_FOUND,
        description: "consumer not found".into(),
    })
}

fn nak(stream_seq: u64, consumer: &str) -> Outbound {
    let reply = format!("$JS.ACK.ORDERS.{consumer}.1.{stream_seq}.2.1700000000000000000.0");
    Outbound::new(reply.as_str(), ack::nak(None))
}

#[test]
fn a_gap_is_asked_about_and_that_there_are_others_is_told_once() {
    let mut line = Line::new(place(2));
    for seq in [3, 3, 2, 4] {
        assert!(!receive(&mut line, seq, false));
    }
    assert!(
        !lacks(&mut line, 9, false),
        "what others were given counts too"
    );
    assert!(!line.is_shared() && !line.turned_shared());
    assert!(receive(&mut line, 7, false), "others are asked about it");
    assert!(receive(&mut line, 8, false), "what follows is held, too");
    assert!(!line.is_shared() && !line.turned_shared());
    assert!(
        !line.known(String::new(), 1).doubt,
        "nothing was seen to fail"
    );
    line.recalled(&recalled(8, Finding::Shared));
    assert!(line.is_shared() && line.turned_shared());
    assert!(!receive(&mut line, 10, false));
    assert!(!line.turned_shared(), "once");
}

#[test]
fn who_may_not_answer_is_asked_ever_more_seldom() {
    let mut line = Line::new(place(0));
    let mut seq = 0;
    let mut come = |line: &mut Line, skipped: u64, count: u64| {
        seq += skipped;
        let came = (0..count).map(|_| {
            seq += 1;
            receive(line, seq, false)
        });
        let held = came.filter(|held| *held).count();
        if held > 0 {
            line.recalled(&recalled(seq, Finding::Lost { count: skipped }));
        }
        held
    };
    assert_eq!(come(&mut line, 1, 1), 1, "at first at once");
    assert_eq!(come(&mut line, 0, ALONE - 1), 0);
    assert_eq!((come(&mut line, 1, 1), line.is_shared()), (0, true));
    assert_eq!(come(&mut line, 0, ALONE), 0);
    assert_eq!((come(&mut line, 1, 1), line.is_shared()), (1, false));
    assert_eq!(come(&mut line, 0, ALONE * 2 - 1), 0);
    assert_eq!((come(&mut line, 1, 1), line.is_shared()), (0, true));
    assert_eq!(come(&mut line, 0, ALONE), 0);
    // Something happened by which deliveries are lost, perhaps not only once.
    line.heard(&PullEvent::LeaderChanged);
    assert_eq!((come(&mut line, 1, 1), come(&mut line, 1, 1)), (1, 1));
    assert_eq!((come(&mut line, 1, 1), line.is_shared()), (0, true));
}

#[test]
fn what_an_inbox_dropped_was_lost() {
    let mut line = Line::new(place(2));
    assert!(!receive(&mut line, 3, true));
    assert!(!lacks(&mut line, 3, true));
    assert!(lacks(&mut line, 4, true));
    assert!(receive(&mut line, 5, true));
    assert!(receive(&mut line, 6, true), "what follows is held, too");
    assert!(!line.is_shared() && !line.turned_shared());
}

#[test]
fn a_gap_after_a_change_of_the_server_leads_to_a_recall() {
    let silent = PullEvent::Silent {
        owed: 1,
        silence: std::time::Duration::from_secs(4),
    };
    for event in [PullEvent::LeaderChanged, PullEvent::ConsumerMissing, silent] {
        let mut line = Line::new(place(2));
        line.heard(&event);
        assert!(!receive(&mut line, 3, false), "{event:?}");
        assert!(lacks(&mut line, 4, false), "{event:?}");
        assert!(receive(&mut line, 5, false), "{event:?}");
        assert!(!line.is_shared() && !line.turned_shared(), "{event:?}");
        line.recalled(&recalled(5, Finding::Lost { count: 1 }));
        assert!(
            !line.known(String::new(), 1).doubt,
            "one server serves it again"
        );
    }
    let mut line = Line::new(place(2));
    line.heard(&PullEvent::Refused {
        code: 409,
        description: "Exceeded MaxWaiting".into(),
    });
    assert!(!line.known(String::new(), 1).doubt);
}

#[test]
fn a_gap_after_the_connection_broke_is_no_sign_of_others() {
    let mut line = Line::new(place(2));
    assert!(!receive(&mut line, 3, false));
    // What was asked for before may come as soon as there is a connection again.
    line.broke();
    assert!(receive(&mut line, 5, false));
    assert!(!line.is_shared() && !line.turned_shared());
    assert!(line.known(String::new(), 1).doubt);
    line.recalled(&recalled(5, Finding::Lost { count: 1 }));
    assert!(receive(&mut line, 7, false), "others are asked about it");
    assert!(!line.known(String::new(), 1).doubt);
}

#[test]
fn what_others_may_have_is_never_recalled() {
    let mut line = Line::new(Place {
        others: true,
        ..place(2)
    });
    line.heard(&PullEvent::LeaderChanged);
    assert!(line.is_shared() && !lacks(&mut line, 9, true));
    assert!(!receive(&mut line, 5, true));
}

#[test]
fn of_a_consumer_of_its_own_everything_is_missed() {
    let mut line = Line::new(Place {
        own: true,
        ..place(2)
    });
    assert!(lacks(&mut line, 3, false));
    assert!(receive(&mut line, 4, false));
    assert!(!line.turned_shared());
}

#[test]
fn a_consumer_whose_deliveries_all_come_is_not_shared_any_more() {
    let mut line = Line::new(place(0));
    line.recalled(&recalled(5, Finding::Shared));
    for seq in 6..5 + ALONE {
        receive(&mut line, seq, false);
    }
    assert!(line.is_shared());
    receive(&mut line, 5 + ALONE, false);
    assert!(!line.is_shared());
}

#[test]
fn a_recall_says_where_it_stands_and_who_reads_it() {
    let mut line = Line::new(place(2));
    line.heard(&PullEvent::LeaderChanged);
    assert!(receive(&mut line, 9, false));
    // The server that died had counted more.
    line.recalled(&recalled(6, Finding::Whole));
    assert!(!receive(&mut line, 7, false) && !line.is_shared());
    assert_eq!(line.known(String::new(), 1).reach.at(), at(7));
    assert_eq!(line.place().made.as_deref(), Some("wednesday"));
    line.recalled(&recalled(9, Finding::Shared));
    assert!(line.is_shared() && line.turned_shared());
}

#[test]
fn what_could_not_be_recalled_is_no_sign_of_others() {
    let mut line = Line::new(place(2));
    assert!(!line.not_recalled(None));
    assert!(receive(&mut line, 5, false));
    assert!(!line.not_recalled(None));
    // What came beyond the gap is as good as the rest.
    assert!(!receive(&mut line, 6, false) && !line.is_shared());
}

#[test]
fn what_still_comes_of_the_consumer_before_counts_for_nothing() {
    let mut line = Line::new(place(2));
    receive(&mut line, 3, false);
    line.renew(Place {
        made: Some("friday".into()),
        ..place(0)
    });
    assert!(!receive(&mut line, 9, true) && !lacks(&mut line, 9, true));
    let known = line.known("orders.*".into(), 7);
    assert_eq!((known.reach.at(), known.reply), (at(0), None));
    assert_eq!(known.created.as_deref(), Some("friday"));
    line.recalled(&recalled(0, Finding::Whole));
    assert!(!receive(&mut line, 1, false) && !line.is_shared());
    assert!(receive(&mut line, 3, true));
}

#[test]
fn a_recall_knows_what_was_received_and_the_form_of_replies() {
    let mut line = Line::new(place(2));
    receive(&mut line, 3, false);
    let known = line.known("orders.*".into(), 7);
    assert_eq!(
        (known.stream, known.consumer),
        ("ORDERS".into(), "billing".into())
    );
    assert_eq!((known.filter.as_str(), known.most), ("orders.*", 7));
    assert_eq!((known.reach.at(), known.reply), (at(3), Some(REPLY.into())));
    assert_eq!(known.created.as_deref(), Some("tuesday"));
}

#[test]
fn a_consumer_that_is_made_again_starts_at_the_lowest_that_is_unsettled() {
    let mut line = Line::new(place(2));
    assert_eq!(line.floor(None), 5);
    let shared = |to, settled| Recalled {
        settled,
        ..recalled(to, Finding::Shared)
    };
    line.recalled(&shared(5, 4));
    // What others were given is not known here.
    assert!(line.is_shared());
    assert_eq!(line.floor(Some(7)), 5);
    line.recalled(&recalled(5, Finding::Whole));
    assert_eq!((line.floor(None), line.floor(Some(7))), (11, 7));
    for word in [nak(6, "billing"), nak(2, "shipping")] {
        line.said(&word);
    }
    line.said(&Outbound::new(REPLY, ack::ack()));
    assert_eq!((line.floor(None), line.floor(Some(4))), (6, 4));
    // It comes again.
    receive(&mut line, 3, false);
    assert_eq!(line.floor(None), 11);
    line.awaits(&Meta::parse(&nak(4, "billing").subject).unwrap());
    assert_eq!(line.floor(None), 4);
    // From another consumer, of which nobody knows yet where it stands.
    line.renew(place(2));
    receive(&mut line, 2, false);
    line.recalled(&recalled(5, Finding::Whole));
    assert_eq!(line.floor(None), 11);
    line.said(&nak(8, "billing"));
    line.renew(place(9));
    assert_eq!(line.floor(None), 8);
    line.renew(Place {
        created: Some("thursday".into()),
        ..place(9)
    });
    assert_eq!(line.floor(None), 19);
}

#[test]
fn a_consumer_that_is_made_again_starts_at_what_readers_before_left_unsettled() {
    let mut line = Line::new(Place {
        settled: 2,
        ..place(4)
    });
    assert!(line.asks());
    assert_eq!(line.floor(None), 3, "they were given up to 8");
    receive(&mut line, 5, false);
    line.recalled(&Recalled {
        settled: 6,
        ..recalled(5, Finding::Whole)
    });
    assert_eq!((line.floor(None), line.floor(Some(5))), (7, 5));
    line.renew(Place {
        settled: 4,
        ..place(9)
    });
    assert_eq!(line.floor(None), 5);
    line.recalled(&recalled(9, Finding::Whole));
    assert!(!line.asks(), "all is settled");
    assert_eq!(line.floor(None), 19);
}

#[test]
fn what_others_were_given_is_asked_for_until_it_is_settled() {
    let mut line = Line::new(place(2));
    line.recalled(&recalled(4, Finding::Shared));
    let unsettled = Recalled {
        settled: 5,
        ..recalled(4, Finding::Whole)
    };
    line.recalled(&unsettled);
    assert!(!line.is_shared(), "their connection may be lost, too");
    receive(&mut line, 5, false);
    assert_eq!(line.floor(None), 6);
    let mut info = ConsumerInfo {
        created: Some("thursday".into()),
        delivered: at(5),
        ..ConsumerInfo::default()
    };
    line.looked(&info);
    assert!(line.asks(), "it is another consumer");
    info.created = unsettled.created;
    info.ack_floor = at(3);
    info.num_ack_pending = 1;
    line.looked(&info);
    assert_eq!((line.asks(), line.floor(None)), (true, 7));
    // What is unsettled now was given to this reader.
    info.ack_floor = at(4);
    line.looked(&info);
    assert_eq!((line.asks(), line.floor(None)), (false, 11));
}

#[test]
fn what_a_reader_of_another_consumer_cannot_know_of_is_not_passed_by() {
    let mut line = Line::new(place(2));
    line.recalled(&Recalled {
        settled: 2,
        ..recalled(3, Finding::Another)
    });
    assert_eq!(line.floor(None), 3);
}

#[test]
fn a_silent_consumer_is_stuck_when_it_has_messages_and_may_deliver_them() {
    let mut line = Line::new(place(2));
    let mut info = ConsumerInfo {
        created: line.place().made.clone(),
        ack_floor: at(1),
        ..ConsumerInfo::default()
    };
    info.config.max_ack_pending = 2;
    assert!(!line.looked(&info), "nothing is there");
    assert_eq!(line.place().settled, 2);
    info.num_pending = 1;
    info.num_ack_pending = 1;
    assert!(line.looked(&info));
    info.num_ack_pending = 2;
    assert!(!line.looked(&info), "no more may be unsettled");
}

#[test]
fn a_consumer_that_is_made_again_starts_at_what_no_recall_could_tell_of() {
    let mut line = Line::new(place(2));
    line.broke();
    assert!(receive(&mut line, 5, false), "it is held");
    assert!(!line.not_recalled(None));
    assert_eq!(line.known(String::new(), 1).reach.at(), at(5));
    assert_eq!(line.floor(None), 5, "what lies between may be missing");
    line.recalled(&recalled(5, Finding::Whole));
    assert_eq!(line.floor(None), 11);
    assert!(!line.not_recalled(None));
    line.renew(place(9));
    assert_eq!(line.floor(None), 19);
}

#[test]
fn what_came_beyond_a_gap_comes_again_from_the_next_consumer() {
    let mut line = Line::new(place(2));
    line.broke();
    assert!(receive(&mut line, 5, false), "it is held");
    assert!(line.not_recalled(Some(&gone())));
    assert_eq!(line.floor(None), 5);
    assert_eq!(line.known(String::new(), 1).reach.beyond(), []);
    // So does what had been given back before.
    line.said(&nak(3, "billing"));
    let again = Meta {
        delivered: 2,
        stream_seq: 3,
        consumer_seq: 6,
        timestamp: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
        pending: 0,
    };
    let held = line.received(&again, &message(Headers::default()), false);
    assert!(held, "it is held");
    assert!(line.not_recalled(Some(&gone())));
    assert_eq!(line.floor(None), 3);
}

#[test]
fn what_a_consumer_made_here_has_delivered_came_here_unless_others_were_seen() {
    let another = Recalled {
        settled: 2,
        ..recalled(4, Finding::Another)
    };
    let fresh = Place {
        fresh: true,
        ..place(0)
    };
    let mut line = Line::new(place(2));
    line.recalled(&another);
    assert_eq!(line.floor(Some(7)), 3);
    line.found(&place(0));
    assert_eq!(line.floor(Some(7)), 3, "somebody else may have made it");
    line.found(&fresh);
    assert_eq!(line.floor(Some(7)), 7);
    // Also when that was known before.
    line.renew(Place {
        made: another.created.clone(),
        ..fresh.clone()
    });
    line.recalled(&another);
    assert_eq!(line.floor(Some(7)), 7);
    // Beside others it may be theirs.
    line.recalled(&recalled(6, Finding::Shared));
    line.recalled(&another);
    line.found(&fresh);
    assert_eq!(line.floor(Some(7)), 3);
}
