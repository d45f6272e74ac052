use super::*;

#[test]
fn a_consumer_is_made_once_and_changed_where_that_is_safe() {
    let mut server = with_stream();
    let ready = server.ensure_consumer(&consumer(), &mark(1)).unwrap();
    assert_eq!(ready.event.unwrap().outcome, Outcome::Created);
    assert_eq!(ready.info.config.max_deliver, -1);
    assert_eq!(
        server.log,
        [
            "CONSUMER.INFO.ORDERS.billing~orders",
            "CONSUMER.CREATE.ORDERS.billing~orders.orders.>"
        ]
    );
    assert_eq!(
        server.ensure_consumer(&consumer(), &mark(1)).unwrap().event,
        None
    );

    let stored = server.consumers.get_mut("billing~orders").unwrap();
    stored.backoff = vec![1];
    stored.max_deliver = 3;
    stored
        .other
        .insert("pause_until".into(), json!("2027-01-01T00:00:00Z"));
    let wanted = WantedConsumer {
        ack_wait: Duration::from_secs(5),
        max_ack_pending: 7,
        inactive_threshold: Some(Duration::from_secs(60)),
        ..consumer()
    };
    let ready = server.ensure_consumer(&wanted, &mark(1)).unwrap();
    let event = ready.event.unwrap();
    assert_eq!(event.outcome, Outcome::Updated);
    assert_eq!(
        fields(&event.differences),
        [
            "ack_wait",
            "max_deliver",
            "backoff",
            "max_ack_pending",
            "inactive_threshold"
        ]
    );
    let stored = &server.consumers["billing~orders"];
    assert_eq!((stored.ack_wait, stored.max_deliver), (5_000_000_000, -1));
    assert!(stored.backoff.is_empty() && stored.other.contains_key("pause_until"));
}

#[test]
fn a_consumer_is_not_bent_to_another_use() {
    for (field, wanted) in [
        (
            "filter_subjects",
            WantedConsumer {
                filters: vec!["orders.a".into()],
                ..consumer()
            },
        ),
        (
            "durable_name",
            WantedConsumer {
                durable: false,
                ..consumer()
            },
        ),
    ] {
        let mut server = with_stream();
        server.ensure_consumer(&consumer(), &mark(1)).unwrap();
        let Err(ProvisionError::Conflict {
            asset,
            name,
            differences,
        }) = server.ensure_consumer(&wanted, &mark(2))
        else {
            panic!("{field}");
        };
        assert_eq!((asset, &*name), (Asset::Consumer, "billing~orders"));
        assert_eq!(fields(&differences), [field]);
    }
    let mut server = with_stream();
    server.ensure_consumer(&consumer(), &mark(1)).unwrap();
    let stored = server.consumers.get_mut("billing~orders").unwrap();
    stored
        .other
        .insert("deliver_subject".into(), json!("push.here"));
    assert!(server.ensure_consumer(&consumer(), &mark(1)).is_err());
}

#[test]
fn a_start_that_moves_with_the_clock_is_kept() {
    let at = |second: i64| WantedConsumer {
        start: Start::Time(Timestamp::from_unix_nanos(second * 1_000_000_000)),
        ..consumer()
    };
    let mut server = with_stream();
    server.ensure_consumer(&at(1), &mark(1)).unwrap();
    let event = server
        .ensure_consumer(&at(2), &mark(1))
        .unwrap()
        .event
        .unwrap();
    assert_eq!(event.outcome, Outcome::Kept);
    assert_eq!(fields(&event.differences), ["opt_start_time"]);
    assert_eq!(server.log.len(), 1);
    // Nor does one of another kind count any more.
    let event = server
        .ensure_consumer(&consumer(), &mark(1))
        .unwrap()
        .event
        .unwrap();
    assert_eq!(event.outcome, Outcome::Kept);
    assert_eq!(
        fields(&event.differences),
        ["deliver_policy", "opt_start_time"]
    );
    assert_eq!(server.log.len(), 1);
}

#[test]
fn somebody_elses_consumer_is_used_only_when_it_fits() {
    let mut server = with_stream();
    let config = consumer().config();
    server.consumers.insert("billing~orders".into(), config);
    let event = server
        .ensure_consumer(&consumer(), &mark(1))
        .unwrap()
        .event
        .unwrap();
    assert_eq!(event.outcome, Outcome::Adopted);
    let wanted = WantedConsumer {
        max_ack_pending: 9,
        ..consumer()
    };
    assert!(matches!(
        server.ensure_consumer(&wanted, &mark(1)),
        Err(ProvisionError::Conflict { .. })
    ));
    assert_eq!(server.log.len(), 1);
}

#[test]
fn of_two_versions_of_a_consumer_the_older_yields() {
    let mut server = with_stream();
    let newer = WantedConsumer {
        max_ack_pending: 9,
        ..consumer()
    };
    server.ensure_consumer(&newer, &mark(2)).unwrap();
    let ready = server.ensure_consumer(&consumer(), &mark(1)).unwrap();
    assert_eq!(ready.event.unwrap().outcome, Outcome::Yielded { to: 2 });
    assert_eq!(ready.info.config.max_ack_pending, 9);
}

#[test]
fn consumers_race_and_fail_like_streams() {
    let mut server = Server::default();
    assert_eq!(
        server.ensure_consumer(&consumer(), &mark(1)),
        Err(ProvisionError::Missing {
            stream: "ORDERS".into()
        })
    );
    for bad in [
        WantedConsumer {
            name: "a.b".into(),
            ..consumer()
        },
        WantedConsumer {
            stream: String::new(),
            ..consumer()
        },
        WantedConsumer {
            filters: vec!["a..b".into()],
            ..consumer()
        },
        WantedConsumer {
            filters: vec!["a".into(), "*".into()],
            ..consumer()
        },
        WantedConsumer {
            start: Start::Sequence(0),
            ..consumer()
        },
        WantedConsumer {
            ack_wait: Duration::ZERO,
            ..consumer()
        },
        WantedConsumer {
            ack_wait: Duration::MAX,
            ..consumer()
        },
        WantedConsumer {
            max_ack_pending: 0,
            ..consumer()
        },
        WantedConsumer {
            replicas: Some(0),
            ..consumer()
        },
    ] {
        assert!(
            matches!(
                server.ensure_consumer(&bad, &mark(1)),
                Err(ProvisionError::Wanted(_))
            ),
            "{bad:?}"
        );
        assert!(server.log.is_empty());
    }
    let mut machine = EnsureConsumer::new(Api::default(), consumer(), mark(1));
    for _ in 0..ROUNDS {
        for code in [codes::CONSUMER_NOT_FOUND, codes::CONSUMER_EXISTS] {
            assert!(matches!(machine.poll(), Some(Output::Request(_))));
            machine.handle(Ok(&refusal(code)));
        }
    }
    assert!(matches!(
        machine.poll(),
        Some(Output::Done(Err(ProvisionError::Unsettled { .. })))
    ));
}
