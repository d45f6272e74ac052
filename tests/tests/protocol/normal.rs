//! What may differ between a server and the embedded broker, and why.
//!
//! Everything not named here must be equal. JSON is compared as values: the order
//! of an object's fields means nothing.

use jetbus_core::Message;
use serde_json::Value;

/// Fields of JSON whose values may differ; that they are there may not.
const FREE_FIELDS: &[(&str, &str)] = &[
    ("created", "when a stream or consumer was made"),
    ("ts", "when the server answered"),
    ("time", "when a message was stored"),
    ("first_ts", "when the first message was stored"),
    ("last_ts", "when the last message was stored"),
    ("last_active", "when a consumer last did something"),
    ("timestamp", "when an advisory was sent"),
    ("id", "an advisory's random id"),
    ("leader", "the server's name"),
    ("_nats.ver", "the server's version"),
    ("_nats.level", "the API level of the server's version"),
];

/// The error whose description is the words of Go's JSON parser.
const INVALID_JSON: u64 = 10025;

/// The status that a pull gets for the same reason, before those words.
const BAD_REQUEST: &str = "Bad Request - ";

/// The time of a stream without messages: a zero, which must be equal.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The token of `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.
/// <consumer sequence>.<time>.<pending>` that says when the message was stored.
const ACK_TIME: usize = 7;

/// A message as a line of a transcript.
pub(crate) fn line(message: &Message) -> String {
    let mut line = subject(message.subject.as_str());
    if let Some(reply) = &message.reply {
        line += &format!(" reply={}", subject(reply.as_str()));
    }
    if let Some(status) = &message.status {
        let words = match status.description.starts_with(BAD_REQUEST) {
            true => BAD_REQUEST,
            false => &status.description,
        };
        line += &format!(" {} {words:?}", status.code);
    }
    for (name, value) in message.headers.iter() {
        line += &format!(" {name}={:?}", subject(value));
    }
    line + " " + &payload(&message.payload)
}

/// A payload: JSON with its free fields blanked, or the text.
pub(crate) fn payload(bytes: &[u8]) -> String {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(mut value) => {
            blank(&mut value);
            value.to_string()
        }
        Err(_) => format!("{:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Inboxes are told apart by their subscriptions, and their names count how often
/// a scenario had to ask.
fn subject(subject: &str) -> String {
    if subject.starts_with("_INBOX.") {
        return "_INBOX".to_owned();
    }
    if !subject.starts_with("$JS.ACK.") {
        return subject.to_owned();
    }
    let tokens: Vec<&str> = subject
        .split('.')
        .enumerate()
        .map(|(index, token)| if index == ACK_TIME { "*" } else { token })
        .collect();
    tokens.join(".")
}

fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("err_code").and_then(Value::as_u64) == Some(INVALID_JSON) {
                fields.insert("description".to_owned(), Value::from("*"));
            }
            for (name, value) in fields {
                let free = FREE_FIELDS.iter().any(|(free, _)| free == name);
                if free && value.as_str().is_some_and(|text| text != NO_TIME) {
                    *value = Value::from("*");
                } else {
                    blank(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(blank),
        _ => {}
    }
}
