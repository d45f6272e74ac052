//! Requests about single messages.

use serde_json::json;

use super::{Answer, fields};
use crate::Headers;
use crate::broker::Broker;
use crate::broker::error::{self, Error};
use crate::broker::json::object;
use crate::broker::store::Stored;
use crate::jetstream::api::Storage;

impl Broker {
    pub(super) fn message_get(&self, name: &str, body: &[u8]) -> Answer {
        if body.is_empty() {
            return Err(error::BAD_REQUEST.into());
        }
        let mut o = object(body, "JSApiMsgGetRequest")?;
        let mut seq = o.uint64("seq")?;
        let last_for = o.string("last_by_subj")?;
        let next_for = o.string("next_by_subj")?;
        let start = o.time("start_time")?;
        let no_headers = o.bool("no_hdr")?;
        o.finish()?;
        let asked = seq > 0 || !last_for.is_empty() || !next_for.is_empty() || start.is_some();
        let torn = !last_for.is_empty() && (seq > 0 || !next_for.is_empty() || start.is_some());
        if !asked || torn || seq > 0 && start.is_some() {
            return Err(error::BAD_REQUEST.into());
        }
        let stream = self.stream(name)?;
        if let Some(start) = start {
            seq = stream.store.seq_from_time(start);
        }
        let found = if !last_for.is_empty() {
            stream
                .last_seq(&last_for)
                .and_then(|seq| stream.store.get(seq).map(|m| (seq, m)))
        } else if !next_for.is_empty() {
            stream.store.next_match(seq, &[next_for])
        } else {
            stream.store.get(seq).map(|m| (seq, m))
        };
        let (seq, message) = found.ok_or(error::MESSAGE_NOT_FOUND)?;
        let message = shown(seq, message, no_headers);
        Ok(fields(json!({"message": message})))
    }

    pub(super) fn message_delete(&mut self, name: &str, body: &[u8]) -> Answer {
        if body.is_empty() {
            return Err(error::BAD_REQUEST.into());
        }
        let mut o = object(body, "JSApiMsgDeleteRequest")?;
        let seq = o.uint64("seq")?;
        o.bool("no_erase")?;
        o.finish()?;
        let stream = self.streams.get_mut(name).ok_or(error::STREAM_NOT_FOUND)?;
        if stream.config.deny_delete {
            return Err(Error::delete_failed("message delete not permitted").into());
        }
        if !stream.remove(&mut self.world, seq) {
            let store = &stream.store;
            return Err(match stream.config.storage {
                Storage::File if seq > store.last() => Error::delete_failed("stream store EOF"),
                Storage::File if seq < store.first().max(1) => {
                    Error::delete_failed("no message found")
                }
                _ => Error::sequence_not_found(seq),
            }
            .into());
        }
        Ok(fields(json!({"success": true})))
    }
}

fn shown(seq: u64, message: &Stored, no_headers: bool) -> serde_json::Value {
    let mut o = fields(json!({
        "subject": message.subject.as_str(),
        "seq": seq,
        "time": message.at,
    }));
    if !no_headers && !message.headers.is_empty() {
        o.insert("hdrs".into(), json!(base64(&wire(&message.headers))));
    }
    if !message.payload.is_empty() {
        o.insert("data".into(), json!(base64(&message.payload)));
    }
    serde_json::Value::Object(o)
}

/// Headers as they travel.
fn wire(headers: &Headers) -> Vec<u8> {
    let mut wire = b"NATS/1.0\r\n".to_vec();
    for (name, value) in headers.iter() {
        for part in [name, ": ", value, "\r\n"] {
            wire.extend_from_slice(part.as_bytes());
        }
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place) & 63) as usize;
            let shown = DIGITS.get(digit).copied().unwrap_or(b'=');
            text.push(if place <= chunk.len() {
                char::from(shown)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
