//! NATS subjects: names without wildcards, and patterns with them.
//!
//! Rules: <https://docs.nats.io/nats-concepts/subjects>.

use std::borrow::Borrow;
use std::fmt;

use bytes::{Bytes, BytesMut};

/// A subject or pattern as it travels: cheap to clone, always UTF-8.
///
/// Holding one says nothing about its grammar; [`check_topic`] and
/// [`check_pattern`] do that where users' input comes in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Bytes);

impl Subject {
    /// A subject known when the program is built.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The subject in `bytes`, without a copy; `None` when they are not UTF-8.
    #[must_use]
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked at every construction; without `unsafe` it is checked again,
        // which costs about a nanosecond for eight bytes.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text, sharing this subject's memory.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<&str> for Subject {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Subject {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Bytes of UTF-8 compare, and hash, as the text does only for `[u8]`.
impl Borrow<[u8]> for Subject {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Subject {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Subject {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Bytes of subjects carved from one allocation.
const CHUNK: usize = 8 * 1_024;

/// Makes subjects out of text, many to an allocation. One that is kept keeps its
/// whole chunk.
#[derive(Debug, Default)]
pub struct Writer {
    chunk: BytesMut,
    last: Option<Subject>,
}

impl Writer {
    /// A subject with this text.
    pub fn write(&mut self, text: &str) -> Subject {
        if self.chunk.capacity() < text.len() {
            self.chunk.reserve(CHUNK.max(text.len()));
        }
        self.chunk.extend_from_slice(text.as_bytes());
        Subject(self.chunk.split().freeze())
    }

    /// As [`write`](Self::write), for text that is mostly that of the last call: then
    /// the memory is shared.
    pub fn write_again(&mut self, text: &str) -> Subject {
        match &self.last {
            Some(last) if last == text => last.clone(),
            _ => {
                let subject = self.write(text);
                self.last.insert(subject).clone()
            }
        }
    }
}

/// The longest topic or pattern, in bytes.
pub const MAX_LEN: usize = 255;

/// Why a name was refused: the value, and the rule that it breaks. Nothing was
/// sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

impl NameError {
    /// `what` (a topic, a group, ...) cannot be `value` because of `rule`.
    #[must_use]
    pub fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        // A hostile name may be long; the message stays readable.
        let shown: String = value.chars().take(MAX_LEN + 1).collect();
        let value = if shown.len() < value.len() {
            shown + "..."
        } else {
            shown
        };
        Self { what, value, rule }
    }

    /// The kind of name: topic, group, stream, ...
    #[must_use]
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// The refused value (cut when it is very long).
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The rule that it breaks.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} is refused: {}",
            self.what, self.value, self.rule
        )
    }
}

impl std::error::Error for NameError {}

/// Checks a topic: a subject without wildcards.
///
/// # Errors
/// When it is empty, longer than [`MAX_LEN`] bytes, not ASCII, has a space or
/// control character, an empty token, a wildcard, starts with `$` (the server's
/// own subjects) or `_INBOX`, or ends in `.p` and digits (kept for partitions).
pub fn check_topic(topic: &str) -> Result<(), NameError> {
    let refuse = |rule| Err(NameError::new("topic", topic, rule));
    if let Err(rule) = check_tokens(topic) {
        return refuse(rule);
    }
    if topic.split('.').any(|token| token == "*" || token == ">") {
        return refuse("a topic has no wildcard token `*` or `>`");
    }
    check_reserved(topic).or_else(refuse)
}

/// Checks a pattern: a subject that may hold the wildcards `*` (one token) and
/// `>` (one or more tokens, at the end).
///
/// # Errors
/// As [`check_topic`], and when `>` is not the last token. Wildcards count only as
/// whole tokens: `a*` is an ordinary token.
pub fn check_pattern(pattern: &str) -> Result<(), NameError> {
    let refuse = |rule| Err(NameError::new("pattern", pattern, rule));
    if let Err(rule) = check_tokens(pattern) {
        return refuse(rule);
    }
    let mut tokens = pattern.split('.');
    while let Some(token) = tokens.next() {
        if token == ">" && tokens.next().is_some() {
            return refuse("the wildcard `>` stands only at the end");
        }
    }
    check_reserved(pattern).or_else(refuse)
}

fn check_tokens(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it must not be empty");
    }
    if text.len() > MAX_LEN {
        return Err("it has at most 255 bytes");
    }
    if !text.is_ascii() {
        return Err("it holds ASCII characters only");
    }
    if text.bytes().any(|b| b == b' ' || b.is_ascii_control()) {
        return Err("it holds no space and no control character");
    }
    if text.split('.').any(str::is_empty) {
        return Err("no token between dots is empty");
    }
    Ok(())
}

fn check_reserved(text: &str) -> Result<(), &'static str> {
    if text.starts_with('$') || text.split('.').next() == Some("_INBOX") {
        return Err(
            "subjects that start with `$` or `_INBOX` belong to the server and its clients",
        );
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last
        .strip_prefix('p')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err("a last token of `p` and digits is kept for partitions");
    }
    Ok(())
}

/// Whether `pattern` covers `subject`, token by token. A pattern without wildcards
/// covers itself only, and nothing covers an empty token. `subject` may itself be a
/// pattern: then the answer says whether everything it covers is covered too.
#[must_use]
pub fn covers(pattern: &str, subject: &str) -> bool {
    if subject.split('.').any(str::is_empty) {
        return false;
    }
    let mut subject = subject.split('.');
    for token in pattern.split('.') {
        match (token, subject.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(">")) => return false,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

/// Whether some subject is covered by both patterns.
#[must_use]
pub fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(x), Some(y)) if x == y => {}
            _ => return false,
        }
    }
}

/// Whether one of `a` and one of `b` cover a common subject.
#[must_use]
pub fn any_overlap(a: &[String], b: &[String]) -> bool {
    a.iter().any(|a| b.iter().any(|b| overlap(a, b)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn topics_follow_the_rules() {
        for good in [
            "a",
            "orders.placed",
            "a-b_c.d",
            "a*b.c",
            "x.pay",
            "p1.x",
            "x.p",
        ] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", " ", "a b", "a\tb", "a\nb", "a.", ".a", "a..b", "*", "a.*", "a.>", "ä", "$JS.x",
            "_INBOX.x", "a.p1", "p07", &long,
        ] {
            let error = check_topic(bad).unwrap_err();
            assert!(error.to_string().contains(error.rule()), "{bad}");
            assert_eq!(error.value(), bad);
        }
    }

    #[test]
    fn patterns_follow_the_rules() {
        for good in ["*", ">", "a.*", "a.*.b", "a.>", "*.>"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        for bad in ["", ">.a", "a.>.b", "a..>", "a b.>"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_cover_subjects() {
        let yes = [
            ("a", "a"),
            ("a.*", "a.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
            ("*.b", "a.b"),
            ("a.>", "a.*"),
            ("a.*", "a.*"),
        ];
        let no = [
            (">", ""),
            ("a.*", "a."),
            ("a.>", "a.b..c"),
            ("a", "b"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("a.>", "a"),
            ("a.*", "a.>"),
            ("a.b", "a.*"),
        ];
        assert!(yes.iter().all(|(p, s)| covers(p, s)));
        assert!(!no.iter().any(|(p, s)| covers(p, s)));
    }

    #[test]
    fn patterns_overlap() {
        let yes = [("a.*", "*.b"), ("a.>", "a.b.c"), (">", "x"), ("a", "a")];
        let no = [("a.*", "b.*"), ("a.*", "a"), ("a.>", "a"), ("a.b", "a.c")];
        assert!(yes.iter().all(|(a, b)| overlap(a, b) && overlap(b, a)));
        assert!(!no.iter().any(|(a, b)| overlap(a, b) || overlap(b, a)));
    }

    #[test]
    fn written_subjects_share_chunks_and_outgrow_them() {
        let mut writer = Writer::default();
        let long = "x".repeat(3 * CHUNK);
        let all: Vec<_> = (0..1_000).map(|n| writer.write(&n.to_string())).collect();
        assert_eq!(writer.write(&long), *long);
        assert!(all.iter().enumerate().all(|(n, s)| *s == *n.to_string()));
        let again = ["a", "a", "b", "a"].map(|text| writer.write_again(text));
        assert_eq!(again, ["a", "a", "b", "a"].map(Subject::from));
        assert_eq!(again[0].0.as_ptr(), again[1].0.as_ptr());
        let [first, second, ..] = &*all else {
            unreachable!()
        };
        let end = first.0.as_ptr_range().end;
        assert_eq!(end, second.0.as_ptr());
    }
}
