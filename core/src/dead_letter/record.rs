//! Writing a dead letter.

use bytes::Bytes;

use super::{Names, Origin, PREFIX, Reason, SOURCE, header};
use crate::{Headers, Outbound, Timestamp};

/// The longest error text that is kept, in bytes.
pub const MAX_ERROR: usize = 1_024;

/// The longest key or event id that is kept in a header, in bytes. The payload has
/// them whole.
const MAX_ID: usize = 512;

/// A dead letter to be written.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Where it comes from.
    pub origin: &'a Origin,
    /// Its key, if it has one.
    pub key: Option<&'a str>,
    /// The id of the event, if it is known.
    pub event_id: Option<&'a str>,
    /// Why it is given up.
    pub reason: Reason,
    /// The last error.
    pub error: &'a str,
    /// Attempts of the process that gave it up.
    pub attempts: u32,
    /// How often the server had delivered it.
    pub deliveries: u64,
    /// When it failed last, if it did.
    pub last_failed: Option<Timestamp>,
    /// The headers of the source.
    pub headers: &'a Headers,
    /// The payload of the source.
    pub payload: &'a Bytes,
}

impl Record<'_> {
    /// The message, of at most `max` bytes in headers and payload: what is beyond is
    /// cut from the error, then from the payload, then headers of the source are left
    /// out, and marks say so. Below a kilobyte or so there is nothing left to cut.
    #[must_use]
    pub fn write(&self, names: &Names, max: usize) -> Outbound {
        let mut own = Headers::new();
        put(
            &mut own,
            header::MESSAGE_ID,
            &match planted!(AnotherId) {
                true => self.origin.message_id(&self.attempts.to_string()),
                false => self.origin.message_id("dead"),
            },
        );
        self.origin.write(&mut own);
        put(&mut own, header::REASON, self.reason.as_str());
        put(&mut own, header::ATTEMPTS, &self.attempts.to_string());
        put(&mut own, header::DELIVERIES, &self.deliveries.to_string());
        if let Some(at) = self.last_failed {
            put(&mut own, header::LAST_FAILED, &at.to_string());
        }
        for (name, value) in [(header::KEY, self.key), (header::EVENT_ID, self.event_id)] {
            let value = value.map(|value| line(value, MAX_ID));
            if let Some(value) = value.filter(|value| fits(&own, name, value, max)) {
                put(&mut own, name, &value);
            }
        }
        // Room for the longest error that still leaves room for the marks.
        let room = max.saturating_sub(own.wire_len() + MARKS + header::ERROR.len() + 4);
        let error = line(self.error, MAX_ERROR.min(room));
        if !error.is_empty() {
            put(&mut own, header::ERROR, &error);
        }
        let subject = names.dead(&self.origin.group, self.origin.subject.as_str());
        let whole = self.whole(&own);
        let (headers, payload) = if whole.wire_len() + self.payload.len() <= max {
            (whole, self.payload.clone())
        } else {
            self.cut(own, max)
        };
        Outbound {
            headers,
            ..Outbound::new(subject, payload)
        }
    }

    /// Our headers and all of the source.
    fn whole(&self, own: &Headers) -> Headers {
        let mut headers = own.clone();
        for (name, value) in self.headers.iter() {
            put(&mut headers, &renamed(name), value);
        }
        headers
    }

    /// As many headers of the source as there is room for, and the beginning of the
    /// payload in what is left.
    fn cut(&self, own: Headers, max: usize) -> (Headers, Bytes) {
        let mut headers = own;
        let mut left_out = 0_usize;
        for (name, value) in self.headers.iter() {
            let name = renamed(name);
            if fits(&headers, &name, value, max) {
                put(&mut headers, &name, value);
            } else {
                left_out += 1;
            }
        }
        let room = max.saturating_sub(headers.wire_len() + MARKS);
        let payload = self.payload.slice(..room.min(self.payload.len()));
        if payload.len() < self.payload.len() {
            put(&mut headers, header::CUT, &self.payload.len().to_string());
        }
        if left_out > 0 {
            put(&mut headers, header::LEFT_OUT, &left_out.to_string());
        }
        (headers, payload)
    }
}

/// Room for both marks with the largest numbers, so that they always fit.
const MARKS: usize = header::CUT.len() + header::LEFT_OUT.len() + 2 * (4 + 20);

/// Whether there is room for one more header, and for the marks.
fn fits(headers: &Headers, name: &str, value: &str, max: usize) -> bool {
    let line = name.len() + value.len() + 4;
    headers.wire_len().saturating_add(line + MARKS) <= max
}

/// The name under which a header of the source is kept.
pub(super) fn renamed(name: &str) -> String {
    if is_special(name) {
        [SOURCE, name].concat()
    } else {
        name.into()
    }
}

/// Whether a header of this name means something to the server, or to us.
pub(super) fn is_special(name: &str) -> bool {
    let starts_with = |prefix: &str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    starts_with("Nats-") || starts_with(PREFIX)
}

/// Adds a header. What could not be one is left out: names are ours or were headers,
/// and values were headers or went through [`line`].
pub(super) fn put(headers: &mut Headers, name: &str, value: &str) {
    let refused = headers.append(name, value);
    debug_assert!(refused.is_ok(), "{name} can be sent");
}

/// `text` as the value of a header: control characters become spaces, and it is cut
/// at a character to `most` bytes.
fn line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for c in text.trim_matches(is_blank).chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > most {
            break;
        }
        line.push(c);
    }
    // Readers take spaces around a value for none of it.
    line.truncate(line.trim_end().len());
    line
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}
