//! What an operator asks of the servers of a cluster, also of one that is just electing.

use std::time::Duration;

use futures_lite::future;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::{Message, Outbound};
use serde_json::Value;

use crate::matrix::Env;
use crate::peer::Peer as _;
use crate::raw::Raw;
use crate::server::Server;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// How many messages are read at once.
const BATCH: usize = 1_000;

/// An event as a stream has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its key.
    pub key: String,
    /// Its payload.
    pub number: u32,
}

/// Asks `$JS.API.<what>` of a server, again while it is refused or there is no leader to
/// answer.
///
/// # Panics
/// When there is no answer soon, or the server hangs up.
pub async fn asked(env: &Env, server: &Server, what: &str, body: &str) -> Value {
    env.soon(what, async {
        loop {
            if let Some(answer) = answer(server, what, body) {
                return answer;
            }
            future::yield_now().await;
        }
    })
    .await
}

/// All events of a stream, in its order.
///
/// # Panics
/// As [`asked`], and when something is stored that is no event of a number.
pub async fn all_stored(env: &Env, server: &Server, stream: &str) -> Vec<Stored> {
    env.soon("reading the stream", async {
        loop {
            if let Some(all) = stored_now(server, stream) {
                return all;
            }
            future::yield_now().await;
        }
    })
    .await
}

/// The answer to `$JS.API.<what>`; `None` when it is refused, or there is nobody to give it.
///
/// # Panics
/// When the server is not there, or hangs up.
#[must_use]
pub fn answer(server: &Server, what: &str, body: &str) -> Option<Value> {
    let mut raw = Raw::connect(&server.address()).expect("a connection");
    ask(&mut raw, what, body)
}

/// The same as [`all_stored`]; `None` when a leader changed meanwhile.
///
/// # Panics
/// As [`answer`], and when something is stored that is no event of a number.
#[must_use]
pub fn stored_now(server: &Server, stream: &str) -> Option<Vec<Stored>> {
    let mut raw = Raw::connect(&server.address()).expect("a connection");
    let config = r#"{"config":{"ack_policy":"none","mem_storage":true,"num_replicas":1}}"#;
    let config = config.replacen('{', &format!(r#"{{"stream_name":"{stream}","#), 1);
    let consumer = ask(&mut raw, &format!("CONSUMER.CREATE.{stream}"), &config)?;
    let name = consumer["name"].as_str()?;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
    raw.subscribe("batches");
    let mut all = Vec::new();
    let complete = 'batches: loop {
        let body = format!(r#"{{"batch":{BATCH},"no_wait":true}}"#);
        raw.publish(Outbound::new(&*next, body).with_reply("batches"));
        for _ in 0..BATCH {
            let (_, message) = raw.next(ANSWER)?;
            match message.status {
                None => all.push(event(&message)),
                // There are no more.
                Some(status) => break 'batches status.code == 404 || status.code == 408,
            }
        }
    };
    let info = ask(&mut raw, &format!("STREAM.INFO.{stream}"), "")?;
    let messages = info["state"]["messages"].as_u64()?;
    (complete && messages == all.len() as u64).then_some(all)
}

fn event(message: &Message) -> Stored {
    let reply = message.reply.as_ref().and_then(Meta::parse);
    let body: Value = serde_json::from_slice(&message.payload).expect("an event");
    let number = body["payload"].as_u64().expect("a number");
    Stored {
        sequence: reply.expect("a delivery").stream_seq,
        key: body["aggregate_id"].as_str().expect("a key").to_owned(),
        number: number.try_into().expect("a small number"),
    }
}

/// `None` when it is refused, or not answered.
fn ask(raw: &mut Raw, what: &str, body: &str) -> Option<Value> {
    let inbox = raw.subscribe("answers");
    let request = Outbound::new(format!("$JS.API.{what}"), body.to_owned());
    raw.publish(request.with_reply("answers"));
    let answer = raw.next(ANSWER);
    raw.unsubscribe(inbox);
    let answer: Value = serde_json::from_slice(&answer?.1.payload).ok()?;
    answer.get("error").is_none().then_some(answer)
}
