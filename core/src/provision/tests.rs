//! The machines against a server of a few lines, and against scripted answers.

mod consumers;
mod streams;

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

fn consumer() -> WantedConsumer {
    WantedConsumer::durable("ORDERS", "billing~orders", "orders.>")
}

fn with_stream() -> Server {
    let mut server = Server::default();
    server.ensure(&orders(), &update()).unwrap();
    server
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
