//! A second connection, beside the bus: what an administrator or a foreign service
//! would do.

use std::future::poll_fn;

use bytes::Bytes;
use jetbus::link::{Inbox, Link};
use jetbus_core::{Headers, Message, Publish, Subject};
use serde_json::Value;

use crate::matrix::Env;

/// A connection to a case's server or broker. Dropping it ends it.
#[derive(Debug)]
pub struct Admin<'a> {
    env: &'a Env,
    link: Box<dyn Link>,
}

impl<'a> Admin<'a> {
    /// Connects.
    ///
    /// # Panics
    /// When the server is not there.
    pub async fn connect(env: &'a Env) -> Self {
        #[cfg(feature = "nats")]
        if let Some(server) = env.server() {
            let options = jetbus::NatsOptions::new(server.url());
            let link = jetbus::link::Nats::connect(&options, &**env.runtime()).await;
            let link = Box::new(link.expect("a connection"));
            return Self { env, link };
        }
        let link = env.broker().connect(env.runtime().clone()).await;
        Self {
            env,
            link: Box::new(link),
        }
    }

    /// Publishes a message without waiting for anything.
    ///
    /// # Panics
    /// When the link refuses it.
    pub fn publish(&self, subject: &str, reply: Option<&str>, payload: impl Into<Bytes>) {
        let subject = Subject::from(subject);
        self.link
            .try_publish(Publish {
                subject: &subject,
                reply,
                headers: &Headers::new(),
                payload: &payload.into(),
            })
            .expect("the link takes a message");
    }

    /// What is published to `pattern` from now on.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn listen(&self, pattern: &str) -> Listener {
        let inbox = self.link.subscribe(Subject::from(pattern), None).await;
        let inbox = inbox.expect("a subscription");
        // A round trip: the server has the subscription now.
        self.ask("$JS.API.INFO", "").await;
        Listener(inbox)
    }

    /// Asks `$JS.API.<what>` and returns the answer.
    ///
    /// # Panics
    /// When there is none, or it is an error.
    pub async fn api(&self, what: &str, body: &Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let answer = self.ask(&format!("$JS.API.{what}"), &body).await;
        let answer: Value = serde_json::from_slice(&answer.payload).expect("an answer in JSON");
        assert!(answer.get("error").is_none(), "{what}: {answer}");
        answer
    }

    /// Deletes a consumer.
    ///
    /// # Panics
    /// When there is no answer, or another error than old servers give for a file
    /// that they were just writing; the consumer is gone then too.
    pub async fn delete_consumer(&self, stream: &str, name: &str) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
        let answer = self.ask(&subject, "").await;
        let answer: Value = serde_json::from_slice(&answer.payload).expect("an answer in JSON");
        let busy = answer["error"]["description"]
            .as_str()
            .is_some_and(|why| why.contains("directory not empty"));
        assert!(busy || answer.get("error").is_none(), "{answer}");
    }

    /// The state of the only consumer of `stream`.
    ///
    /// # Panics
    /// As [`api`](Self::api), and when it is not the only one.
    pub async fn only_consumer(&self, stream: &str) -> Value {
        let what = format!("CONSUMER.LIST.{stream}");
        let list = self.api(&what, &Value::Null).await;
        let consumers = list["consumers"].as_array().expect("a list");
        assert_eq!(consumers.len(), 1, "{list}");
        consumers[0].clone()
    }

    /// Waits until the only consumer of `stream` has delivered and settled all: what
    /// was acknowledged without waiting is worked off by the server in its own time.
    ///
    /// # Panics
    /// When that does not come soon.
    pub async fn all_is_settled(&self, stream: &str) -> Value {
        let settled = async {
            loop {
                let consumer = self.only_consumer(stream).await;
                let nothing = |field| consumer[field] == 0;
                if nothing("num_ack_pending") && nothing("num_pending") {
                    return consumer;
                }
            }
        };
        self.env.soon("all is settled", settled).await
    }

    /// The name of the only stream, beside those of dead letters.
    ///
    /// # Panics
    /// As [`api`](Self::api), and when it is not the only one.
    pub async fn only_stream(&self) -> String {
        let list = self.api("STREAM.NAMES", &Value::Null).await;
        let names = list["streams"].as_array().expect("a list");
        let names = names.iter().map(|name| name.as_str().expect("a name"));
        let dead = |name: &&str| ["jetbus-dead", "jetbus-redrive"].contains(name);
        let names: Vec<_> = names.filter(|name| !dead(name)).collect();
        assert_eq!(names.len(), 1, "{list}");
        names[0].to_owned()
    }

    async fn ask(&self, subject: &str, body: &str) -> Message {
        let reply = "admin.answers";
        let inbox = self.link.subscribe(Subject::from(reply), None).await;
        let mut inbox = Listener(inbox.expect("a subscription"));
        self.publish(subject, Some(reply), body.to_owned());
        self.env.soon(subject, inbox.next()).await
    }
}

/// Messages of one subject or pattern.
#[derive(Debug)]
pub struct Listener(Box<dyn Inbox>);

impl Listener {
    /// The inbox itself.
    #[must_use]
    pub fn into_inbox(self) -> Box<dyn Inbox> {
        self.0
    }

    /// The next one.
    ///
    /// # Panics
    /// When the link is closed.
    pub async fn next(&mut self) -> Message {
        let message = poll_fn(|cx| self.0.poll_next(cx)).await;
        message.expect("the link is open")
    }
}
