//! `$JS.API`: which request is for whom, and the answers' frame.

mod consumers;
mod messages;
mod streams;

use serde_json::{Map, Value, json};

use super::Broker;
use super::error::{self, Error};
use super::json::object;
use super::stream::Stream;
use super::world::go_json;
use crate::Outbound;
use crate::jetstream::api::Storage;

/// The fields of an answer beside `type`, or an error and the fields that go with it.
type Answer = Result<Map<String, Value>, (Error, Map<String, Value>)>;

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// An error without further fields.
impl From<Error> for (Error, Map<String, Value>) {
    fn from(error: Error) -> Self {
        (error, Map::new())
    }
}

impl Broker {
    /// Answers the request `$JS.API.<request>`.
    pub(super) fn api(&mut self, request: &str, message: &Outbound) {
        let tokens: Vec<&str> = request.split('.').collect();
        let body = &message.payload[..];
        match tokens[..] {
            ["CONSUMER", "MSG", "NEXT", stream, consumer] => {
                if self.is_leaderless() || !self.pull(stream, consumer, message) {
                    let subject = message.subject.as_str();
                    self.world.no_responders(subject, message.reply.as_ref());
                }
                return;
            }
            ["DIRECT", "GET", ..]
            | ["CONSUMER", "RESET" | "PAUSE" | "UNPIN", ..]
            | ["STREAM", "SNAPSHOT" | "RESTORE", ..] => {
                let subject = message.subject.as_str();
                return self.world.no_responders(subject, message.reply.as_ref());
            }
            _ => {}
        }
        if self.is_leaderless() {
            return;
        }
        let (kind, answer) = match tokens[..] {
            ["INFO"] => ("account_info", Ok(self.account_info())),
            ["STREAM", "CREATE", name] => ("stream_create", self.stream_create(name, body)),
            ["STREAM", "UPDATE", name] => ("stream_update", self.stream_update(name, body)),
            ["STREAM", "INFO", name] => ("stream_info", self.stream_info(name, body)),
            ["STREAM", "NAMES"] => ("stream_names", self.stream_names(body)),
            ["STREAM", "LIST"] => ("stream_list", self.stream_list(body)),
            ["STREAM", "DELETE", name] => ("stream_delete", self.stream_delete(name, body)),
            ["STREAM", "PURGE", name] => ("stream_purge", self.stream_purge(name, body)),
            ["STREAM", "MSG", "GET", name] => ("stream_msg_get", self.message_get(name, body)),
            ["STREAM", "MSG", "DELETE", name] => {
                ("stream_msg_delete", self.message_delete(name, body))
            }
            ["CONSUMER", "DURABLE", "CREATE", stream, name] => {
                ("consumer_create", self.durable_create(stream, name, body))
            }
            ["CONSUMER", "CREATE", stream] => {
                ("consumer_create", self.ephemeral_create(stream, body))
            }
            ["CONSUMER", "CREATE", stream, name] => (
                "consumer_create",
                self.named_create(stream, name, None, body),
            ),
            ["CONSUMER", "CREATE", stream, name, ..] => {
                let filter = request.splitn(5, '.').nth(4);
                (
                    "consumer_create",
                    self.named_create(stream, name, filter, body),
                )
            }
            ["CONSUMER", "INFO", stream, name] => {
                ("consumer_info", self.consumer_info(stream, name, body))
            }
            ["CONSUMER", "NAMES", stream] => ("consumer_names", self.consumer_names(stream, body)),
            ["CONSUMER", "LIST", stream] => ("consumer_list", self.consumer_list(stream, body)),
            ["STREAM", "LEADER", "STEPDOWN", _] => (
                "stream_leader_stepdown",
                Err(error::CLUSTER_REQUIRED.into()),
            ),
            ["CONSUMER", "LEADER", "STEPDOWN", _, _] => (
                "consumer_leader_stepdown",
                Err(error::CLUSTER_REQUIRED.into()),
            ),
            ["STREAM", "PEER", "REMOVE", _] => {
                ("stream_remove_peer", Err(error::CLUSTER_REQUIRED.into()))
            }
            ["CONSUMER", "DELETE", stream, name] => {
                ("consumer_delete", self.consumer_delete(stream, name, body))
            }
            _ => return,
        };
        self.api_calls += 1;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err((error, mut answer)) => {
                self.api_errors += 1;
                answer.insert("error".into(), error.json());
                answer
            }
        };
        let kind = format!("io.nats.jetstream.api.v1.{kind}_response");
        answer.insert("type".into(), json!(kind));
        if let Some(reply) = &message.reply {
            self.world.respond(reply, go_json(&Value::Object(answer)));
        }
    }

    fn pull(&mut self, stream: &str, name: &str, message: &Outbound) -> bool {
        let Some(stream) = self.streams.get_mut(stream) else {
            return false;
        };
        let Some(name) = stream
            .consumers
            .get_key_value(name)
            .map(|(name, _)| name.clone())
        else {
            return false;
        };
        if let Some(reply) = &message.reply {
            if let Some(consumer) = stream.consumers.get_mut(&name) {
                consumer.pull(&mut self.world, reply, &message.payload);
            }
            stream.pump(&mut self.world, &name);
        }
        true
    }

    fn stream(&self, name: &str) -> Result<&Stream, Error> {
        self.streams.get(name).ok_or(error::STREAM_NOT_FOUND)
    }

    /// Bytes that streams of one kind of storage asked for.
    fn reserved(&self, storage: Storage) -> u64 {
        self.streams
            .values()
            .filter(|s| s.config.storage == storage)
            .map(|s| s.config.max_bytes.max(0).unsigned_abs())
            .sum()
    }

    fn account_info(&self) -> Map<String, Value> {
        let used = |storage| -> u64 {
            self.streams
                .values()
                .filter(|s| s.config.storage == storage)
                .map(|s| s.store.bytes())
                .sum()
        };
        let consumers: usize = self.streams.values().map(|s| s.consumers.len()).sum();
        fields(json!({
            "memory": used(Storage::Memory),
            "storage": used(Storage::File),
            "reserved_memory": self.reserved(Storage::Memory),
            "reserved_storage": self.reserved(Storage::File),
            "streams": self.streams.len(),
            "consumers": consumers,
            "limits": {
                "max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1,
                "max_ack_pending": -1, "memory_max_stream_bytes": -1,
                "storage_max_stream_bytes": -1, "max_bytes_required": false,
            },
            "api": {"level": 5, "total": self.api_calls, "errors": self.api_errors},
        }))
    }
}

/// Refuses a body where none belongs.
fn check_empty(body: &[u8]) -> Result<(), Error> {
    if body.is_empty() {
        Ok(())
    } else {
        Err(error::NOT_EMPTY)
    }
}

/// A page of a list: its `total`, `offset` and `limit`, and what is on it.
fn page<T>(items: Vec<T>, offset: i64, limit: usize) -> (Map<String, Value>, Vec<T>) {
    let total = items.len();
    let offset = usize::try_from(offset).unwrap_or(0).min(total);
    let frame = fields(json!({"total": total, "offset": offset, "limit": limit}));
    let on_page = items.into_iter().skip(offset).take(limit).collect();
    (frame, on_page)
}

/// The empty page that goes with an error.
fn no_page(name: &str, empty: Value) -> Map<String, Value> {
    let mut frame = fields(json!({"total": 0, "offset": 0, "limit": 0}));
    frame.insert(name.to_owned(), empty);
    frame
}

/// Reads the offset of a page and the subject filter that may go with it.
fn read_page(body: &[u8], name: &str) -> Result<(i64, String), Error> {
    let mut o = object(body, name)?;
    let page = (o.int("offset")?, o.string("subject")?);
    o.finish()?;
    Ok(page)
}
