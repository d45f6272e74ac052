//! Dead letters: events that a group has given up, kept to be looked at and tried
//! again.

use std::fmt;

/// Why an event is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Its body is no event, or its payload is not what the handler takes.
    Undecodable,
    /// All attempts failed.
    Exhausted,
    /// Its handler failed with an error that will not go away.
    Terminal,
    /// Its handler asked for it.
    Asked,
    /// It was delivered again and again without an end: its handler may bring the
    /// process down.
    CrashLoop,
    /// It kept failing while its key held its share of the window.
    Backlogged,
}

impl Reason {
    /// The word for it in headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Exhausted => "exhausted",
            Self::Terminal => "terminal",
            Self::Asked => "asked",
            Self::CrashLoop => "crash-loop",
            Self::Backlogged => "backlogged",
        }
    }

    /// The reason that `word` stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Undecodable,
            Self::Exhausted,
            Self::Terminal,
            Self::Asked,
            Self::CrashLoop,
            Self::Backlogged,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
