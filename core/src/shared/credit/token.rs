//! The name of one flight: a slot and its generation.

/// Slots are numbered by the lowest 16 bits of a token.
const INDEX_BITS: u32 = u16::BITS;

/// 48 bits. One slot used 20 000 times a second wraps after 400 years, and a
/// token would have to be late by exactly that to meet its namesake.
const GENERATIONS: u64 = u64::MAX >> INDEX_BITS;

/// Names one filling of one slot of a [`Credit`](super::Credit); fits in a number,
/// to travel in a reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    pub(super) fn new(index: u16, generation: u64) -> Self {
        Self(generation << INDEX_BITS | u64::from(index))
    }

    /// The token as a number.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The token that was made into `bits`. Any other number makes one that
    /// settles nothing, or, by chance, what the number names.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn index(self) -> u16 {
        // The lowest bits are all that is wanted.
        self.0 as u16
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> INDEX_BITS
    }
}

pub(super) fn next_generation(generation: u64) -> u64 {
    (generation + 1) & GENERATIONS
}
