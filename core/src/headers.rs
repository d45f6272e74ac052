//! Message headers.

use std::fmt;
use std::sync::Arc;

/// An ordered list of names and values. Clones share it; empty ones own no memory.
///
/// Names compare as written, as nats-server does for the headers it acts on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Line>>>);

type Line = (Box<str>, Box<str>);

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
        Self(None)
    }

    /// Appends a header; one of the same name stays.
    ///
    /// # Errors
    /// When `name` or `value` could not be sent as one header line.
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(HeaderError::Name { name: name.into() });
        }
        if value.contains(['\r', '\n']) {
            return Err(HeaderError::Value { name: name.into() });
        }
        self.lines_mut().push((name.into(), value.into()));
        Ok(())
    }

    /// Sets a header in place of all of its name.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let before = self.0.as_ref().map_or(0, |lines| lines.len());
        self.append(name, value)?;
        let mut index = 0;
        self.lines_mut().retain(|(n, _)| {
            index += 1;
            index > before || **n != *name
        });
        Ok(())
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0.iter().flat_map(|lines| lines.iter());
        lines.map(|(n, v)| (&**n, &**v))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that these headers take on the wire (`NATS/1.0`, the lines, the
    /// empty line); 0 when there are none. They count against the server's limit.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let lines: usize = self.iter().map(|(n, v)| n.len() + 2 + v.len() + 2).sum();
        "NATS/1.0\r\n".len() + lines + 2
    }

    /// The lines, to add one: never left empty.
    fn lines_mut(&mut self) -> &mut Vec<Line> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
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
    fn debug_hides_values() {
        let mut headers = Headers::new();
        headers.append("token", "secret").unwrap();
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
