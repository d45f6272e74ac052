//! What a handler says of an event.

use std::fmt;
use std::time::Duration;

use super::failure::{Classes, Failure};

/// The longest error text that is kept, in bytes.
const MAX_ERROR: usize = 1_024;

/// How handling an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// It is done: the event is acknowledged.
    Done,
    /// It failed and runs again; until then the later events of its key wait, in
    /// order, and other keys go on. After the last of its
    /// [attempts](crate::Subscribe::attempts) it goes to the dead letters.
    Retry {
        /// After how long. `None`: after a delay that grows with each attempt.
        after: Option<Duration>,
        /// Why, for [`News::HandlerFailed`](crate::News::HandlerFailed).
        error: String,
    },
    /// It failed and would fail again: it goes to the dead letters at once.
    Terminal {
        /// Why, for [`News::HandlerFailed`](crate::News::HandlerFailed) and the dead
        /// letter.
        error: String,
    },
    /// It did not fail, but somebody has to look at it: it goes to the dead letters.
    DeadLetter {
        /// Why, for the dead letter.
        reason: String,
    },
    /// Nobody needs it: it is never delivered to this group again.
    Discard {
        /// Why, for [`News::Discarded`](crate::News::Discarded) and the server's
        /// advisory.
        reason: String,
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

    /// It failed and would fail again: to the dead letters.
    pub fn terminal(error: impl fmt::Display) -> Self {
        Self::Terminal {
            error: bounded(&error),
        }
    }

    /// To the dead letters, for a reason other than a failure.
    pub fn dead_letter(reason: impl fmt::Display) -> Self {
        Self::DeadLetter {
            reason: bounded(&reason),
        }
    }

    /// Nobody needs it.
    pub fn discard(reason: impl fmt::Display) -> Self {
        Self::Discard {
            reason: bounded(&reason),
        }
    }
}

/// What handlers may return: nothing, a [`Handled`], or a `Result` of these.
///
/// An error means "run it again", unless it is a [`Failure`] that says otherwise or
/// its type was [classified](crate::Subscribe::classify).
pub trait IntoHandled {
    /// What it says, when errors are of these classes.
    fn into_handled(self, classes: &Classes) -> Handled;
}

impl IntoHandled for () {
    fn into_handled(self, _: &Classes) -> Handled {
        Handled::Done
    }
}

impl IntoHandled for Handled {
    fn into_handled(self, _: &Classes) -> Handled {
        self
    }
}

impl<T: IntoHandled, E: Into<Failure> + 'static> IntoHandled for Result<T, E> {
    fn into_handled(self, classes: &Classes) -> Handled {
        match self {
            Ok(said) => said.into_handled(classes),
            Err(error) => {
                let class = classes.class(&error);
                error.into().classed(class).into()
            }
        }
    }
}

/// What handlers of batches may return: a word for each event in order, as a `Vec`
/// of what handlers of single events return; or one word for all: nothing, a
/// [`Handled`], or an error.
pub trait IntoHandledBatch {
    /// The word on each of `events` events. One that is missing counts as a failure,
    /// one too many is ignored; both are told.
    fn into_handled_batch(self, events: usize, classes: &Classes) -> Vec<Handled>;
}

impl IntoHandledBatch for () {
    fn into_handled_batch(self, events: usize, _: &Classes) -> Vec<Handled> {
        vec![Handled::Done; events]
    }
}

impl IntoHandledBatch for Handled {
    fn into_handled_batch(self, events: usize, _: &Classes) -> Vec<Handled> {
        vec![self; events]
    }
}

impl<T: IntoHandled> IntoHandledBatch for Vec<T> {
    fn into_handled_batch(self, _: usize, classes: &Classes) -> Vec<Handled> {
        self.into_iter()
            .map(|said| said.into_handled(classes))
            .collect()
    }
}

impl<T: IntoHandledBatch, E: Into<Failure> + 'static> IntoHandledBatch for Result<T, E> {
    fn into_handled_batch(self, events: usize, classes: &Classes) -> Vec<Handled> {
        match self {
            Ok(said) => said.into_handled_batch(events, classes),
            Err(error) => {
                let failed: Result<(), E> = Err(error);
                vec![failed.into_handled(classes); events]
            }
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
