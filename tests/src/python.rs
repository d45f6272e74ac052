//! A foreign client: Python's `nats-py`, from PyPI, into the target folder.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::failure::{Doing as _, Failure};
use crate::target;

/// The version of `nats-py`.
const VERSION: &str = "2.16.0";

/// Where a message of [`publish`] was stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// The stream.
    pub stream: String,
    /// Its sequence there.
    pub seq: u64,
}

/// A message as [`read`] found it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Read {
    /// The subject it was stored under.
    pub subject: String,
    /// Its sequence in the stream.
    pub seq: u64,
    /// Its headers.
    pub headers: Map<String, Value>,
    /// Its payload, which is JSON.
    pub payload: Value,
}

/// A legacy envelope with the fields that are never missing.
#[must_use]
pub fn legacy_envelope(event_id: &str, aggregate_id: &str, payload: &Value) -> Value {
    json!({
        "event_id": event_id,
        "aggregate_id": aggregate_id,
        "event_type": "order.changed",
        "event_version": 1,
        "timestamp": "2026-11-22T11:48:01.299331067Z",
        "payload": payload,
    })
}

/// Publishes envelopes, each with its subject, as JSON without headers, and
/// waits for every acknowledgement.
///
/// # Errors
/// When Python 3 or pip is missing, or the server does not store one.
pub fn publish(url: &str, events: &[(String, Value)]) -> Result<Vec<Stored>, Failure> {
    let events: Vec<Value> = events
        .iter()
        .map(|(subject, envelope)| json!({"subject": subject, "envelope": envelope}))
        .collect();
    run("publish.py", &json!({"url": url, "events": events}))
}

/// Reads `count` messages of `subject` from `stream`, with a durable pull
/// consumer named `reader`, and acknowledges them.
///
/// # Errors
/// When Python 3 or pip is missing, or the messages do not come within `within`.
pub fn read(
    url: &str,
    stream: &str,
    subject: &str,
    count: usize,
    within: Duration,
) -> Result<Vec<Read>, Failure> {
    let order = json!({
        "url": url, "stream": stream, "subject": subject, "count": count,
        "within": within.as_secs_f64(),
    });
    run("read.py", &order)
}

/// Runs a script of `tests/interop` with `order` as its input; its output is
/// JSON, a value a line.
fn run<T: for<'de> Deserialize<'de>>(script: &str, order: &Value) -> Result<Vec<T>, Failure> {
    let client = target::once(&format!("python/nats-py-{VERSION}"), install)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("interop")
        .join(script);
    let what = format!("running {script}");
    let output = target::python(&what, &[&path], Some(&client), order.to_string().as_bytes())?;
    serde_json::Deserializer::from_slice(&output)
        .into_iter()
        .collect::<Result<_, _>>()
        .doing(what)
}

fn install(folder: &Path) -> Result<(), Failure> {
    let arguments = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        &folder.display().to_string(),
        &format!("nats-py=={VERSION}"),
    ];
    let what = format!("installing nats-py {VERSION} from PyPI");
    target::python(&what, &arguments, None, b"").map(drop)
}
