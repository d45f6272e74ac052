//! How long to wait between attempts to connect.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::link::news::Level;

use super::events::Shared;

/// Bound of the first delay after a loss.
const FIRST: Duration = Duration::from_millis(20);
/// Bound of all delays.
const LAST: Duration = Duration::from_secs(4);
/// Longer than any process lives.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Delays for the client: none before the first connection's first attempt, then
/// doubled and jittered, so that the clients of a restarted server do not come all
/// at once. After the link was closed no attempt is made any more; the client's
/// task then sleeps until its runtime ends.
pub(super) fn delays(shared: &Arc<Shared>) -> impl Fn(usize) -> Duration + Send + Sync + 'static {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    move |attempt| {
        let Some(shared) = shared.upgrade() else {
            return NEVER;
        };
        match (shared.news.level(), shared.news.was_connected()) {
            (Level::Closed, _) => NEVER,
            (_, false) if attempt <= 1 => Duration::ZERO,
            _ => jittered(attempt, random()),
        }
    }
}

/// Between half and all of a bound that doubles with each attempt.
fn jittered(attempt: usize, random: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let bound = FIRST
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LAST);
    let half = bound / 2;
    let part = u64::try_from(half.as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    half + Duration::from_nanos(random % part)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_never_vanish() {
        for (attempt, bound) in [(1, 20), (2, 40), (5, 320), (9, 4_000), (usize::MAX, 4_000)] {
            let bound = Duration::from_millis(bound);
            for random in [0, 1, u64::MAX / 2, u64::MAX] {
                let delay = jittered(attempt, random);
                assert!(bound / 2 <= delay && delay <= bound, "{attempt}: {delay:?}");
            }
        }
    }
}
