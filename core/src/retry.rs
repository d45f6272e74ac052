//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with jitter: a pure policy.
///
/// The wait doubles from `first` up to `max`. Each wait is drawn from the upper
/// half of its step, so that many that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait after any failure.
    pub max: Duration,
}

impl Default for Retry {
    /// From 100 ms to 30 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The wait after failure number `failures` (the first is 1), chosen within
    /// its step by `random`.
    #[must_use]
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let step = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = u64::try_from((step / 2).as_nanos()).unwrap_or(u64::MAX);
        let jitter = match half.checked_add(1) {
            Some(values) => random % values,
            None => random,
        };
        step - Duration::from_nanos(jitter)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn waits_double_up_to_the_limit() {
        let retry = Retry {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
        };
        let longest: Vec<_> = (1..=6).map(|n| retry.delay(n, 0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(retry.delay(0, 0), retry.delay(1, 0));
        assert_eq!(retry.delay(u32::MAX, 0), retry.max);
    }

    #[test]
    fn jitter_stays_in_the_upper_half() {
        let retry = Retry::default();
        let mut random = Random::new(7);
        for failures in 0..200 {
            let longest = retry.delay(failures, 0);
            let delay = retry.delay(failures, random.next());
            assert!(delay >= longest / 2 && delay <= longest);
        }
    }

    #[test]
    fn absurd_settings_do_not_overflow() {
        let endless = Retry {
            first: Duration::MAX,
            max: Duration::MAX,
        };
        assert!(endless.delay(9, u64::MAX) > Duration::ZERO);
        let none = Retry {
            first: Duration::ZERO,
            max: Duration::ZERO,
        };
        assert_eq!(none.delay(9, u64::MAX), Duration::ZERO);
    }
}
