use super::*;

#[test]
fn a_stream_is_made_once() {
    let mut server = Server::default();
    let ready = server.ensure(&orders(), &update()).unwrap();
    assert_eq!(outcome(&ready), Some(Outcome::Created));
    assert_eq!(server.log, ["STREAM.INFO.ORDERS", "STREAM.CREATE.ORDERS"]);
    assert_eq!(ready.name, "ORDERS");
    assert_eq!(ready.config.metadata["jetbus.owner"], "shop");
    assert_eq!(ready.config.metadata["jetbus.version"], "1");
    assert_eq!(ready.config.metadata["jetbus.hash"].len(), 32);

    let again = server.ensure(&orders(), &update()).unwrap();
    assert_eq!(outcome(&again), None);
    assert_eq!(server.log, ["STREAM.INFO.ORDERS"]);
}

#[test]
fn our_stream_is_changed_and_what_others_set_stays() {
    let mut server = Server::default();
    server.ensure(&orders(), &update()).unwrap();
    let stored = server.streams.get_mut("ORDERS").unwrap();
    stored
        .other
        .insert("placement".into(), json!({"cluster": "x"}));
    stored.metadata.insert("team".into(), "a".into());
    stored.description = Some("by hand".into());

    let wanted = WantedStream {
        dedupe_window: Some(Duration::from_secs(600)),
        ..orders()
    };
    let ready = server.ensure(&wanted, &update()).unwrap();
    assert_eq!(outcome(&ready), Some(Outcome::Updated));
    let event = ready.event.unwrap();
    assert_eq!(fields(&event.differences), ["duplicate_window"]);
    assert_eq!(
        event.to_string(),
        "stream ORDERS was updated: duplicate_window: wanted 600s, found 120s"
    );
    let stored = &server.streams["ORDERS"];
    assert_eq!(stored.duplicate_window, 600_000_000_000);
    assert_eq!(stored.other["placement"], json!({"cluster": "x"}));
    assert_eq!(stored.metadata["team"], "a");
    assert_eq!(stored.description.as_deref(), Some("by hand"));
}

#[test]
fn destructive_changes_need_consent() {
    let table: [(&str, WantedStream); 9] = [
        (
            "max_msgs",
            WantedStream {
                max_msgs: Some(5),
                ..orders()
            },
        ),
        (
            "max_bytes",
            WantedStream {
                max_bytes: Some(5),
                ..orders()
            },
        ),
        (
            "max_msgs_per_subject",
            WantedStream {
                max_msgs_per_subject: Some(5),
                ..orders()
            },
        ),
        (
            "max_msg_size",
            WantedStream {
                max_msg_size: Some(5),
                ..orders()
            },
        ),
        (
            "max_age",
            WantedStream {
                max_age: Some(Duration::from_secs(999)),
                ..orders()
            },
        ),
        (
            "discard",
            WantedStream {
                discard: Discard::Old,
                ..orders()
            },
        ),
        (
            "retention",
            WantedStream {
                retention: Retention::Interest,
                ..orders()
            },
        ),
        (
            "subjects",
            WantedStream {
                subjects: vec!["orders.a".into()],
                ..orders()
            },
        ),
        (
            "duplicate_window",
            WantedStream {
                dedupe_window: Some(Duration::from_secs(1)),
                ..orders()
            },
        ),
    ];
    for (field, wanted) in table {
        let mut server = Server::default();
        server.ensure(&orders(), &update()).unwrap();
        let before = server.streams.clone();
        let error = server.ensure(&wanted, &update()).unwrap_err();
        let ProvisionError::Conflict { differences, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(fields(differences), [field]);
        assert_eq!(differences[0].change, Change::Destructive);
        assert!(error.to_string().contains(field) && !error.is_transient());
        assert_eq!(server.streams, before);

        let consent = Policy {
            allow_destructive: true,
            ..update()
        };
        let ready = server.ensure(&wanted, &consent).unwrap();
        assert_eq!(outcome(&ready), Some(Outcome::Updated), "{field}");
        // The way back loses nothing.
        let ready = server.ensure(&orders(), &update()).unwrap();
        assert_eq!(outcome(&ready), Some(Outcome::Updated), "{field}");
    }
}

#[test]
fn what_messages_may_do_is_added_and_never_taken_back() {
    let mut server = Server::default();
    server.ensure(&orders(), &update()).unwrap();
    let consent = Policy {
        allow_destructive: true,
        ..update()
    };
    let more = WantedStream {
        message_ttl: true,
        schedules: true,
        atomic_batches: true,
        fast_ingest: true,
        discard: Discard::Old,
        ..orders()
    };
    let changed = server.ensure(&more, &consent).unwrap();
    assert!(changed.config.allow_msg_ttl && changed.config.allow_msg_schedules);
    assert!(changed.config.allow_atomic && changed.config.allow_batched);
    let waiting = format!("jetbus~schedules.{}.*", more.name);
    assert!(changed.config.subjects.contains(&waiting));
    let less = WantedStream {
        description: Some("less".into()),
        ..orders()
    };
    let kept = server.ensure(&less, &consent).unwrap();
    assert!(kept.config.allow_msg_ttl && kept.config.allow_msg_schedules);
    assert!(kept.config.allow_atomic && kept.config.allow_batched);
}

#[test]
fn what_the_server_cannot_change_is_refused_before_it_is_asked() {
    for (field, wanted) in [
        (
            "storage",
            WantedStream {
                storage: Storage::Memory,
                ..orders()
            },
        ),
        (
            "retention",
            WantedStream {
                retention: Retention::WorkQueue,
                ..orders()
            },
        ),
    ] {
        let mut server = Server::default();
        server.ensure(&orders(), &update()).unwrap();
        let consent = Policy {
            allow_destructive: true,
            ..update()
        };
        let Err(ProvisionError::Conflict { differences, .. }) = server.ensure(&wanted, &consent)
        else {
            panic!("{field} was changed");
        };
        assert_eq!(fields(&differences), [field]);
        assert_eq!(differences[0].change, Change::Impossible);
        assert_eq!(server.log.len(), 1);
    }
}

#[test]
fn of_two_versions_the_older_yields() {
    let mut server = Server::default();
    let newer = Policy {
        mark: mark(2),
        ..update()
    };
    let big = WantedStream {
        dedupe_window: Some(Duration::from_secs(300)),
        ..orders()
    };
    server.ensure(&orders(), &update()).unwrap();
    assert_eq!(
        outcome(&server.ensure(&big, &newer).unwrap()),
        Some(Outcome::Updated)
    );
    for on_mismatch in [OnMismatch::Log, OnMismatch::Refuse] {
        let older = Policy {
            on_mismatch,
            ..update()
        };
        let ready = server.ensure(&orders(), &older).unwrap();
        assert_eq!(outcome(&ready), Some(Outcome::Yielded { to: 2 }));
        assert_eq!(ready.config.duplicate_window, 300_000_000_000);
        assert_eq!(server.log, ["STREAM.INFO.ORDERS"]);
    }
    // A version that grows without a difference is written down.
    let newest = Policy {
        mark: mark(3),
        ..update()
    };
    assert!(server.ensure(&big, &newest).is_ok());
    assert_eq!(server.streams["ORDERS"].metadata["jetbus.version"], "3");
}

#[test]
fn somebody_elses_stream_is_never_changed() {
    let mut server = Server::default();
    server
        .streams
        .insert("ORDERS".into(), foreign("ORDERS", "*.>"));
    let before = server.streams.clone();
    let ready = server.ensure(&orders(), &update()).unwrap();
    assert_eq!(outcome(&ready), Some(Outcome::Adopted));
    assert_eq!(fields(&ready.event.unwrap().differences), ["discard"]);

    let strict = Policy {
        on_mismatch: OnMismatch::Refuse,
        ..update()
    };
    assert!(matches!(
        server.ensure(&orders(), &strict),
        Err(ProvisionError::Conflict { .. })
    ));
    // Another owner's mark makes it no more ours.
    let theirs = Policy {
        mark: Mark {
            owner: "other".into(),
            version: 1,
        },
        ..update()
    };
    let mut server = Server::default();
    server.ensure(&orders(), &theirs).unwrap();
    let wanted = WantedStream {
        max_msgs: Some(1),
        ..orders()
    };
    let ready = server.ensure(&wanted, &update()).unwrap();
    assert_eq!(outcome(&ready), Some(Outcome::Adopted));
    assert_eq!(before.len(), 1);
    assert_eq!(server.streams["ORDERS"].max_msgs, -1);
}

#[test]
fn a_foreign_stream_without_our_subjects_is_a_conflict() {
    let mut server = Server::default();
    server
        .streams
        .insert("ORDERS".into(), foreign("ORDERS", "bills.>"));
    for strategy in [
        Strategy::CreateOnly,
        Strategy::CreateOrUpdate,
        Strategy::ValidateOnly,
    ] {
        let Err(ProvisionError::Conflict { differences, .. }) =
            server.ensure(&orders(), &policy(strategy))
        else {
            panic!("{strategy:?}");
        };
        assert!(fields(&differences).contains(&"subjects"));
    }
}

#[test]
fn strategies_do_what_they_say() {
    let changed = WantedStream {
        max_msgs: Some(9),
        ..orders()
    };
    for (strategy, on_empty, on_changed) in [
        (
            Strategy::CreateOnly,
            Some(Outcome::Created),
            Some(Outcome::Kept),
        ),
        (Strategy::Skip, None, None),
    ] {
        let mut server = Server::default();
        assert_eq!(
            outcome(&server.ensure(&orders(), &policy(strategy)).unwrap()),
            on_empty
        );
        assert_eq!(
            outcome(&server.ensure(&changed, &policy(strategy)).unwrap()),
            on_changed
        );
        if strategy == Strategy::Skip {
            assert!(server.log.is_empty());
        }
    }
    let mut server = Server::default();
    let validate = policy(Strategy::ValidateOnly);
    assert_eq!(
        server.ensure(&orders(), &validate),
        Err(ProvisionError::Missing {
            stream: "ORDERS".into()
        })
    );
    server.ensure(&orders(), &update()).unwrap();
    assert_eq!(server.ensure(&orders(), &validate).unwrap().event, None);
    assert_eq!(
        outcome(&server.ensure(&changed, &validate).unwrap()),
        Some(Outcome::Kept)
    );
    let strict = Policy {
        on_mismatch: OnMismatch::Refuse,
        ..validate
    };
    assert!(matches!(
        server.ensure(&changed, &strict),
        Err(ProvisionError::Conflict { .. })
    ));
}

#[test]
fn a_stream_that_stores_our_subjects_under_another_name_is_adopted() {
    let mut server = Server::default();
    server.streams.insert("ALL".into(), foreign("ALL", ">"));
    let ready = server.ensure(&orders(), &update()).unwrap();
    assert_eq!(ready.name, "ALL");
    assert_eq!(outcome(&ready), Some(Outcome::Adopted));
    assert_eq!(
        server.log,
        [
            "STREAM.INFO.ORDERS",
            "STREAM.CREATE.ORDERS",
            "STREAM.NAMES",
            "STREAM.INFO.ALL"
        ]
    );

    let mut server = Server::default();
    server.streams.insert("A".into(), foreign("A", "orders.a"));
    let overlap = |others: &[&str]| {
        Err(ProvisionError::Overlap {
            name: "ORDERS".into(),
            others: others.iter().map(ToString::to_string).collect(),
        })
    };
    assert_eq!(server.ensure(&orders(), &update()), overlap(&["A"]));
    server.streams.insert("B".into(), foreign("B", "orders.b"));
    assert_eq!(server.ensure(&orders(), &update()), overlap(&["A", "B"]));
}

#[test]
fn a_stream_that_appears_while_it_is_made_is_read_again() {
    let mut machine = EnsureStream::new(Api::default(), orders(), update());
    let mut answers = vec![
        refusal(codes::STREAM_NOT_FOUND),
        refusal(codes::STREAM_EXISTS),
        message(&json!({"config": foreign("ORDERS", "orders.>")})),
    ]
    .into_iter();
    let result = loop {
        match machine.poll().unwrap() {
            Output::Request(_) => machine.handle(Ok(&answers.next().unwrap())),
            Output::Done(result) => break result.unwrap(),
        }
    };
    assert_eq!(outcome(&result), Some(Outcome::Adopted));
}

#[test]
fn reading_again_ends() {
    let mut machine = EnsureStream::new(Api::default(), orders(), update());
    let mut requests = 0;
    loop {
        match machine.poll().unwrap() {
            Output::Request(request) => {
                requests += 1;
                let read = request.subject.as_str().contains("INFO");
                let code = if read {
                    codes::STREAM_NOT_FOUND
                } else {
                    codes::STREAM_EXISTS
                };
                machine.handle(Ok(&refusal(code)));
            }
            Output::Done(result) => {
                let error = result.unwrap_err();
                assert_eq!(
                    error,
                    ProvisionError::Unsettled {
                        name: "ORDERS".into()
                    }
                );
                assert!(error.is_transient());
                break;
            }
        }
    }
    assert_eq!(requests, 2 * usize::from(ROUNDS));
}

#[test]
fn failures_are_told_and_classed() {
    let first = |reply: Result<&Message, RequestFailed>| {
        let mut machine = EnsureStream::new(Api::default(), orders(), update());
        _ = machine.poll();
        machine.handle(reply);
        match machine.poll() {
            Some(Output::Done(Err(error))) => error,
            other => panic!("{other:?}"),
        }
    };
    for failed in [RequestFailed::Timeout, RequestFailed::Disconnected] {
        assert!(first(Err(failed)).is_transient());
    }
    assert!(first(Ok(&refusal(codes::UNAVAILABLE))).is_transient());
    assert!(!first(Ok(&refusal(10_074))).is_transient());
    assert!(!first(Ok(&message(&json!([])))).is_transient());
}

#[test]
fn bad_wishes_are_refused_before_anything_is_sent() {
    let bad = [
        WantedStream {
            name: "a.b".into(),
            ..orders()
        },
        WantedStream {
            subjects: vec![],
            ..orders()
        },
        WantedStream {
            subjects: vec!["a b".into()],
            ..orders()
        },
        WantedStream {
            subjects: vec!["a.>".into(), "a.b".into()],
            ..orders()
        },
        WantedStream {
            max_msgs: Some(0),
            ..orders()
        },
        WantedStream {
            max_bytes: Some(u64::MAX),
            ..orders()
        },
        WantedStream {
            max_msg_size: Some(1 << 40),
            ..orders()
        },
        WantedStream {
            max_age: Some(Duration::ZERO),
            ..orders()
        },
        WantedStream {
            max_age: Some(Duration::MAX),
            ..orders()
        },
        WantedStream {
            replicas: 0,
            ..orders()
        },
        WantedStream {
            replicas: 6,
            ..orders()
        },
        WantedStream {
            max_age: Some(Duration::from_secs(1)),
            dedupe_window: Some(Duration::from_secs(2)),
            ..orders()
        },
    ];
    for wanted in bad {
        let mut server = Server::default();
        assert!(
            matches!(
                server.ensure(&wanted, &update()),
                Err(ProvisionError::Wanted(_))
            ),
            "{wanted:?}"
        );
        assert!(server.log.is_empty());
    }
}

#[test]
fn a_topic_has_one_stream_for_both_sides() {
    let declared = [orders(), WantedStream::new("ALL", vec!["bills.*".into()])];
    let resolve = |server: &mut Server, topic: &str| {
        let mut machine = ResolveTopic::new(&Api::default(), topic, &declared);
        loop {
            match machine.poll().unwrap() {
                Output::Request(request) => machine.handle(Ok(&server.answer(&request))),
                Output::Done(result) => return result,
            }
        }
    };
    let mut server = Server::default();
    assert_eq!(resolve(&mut server, "bills.x"), Ok(Resolution::Declared(1)));
    assert!(server.log.is_empty());
    let own = Resolution::Own("jetbus~users~new".into());
    assert_eq!(resolve(&mut server, "users.new"), Ok(own.clone()));
    let config = foreign("jetbus~users~new", "users.new");
    server.streams.insert(config.name.clone(), config);
    assert_eq!(resolve(&mut server, "users.new"), Ok(own));
    server
        .streams
        .insert("LOGS".into(), foreign("LOGS", "logs.>"));
    assert_eq!(
        resolve(&mut server, "logs.a"),
        Ok(Resolution::Existing("LOGS".into()))
    );
    assert!(matches!(
        resolve(&mut server, "*.*"),
        Err(ProvisionError::Overlap { .. })
    ));

    // What was named may be gone a moment later.
    let wanted = WantedStream::new("jetbus~logs~a", vec!["logs.a".into()]);
    let existing = || EnsureStream::existing(Api::default(), "LOGS", wanted.clone(), update());
    assert_eq!(server.drive(existing()).unwrap().name, "LOGS");
    server.streams.remove("LOGS");
    let ready = server.drive(existing()).unwrap();
    assert_eq!(
        (&*ready.name, outcome(&ready)),
        ("jetbus~logs~a", Some(Outcome::Created))
    );
}
