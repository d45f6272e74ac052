//! Reply subjects that carry a token.

use crate::Subject;
use crate::subject::{NameError, check_pattern};

/// The longest inbox, in bytes.
const MAX_INBOX: usize = 128;
/// Ten digits of six bits and one of four.
const MAX_DIGITS: usize = 11;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// The subject that a bus receives its acknowledgements on: replies go to
/// `<inbox>.<token>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox(
    /// With the dot after it; at most `MAX_INBOX` bytes and that dot.
    Box<str>,
);

/// Room for a reply subject on the stack.
#[derive(Clone, Debug)]
pub struct ReplyBuf([u8; MAX_INBOX + 1 + MAX_DIGITS]);

impl ReplyBuf {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; _])
    }
}

impl Default for ReplyBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbox {
    /// The inbox at `subject`, which nobody else may use.
    ///
    /// # Errors
    /// When it is no subject without wildcards, or longer than 128 bytes.
    pub fn new(subject: &str) -> Result<Self, NameError> {
        let refuse = |rule| Err(NameError::new("inbox", subject, rule));
        if subject.len() > MAX_INBOX {
            return refuse("it has at most 128 bytes");
        }
        if subject.split('.').any(|t| t == "*" || t == ">") {
            return refuse("it has no wildcard token `*` or `>`");
        }
        // `_INBOX` is reserved for this, so what surrounds it keeps that rule away.
        if let Err(error) = check_pattern(&format!("inbox.{subject}.token")) {
            return refuse(error.rule());
        }
        Ok(Self(format!("{subject}.").into()))
    }

    /// What to subscribe to: every reply subject.
    #[must_use]
    pub fn subscription(&self) -> Subject {
        format!("{}*", self.0).into()
    }

    /// The reply subject with `token`, written into `buf`.
    #[must_use]
    pub fn reply<'b>(&self, token: u64, buf: &'b mut ReplyBuf) -> &'b str {
        let (start, digits) = buf.0.split_at_mut(self.0.len().min(MAX_INBOX + 1));
        start.copy_from_slice(self.0.as_bytes());
        let mut len = start.len();
        // The lowest digit first; the last is never 0, except that of 0.
        let mut rest = token;
        for place in digits {
            *place = DIGITS[(rest & 63) as usize];
            len += 1;
            rest >>= 6;
            if rest == 0 {
                break;
            }
        }
        let text = buf.0.get(..len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// The token in a reply subject; `None` when `subject` is not one that
    /// [`reply`](Self::reply) wrote.
    #[must_use]
    pub fn token(&self, subject: &str) -> Option<u64> {
        let digits = subject.strip_prefix(&*self.0)?;
        if digits.is_empty()
            || digits.len() > MAX_DIGITS
            || (digits.len() > 1 && digits.ends_with('0'))
        {
            return None;
        }
        let mut token = 0_u64;
        for byte in digits.bytes().rev() {
            if token >> 58 != 0 {
                return None;
            }
            token = token << 6 | u64::from(digit(byte)?);
        }
        Some(token)
    }
}

const fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'a'..=b'z' => byte - b'a' + 36,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_are_short_and_read_back() {
        let inbox = Inbox::new("_INBOX.x1.acks").unwrap();
        let mut buf = ReplyBuf::new();
        for (token, text) in [
            (0, "_INBOX.x1.acks.0"),
            (63, "_INBOX.x1.acks._"),
            (64, "_INBOX.x1.acks.01"),
            (u64::MAX, "_INBOX.x1.acks.__________F"),
        ] {
            assert_eq!(inbox.reply(token, &mut buf), text);
            assert_eq!(inbox.token(text), Some(token));
        }
        assert_eq!(inbox.subscription(), "_INBOX.x1.acks.*");
    }

    #[test]
    fn other_subjects_have_no_token() {
        let inbox = Inbox::new("i").unwrap();
        for bad in [
            "",
            "i",
            "i.",
            "j.1",
            "i.1.2",
            "i.10",
            "i.00",
            "i.$",
            "i.__________G",
            "i.___________",
            "i.000000000001",
            "ii.1",
        ] {
            assert_eq!(inbox.token(bad), None, "{bad}");
        }
    }

    #[test]
    fn inboxes_follow_the_rules_of_subjects() {
        for bad in ["", "a.*", ">", "a b", "a.", "ä", &"a".repeat(129)] {
            assert_eq!(Inbox::new(bad).unwrap_err().what(), "inbox", "{bad}");
        }
        let long = Inbox::new(&"a".repeat(128)).unwrap();
        let mut buf = ReplyBuf::new();
        assert_eq!(long.token(long.reply(u64::MAX, &mut buf)), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn every_token_reads_back(token: u64, shift in 0..64_u32) {
            let inbox = Inbox::new("_INBOX.a").unwrap();
            let token = token >> shift;
            prop_assert_eq!(inbox.token(inbox.reply(token, &mut ReplyBuf::new())), Some(token));
        }

        #[test]
        fn a_subject_is_the_reply_of_its_token(tail in "[0-9A-Za-z_-]{0,12}") {
            let inbox = Inbox::new("i").unwrap();
            let subject = format!("i.{tail}");
            let mut buf = ReplyBuf::new();
            if let Some(token) = inbox.token(&subject) {
                prop_assert_eq!(inbox.reply(token, &mut buf), subject);
            }
        }
    }
}
