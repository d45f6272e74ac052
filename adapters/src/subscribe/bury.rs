//! Events that are given up.

use std::sync::Arc;

use jetbus_core::delivery::{Letter, Outcome};

use super::lanes::{Job, Lanes};

/// Stores an event as a dead letter. A subscription that keeps none has the server
/// forget it, which is told.
pub(super) async fn bury(lanes: &Arc<Lanes>, job: &Job, letter: &Letter) -> Outcome {
    if !lanes.handling.dead_letters {
        let Letter { reason, error, .. } = letter;
        return Outcome::Term {
            reason: Some(match error.is_empty() {
                true => reason.as_str().into(),
                false => format!("{reason}: {error}").into(),
            }),
        };
    }
    let _ = job;
    Outcome::NotBuried {
        error: "there is no place for dead letters".into(),
    }
}
