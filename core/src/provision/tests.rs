//! The machines against a server of a few lines, and against scripted answers.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use serde_json::{Value, json};

use super::{Strategy, *};
use crate::jetstream::api::{ConsumerConfig, Discard, Retention, Storage, StreamConfig, codes};
use crate::names::Api;
use crate::subject::overlap;
use crate::{Headers, Message, Subject, Timestamp};

fn message(body: &Value) -> Message {
    Message {
        subject: Subject::from_static("i"),
        reply: None,
        headers: Headers::new(),
        status: None,
        payload: body.to_string().into(),
    }
}

fn refusal(err_code: u32) -> Message {
    message(&json!({"error": {"code": 400, "err_code": err_code, "description": "no"}}))
}

/// As much of a server as provisioning needs.
#[derive(Default)]
struct Server {
    streams: BTreeMap<String, StreamConfig>,
    consumers: BTreeMap<String, ConsumerConfig>,
    /// The subjects of the requests, less the prefix.
    log: Vec<String>,
}

impl Server {
    fn answer(&mut self, request: &Request) -> Message {
        let subject = request.subject.as_str().strip_prefix("$JS.API.").unwrap();
        self.log.push(subject.into());
        let body: Value = serde_json::from_slice(&request.payload).unwrap_or(Value::Null);
        let mut tokens = subject.splitn(5, '.').skip(2);
        let stream = tokens.next().unwrap_or_default();
        let consumer = tokens.next().unwrap_or_default();
        if subject.starts_with("STREAM.INFO") {
            return self.stream(stream);
        }
        if subject.starts_with("STREAM.NAMES") {
            let wanted = body["subject"].as_str().unwrap();
            let names: Vec<_> = self
                .streams
                .values()
                .filter(|s| s.subjects.iter().any(|p| overlap(p, wanted)))
                .map(|s| s.name.clone())
                .collect();
            return message(&json!({"total": names.len(), "offset": 0, "streams": names}));
        }
        if subject.starts_with("STREAM.") {
            let config: StreamConfig = serde_json::from_value(body).unwrap();
            let clashes = |s: &StreamConfig| {
                s.name != stream
                    && s.subjects
                        .iter()
                        .any(|a| config.subjects.iter().any(|b| overlap(a, b)))
            };
            if self.streams.values().any(clashes) {
                return refusal(codes::SUBJECT_OVERLAP);
            }
            match self.streams.get(stream) {
                Some(old) if subject.starts_with("STREAM.CREATE") && *old != config => {
                    return refusal(codes::STREAM_EXISTS);
                }
                None if subject.starts_with("STREAM.UPDATE") => {
                    return refusal(codes::STREAM_NOT_FOUND);
                }
                _ => {}
            }
            self.streams.insert(stream.into(), config);
            return self.stream(stream);
        }
        if !self.streams.contains_key(stream) {
            return refusal(codes::STREAM_NOT_FOUND);
        }
        if subject.starts_with("CONSUMER.CREATE") {
            match (&body["action"], self.consumers.contains_key(consumer)) {
                (Value::String(a), true) if a == "create" => {
                    return refusal(codes::CONSUMER_EXISTS);
                }
                (Value::String(a), false) if a == "update" => {
                    return refusal(codes::CONSUMER_DOES_NOT_EXIST);
                }
                _ => {}
            }
            let config = serde_json::from_value(body["config"].clone()).unwrap();
            self.consumers.insert(consumer.into(), config);
        }
        match self.consumers.get(consumer) {
            None => refusal(codes::CONSUMER_NOT_FOUND),
            Some(config) => {
                message(&json!({"stream_name": stream, "name": consumer, "config": config}))
            }
        }
    }

    fn stream(&self, name: &str) -> Message {
        match self.streams.get(name) {
            None => refusal(codes::STREAM_NOT_FOUND),
            Some(config) => message(&json!({"config": config, "state": {}})),
        }
    }

    fn ensure(
        &mut self,
        wanted: &WantedStream,
        policy: &Policy,
    ) -> Result<StreamReady, ProvisionError> {
        self.log.clear();
        self.drive(EnsureStream::new(
            Api::default(),
            wanted.clone(),
            policy.clone(),
        ))
    }

    fn drive(&mut self, mut machine: EnsureStream) -> Result<StreamReady, ProvisionError> {
        loop {
            match machine.poll().expect("a request or the end") {
                Output::Request(request) => {
                    assert_eq!(machine.poll(), None);
                    let answer = self.answer(&request);
                    machine.handle(Ok(&answer));
                }
                Output::Done(result) => {
                    machine.handle(Ok(&refusal(1)));
                    assert_eq!(machine.poll(), None, "the end is the end");
                    return result;
                }
            }
        }
    }

    fn ensure_consumer(
        &mut self,
        wanted: &WantedConsumer,
        mark: &Mark,
    ) -> Result<ConsumerReady, ProvisionError> {
        self.log.clear();
        let mut machine = EnsureConsumer::new(Api::default(), wanted.clone(), mark.clone());
        loop {
            match machine.poll().expect("a request or the end") {
                Output::Request(request) => {
                    let answer = self.answer(&request);
                    machine.handle(Ok(&answer));
                }
                Output::Done(result) => {
                    machine.handle(Ok(&refusal(1)));
                    assert_eq!(machine.poll(), None, "the end is the end");
                    return result;
                }
            }
        }
    }
}

fn mark(version: u64) -> Mark {
    Mark {
        owner: "shop".into(),
        version,
    }
}

fn policy(strategy: Strategy) -> Policy {
    Policy {
        strategy,
        mark: mark(1),
        ..Policy::default()
    }
}

fn update() -> Policy {
    policy(Strategy::CreateOrUpdate)
}

fn orders() -> WantedStream {
    WantedStream::new("ORDERS", vec!["orders.>".into()])
}

fn outcome(ready: &StreamReady) -> Option<Outcome> {
    ready.event.as_ref().map(|event| event.outcome)
}

fn fields(differences: &[Difference]) -> Vec<&str> {
    differences.iter().map(|d| d.field).collect()
}

/// Somebody else's stream.
fn foreign(name: &str, subject: &str) -> StreamConfig {
    let mut config = WantedStream::new(name, vec![subject.into()]).config();
    config.discard = Discard::Old;
    config
}

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

fn consumer() -> WantedConsumer {
    WantedConsumer::durable("ORDERS", "billing~orders", "orders.>")
}

fn with_stream() -> Server {
    let mut server = Server::default();
    server.ensure(&orders(), &update()).unwrap();
    server
}

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
            "deliver_policy",
            WantedConsumer {
                start: Start::New,
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

fn any_stream() -> impl Generator<Value = WantedStream> {
    (
        proptest::option::of(1..5_u64),
        proptest::option::of(1..5_u64),
        any::<bool>(),
        proptest::sample::subsequence(vec!["a.*", "b.>", "c"], 1..=3),
        1..4_u32,
        proptest::option::of(1..3_u64),
    )
        .prop_map(
            |(max_msgs, max_age, old, subjects, replicas, window)| WantedStream {
                max_msgs,
                max_age: max_age.map(|s| Duration::from_secs(s * 100)),
                dedupe_window: window.map(Duration::from_secs),
                discard: if old { Discard::Old } else { Discard::New },
                replicas,
                ..WantedStream::new("S", subjects.into_iter().map(String::from).collect())
            },
        )
}

proptest! {
    /// With consent, what was wanted is there after one run, and the next asks for
    /// nothing; without, nothing that loses messages is ever sent.
    #[test]
    fn ensuring_settles(first in any_stream(), second in any_stream(), consent: bool) {
        let mut server = Server::default();
        let policy = Policy { allow_destructive: consent, ..update() };
        server.ensure(&first, &policy).unwrap();
        let before = server.streams["S"].clone();
        match server.ensure(&second, &policy) {
            Ok(_) => {
                prop_assert_eq!(server.ensure(&second, &policy).unwrap().event, None);
                prop_assert_eq!(server.log.len(), 1);
                let kept = StreamConfig { metadata: BTreeMap::new(), ..server.streams["S"].clone() };
                prop_assert_eq!(kept, second.config());
            }
            Err(ProvisionError::Conflict { differences, .. }) => {
                prop_assert!(!consent);
                prop_assert!(differences.iter().any(|d| d.change == Change::Destructive));
                prop_assert_eq!(&server.streams["S"], &before);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn hostile_answers_never_panic(bodies in proptest::collection::vec(".{0,40}", 1..12)) {
        let mut stream = EnsureStream::new(Api::default(), orders(), update());
        let mut consumer = EnsureConsumer::new(Api::default(), consumer(), mark(1));
        for body in bodies {
            let message = Message { payload: body.into(), ..message(&Value::Null) };
            _ = (stream.poll(), consumer.poll());
            stream.handle(Ok(&message));
            consumer.handle(Ok(&message));
        }
    }
}
