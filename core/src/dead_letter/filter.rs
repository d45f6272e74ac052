//! Which dead letters are meant.

use super::{DeadLetter, Names, Reason};
use crate::Timestamp;
use crate::subject::{NameError, covers};

/// Which dead letters are meant: those that all parts hold for. The default means
/// all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a filter does nothing by itself"]
pub struct Filter {
    topic: Option<String>,
    group: Option<String>,
    key: Option<String>,
    reason: Option<Reason>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Filter {
    /// All dead letters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this topic, or of the topics that this pattern covers.
    pub fn topic(mut self, pattern: impl Into<String>) -> Self {
        self.topic = Some(pattern.into());
        self
    }

    /// Of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Of this key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Given up for this reason.
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Given up at this time or later.
    pub const fn from(mut self, time: Timestamp) -> Self {
        self.from = Some(time);
        self
    }

    /// Given up before this time.
    pub const fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// What covers the subjects of all that is meant, and perhaps of more.
    ///
    /// # Errors
    /// When the group or topic has a name that cannot be used.
    pub fn pattern(&self, names: &Names) -> Result<String, NameError> {
        names.dead_pattern(self.group.as_deref(), self.topic.as_deref())
    }

    /// Whether [`pattern`](Self::pattern) covers nothing but what is meant.
    #[must_use]
    pub const fn is_pattern(&self) -> bool {
        self.key.is_none() && self.reason.is_none() && self.from.is_none() && self.until.is_none()
    }

    /// Whether all dead letters are meant.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.is_pattern() && self.topic.is_none() && self.group.is_none()
    }

    /// Whether this one is meant.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let topic = self.topic.as_deref();
        let group = self.group.as_deref();
        topic.is_none_or(|pattern| covers(pattern, letter.topic()))
            && group.is_none_or(|group| group == letter.group())
            && (self.key.is_none() || self.key == letter.key)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.from.is_none_or(|from| letter.stored_at >= from)
            && !self.is_over(letter.stored_at)
    }

    /// Whether nothing given up at this time or later is meant.
    #[must_use]
    pub fn is_over(&self, time: Timestamp) -> bool {
        self.until.is_some_and(|until| time >= until)
    }
}
