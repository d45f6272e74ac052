//! What the broker holds, asked by raw requests on a connection without faults.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jetbus::link::{Embedded, EmbeddedBroker, Link};
use jetbus::runtime::Runtime;
use jetbus_core::{Headers, Publish, Subject};
use serde_json::{Value, json};

use super::super::history::Stored;
use super::handle::raw_number;

const INBOX: &str = "_INBOX.reader";

pub(super) struct Reader(Embedded);

impl Reader {
    pub(super) async fn new(broker: &EmbeddedBroker, runtime: &Arc<dyn Runtime>) -> Self {
        Self(broker.connect(Arc::clone(runtime)).await)
    }

    /// Everything, by stream and sequence.
    pub(super) async fn read(&self) -> BTreeMap<(String, u64), Stored> {
        let mut all = BTreeMap::new();
        let names = self.ask("STREAM.NAMES", &json!({})).await;
        for name in names["streams"].as_array().into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            let info = self.ask(&format!("STREAM.INFO.{name}"), &json!({})).await;
            let bound = |field: &str| info["state"][field].as_u64().expect("a sequence");
            for sequence in bound("first_seq").max(1)..=bound("last_seq") {
                let get = format!("STREAM.MSG.GET.{name}");
                let got = self.ask(&get, &json!({ "seq": sequence })).await;
                if let Some(stored) = stored(&got["message"]) {
                    all.insert((name.to_owned(), sequence), stored);
                }
            }
        }
        all
    }

    /// Deletes a consumer, of whichever stream has it.
    pub(super) async fn delete_consumer(&self, consumer: &str) {
        let names = self.ask("STREAM.NAMES", &json!({})).await;
        for stream in names["streams"].as_array().into_iter().flatten() {
            let stream = stream.as_str().unwrap_or_default();
            self.ask(&format!("CONSUMER.DELETE.{stream}.{consumer}"), &json!({}))
                .await;
        }
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    async fn ask(&self, what: &str, body: &Value) -> Value {
        let inbox = self.0.subscribe(Subject::from(INBOX), None).await;
        let mut inbox = inbox.expect("the connection is open");
        let taken = self.0.try_publish(Publish {
            subject: &Subject::from(format!("$JS.API.{what}")),
            reply: Some(INBOX),
            headers: &Headers::new(),
            payload: &Bytes::from(body.to_string()),
        });
        taken.expect("the connection is open");
        let answer = poll_fn(|cx| inbox.poll_next(cx)).await;
        let answer = answer.expect("the connection is open");
        serde_json::from_slice(&answer.payload).expect("answers are JSON")
    }
}

/// A message as the API shows it; `None` when there is none.
fn stored(message: &Value) -> Option<Stored> {
    let topic = message["subject"].as_str()?.to_owned();
    let data = STANDARD.decode(message["data"].as_str()?).ok()?;
    let typed = || serde_json::from_slice::<Value>(&data).ok()?["payload"]["n"].as_u64();
    let event = raw_number(&data).or_else(typed)?;
    Some(Stored { topic, event })
}
