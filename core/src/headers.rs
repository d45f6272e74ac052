//! Message headers.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// An ordered list of names and values. Clones share it; empty ones own no memory.
///
/// Names compare as written, as nats-server does for the headers it acts on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(
    /// Lines `name:value`, each with its line break: no name holds the one, no value
    /// the other.
    Bytes,
);

/// Why a header was refused. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is empty, or holds something else than visible ASCII without `:`.
    Name {
        /// The name.
        name: String,
    },
    /// The value holds a line break, which would start another header.
    Value {
        /// The name; values may be secret.
        name: String,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => write!(
                f,
                "header name {name:?} is refused: it holds visible ASCII characters without `:` only, at least one"
            ),
            Self::Value { name } => {
                write!(
                    f,
                    "the value of header {name:?} is refused: it holds no line break"
                )
            }
        }
    }
}

impl std::error::Error for HeaderError {}

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Appends a header; one of the same name stays. Copies those that are there.
    ///
    /// # Errors
    /// When `name` or `value` could not be sent as one header line.
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        check(name, value)?;
        let most = self.0.len() + line_len(name, value);
        self.0 = block(most, self.iter().chain([(name, value)]));
        Ok(())
    }

    /// Sets a header in place of all of its name.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        *self = self.with(&[(name, value)])?;
        Ok(())
    }

    /// These headers, and `others` in place of all of their names.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn with(&self, others: &[(&str, &str)]) -> Result<Self, HeaderError> {
        let mut most = self.0.len();
        for (name, value) in others {
            check(name, value)?;
            most += line_len(name, value);
        }
        let is_other = |name: &str| others.iter().any(|(other, _)| *other == name);
        let kept = self.iter().filter(|(name, _)| !is_other(name));
        Ok(Self(block(most, kept.chain(others.iter().copied()))))
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.split(|b| *b == b'\n');
        let value = lines.find_map(|line| {
            let (is_name, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            (is_name == name.as_bytes()).then_some(value)
        });
        // UTF-8 at every construction.
        std::str::from_utf8(value?).ok()
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        // UTF-8 at every construction.
        let text = std::str::from_utf8(&self.0).unwrap_or_default();
        text.split_terminator('\n')
            .filter_map(|line| line.split_once(':'))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that these headers take on the wire (`NATS/1.0`, the lines, the
    /// empty line); 0 when there are none. They count against the server's limit.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        // On the wire a line has a blank and a carriage return more.
        let lines = self.0.iter().filter(|byte| **byte == b'\n').count();
        "NATS/1.0\r\n".len() + self.0.len() + 2 * lines + "\r\n".len()
    }

    /// `part`, which came from here, sharing these headers' memory.
    pub(crate) fn share(&self, part: &str) -> Bytes {
        self.0.slice_ref(part.as_bytes())
    }
}

/// The longest block that is kept in one piece with the count of those who share it: an
/// id or two, as most messages have. Of a longer one the first clone allocates.
const SHORT: usize = 96;

#[derive(Debug)]
struct Short {
    bytes: [u8; SHORT],
    len: usize,
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// These lines, which were checked, and take at most so many bytes.
fn block<'a>(most: usize, lines: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    if most == 0 {
        return Bytes::new();
    }
    if most > SHORT {
        let mut block = Vec::with_capacity(most);
        lines.for_each(|(name, value)| write(&mut block, name, value));
        return Bytes::from(block);
    }
    let mut bytes = [0; SHORT];
    let mut room = &mut bytes[..];
    lines.for_each(|(name, value)| write(&mut room, name, value));
    let len = SHORT - room.len();
    Bytes::from_owner(Short { bytes, len })
}

/// Bytes of headers carved from one allocation.
const CHUNK: usize = 8 * 1_024;

/// Writes the headers of many messages, many to an allocation. Headers that are kept
/// keep their whole chunk.
#[derive(Debug, Default)]
pub struct Writer(BytesMut);

impl Writer {
    /// Appends a header to those being written; one of the same name stays.
    ///
    /// # Errors
    /// As [`Headers::append`].
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        check(name, value)?;
        let len = line_len(name, value);
        if self.0.capacity() - self.0.len() < len {
            self.0.reserve(CHUNK.max(len));
        }
        write(&mut self.0, name, value);
        Ok(())
    }

    /// What was written since the last time.
    pub fn finish(&mut self) -> Headers {
        Headers(self.0.split().freeze())
    }
}

fn check(name: &str, value: &str) -> Result<(), HeaderError> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(HeaderError::Name { name: name.into() });
    }
    if value.bytes().any(|b| b == b'\r' || b == b'\n') {
        return Err(HeaderError::Value { name: name.into() });
    }
    Ok(())
}

fn line_len(name: &str, value: &str) -> usize {
    name.len() + 1 + value.len() + 1
}

fn write(block: &mut impl BufMut, name: &str, value: &str) {
    block.put_slice(name.as_bytes());
    block.put_u8(b':');
    block.put_slice(value.as_bytes());
    block.put_u8(b'\n');
}

/// Values may be secret: only names and lengths are shown.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(n, v)| (n, format!("{} bytes", v.len()))))
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_and_replace() {
        let mut headers = Headers::new();
        headers.append("a", "1").unwrap();
        headers.append("b", "2").unwrap();
        headers.append("a", "3").unwrap();
        assert_eq!(headers.get("a"), Some("1"));
        headers.insert("a", "4").unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("b", "2"), ("a", "4")]);
    }

    #[test]
    fn short_and_long_ones_are_alike() {
        for len in 0..2 * SHORT {
            let value = "v".repeat(len);
            let mut headers = Headers::new();
            headers.append("b", "1").unwrap();
            headers.append("a", &value).unwrap();
            let written = Headers::new().with(&[("b", "1"), ("a", &value)]).unwrap();
            assert_eq!(headers, written);
            assert_eq!(headers.get("a"), Some(&*value));
            let clone = headers.clone();
            headers.insert("a", "2").unwrap();
            assert_eq!(headers.iter().collect::<Vec<_>>(), [("b", "1"), ("a", "2")]);
            assert_eq!(clone, written);
        }
        assert!(Headers::new().with(&[]).unwrap().is_empty());
    }

    #[test]
    fn headers_cannot_be_injected() {
        let mut headers = Headers::new();
        assert!(headers.append("a", "x\r\nb: y").is_err());
        assert!(headers.append("a b", "x").is_err());
        assert!(headers.append("a:", "x").is_err());
        assert!(headers.append("", "x").is_err());
        assert!(headers.is_empty());
        assert_eq!(headers.wire_len(), 0);
    }

    #[test]
    fn values_may_be_empty_or_look_like_headers() {
        let mut headers = Headers::new();
        headers.append("a", "").unwrap();
        headers.append("b", "c: d").unwrap();
        headers.append("e", " ä").unwrap();
        let all = [("a", ""), ("b", "c: d"), ("e", " ä")];
        assert_eq!(headers.iter().collect::<Vec<_>>(), all);
        let wire = "NATS/1.0\r\na: \r\nb: c: d\r\ne:  ä\r\n\r\n";
        assert_eq!(headers.wire_len(), wire.len());
    }

    #[test]
    fn clones_share_and_changes_do_not_show_in_them() {
        let mut headers = Headers::new();
        headers.append("a", "1").unwrap();
        let before = headers.clone();
        headers.insert("a", "2").unwrap();
        assert_eq!((before.get("a"), headers.get("a")), (Some("1"), Some("2")));
        let value = headers.get("a").unwrap();
        assert_eq!(headers.share(value).as_ptr(), value.as_ptr());
    }

    #[test]
    fn written_headers_share_chunks_and_outgrow_them() {
        let mut writer = Writer::default();
        let long = "x".repeat(3 * CHUNK);
        let all: Vec<_> = (0..1_000)
            .map(|n| {
                writer.append("a", &n.to_string()).unwrap();
                assert!(writer.append("a b", "x").is_err());
                writer.append("b", "").unwrap();
                writer.finish()
            })
            .collect();
        writer.append("long", &long).unwrap();
        assert_eq!(writer.finish().get("long"), Some(&*long));
        assert!(writer.finish().is_empty());
        for (n, headers) in all.iter().enumerate() {
            let n = n.to_string();
            assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", &*n), ("b", "")]);
        }
        let [first, second, ..] = &*all else {
            unreachable!()
        };
        let end = first.0.as_ptr_range().end;
        assert_eq!(end, second.0.as_ptr());
    }

    #[test]
    fn debug_hides_values() {
        let mut headers = Headers::new();
        headers.append("token", "secret").unwrap();
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
