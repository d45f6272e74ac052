//! Why a handler failed, and whether trying again can help.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::handled::{Handled, bounded};
use crate::error::Class;

/// Why a handler failed, and what to do about it.
///
/// Everything that can be shown becomes a failure that is tried again, so `?` works
/// on every error in a handler that returns `Result<_, Failure>`. What will fail
/// again however often it is tried is said to be [terminal](Self::terminal):
///
/// ```
/// use jetbus::{Delivery, Failure};
///
/// async fn ship(order: Delivery<String>) -> Result<(), Failure> {
///     let number: u32 = order.payload.parse().map_err(Failure::terminal)?;
///     std::fs::write("shipped", number.to_string())?; // tried again
///     Ok(())
/// }
/// ```
///
/// (It is not an error itself, or `?` could not convert every error to it.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    error: String,
    terminal: bool,
    after: Option<Duration>,
}

impl Failure {
    /// The event runs again after a delay that grows with each attempt.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self {
            error: bounded(&error),
            terminal: false,
            after: None,
        }
    }

    /// The event runs again after `delay`.
    pub fn retry_after(delay: Duration, error: impl fmt::Display) -> Self {
        Self {
            after: Some(delay),
            ..Self::retry(error)
        }
    }

    /// The event would fail again however often it is tried: it goes to the dead
    /// letters at once.
    pub fn terminal(error: impl fmt::Display) -> Self {
        Self {
            terminal: true,
            ..Self::retry(error)
        }
    }

    /// The error's text, of bounded length.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }

    /// Whether it is not tried again.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The same, with what a classifier said of it.
    pub(super) const fn classed(mut self, class: Option<Class>) -> Self {
        match class {
            Some(Class::Terminal) => self.terminal = true,
            Some(Class::Retryable | Class::Unknown) => self.terminal = false,
            None => {}
        }
        self
    }
}

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl From<Failure> for Handled {
    fn from(failure: Failure) -> Self {
        let Failure {
            error,
            terminal,
            after,
        } = failure;
        match terminal {
            true => Self::Terminal { error },
            false => Self::Retry { after, error },
        }
    }
}

type Classify = dyn Fn(&dyn Any) -> Option<Class> + Send + Sync;

/// What is known of the classes of a handler's errors, see
/// [`Subscribe::classify`](crate::Subscribe::classify).
#[derive(Clone, Default)]
pub struct Classes(Vec<Arc<Classify>>);

impl Classes {
    pub(super) fn add<E: 'static>(&mut self, class: impl Fn(&E) -> Class + Send + Sync + 'static) {
        let classify = move |error: &dyn Any| error.downcast_ref().map(&class);
        self.0.push(Arc::new(classify));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The class of an error, if its type was told of: as the last one said.
    #[must_use]
    pub fn class<E: 'static>(&self, error: &E) -> Option<Class> {
        self.0.iter().rev().find_map(|classify| classify(error))
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Classes").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscribe::IntoHandled as _;

    #[test]
    fn the_last_word_on_a_type_of_error_counts() {
        let mut classes = Classes::default();
        let result: Result<(), &str> = Err("no");
        let retried = Handled::retry("no");
        assert_eq!(result.into_handled(&classes), retried);
        classes.add(|error: &&str| match *error {
            "no" => Class::Terminal,
            _ => Class::Unknown,
        });
        let terminal = Handled::Terminal { error: "no".into() };
        assert_eq!(result.into_handled(&classes), terminal);
        let other: Result<(), &str> = Err("maybe");
        assert_eq!(other.into_handled(&classes), Handled::retry("maybe"));
        let number: Result<(), u8> = Err(1);
        assert_eq!(number.into_handled(&classes), Handled::retry(1));
        classes.add(|_: &&str| Class::Retryable);
        assert_eq!(result.into_handled(&classes), retried);
        // Also over what the failure said of itself.
        classes.add(|_: &Failure| Class::Retryable);
        let said: Result<(), _> = Err(Failure::terminal("no"));
        assert_eq!(said.into_handled(&classes), retried);
    }
}
