use proptest::prelude::*;

use super::*;
use crate::subject::{check_topic, covers};

#[test]
fn names_follow_the_rules_of_the_server() {
    for good in ["a", "orders", "A-b_c", "x=1~", "über", "v-p", "-p1x"] {
        assert_eq!(check_stream(good), Ok(()), "{good}");
        assert_eq!(check_consumer(good), Ok(()), "{good}");
    }
    let long = "a".repeat(MAX_NAME + 1);
    for bad in [
        "", " ", "a b", "a\t", "a.b", "*", "a>", "a/b", "a\\b", "a\nb", "a\0", &long,
    ] {
        let error = check_stream(bad).unwrap_err();
        assert_eq!((error.what(), error.value()), ("stream", bad));
        assert!(check_consumer(bad).is_err(), "{bad:?}");
        assert!(check_group(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn groups_leave_room_for_partitions() {
    for bad in ["a-p1", "-p0", "workers-p007", "über", &"g".repeat(65)] {
        assert!(check_group(bad).is_err(), "{bad}");
    }
    for good in ["a-p", "p1", "a_p1", "a-p1x", &"g".repeat(64)] {
        assert_eq!(check_group(good), Ok(()), "{good}");
    }
}

#[test]
fn durables_are_readable_and_read_back() {
    let table = [
        ("billing", "orders.placed", None, "billing~orders~placed"),
        ("billing", "orders_placed", None, "billing~orders_placed"),
        ("billing", "orders.*", None, "billing~orders~=2A"),
        ("billing", "orders.>", None, "billing~orders~=3E"),
        ("b~c", "a/b", None, "b=7Ec~a=2Fb"),
        ("g", "a", Some(7), "g~a-p7"),
        ("g", "a-p7", None, "g~a=2Dp7"),
        ("g", "a-p7", Some(0), "g~a=2Dp7-p0"),
    ];
    for (group, topic, partition, name) in table {
        assert_eq!(durable(group, topic, partition).as_deref(), Ok(name));
        assert_eq!(check_consumer(name), Ok(()));
        assert_eq!(
            parse_durable(name),
            Some(Durable {
                group: group.into(),
                topic: topic.into(),
                partition
            })
        );
    }
    assert!(durable("a.b", "t", None).is_err());
    assert!(durable("a", "t..", None).is_err());
}

#[test]
fn foreign_names_are_not_taken_for_durables() {
    for name in [
        "",
        "x",
        "~",
        "g~",
        "g~a=2",
        "g~a=2a",
        "g~a=41",
        "g~a-p07",
        "g~a-p70000",
        "g~a b",
        "g~a=h00",
    ] {
        assert_eq!(parse_durable(name), None, "{name}");
    }
    assert_eq!(parse_own_stream("ORDERS"), None);
}

#[test]
fn long_names_end_in_a_hash_and_stay_different() {
    let topic = |last: char| format!("{}{last}", "a.".repeat(120));
    let a = durable("g", &topic('x'), None).unwrap();
    let b = durable("g", &topic('y'), None).unwrap();
    let c = durable("g", &topic('x'), Some(65_535)).unwrap();
    for name in [&a, &b, &c] {
        assert_eq!(name.len(), MAX_NAME);
        assert_eq!(check_consumer(name), Ok(()));
        assert_eq!(parse_durable(name), None);
    }
    assert!(a != b && a != c);
    assert!(c.ends_with("-p65535"));
    assert_eq!(own_stream(&topic('x')).len(), MAX_NAME);
    // The hash is part of names on servers: it must never change.
    assert_eq!(fnv128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
}

#[test]
fn topics_have_their_own_stream_and_subject() {
    assert_eq!(own_stream("orders.placed"), "jetbus~orders~placed");
    assert_eq!(
        parse_own_stream("jetbus~orders~placed").as_deref(),
        Some("orders.placed")
    );
    assert_eq!(subject("a.b", None), "a.b");
    assert_eq!(subject("a.b", Some(3)), "a.b.p3");
    assert!(covers("a.>", subject("a.b", Some(3)).as_str()));
    assert!(check_topic("a.b.p3").is_err());
}

#[test]
fn questions_are_told_from_requests_that_change_something() {
    for api in [
        Api::default(),
        Api::domain("hub").unwrap(),
        Api::prefix("a.INFO").unwrap(),
    ] {
        for question in [
            api.account_info(),
            api.stream_info("S"),
            api.stream_names(),
            api.consumer_info("S", "c"),
            api.consumer_names("S"),
        ] {
            assert!(api.is_question(&question), "{question}");
        }
        for request in [
            api.stream_create("INFO"),
            api.stream_update("S"),
            api.stream_delete("NAMES"),
            api.stream_purge("S"),
            api.message_delete("INFO"),
            api.consumer_create("INFO", "INFO", Some("INFO.NAMES")),
            api.consumer_delete("S", "INFO"),
            api.next_messages("INFO", "c"),
            Subject::from("$JS.ACK.S.c.1.1.1.1.0"),
        ] {
            assert!(!api.is_question(&request), "{request}");
        }
    }
}

#[test]
fn requests_go_to_the_api_that_was_configured() {
    let api = Api::default();
    assert_eq!(api.stream_create("S"), "$JS.API.STREAM.CREATE.S");
    assert_eq!(api.stream_names(), "$JS.API.STREAM.NAMES");
    assert_eq!(
        api.consumer_create("S", "c", Some("a.>")),
        "$JS.API.CONSUMER.CREATE.S.c.a.>"
    );
    assert_eq!(
        api.consumer_create("S", "c", None),
        "$JS.API.CONSUMER.CREATE.S.c"
    );
    let hub = Api::domain("hub").unwrap();
    assert_eq!(
        hub.next_messages("S", "c"),
        "$JS.hub.API.CONSUMER.MSG.NEXT.S.c"
    );
    let other = Api::prefix("JS.acc.API").unwrap();
    assert_eq!(other.account_info(), "JS.acc.API.INFO");
    assert_eq!(Api::prefix("$JS.API").unwrap(), api);
    for bad in ["", "a.b", "*", "a b", ">"] {
        assert!(Api::domain(bad).is_err(), "{bad}");
    }
    for bad in ["", ".", "a.", "a.*", "a b", "$", ">"] {
        assert!(Api::prefix(bad).is_err(), "{bad}");
    }
}

fn any_topic() -> impl Strategy<Value = String> {
    "[!-~]{1,40}(\\.[!-~]{1,30}){0,8}".prop_filter("a pattern", |t| check_pattern(t).is_ok())
}

fn any_group() -> impl Strategy<Value = String> {
    "[!-~]{1,20}".prop_filter("a group", |g| check_group(g).is_ok())
}

proptest! {
    #[test]
    fn every_durable_reads_back(
        group in any_group(),
        topic in any_topic(),
        partition in any::<Option<u16>>(),
    ) {
        let name = durable(&group, &topic, partition).unwrap();
        prop_assert_eq!(check_consumer(&name), Ok(()));
        match parse_durable(&name) {
            Some(read) => prop_assert_eq!(read, Durable { group, topic, partition }),
            None => prop_assert!(name.len() >= MAX_NAME - 6),
        }
    }

    #[test]
    fn different_topics_have_different_names(
        a in "[ab.~=_-]{0,4}p?[0-9]?",
        b in "[ab.~=_-]{0,4}p?[0-9]?",
        p in proptest::option::of(0..3_u16),
        q in proptest::option::of(0..3_u16),
    ) {
        if let (Ok(x), Ok(y)) = (durable("g", &a, p), durable("g", &b, q)) {
            prop_assert_eq!(x == y, (&a, p) == (&b, q));
            prop_assert_eq!(own_stream(&a) == own_stream(&b), a == b);
        }
    }

    #[test]
    fn parsing_never_panics(name in ".{0,60}") {
        _ = parse_durable(&name);
        _ = parse_own_stream(&name);
    }
}
