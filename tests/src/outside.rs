//! Somebody else on the same broker or server: looks at what is stored, and does
//! to streams what operators and other services do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jetbus::link::{Inbox, Link};
use jetbus_core::jetstream::admin::{StoredMessage, stored_message};
use jetbus_core::{Headers, Message, Outbound, Subject};
use serde_json::{Value, json};

use crate::matrix::Env;

/// Requests of all who are outside: inboxes are nobody else's.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// A connection of its own, which speaks `$JS.API` without the bus.
#[derive(Debug)]
pub struct Outside<'a> {
    env: &'a Env,
    link: Arc<dyn Link>,
}

impl Env {
    /// Somebody else on the same broker or server.
    ///
    /// # Panics
    /// When there is no connection.
    pub async fn outside(&self) -> Outside<'_> {
        Outside {
            env: self,
            link: self.link().await,
        }
    }

    /// A link to the broker or server.
    ///
    /// # Panics
    /// When there is no connection.
    pub async fn link(&self) -> Arc<dyn Link> {
        #[cfg(feature = "nats")]
        if let Some(server) = self.server() {
            let options = jetbus::NatsOptions::new(server.url());
            let link = jetbus::link::Nats::connect(&options, &**self.runtime()).await;
            return Arc::new(link.expect("a connection"));
        }
        Arc::new(self.broker().connect(Arc::clone(self.runtime())).await)
    }
}

impl Outside<'_> {
    /// The server's answer to a request to `$JS.API.<what>`.
    pub async fn api(&self, what: &str, body: Value) -> Value {
        let answer = self.ask(&format!("$JS.API.{what}"), body).await;
        serde_json::from_slice(&answer.payload).expect("the answer is JSON")
    }

    async fn ask(&self, subject: &str, body: Value) -> Message {
        let n = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let reply = format!("_INBOX.outside.{n}");
        let mut inbox = self.subscribe(&reply).await;
        let payload = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        self.send(Outbound::new(subject, payload).with_reply(reply))
            .await;
        next(self.env, subject, &mut inbox).await
    }

    /// Publishes bytes to a subject, without asking whether they arrive.
    pub async fn publish(&self, subject: &str, payload: impl Into<Bytes>) {
        self.send(Outbound::new(subject, payload)).await;
    }

    /// Publishes bytes and headers.
    pub async fn publish_with(&self, subject: &str, headers: Headers, payload: impl Into<Bytes>) {
        let mut message = Outbound::new(subject, payload);
        message.headers = headers;
        self.send(message).await;
    }

    async fn send(&self, message: Outbound) {
        while let Err(refused) = self.link.try_publish(message.as_publish()) {
            assert_eq!(refused, jetbus::link::Refused::Busy);
            self.link.ready().await;
        }
        self.link.flush().await.expect("the connection holds");
    }

    /// What is published to `pattern` from now on.
    pub async fn subscribe(&self, pattern: &str) -> Box<dyn Inbox> {
        let inbox = self.link.subscribe(Subject::from(pattern), None).await;
        inbox.expect("a subscription")
    }

    /// Makes a stream with this name, these subjects and further settings.
    pub async fn create_stream(&self, name: &str, subjects: &[&str], settings: Value) -> Value {
        let mut config = json!({"name": name, "subjects": subjects, "num_replicas": 1});
        if let (Some(config), Some(more)) = (config.as_object_mut(), settings.as_object()) {
            config.extend(more.clone());
        }
        let answer = self.api(&format!("STREAM.CREATE.{name}"), config).await;
        assert!(answer["error"].is_null(), "{answer}");
        answer["config"].clone()
    }

    /// Deletes a stream and all it holds.
    pub async fn delete_stream(&self, name: &str) {
        let answer = self
            .api(&format!("STREAM.DELETE.{name}"), Value::Null)
            .await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// The configuration of a stream; `null` when it is not there.
    pub async fn stream(&self, name: &str) -> Value {
        self.stream_info(name).await["config"].clone()
    }

    /// How many messages a stream holds.
    pub async fn messages(&self, name: &str) -> u64 {
        let info = self.stream_info(name).await;
        info["state"]["messages"]
            .as_u64()
            .expect("the stream is there")
    }

    async fn stream_info(&self, name: &str) -> Value {
        self.api(&format!("STREAM.INFO.{name}"), Value::Null).await
    }

    /// The names of all streams.
    pub async fn streams(&self) -> Vec<String> {
        let answer = self.api("STREAM.NAMES", Value::Null).await;
        let names = answer["streams"].as_array().cloned().unwrap_or_default();
        let names = names.iter().filter_map(Value::as_str);
        let mut names: Vec<String> = names.map(Into::into).collect();
        names.sort();
        names
    }

    /// The message at a sequence of a stream.
    pub async fn stored(&self, stream: &str, sequence: u64) -> StoredMessage {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let answer = self.ask(&subject, json!({"seq": sequence})).await;
        stored_message(&answer).expect("the message is there")
    }
}

/// The next message of an inbox, which is expected soon.
///
/// # Panics
/// When none comes.
pub async fn next(env: &Env, what: &str, inbox: &mut Box<dyn Inbox>) -> Message {
    let message = env.soon(what, std::future::poll_fn(|cx| inbox.poll_next(cx)));
    message.await.expect("the link is open")
}
