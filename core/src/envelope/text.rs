//! Text that shares the memory of a message.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A string that shares the memory of the message it was read from.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// `text`, without a copy when it is borrowed from `body`.
    pub(super) fn from_body(text: Cow<'_, str>, body: &Bytes) -> Self {
        Self(match text {
            Cow::Borrowed(part) => body.slice_ref(part.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // UTF-8 at every construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text, sharing the same memory.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
