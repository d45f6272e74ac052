use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::jetstream::admin::StoredMessage;
use crate::provision::WantedStream;
use crate::subject::covers;
use crate::{Headers, Outbound, Time, Timestamp};

const STORED: &str = "2026-11-22T11:48:01.299331067Z";
const LATER: &str = "2026-11-22T11:50:00Z";

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.append(name, value).unwrap();
    }
    headers
}

fn origin() -> Origin {
    Origin {
        first_failed: Some(time(STORED)),
        ..Origin::new(
            "shipping",
            "orders.*",
            "orders.placed".into(),
            "ORDERS",
            42,
            time(STORED),
        )
    }
}

fn record<'a>(origin: &'a Origin, headers: &'a Headers, payload: &'a Bytes) -> Record<'a> {
    Record {
        origin,
        key: Some("order-1"),
        event_id: Some("id-1"),
        reason: Reason::Exhausted,
        error: "no stock",
        attempts: 5,
        deliveries: 2,
        last_failed: Some(time(LATER)),
        headers,
        payload,
    }
}

/// What a server keeps of a message.
fn stored(message: Outbound) -> StoredMessage {
    StoredMessage {
        subject: message.subject,
        seq: 7,
        time: time(LATER),
        headers: message.headers,
        payload: message.payload,
    }
}

fn size(message: &Outbound) -> usize {
    message.headers.wire_len() + message.payload.len()
}

#[test]
fn a_dead_letter_says_all_that_was_written() {
    let source = headers(&[("X-Aggregate-ID", "order-1"), ("a", "1"), ("a", "2")]);
    let (origin, payload) = (origin(), Bytes::from_static(b"{}"));
    let message = record(&origin, &source, &payload).write(&Names::default(), 1 << 20);
    assert_eq!(message.subject, "jetbus.dead.shipping.orders.placed");
    assert_eq!(message.headers.get("Jetbus-Dead-Reason"), Some("exhausted"));
    let letter = DeadLetter::read(&stored(message)).unwrap();
    assert_eq!(
        letter,
        DeadLetter {
            sequence: 7,
            stored_at: time(LATER),
            origin,
            key: Some("order-1".into()),
            event_id: Some("id-1".into()),
            reason: Reason::Exhausted,
            error: "no stock".into(),
            attempts: 5,
            deliveries: 2,
            last_failed: Some(time(LATER)),
            cut_from: None,
            headers_left_out: 0,
            headers: source,
            payload,
        }
    );
    assert_eq!(
        (letter.topic(), letter.group()),
        ("orders.placed", "shipping")
    );
}

#[test]
fn a_redrive_comes_back_as_the_event_that_it_was() {
    let source = headers(&[
        ("X-Aggregate-ID", "order-1"),
        ("Nats-Msg-Id", "id-1/orders"),
    ]);
    let (origin, payload) = (origin(), Bytes::from_static(b"{}"));
    let message = record(&origin, &source, &payload).write(&Names::default(), 1 << 20);
    let letter = DeadLetter::read(&stored(message)).unwrap();
    let redrive = letter.redrive(&Names::default()).unwrap();
    assert_eq!(
        redrive.subject,
        "jetbus.redrive.shipping~orders~=2A.orders.placed"
    );
    assert_eq!(redrive.payload, payload);
    let redriven = Redriven::read(&redrive.headers).unwrap();
    assert_eq!(redriven.headers, source);
    let once_more = Origin {
        redrives: 1,
        ..origin
    };
    assert_eq!(redriven.origin, once_more);
    // Given up again, it is the same event of the same stream.
    let again = record(&redriven.origin, &redriven.headers, &payload);
    let letter = DeadLetter::read(&stored(again.write(&Names::default(), 1 << 20))).unwrap();
    assert_eq!(letter.origin, once_more);
    assert_eq!(letter.headers, source);
}

#[test]
fn headers_that_the_server_acts_on_are_kept_under_other_names() {
    let names = [
        "Nats-Rollup",
        "nats-ttl",
        "Nats-Expected-Stream",
        "Jetbus-Dead-Reason",
    ];
    let source = headers(&names.map(|name| (name, "all")));
    let (origin, payload) = (origin(), Bytes::new());
    let message = record(&origin, &source, &payload).write(&Names::default(), 1 << 20);
    let acting: Vec<_> = message
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("nats-"))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(acting, ["Nats-Msg-Id"]);
    let letter = DeadLetter::read(&stored(message)).unwrap();
    assert_eq!(letter.reason, Reason::Exhausted);
    assert_eq!(letter.headers, source);
    let redrive = letter.redrive(&Names::default()).unwrap();
    assert_eq!(redrive.headers.get("Nats-Rollup"), None);
    assert_eq!(redrive.headers.get("nats-ttl"), None);
}

#[test]
fn no_two_dead_letters_or_redrives_share_a_message_id() {
    let one = origin();
    let others = [
        Origin {
            group: "billing".into(),
            ..one.clone()
        },
        Origin {
            subscription: "orders.placed".into(),
            ..one.clone()
        },
        Origin {
            stream: "OTHER".into(),
            ..one.clone()
        },
        Origin {
            sequence: 43,
            ..one.clone()
        },
        Origin {
            stored_at: time(LATER),
            ..one.clone()
        },
        Origin {
            redrives: 1,
            ..one.clone()
        },
        one,
    ];
    let mut ids = Vec::new();
    for origin in &others {
        let (source, payload) = (Headers::new(), Bytes::new());
        let message = record(origin, &source, &payload).write(&Names::default(), 1 << 20);
        let letter = DeadLetter::read(&stored(message.clone())).unwrap();
        let redrive = letter.redrive(&Names::default()).unwrap();
        let again = letter.redrive(&Names::default()).unwrap();
        let id = |message: &Outbound| message.headers.get("Nats-Msg-Id").unwrap().to_owned();
        // The same letter redriven twice is one redrive.
        assert_eq!(id(&redrive), id(&again));
        ids.extend([id(&message), id(&redrive)]);
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn what_is_too_large_is_cut_with_a_mark_and_cannot_be_redriven() {
    let source = headers(&[("a", &"x".repeat(500)), ("b", "small")]);
    let (origin, payload) = (origin(), Bytes::from(vec![b'y'; 4_000]));
    let message = record(&origin, &source, &payload).write(&Names::default(), 4_096);
    assert!(size(&message) <= 4_096 && size(&message) > 4_000);
    let letter = DeadLetter::read(&stored(message)).unwrap();
    assert_eq!(letter.cut_from, Some(4_000));
    assert_eq!(letter.headers, source);
    assert_eq!(
        letter.redrive(&Names::default()),
        Err(NotRedrivable::Cut {
            len: 4_000,
            kept: letter.payload.len() as u64,
            headers_left_out: 0,
        })
    );
    // Headers that leave no room are left out, the others stay.
    let message = record(&origin, &source, &payload).write(&Names::default(), 1_000);
    assert!(size(&message) <= 1_000);
    let letter = DeadLetter::read(&stored(message)).unwrap();
    assert_eq!(letter.headers, headers(&[("b", "small")]));
    assert_eq!(letter.headers_left_out, 1);
    assert!(letter.is_cut());
}

#[test]
fn error_texts_are_one_bounded_line() {
    let (origin, source, payload) = (origin(), Headers::new(), Bytes::new());
    for (error, kept) in [
        (
            String::from("  a\r\nNats-Rollup: all\u{7f}b "),
            "a  Nats-Rollup: all b".to_owned(),
        ),
        ("é".repeat(2_000), "é".repeat(512)),
        (String::new(), String::new()),
    ] {
        let record = Record {
            error: &error,
            ..record(&origin, &source, &payload)
        };
        let letter = DeadLetter::read(&stored(record.write(&Names::default(), 1 << 20))).unwrap();
        assert_eq!(letter.error, kept);
    }
}

#[test]
fn prefixes_are_tokens() {
    for good in ["jetbus", "a-b_c", "A1", &"x".repeat(32)] {
        assert!(Names::new(good).is_ok(), "{good}");
    }
    for bad in ["", "a.b", "a b", "*", "ü", "$JS", "_INBOX", &"x".repeat(33)] {
        assert!(Names::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn streams_cover_their_subjects_and_each_other_never() {
    let names = Names::new("shop").unwrap();
    let (dead, redrive) = (names.dead_stream(), names.redrive_stream());
    assert_eq!((&*dead.name, &*redrive.name), ("shop-dead", "shop-redrive"));
    assert_eq!((dead.check(), redrive.check()), (Ok(()), Ok(())));
    let redriven = names.redrive("g", "a.*", "a.b").unwrap().unwrap();
    let pattern = names.redrive_pattern("g", "a.*").unwrap();
    assert!(covers(&pattern, redriven.as_str()));
    assert!(!covers(
        &names.redrive_pattern("g", "a.b").unwrap(),
        redriven.as_str()
    ));
    let covered = |stream: &WantedStream| {
        [
            stream.covers(names.dead("g", "a").as_str()),
            stream.covers(redriven.as_str()),
        ]
    };
    assert_eq!(
        (covered(&dead), covered(&redrive)),
        ([true, false], [false, true])
    );
}

#[test]
fn partitions_are_no_part_of_a_dead_letters_topic() {
    let names = Names::default();
    assert_eq!(names.dead("g", "a.b.p12"), names.dead("g", "a.b"));
    assert_ne!(names.dead("g", "a.b.p"), names.dead("g", "a.b"));
    assert_eq!(names.dead("g", "p1"), "jetbus.dead.g.p1");
}

#[test]
fn subjects_longer_than_topics_are_shortened_and_stay_apart() {
    let names = Names::default();
    let long = |last: char| format!("orders.{}{last}", "token.".repeat(60));
    let (a, b) = (names.dead("g", &long('a')), names.dead("g", &long('b')));
    assert_ne!(a, b);
    assert!(a.as_str().len() <= "jetbus.dead.g.".len() + 255);
    assert!(covers("jetbus.dead.g.orders.>", a.as_str()));
    assert_eq!(names.redrive("g", "orders.>", &long('a')), Ok(None));
}

#[test]
fn filters_mean_what_all_their_parts_hold_for() {
    let (origin, source, payload) = (origin(), Headers::new(), Bytes::new());
    let message = record(&origin, &source, &payload).write(&Names::default(), 1 << 20);
    let letter = DeadLetter::read(&stored(message.clone())).unwrap();
    let all = Filter::new;
    let before = time(STORED);
    let after = time("2026-11-22T12:00:00Z");
    for filter in [
        all(),
        all().topic("orders.placed"),
        all().topic("orders.*").group("shipping"),
        all().key("order-1").reason(Reason::Exhausted),
        all().from(time(LATER)).until(after),
    ] {
        assert!(filter.matches(&letter), "{filter:?}");
        let pattern = filter.pattern(&Names::default()).unwrap();
        assert!(covers(&pattern, message.subject.as_str()), "{filter:?}");
    }
    for filter in [
        all().topic("orders"),
        all().group("billing"),
        all().key("order-2"),
        all().reason(Reason::Asked),
        all().from(after),
        all().until(time(LATER)),
        all().from(before).until(before),
    ] {
        assert!(!filter.matches(&letter), "{filter:?}");
    }
    assert!(all().group("a.b").pattern(&Names::default()).is_err());
    assert!(all().topic("a..b").pattern(&Names::default()).is_err());
}

#[test]
fn a_pace_is_never_faster_than_told() {
    let mut pace = Pace::new(NonZeroU32::new(10).unwrap());
    let at = |millis| Time::from_millis(millis);
    assert_eq!(pace.next(at(1_000)), at(1_000));
    assert_eq!(pace.next(at(1_000)), at(1_100));
    // Late ones do not make the next ones early.
    assert_eq!(pace.next(at(5_000)), at(5_000));
    assert_eq!(pace.next(at(5_010)), at(5_100));
}

#[test]
fn reasons_read_what_they_write() {
    for reason in [
        Reason::Undecodable,
        Reason::Exhausted,
        Reason::Terminal,
        Reason::Asked,
        Reason::CrashLoop,
        Reason::Backlogged,
    ] {
        assert_eq!(Reason::parse(reason.as_str()), Some(reason));
    }
    assert_eq!(Reason::parse("tired"), None);
}

/// Names and values as hostile as headers can carry.
fn any_headers() -> impl Strategy<Value = Headers> {
    let name = prop_oneof![
        4 => prop::sample::select(vec![
            header::GROUP, header::SUBSCRIPTION, header::SUBJECT, header::STREAM,
            header::SEQUENCE, header::STORED, header::REDRIVES, header::REASON,
            header::ATTEMPTS, header::DELIVERIES, header::FIRST_FAILED,
            header::LAST_FAILED, header::KEY, header::CUT, header::LEFT_OUT,
            header::MESSAGE_ID, SOURCE, PREFIX, "Jetbus-Dead-Source-Nats-TTL",
        ]).prop_map(str::to_owned),
        1 => "[!-9;-~]{1,12}",
    ];
    let value = prop_oneof![
        3 => prop::sample::select(vec![
            "shipping", "orders.*", "orders.placed", "exhausted", "1", "-1", "+1",
            "99999999999999999999999", STORED, "9999-01-01T00:00:00Z", "", "a..b", ">",
        ]).prop_map(str::to_owned),
        1 => "[^\r\n]{0,20}",
    ];
    prop::collection::vec((name, value), 0..24).prop_map(|lines| {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.append(&name, &value).unwrap();
        }
        headers
    })
}

proptest! {
    #[test]
    fn whatever_is_stored_is_read_or_refused(mut headers in any_headers(), whole in any::<bool>()) {
        if whole {
            // Mostly a dead letter, so that more than its first header is looked at.
            let (origin, payload) = (origin(), Bytes::new());
            let message = record(&origin, &headers, &payload).write(&Names::default(), 1 << 20);
            headers = message.headers;
        }
        let message = StoredMessage {
            subject: "jetbus.dead.x".into(),
            seq: 1,
            time: time(STORED),
            headers,
            payload: Bytes::new(),
        };
        if let Ok(letter) = DeadLetter::read(&message)
            && let Ok(redrive) = letter.redrive(&Names::default())
        {
            let redriven = Redriven::read(&redrive.headers).unwrap();
            prop_assert_eq!(redriven.headers, letter.headers);
            prop_assert_eq!(redriven.origin.redrives, letter.origin.redrives.saturating_add(1));
            prop_assert!(Names::default().redrive_stream().covers(redrive.subject.as_str()));
        }
    }

    #[test]
    fn any_event_becomes_a_letter_that_fits(
        source in any_headers(),
        payload in prop::collection::vec(any::<u8>(), 0..3_000),
        error in any::<String>(),
        key in any::<String>(),
        subject in "[!-)+-=?-~é]{1,300}",
        max in 1_400_usize..6_000,
    ) {
        let subject = subject.replace('.', "_");
        let origin = Origin { subject: subject.into(), ..origin() };
        let payload = Bytes::from(payload);
        let record = Record {
            error: &error,
            key: Some(&key),
            event_id: Some(&error),
            ..record(&origin, &source, &payload)
        };
        let message = record.write(&Names::default(), max);
        prop_assert!(size(&message) <= max, "{} of {max}", size(&message));
        prop_assert!(Names::default().dead_stream().covers(message.subject.as_str()));
        let letter = DeadLetter::read(&stored(message)).unwrap();
        prop_assert_eq!(&letter.origin, &origin);
        if letter.is_cut() {
            prop_assert!(letter.redrive(&Names::default()).is_err());
            prop_assert!(payload.starts_with(&letter.payload));
        } else {
            prop_assert_eq!(&letter.payload, &payload);
            prop_assert_eq!(&letter.headers, &source);
        }
    }

    #[test]
    fn a_pace_keeps_its_gap(steps in prop::collection::vec(0_u64..200, 1..40)) {
        let mut pace = Pace::new(NonZeroU32::new(20).unwrap());
        let (mut now, mut last) = (Time::ZERO, None::<Time>);
        for step in steps {
            now = now + Duration::from_millis(step);
            let at = pace.next(now);
            prop_assert!(at >= now);
            if let Some(last) = last {
                prop_assert!(at.since(last) >= Duration::from_millis(50));
            }
            last = Some(at);
        }
    }
}
