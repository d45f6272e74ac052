//! Reading an envelope, once, without copies where JSON allows it.

use std::borrow::Cow;
use std::fmt;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Envelope, Event, Text, shown};
use crate::Timestamp;
use crate::subject::NameError;

/// Why bytes are no envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are no JSON object, or a field is of the wrong type: what and where.
    Json(String),
    /// A field is not there.
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field breaks its rule.
    Field(NameError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(what) => write!(f, "no envelope: {what}"),
            Self::Missing { field } => write!(f, "no envelope: {field} is missing"),
            Self::Field(error) => write!(f, "no envelope: {error}"),
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Field(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads an envelope. Strings are copied only where JSON escaped them.
///
/// # Errors
/// When the bytes are no envelope, with the field, its value and its rule.
pub fn decode(body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let wire: Wire<'_> = serde_json::from_slice(body).map_err(|e| DecodeError::Json(shown(&e)))?;
    let missing = |field| move || DecodeError::Missing { field };
    let envelope = Envelope {
        event_id: wire.event_id.ok_or_else(missing("event_id"))?,
        aggregate_id: wire.aggregate_id.ok_or_else(missing("aggregate_id"))?,
        event_type: wire.event_type.ok_or_else(missing("event_type"))?,
        event_version: wire.event_version.ok_or_else(missing("event_version"))?,
        timestamp: wire.timestamp.ok_or_else(missing("timestamp"))?.0,
        payload: wire.payload.ok_or_else(missing("payload"))?,
        trace_id: wire.trace_id.filter(|id| !id.is_empty()),
        correlation_id: wire.correlation_id.filter(|id| !id.is_empty()),
        tenant_id: wire.tenant_id.unwrap_or(0),
    };
    envelope.fields().check().map_err(DecodeError::Field)?;
    Ok(envelope)
}

/// Reads an envelope into parts that share the memory of `body`.
///
/// # Errors
/// As [`decode`].
pub fn decode_owned(body: &Bytes) -> Result<Event, DecodeError> {
    let envelope = decode(body)?;
    let text = |part| Text::from_body(part, body);
    Ok(Event {
        event_id: text(envelope.event_id),
        aggregate_id: text(envelope.aggregate_id),
        event_type: text(envelope.event_type),
        event_version: envelope.event_version,
        timestamp: envelope.timestamp,
        payload: body.slice_ref(envelope.payload.get().as_bytes()),
        trace_id: envelope.trace_id.map(text),
        correlation_id: envelope.correlation_id.map(text),
        tenant_id: envelope.tenant_id,
    })
}

/// The fields as they were found.
#[derive(Default)]
struct Wire<'a> {
    event_id: Option<Cow<'a, str>>,
    aggregate_id: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    event_version: Option<i64>,
    timestamp: Option<WireTime>,
    payload: Option<&'a RawValue>,
    trace_id: Option<Cow<'a, str>>,
    correlation_id: Option<Cow<'a, str>>,
    tenant_id: Option<i64>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    EventId,
    AggregateId,
    EventType,
    EventVersion,
    Timestamp,
    Payload,
    TraceId,
    CorrelationId,
    TenantId,
    #[serde(other)]
    Unknown,
}

/// By hand, because the derived code would refuse a field given twice and would
/// not name the field whose type is wrong.
impl<'de> Deserialize<'de> for Wire<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Wire<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Wire<'de>, M::Error> {
                let mut wire = Wire::default();
                while let Some(key) = map.next_key()? {
                    let map = &mut map;
                    match key {
                        Key::EventId => wire.event_id = string(map, "event_id")?,
                        Key::AggregateId => wire.aggregate_id = string(map, "aggregate_id")?,
                        Key::EventType => wire.event_type = string(map, "event_type")?,
                        Key::EventVersion => wire.event_version = value(map, "event_version")?,
                        Key::Timestamp => wire.timestamp = value(map, "timestamp")?,
                        Key::Payload => wire.payload = Some(map.next_value()?),
                        Key::TraceId => wire.trace_id = string(map, "trace_id")?,
                        Key::CorrelationId => wire.correlation_id = string(map, "correlation_id")?,
                        Key::TenantId => wire.tenant_id = value(map, "tenant_id")?,
                        Key::Unknown => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(wire)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn value<'de, M: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut M,
    field: &'static str,
) -> Result<Option<T>, M::Error> {
    map.next_value()
        .map_err(|e| M::Error::custom(format_args!("{field}: {e}")))
}

fn string<'de, M: MapAccess<'de>>(
    map: &mut M,
    field: &'static str,
) -> Result<Option<Cow<'de, str>>, M::Error> {
    map.next_value_seed(Borrow)
        .map_err(|e| M::Error::custom(format_args!("{field}: {e}")))
}

/// A string borrowed where possible: plain `Cow` always copies.
struct Borrow;

impl<'de> DeserializeSeed<'de> for Borrow {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

        Ok(Option::<Borrowed<'de>>::deserialize(deserializer)?.map(|text| text.0))
    }
}

/// A time of any year, moved into the range of [`Timestamp`].
struct WireTime(Timestamp);

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Borrow
            .deserialize(deserializer)?
            .ok_or_else(|| D::Error::custom("expected a time"))?;
        let time = OffsetDateTime::parse(&text, &Rfc3339)
            .map_err(|_| D::Error::custom(format_args!("{text:?} is no RFC 3339 time")))?;
        let nanos = time.unix_timestamp_nanos();
        let nanos = nanos.clamp(i64::MIN.into(), i64::MAX.into());
        Ok(Self(Timestamp::from_unix_nanos(
            i64::try_from(nanos).unwrap_or_default(),
        )))
    }
}
