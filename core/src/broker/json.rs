//! Reading requests as the server does: strict about fields and their types, with
//! its words for what is wrong.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::Error;
use crate::Timestamp;

/// A JSON object being read. `at` is how Go names the place (`StreamConfigRequest.`).
#[derive(Debug)]
pub(super) struct Object {
    at: String,
    fields: Map<String, Value>,
}

/// Parses `payload` as an object that Go would call `name`; an empty one reads as
/// an object without fields.
pub(super) fn object(payload: &[u8], name: &str) -> Result<Object, Error> {
    let fields = if payload.is_empty() {
        Map::new()
    } else {
        match serde_json::from_slice(payload) {
            Ok(Value::Object(fields)) => fields,
            Ok(Value::Null) => Map::new(),
            Ok(other) => {
                return Err(Error::invalid_json(format_args!(
                    "json: cannot unmarshal {} into Go value of type server.{name}",
                    kind(&other)
                )));
            }
            Err(error) => return Err(Error::invalid_json(syntax(&error, payload))),
        }
    };
    Ok(Object {
        at: format!("{name}."),
        fields,
    })
}

/// What Go says of broken JSON, for the two common ways to break it.
pub(super) fn syntax(error: &serde_json::Error, payload: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let offset = payload
        .split(|b| *b == b'\n')
        .take(error.line().saturating_sub(1))
        .map(|line| line.len() + 1)
        .sum::<usize>()
        + error.column();
    let byte = payload
        .get(offset.saturating_sub(1))
        .copied()
        .unwrap_or(b' ');
    let place = match payload.get(..offset.saturating_sub(1)) {
        Some(before) if before.trim_ascii_end().ends_with(b"{") => {
            "looking for beginning of object key string"
        }
        Some(before) if byte == b'}' && before.trim_ascii_end().ends_with(b",") => {
            "looking for beginning of object key string"
        }
        Some(_) if error.to_string().starts_with("expected `:`") => "after object key",
        _ => "looking for beginning of value",
    };
    format!(
        "invalid character {:?} {place} at offset {offset}",
        char::from(byte)
    )
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Object {
    /// Takes a field; Go does not mind the case of its name.
    fn take(&mut self, field: &str) -> Option<Value> {
        let value = self.fields.remove(field).or_else(|| {
            let other = self.fields.keys().find(|k| k.eq_ignore_ascii_case(field));
            let other = other.cloned()?;
            self.fields.remove(&other)
        });
        value.filter(|v| !v.is_null())
    }

    fn wrong(&self, field: &str, value: &Value, wanted: &str) -> Error {
        let shown = match value {
            Value::Number(n) if n.is_f64() => format!("number {n}"),
            other => kind(other).to_owned(),
        };
        Error::invalid_json(format_args!(
            "json: cannot unmarshal {shown} into Go struct field {}{field} of type {wanted}",
            self.at
        ))
    }

    fn wrong_item(&self, field: &str, index: usize, value: &Value, wanted: &str) -> Error {
        Error::invalid_json(format_args!(
            "json: cannot unmarshal {} into {}{field}.{index} of type {wanted}",
            kind(value),
            self.at
        ))
    }

    pub(super) fn string(&mut self, field: &str) -> Result<String, Error> {
        match self.take(field) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(field, &other, "string")),
        }
    }

    pub(super) fn bool(&mut self, field: &str) -> Result<bool, Error> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(yes)) => Ok(yes),
            Some(other) => Err(self.wrong(field, &other, "bool")),
        }
    }

    fn number(&mut self, field: &str, wanted: &str) -> Result<i64, Error> {
        match self.take(field) {
            None => Ok(0),
            Some(value) => value
                .as_i64()
                .ok_or_else(|| self.wrong(field, &value, wanted)),
        }
    }

    pub(super) fn int(&mut self, field: &str) -> Result<i64, Error> {
        self.number(field, "int")
    }

    pub(super) fn int32(&mut self, field: &str) -> Result<i64, Error> {
        let value = self.number(field, "int32")?;
        if i32::try_from(value).is_err() {
            return Err(Error::invalid_json(format_args!(
                "json: cannot unmarshal number {value} into Go struct field {}{field} of type int32",
                self.at
            )));
        }
        Ok(value)
    }

    pub(super) fn int64(&mut self, field: &str) -> Result<i64, Error> {
        self.number(field, "int64")
    }

    /// Nanoseconds.
    pub(super) fn duration(&mut self, field: &str) -> Result<i64, Error> {
        self.number(field, "time.Duration")
    }

    pub(super) fn uint64(&mut self, field: &str) -> Result<u64, Error> {
        match self.take(field) {
            None => Ok(0),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| self.wrong(field, &value, "uint64")),
        }
    }

    pub(super) fn strings(&mut self, field: &str) -> Result<Vec<String>, Error> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Value::String(text) => Ok(text),
                    other => Err(self.wrong_item(field, index, &other, "string")),
                })
                .collect(),
            Some(other) => Err(self.wrong(field, &other, "[]string")),
        }
    }

    pub(super) fn durations(&mut self, field: &str) -> Result<Vec<i64>, Error> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| {
                    item.as_i64()
                        .ok_or_else(|| self.wrong_item(field, index, &item, "time.Duration"))
                })
                .collect(),
            Some(other) => Err(self.wrong(field, &other, "[]time.Duration")),
        }
    }

    pub(super) fn metadata(&mut self) -> Result<BTreeMap<String, String>, Error> {
        match self.take("metadata") {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(fields)) => fields
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key, text)),
                    other => Err(self.wrong(&format!("metadata.{key}"), &other, "string")),
                })
                .collect(),
            Some(other) => Err(self.wrong("metadata", &other, "map[string]string")),
        }
    }

    pub(super) fn time(&mut self, field: &str) -> Result<Option<Timestamp>, Error> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => match Timestamp::parse(&text) {
                Some(at) => Ok(Some(at)),
                None => Err(Error::invalid_json(format_args!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                ))),
            },
            Some(other) => Err(self.wrong(field, &other, "time.Time")),
        }
    }

    /// A value that is one of a few words.
    pub(super) fn word<T: Copy + Default>(
        &mut self,
        field: &str,
        words: &[(&str, T)],
    ) -> Result<T, Error> {
        let Some(value) = self.take(field) else {
            return Ok(T::default());
        };
        let found = value
            .as_str()
            .and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            Error::invalid_json(format_args!("can not unmarshal {:?}", value.to_string()))
        })
    }

    /// The field as it came, if it says anything (not null, false, 0 or empty).
    pub(super) fn raw(&mut self, field: &str) -> Option<Value> {
        self.take(field).filter(|value| match value {
            Value::Bool(yes) => *yes,
            Value::Number(n) => n.as_i64() != Some(0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        })
    }

    pub(super) fn child(&mut self, field: &str, wanted: &str) -> Result<Self, Error> {
        let fields = match self.take(field) {
            None => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(other) => return Err(self.wrong(field, &other, wanted)),
        };
        Ok(Self {
            at: format!("{}{field}.", self.at),
            fields,
        })
    }

    /// Refuses fields that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(field) => Err(Error::invalid_json(format_args!(
                "json: unknown field {field:?}"
            ))),
        }
    }
}
