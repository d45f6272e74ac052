//! Any text as one legal name, reversibly.

use std::fmt::Write;

/// Appends `text` with `.` as `~`, and everything else that is not a letter,
/// digit, `-` or `_` as `=XX`.
pub(super) fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'.' => out.push('~'),
            b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(out, "={byte:02X}"),
        }
    }
}

/// What [`escape`] was given; `None` when it could not have written `name`.
pub(super) fn unescape(name: &str) -> Option<String> {
    let mut text = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        text.push(match byte {
            b'~' => b'.',
            b'=' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(text).ok()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Cuts an escaped name that is longer than `limit` and ends it in `=h` and the
/// hash of the whole: `=h` begins no escape, so no short name looks like that.
pub(super) fn shorten(name: &mut String, limit: usize) {
    if name.len() <= limit {
        return;
    }
    let hash = fnv128(name.as_bytes());
    // Escaped text is ASCII: every index is a character's.
    name.truncate(limit.saturating_sub(34));
    _ = write!(name, "=h{hash:032x}");
}

/// FNV-1a: these hashes outlive the process and the version of any hasher.
pub(crate) fn fnv128(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
        })
}
