//! Event ids: UUID version 7 (RFC 9562), written by hand: a few nanoseconds and
//! no allocation.

use std::fmt;
use std::ops::Deref;

use crate::Timestamp;

/// The 36 characters of a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 36]);

/// A UUIDv7: 48 bits of milliseconds since 1970, then 74 of the `random` bits.
/// Ids of different milliseconds sort by time. `random` must be unpredictable
/// enough that two writers never draw the same within a millisecond.
#[must_use]
pub fn event_id(wall: Timestamp, random: [u64; 2]) -> EventId {
    let millis = u64::try_from(wall.as_unix_nanos() / 1_000_000).unwrap_or(0);
    let [a, b] = random;
    let high = millis << 16 | 0x7000 | a & 0x0fff;
    let low = 0x8000_0000_0000_0000 | b & 0x3fff_ffff_ffff_ffff;
    let mut digits = u128::from(high) << 64 | u128::from(low);
    let mut text = [b'-'; 36];
    for (at, byte) in text.iter_mut().enumerate().rev() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            let digit = (digits & 0xf) as u8;
            *byte = digit + if digit < 10 { b'0' } else { b'a' - 10 };
            digits >>= 4;
        }
    }
    EventId(text)
}

impl Deref for EventId {
    type Target = str;

    fn deref(&self) -> &str {
        // Only ASCII is ever written.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
