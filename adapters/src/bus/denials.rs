//! Whether the server lets the bus hear answers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jetbus_core::denied::Denied;

/// What the server does not permit to this connection, as far as requests must know.
#[derive(Debug, Default)]
pub(super) struct Denials {
    /// The subscription to answers, and in which session it was denied.
    answers: Mutex<Option<(u64, Denied)>>,
}

impl Denials {
    /// Answers of this session do not come.
    pub(super) fn deny_answers(&self, session: u64, denied: &Denied) {
        *self.answers() = Some((session, denied.clone()));
    }

    /// Why no answers come in this session.
    pub(super) fn to_answers(&self, session: Option<u64>) -> Option<Denied> {
        let answers = self.answers();
        let (denied_in, denied) = answers.as_ref()?;
        (Some(*denied_in) == session).then(|| denied.clone())
    }

    fn answers(&self) -> MutexGuard<'_, Option<(u64, Denied)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
