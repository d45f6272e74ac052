//! What the broker holds, asked by raw requests on a connection without faults.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use jetbus::DeadLetter;
use jetbus::link::{Embedded, EmbeddedBroker, Link};
use jetbus::runtime::Runtime;
use jetbus_core::dead_letter::Redriven;
use jetbus_core::jetstream::admin::{StoredMessage, stored_message};
use jetbus_core::{Headers, Message, Publish, Subject};
use serde_json::{Value, json};

use super::super::history::{Letter, REDRIVE, Stored};
use super::handle::raw_number;

const DEAD: &str = "jetbus-dead";
const INBOX: &str = "_INBOX.reader";

pub(super) struct Reader(Embedded);

impl Reader {
    pub(super) async fn new(broker: &EmbeddedBroker, runtime: &Arc<dyn Runtime>) -> Self {
        Self(broker.connect(Arc::clone(runtime)).await)
    }

    /// All that was published, by stream and sequence.
    pub(super) async fn read(&self) -> BTreeMap<(String, u64), Stored> {
        let mut all = BTreeMap::new();
        let answer = self.ask("STREAM.NAMES", &json!({})).await;
        let names: Value = serde_json::from_slice(&answer.payload).expect("answers are JSON");
        for name in names["streams"].as_array().into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            if [DEAD, REDRIVE].contains(&name) {
                continue;
            }
            for message in self.messages(name).await {
                if let Some(event) = number(&message.payload) {
                    let topic = message.subject.as_str().to_owned();
                    all.insert((name.to_owned(), message.seq), Stored { topic, event });
                }
            }
        }
        all
    }

    /// The dead letters.
    pub(super) async fn letters(&self) -> Vec<Letter> {
        let messages = self.messages(DEAD).await;
        let letters = messages.iter().map(|message| {
            let letter = DeadLetter::read(message).expect("nobody else stores there");
            Letter {
                group: letter.group().into(),
                topic: letter.topic().into(),
                stream: letter.origin.stream.clone(),
                sequence: letter.origin.sequence,
                reason: letter.reason,
            }
        });
        letters.collect()
    }

    /// What was redriven and is not handled yet: the group, and where it was stored first.
    pub(super) async fn redriving(&self) -> Vec<(String, (String, u64))> {
        let messages = self.messages(REDRIVE).await;
        let origins = messages.iter().map(|message| {
            let redriven = Redriven::read(&message.headers);
            let origin = redriven.expect("nobody else stores there").origin;
            (origin.group, (origin.stream, origin.sequence))
        });
        origins.collect()
    }

    /// All messages of a stream.
    async fn messages(&self, stream: &str) -> Vec<StoredMessage> {
        let mut all = Vec::new();
        let answer = self.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await;
        let info: Value = serde_json::from_slice(&answer.payload).expect("answers are JSON");
        let bound = |field: &str| info["state"][field].as_u64();
        let (Some(first), Some(last)) = (bound("first_seq"), bound("last_seq")) else {
            return all;
        };
        if bound("messages") == Some(0) {
            return all;
        }
        for sequence in first.max(1)..=last {
            let get = format!("STREAM.MSG.GET.{stream}");
            let got = self.ask(&get, &json!({ "seq": sequence })).await;
            // Some are deleted.
            all.extend(stored_message(&got));
        }
        all
    }

    /// Deletes a consumer, of whichever stream has it.
    pub(super) async fn delete_consumer(&self, consumer: &str) {
        let names = self.ask("STREAM.NAMES", &json!({})).await;
        let names: Value = serde_json::from_slice(&names.payload).expect("answers are JSON");
        for stream in names["streams"].as_array().into_iter().flatten() {
            let stream = stream.as_str().unwrap_or_default();
            let what = format!("CONSUMER.DELETE.{stream}.{consumer}");
            self.ask(&what, &Value::Null).await;
        }
    }

    pub(super) async fn delete_stream(&self, stream: &str) {
        self.ask(&format!("STREAM.DELETE.{stream}"), &Value::Null)
            .await;
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    /// Deletions take no body, not even an empty object: that is `null` here.
    async fn ask(&self, what: &str, body: &Value) -> Message {
        let inbox = self.0.subscribe(Subject::from(INBOX), None).await;
        let mut inbox = inbox.expect("the connection is open");
        let taken = self.0.try_publish(Publish {
            subject: &Subject::from(format!("$JS.API.{what}")),
            reply: Some(INBOX),
            headers: &Headers::new(),
            payload: &match body {
                Value::Null => Bytes::new(),
                body => Bytes::from(body.to_string()),
            },
        });
        taken.expect("the connection is open");
        let answer = poll_fn(|cx| inbox.poll_next(cx)).await;
        answer.expect("the connection is open")
    }
}

/// Which event it is.
fn number(body: &[u8]) -> Option<u64> {
    let typed = || serde_json::from_slice::<Value>(body).ok()?["payload"]["n"].as_u64();
    raw_number(body).or_else(typed)
}
