//! Where dead letters and redrives are kept: two streams and their subjects.

use crate::Subject;
use crate::jetstream::api::Retention;
use crate::names::{check_group, durable, fnv128};
use crate::provision::WantedStream;
use crate::subject::{MAX_LEN, NameError, check_pattern};

/// The longest prefix, in bytes.
const MAX_PREFIX: usize = 32;

/// The streams and subjects of one prefix.
///
/// - `<prefix>.dead.<group>.<topic>`, in the stream `<prefix>-dead`: the dead letters
///   of a group. A group is a legal token as it is. A partition's token is left out.
/// - `<prefix>.redrive.<subscription>.<subject>`, in the stream `<prefix>-redrive`,
///   a work queue: what is to be handled again. The subscription is one token, the
///   name of its durable consumer ([`durable`]): two subscriptions of one group whose
///   patterns overlap each get back only what they gave up, and a work queue takes
///   their consumers, for these never overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: Box<str>,
}

impl Default for Names {
    /// Those that start with `jetbus`.
    fn default() -> Self {
        Self {
            prefix: "jetbus".into(),
        }
    }
}

impl Names {
    /// Those that start with `prefix`.
    ///
    /// # Errors
    /// When it is not 1 to 32 letters, digits, `-` or `_`: it is part of the names of
    /// streams and a token of subjects.
    pub fn new(prefix: &str) -> Result<Self, NameError> {
        let refuse = |rule| Err(NameError::new("prefix", prefix, rule));
        if prefix.is_empty() || prefix.len() > MAX_PREFIX {
            return refuse("it has 1 to 32 bytes");
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !prefix.bytes().all(legal) {
            return refuse("it holds letters, digits, `-` and `_` only");
        }
        if prefix == "_INBOX" {
            return refuse("subjects that start with `_INBOX` belong to clients");
        }
        Ok(Self {
            prefix: prefix.into(),
        })
    }

    /// The stream that keeps dead letters until they are removed.
    #[must_use]
    pub fn dead_stream(&self) -> WantedStream {
        let subjects = vec![format!("{}.dead.>", self.prefix)];
        WantedStream {
            description: Some("events that were given up".into()),
            ..WantedStream::new(format!("{}-dead", self.prefix), subjects)
        }
    }

    /// The stream that keeps redriven events until they are handled.
    #[must_use]
    pub fn redrive_stream(&self) -> WantedStream {
        let subjects = vec![format!("{}.redrive.>", self.prefix)];
        WantedStream {
            retention: Retention::WorkQueue,
            description: Some("dead letters that are to be handled again".into()),
            ..WantedStream::new(format!("{}-redrive", self.prefix), subjects)
        }
    }

    /// Where a dead letter of `group` goes whose source was published to `subject`.
    /// Of a subject longer than a topic may be, the end is a hash.
    #[must_use]
    pub fn dead(&self, group: &str, subject: &str) -> Subject {
        let topic = shortened(topic(subject));
        format!("{}.dead.{group}.{topic}", self.prefix).into()
    }

    /// What covers the dead letters of a group, or of all, and of a topic or pattern,
    /// or of all.
    ///
    /// # Errors
    /// When the group or pattern breaks its rules.
    pub fn dead_pattern(
        &self,
        group: Option<&str>,
        pattern: Option<&str>,
    ) -> Result<String, NameError> {
        if let Some(group) = group {
            check_group(group)?;
        }
        if let Some(pattern) = pattern {
            check_pattern(pattern)?;
        }
        let (group, pattern) = (group.unwrap_or("*"), pattern.unwrap_or(">"));
        Ok(format!("{}.dead.{group}.{pattern}", self.prefix))
    }

    /// Where an event goes that the subscription of `group` to `topic` is to handle
    /// again. `None` when `subject` is longer than a topic may be.
    ///
    /// # Errors
    /// As [`durable`].
    pub fn redrive(
        &self,
        group: &str,
        topic: &str,
        subject: &str,
    ) -> Result<Option<Subject>, NameError> {
        let subscription = durable(group, topic, None)?;
        let fits = subject.len() <= MAX_LEN;
        Ok(fits.then(|| format!("{}.redrive.{subscription}.{subject}", self.prefix).into()))
    }

    /// What covers all that the subscription of `group` to `topic` is to handle again.
    ///
    /// # Errors
    /// As [`durable`].
    pub fn redrive_pattern(&self, group: &str, topic: &str) -> Result<String, NameError> {
        let subscription = durable(group, topic, None)?;
        Ok(format!("{}.redrive.{subscription}.>", self.prefix))
    }
}

/// The topic of a subject: without the token of a partition, `p` and digits.
pub(super) fn topic(subject: &str) -> &str {
    match subject.rsplit_once('.') {
        Some((topic, last))
            if last
                .strip_prefix('p')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) =>
        {
            topic
        }
        _ => subject,
    }
}

/// A long subject cut after a token, with a last token that is a hash of the whole.
fn shortened(subject: &str) -> String {
    if subject.len() <= MAX_LEN {
        return subject.into();
    }
    let hash = format!("=h{:032x}", fnv128(subject.as_bytes()));
    let room = MAX_LEN.saturating_sub(hash.len() + 1);
    let mut short = String::new();
    for token in subject.split('.') {
        if short.len() + token.len() + 1 > room {
            break;
        }
        short.push_str(token);
        short.push('.');
    }
    short + &hash
}
