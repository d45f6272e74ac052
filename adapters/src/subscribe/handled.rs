//! What a handler says of an event.

use std::fmt;
use std::time::Duration;

/// The longest error text that is kept, in bytes.
const MAX_ERROR: usize = 1_024;

/// How handling an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// It is done: the event is acknowledged.
    Done,
    /// It failed and runs again; until then the later events of its key wait, in
    /// order, and other keys go on.
    Retry {
        /// After how long. `None`: after a delay that grows with each attempt.
        after: Option<Duration>,
        /// Why, for [`News::HandlerFailed`](crate::News::HandlerFailed).
        error: String,
    },
}

impl Handled {
    /// It failed: run it again after the usual delay.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self::Retry {
            after: None,
            error: bounded(&error),
        }
    }

    /// It failed: run it again after `delay`.
    pub fn retry_after(delay: Duration, error: impl fmt::Display) -> Self {
        Self::Retry {
            after: Some(delay),
            error: bounded(&error),
        }
    }
}

/// What handlers may return: nothing, a [`Handled`], or a `Result` of these whose
/// error means "run it again".
pub trait IntoHandled {
    /// What it says.
    fn into_handled(self) -> Handled;
}

impl IntoHandled for () {
    fn into_handled(self) -> Handled {
        Handled::Done
    }
}

impl IntoHandled for Handled {
    fn into_handled(self) -> Handled {
        self
    }
}

impl<T: IntoHandled, E: fmt::Display> IntoHandled for Result<T, E> {
    fn into_handled(self) -> Handled {
        match self {
            Ok(said) => said.into_handled(),
            Err(error) => Handled::retry(error),
        }
    }
}

/// The text of an error, cut at a character so that it stays small.
pub(crate) fn bounded(error: &dyn fmt::Display) -> String {
    let mut text = error.to_string();
    if text.len() > MAX_ERROR {
        let mut end = MAX_ERROR;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
