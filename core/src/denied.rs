//! What a server says when a connection may not do what it tried.
//!
//! A client is told so by an error of the protocol that belongs to no message: it names
//! the subject, and nothing else. What a connection may do does not change while it
//! lasts, so that whatever it had on its way to that subject was refused too.

use std::fmt;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A message was published: it went nowhere.
    Publish,
    /// A subscription was made: nothing comes of it.
    Subscribe,
}

/// The server does not let this connection do what it tried. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What.
    pub operation: Operation,
    /// The subject or pattern.
    pub subject: String,
}

impl Denied {
    /// Reads the text of an error: `Permissions Violation for Publish to "orders.placed"`,
    /// or `for Subscription to "orders.>" using queue "billing"`. `None` for every other
    /// text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = strip(text, "Permissions Violation for ")?;
        let (operation, rest) = match strip(rest, "Publish to ") {
            Some(rest) => (Operation::Publish, rest),
            None => (Operation::Subscribe, strip(rest, "Subscription to ")?),
        };
        let (subject, rest) = quoted(rest)?;
        let is_whole = match strip(rest, " using queue ") {
            Some(queue) => quoted(queue).is_some_and(|(_, rest)| rest.is_empty()),
            None => rest.is_empty(),
        };
        let denied = Self { operation, subject };
        is_whole.then_some(denied)
    }

    /// What things on their way to this subject are found by; see [`tag`].
    #[must_use]
    pub fn tag(&self) -> u64 {
        tag(&self.subject)
    }
}

/// What a thing on its way to a subject is found by when all that is known is the
/// subject. Another one may have the same: look before you believe.
#[must_use]
pub fn tag(subject: &str) -> u64 {
    FixedState::default().hash_one(subject.as_bytes())
}

/// What follows `prefix`. Servers have changed the case of their errors before.
fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Text in quotes as Go writes it, and what follows. Subjects have no control characters,
/// so quotes and backslashes are all that is escaped.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?.chars();
    let mut plain = String::new();
    loop {
        match rest.next()? {
            '"' => return Some((plain, rest.as_str())),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\') => plain.push(escaped),
                _ => return None,
            },
            plainly => plain.push(plainly),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried = match self.operation {
            Operation::Publish => "publish to",
            Operation::Subscribe => "subscribe to",
        };
        write!(
            f,
            "the server does not permit this connection to {tried} {:?}",
            self.subject
        )
    }
}

impl std::error::Error for Denied {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn denied(operation: Operation, subject: &str) -> Option<Denied> {
        let subject = subject.to_owned();
        Some(Denied { operation, subject })
    }

    #[test]
    fn what_servers_say_is_read() {
        for (text, read) in [
            (
                r#"Permissions Violation for Publish to "orders.secret""#,
                denied(Operation::Publish, "orders.secret"),
            ),
            (
                r#"permissions violation for publish to "$JS.API.STREAM.CREATE.S""#,
                denied(Operation::Publish, "$JS.API.STREAM.CREATE.S"),
            ),
            (
                r#"Permissions Violation for Subscription to "orders.>""#,
                denied(Operation::Subscribe, "orders.>"),
            ),
            (
                r#"Permissions Violation for Subscription to "a" using queue "b""#,
                denied(Operation::Subscribe, "a"),
            ),
            (
                r#"Permissions Violation for Publish to "a\\b\"c""#,
                denied(Operation::Publish, r#"a\b"c"#),
            ),
        ] {
            assert_eq!(Denied::parse(text), read, "{text}");
        }
    }

    #[test]
    fn other_errors_are_none() {
        for text in [
            "",
            "Stale Connection",
            "Permissions Violation",
            "Permissions Violation for Publish to ",
            r#"Permissions Violation for Publish to "a"#,
            r#"Permissions Violation for Publish to "a" or so"#,
            r#"Permissions Violation for Publish to "a\n""#,
            r#"Permissions Violation for Publish to "a\"#,
            r#"Permissions Violation for Publish with Reply of "a""#,
            r#"Permissions Violation for Subscription to "a" using queue "b"#,
            "Permissions Violation for Publish tø \"a\"",
        ] {
            assert_eq!(Denied::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_error_names_what_was_tried_and_where() {
        let denied = denied(Operation::Subscribe, "orders.>").unwrap();
        let text = denied.to_string();
        assert!(text.contains("subscribe to \"orders.>\""), "{text}");
    }
}
