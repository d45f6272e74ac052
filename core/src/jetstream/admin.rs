//! Requests to `$JS.API` and their answers: what to send, and what came back.
//!
//! A request says nothing about waiting: publish it with a reply subject and give
//! the message that comes there to [`answer`] (or [`stored_message`]).

mod stored;

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::jetstream::api::{
    AccountInfo, ApiError, ConsumerConfig, ConsumerInfo, ConsumerNames, Purged, StreamConfig,
    StreamInfo, StreamNames, Success, codes,
};
use crate::jetstream::publish::transient;
use crate::names::Api;
use crate::{Message, Subject};

pub use stored::{StoredMessage, stored_message};

/// What to publish, with a reply subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub subject: Subject,
    /// The body.
    pub payload: Bytes,
}

/// Why a request was not answered as wished.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdminError {
    /// The server refused.
    Api(ApiError),
    /// Nobody listens: JetStream is off, the domain or prefix is wrong, or a
    /// cluster has no leader just now.
    NoResponders,
    /// The answer could not be read: why. Whether the request was done is unknown.
    Malformed(String),
}

impl AdminError {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Api(error) => transient(error.err_code),
            Self::NoResponders => true,
            Self::Malformed(_) => false,
        }
    }

    /// The server's error code, if it refused with one.
    #[must_use]
    pub const fn err_code(&self) -> Option<u32> {
        match self {
            Self::Api(error) => Some(error.err_code),
            _ => None,
        }
    }

    /// Whether the stream or consumer asked for is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(
            self.err_code(),
            Some(codes::STREAM_NOT_FOUND | codes::CONSUMER_NOT_FOUND | codes::MESSAGE_NOT_FOUND)
        )
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => write!(f, "the server refused: {error}"),
            Self::NoResponders => f.write_str(
                "nobody answers requests of JetStream: it is off, its domain or prefix is another, or it has no leader",
            ),
            Self::Malformed(why) => write!(f, "the server's answer could not be read: {why}"),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }
}

mod sealed {
    pub trait Answer {}
}

/// What a request is answered with.
pub trait Answer: DeserializeOwned + sealed::Answer {}

macro_rules! answers {
    ($($type:ty),*) => {$(
        impl sealed::Answer for $type {}
        impl Answer for $type {}
    )*};
}

answers!(
    AccountInfo,
    StreamInfo,
    StreamNames,
    Success,
    Purged,
    ConsumerInfo,
    ConsumerNames
);

/// Reads the answer to a request.
///
/// # Errors
/// When the server refused, nobody listened, or the answer is no such JSON.
pub fn answer<T: Answer>(message: &Message) -> Result<T, AdminError> {
    json(message)
}

fn json<T: DeserializeOwned>(message: &Message) -> Result<T, AdminError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<ApiError>,
    }

    let malformed = |error: serde_json::Error| AdminError::Malformed(error.to_string());
    if message.payload.is_empty() {
        return Err(match &message.status {
            Some(status) if status.code == 503 => AdminError::NoResponders,
            Some(status) => AdminError::Api(ApiError {
                code: status.code,
                err_code: 0,
                description: status.description.to_string(),
            }),
            None => AdminError::Malformed("it is empty".into()),
        });
    }
    let refusal: Refusal = serde_json::from_slice(&message.payload).map_err(malformed)?;
    match refusal.error {
        Some(error) => Err(AdminError::Api(error)),
        None => serde_json::from_slice(&message.payload).map_err(malformed),
    }
}

fn request(subject: Subject, body: &impl Serialize) -> Request {
    // Only maps with keys that are no strings fail, and there are none.
    let payload = serde_json::to_vec(body).unwrap_or_default();
    Request {
        subject,
        payload: payload.into(),
    }
}

const fn bare(subject: Subject) -> Request {
    Request {
        subject,
        payload: Bytes::new(),
    }
}

/// Asks for the account's usage: [`AccountInfo`].
#[must_use]
pub fn account_info(api: &Api) -> Request {
    bare(api.account_info())
}

/// Creates a stream: [`StreamInfo`]. An equal one is an answer too; another of
/// this name is [`codes::STREAM_EXISTS`], of its subjects
/// [`codes::SUBJECT_OVERLAP`].
#[must_use]
pub fn create_stream(api: &Api, config: &StreamConfig) -> Request {
    request(api.stream_create(&config.name), config)
}

/// Changes a stream: [`StreamInfo`].
#[must_use]
pub fn update_stream(api: &Api, config: &StreamConfig) -> Request {
    request(api.stream_update(&config.name), config)
}

/// Asks for a stream: [`StreamInfo`], else [`codes::STREAM_NOT_FOUND`].
#[must_use]
pub fn stream_info(api: &Api, stream: &str) -> Request {
    bare(api.stream_info(stream))
}

/// Asks for the streams that store something under `subject` (a pattern is
/// allowed), or for all: [`StreamNames`], from `offset` on.
#[must_use]
pub fn stream_names(api: &Api, subject: Option<&str>, offset: u64) -> Request {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        offset: u64,
    }
    request(api.stream_names(), &Body { subject, offset })
}

/// Deletes a stream and all that it holds: [`Success`].
#[must_use]
pub fn delete_stream(api: &Api, stream: &str) -> Request {
    bare(api.stream_delete(stream))
}

/// Removes the messages of a stream, or those that `filter` covers: [`Purged`].
#[must_use]
pub fn purge_stream(api: &Api, stream: &str, filter: Option<&str>) -> Request {
    #[derive(Serialize)]
    struct Body<'a> {
        filter: &'a str,
    }
    let subject = api.stream_purge(stream);
    match filter {
        None => bare(subject),
        Some(filter) => request(subject, &Body { filter }),
    }
}

/// Asks for the message at a sequence: [`stored_message`], else
/// [`codes::MESSAGE_NOT_FOUND`].
#[must_use]
pub fn message_at(api: &Api, stream: &str, seq: u64) -> Request {
    #[derive(Serialize)]
    struct Body {
        seq: u64,
    }
    request(api.message_get(stream), &Body { seq })
}

/// Asks for the first message at a sequence or after it whose subject `filter`
/// covers: [`stored_message`], else [`codes::MESSAGE_NOT_FOUND`].
#[must_use]
pub fn next_message(api: &Api, stream: &str, seq: u64, filter: &str) -> Request {
    #[derive(Serialize)]
    struct Body<'a> {
        seq: u64,
        next_by_subj: &'a str,
    }
    let body = Body {
        seq,
        next_by_subj: filter,
    };
    request(api.message_get(stream), &body)
}

/// Asks for the last message of a subject: [`stored_message`], else
/// [`codes::MESSAGE_NOT_FOUND`].
#[must_use]
pub fn last_message(api: &Api, stream: &str, subject: &str) -> Request {
    #[derive(Serialize)]
    struct Body<'a> {
        last_by_subj: &'a str,
    }
    let body = Body {
        last_by_subj: subject,
    };
    request(api.message_get(stream), &body)
}

/// Removes the message at a sequence; its bytes are not written over: [`Success`].
#[must_use]
pub fn delete_message(api: &Api, stream: &str, seq: u64) -> Request {
    #[derive(Serialize)]
    struct Body {
        seq: u64,
        no_erase: bool,
    }
    let body = Body {
        seq,
        no_erase: true,
    };
    request(api.message_delete(stream), &body)
}

/// What `CONSUMER.CREATE` may do (servers since 2.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Create it, or change one that is there.
    #[default]
    #[serde(rename = "")]
    Any,
    /// Only create: [`codes::CONSUMER_EXISTS`] when another of this name is there.
    #[serde(rename = "create")]
    Create,
    /// Only change: [`codes::CONSUMER_DOES_NOT_EXIST`] when it is not there.
    #[serde(rename = "update")]
    Update,
}

/// Creates or changes the consumer that `config` names: [`ConsumerInfo`].
#[must_use]
pub fn create_consumer(
    api: &Api,
    stream: &str,
    config: &ConsumerConfig,
    action: Action,
) -> Request {
    #[derive(Serialize)]
    struct Body<'a> {
        stream_name: &'a str,
        config: &'a ConsumerConfig,
        #[serde(skip_serializing_if = "is_any")]
        action: Action,
    }
    const fn is_any(action: &Action) -> bool {
        matches!(action, Action::Any)
    }

    let name = config.name.as_deref().or(config.durable_name.as_deref());
    let subject = api.consumer_create(
        stream,
        name.unwrap_or_default(),
        config.filter_subject.as_deref(),
    );
    let body = Body {
        stream_name: stream,
        config,
        action,
    };
    request(subject, &body)
}

/// Asks for a consumer: [`ConsumerInfo`], else [`codes::CONSUMER_NOT_FOUND`] or
/// [`codes::STREAM_NOT_FOUND`].
#[must_use]
pub fn consumer_info(api: &Api, stream: &str, consumer: &str) -> Request {
    bare(api.consumer_info(stream, consumer))
}

/// Deletes a consumer: [`Success`].
#[must_use]
pub fn delete_consumer(api: &Api, stream: &str, consumer: &str) -> Request {
    bare(api.consumer_delete(stream, consumer))
}

/// Asks for the consumers of a stream: [`ConsumerNames`], from `offset` on.
#[must_use]
pub fn consumer_names(api: &Api, stream: &str, offset: u64) -> Request {
    #[derive(Serialize)]
    struct Body {
        offset: u64,
    }
    request(api.consumer_names(stream), &Body { offset })
}

#[cfg(all(test, not(loom)))]
mod tests;
