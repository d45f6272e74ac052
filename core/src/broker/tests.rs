//! The broker in virtual time. What a real server answers was read off one; the
//! comparison over the wire lives with the integration tests.

mod batches;
mod consume;
mod faults;
mod streams;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Broker, Config, ConnId, Input, Output};
use crate::{Headers, Message, Outbound, Time, Timestamp};

/// A broker, one connection that hears `r.>` and advisories, and the time.
struct Bench {
    broker: Broker,
    conn: ConnId,
    now: Time,
    heard: Vec<Message>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut broker = Broker::new(Config {
            wall: Timestamp::parse("2026-11-22T12:00:00Z").unwrap(),
            ..config
        });
        let conn = broker.connect(Time::ZERO);
        let mut bench = Self {
            broker,
            conn,
            now: Time::ZERO,
            heard: Vec::new(),
        };
        bench.subscribe(1, "r.>");
        bench.subscribe(2, "$JS.EVENT.ADVISORY.>");
        bench
    }

    fn subscribe(&mut self, sid: u64, pattern: &str) {
        let input = Input::Subscribe {
            conn: self.conn,
            sid,
            pattern: pattern.into(),
            group: None,
        };
        self.handle(input);
    }

    fn handle(&mut self, input: Input) {
        self.broker.handle(self.now, input);
        while let Some(Output::Deliver { message, .. }) = self.broker.poll() {
            self.heard.push(message);
        }
    }

    fn send(&mut self, message: Outbound) {
        let conn = self.conn;
        self.handle(Input::Publish { conn, message });
    }

    /// Publishes with a reply and says the answer.
    fn publish(&mut self, subject: &str, body: &str, headers: &[(&str, &str)]) -> Value {
        let mut message = Outbound::new(subject, body.to_owned()).with_reply("r.answer");
        message.headers = self::headers(headers);
        self.send(message);
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let at = self.heard.iter().position(|m| m.subject == "r.answer");
        let message = self.heard.remove(at.expect("an answer"));
        match &message.status {
            Some(status) => json!({"status": status.code}),
            None if message.payload.is_empty() => Value::Null,
            None => serde_json::from_slice(&message.payload).unwrap(),
        }
    }

    fn api(&mut self, request: &str, body: Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.publish(&format!("$JS.API.{request}"), &body, &[])
    }

    /// Stream `S` on `s.>`, with more configuration.
    fn stream(&mut self, more: Value) -> Value {
        let mut config = json!({"name": "S", "subjects": ["s.>"]});
        merge(&mut config, more);
        self.api("STREAM.CREATE.S", config)
    }

    /// Consumer `name` of `S`, durable and explicit, with more configuration.
    fn consumer(&mut self, name: &str, more: Value) -> Value {
        let mut config = json!({"durable_name": name, "ack_policy": "explicit"});
        merge(&mut config, more);
        let request = json!({"stream_name": "S", "config": config});
        self.api(&format!("CONSUMER.CREATE.S.{name}"), request)
    }

    fn store(&mut self, subjects: &[&str]) {
        for subject in subjects {
            self.publish(subject, "x", &[]);
        }
    }

    fn pull(&mut self, name: &str, reply: &str, request: Value) {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.{name}");
        self.send(Outbound::new(subject, request.to_string()).with_reply(reply));
    }

    fn ack(&mut self, name: &str, seq: u64, consumer_seq: u64, body: &str) -> Value {
        let subject = format!("$JS.ACK.S.{name}.1.{seq}.{consumer_seq}.0.0");
        self.publish(&subject, body, &[])
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.handle(Input::Tick);
    }

    /// What was heard since: deliveries as `subject:token head`, statuses as
    /// `code words`, the rest as its subject.
    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
            .into_iter()
            .map(|m| match (&m.status, &m.reply) {
                (Some(status), _) => format!("{} {}", status.code, status.description),
                (None, Some(reply)) => {
                    let token: Vec<&str> = reply.as_str().split('.').skip(4).take(3).collect();
                    format!("{} {}", m.subject, token.join("."))
                }
                (None, None) => m.subject.as_str().to_owned(),
            })
            .collect()
    }

    fn info(&mut self, name: &str) -> Value {
        self.api(&format!("CONSUMER.INFO.S.{name}"), Value::Null)
    }

    fn state(&mut self) -> Value {
        self.api("STREAM.INFO.S", Value::Null)["state"].take()
    }
}

fn headers(list: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in list {
        headers.append(name, value).unwrap();
    }
    headers
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

fn code(answer: &Value) -> u64 {
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}
