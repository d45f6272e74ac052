//! Chance from a seed.

use std::time::Duration;

use jetbus_core::random::Random;

/// A sequence of numbers: the same for the same seed.
#[derive(Clone, Debug)]
pub struct Rng(Random);

impl Rng {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A sequence of its own, so that what one part draws changes nothing for others.
    pub const fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// A number from 0 to below `bound`; 0 when that is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.next().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    /// A number from `low` to `high`, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `per_mille` times in a thousand.
    pub const fn chance(&mut self, per_mille: u32) -> bool {
        // Drawn even when the answer is known, so that turning a fault off does not
        // shift what comes after it.
        self.below(1_000) < per_mille as u64
    }

    /// A time up to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_within_bounds() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            let sixteen: Vec<_> = (0..16).map(|_| rng.between(3, 9)).collect();
            sixteen
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).iter().all(|n| (3..=9).contains(n)));
        let mut rng = Rng::new(4);
        assert!(!(0..1_000).any(|_| rng.chance(0)));
        assert!((0..1_000).all(|_| rng.chance(1_000)));
        assert_eq!(rng.below(0), 0);
    }
}
