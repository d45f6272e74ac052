//! Makes inputs out of good ones, and runs a target on them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use jetbus_core::random::{Random, mix};

use crate::shares;

/// Inputs in all, unless told otherwise: about a minute without optimisation.
const EXECUTIONS: u64 = 400_000;

/// The longest input, in bytes.
const LONGEST: usize = 4_096;

/// What is tested: good inputs, words of their format, and what must hold of any input.
pub(crate) struct Target {
    /// Its part of all executions: what is slow has a small one.
    pub(crate) share: u64,
    pub(crate) good: Vec<Vec<u8>>,
    pub(crate) words: &'static [&'static str],
    /// Says whether it was read as something.
    pub(crate) holds: fn(&[u8]) -> bool,
}

impl Target {
    pub(crate) fn new<B: AsRef<[u8]>>(
        share: u64,
        good: impl IntoIterator<Item = B>,
        words: &'static [&'static str],
        holds: fn(&[u8]) -> bool,
    ) -> Self {
        Self {
            share,
            good: good.into_iter().map(|one| one.as_ref().to_vec()).collect(),
            words,
            holds,
        }
    }
}

fn told<T: FromStr>(variable: &str, else_: T) -> T {
    let text = std::env::var(variable).ok();
    text.map_or(else_, |text| {
        let number = text.parse().ok();
        number.unwrap_or_else(|| panic!("{variable} is a number"))
    })
}

/// Runs a target its part of all executions.
pub(crate) fn run(name: &str, target: &Target) {
    let executions = (told("FUZZ_EXECUTIONS", EXECUTIONS) / shares() + 1) * target.share;
    let seed = told("FUZZ_SEED", 1) ^ name.bytes().fold(0, |n, b| mix(n ^ u64::from(b)));
    let mut random = Random::new(seed);
    for good in &target.good {
        let text = String::from_utf8_lossy(good);
        assert!((target.holds)(good), "{name}: {text:?} is not good");
    }
    let mut read = 0_u64;
    for count in 0..executions {
        let input = input(target, &mut random);
        match catch_unwind(AssertUnwindSafe(|| (target.holds)(&input))) {
            Ok(was_read) => read += u64::from(was_read),
            Err(panic) => {
                let text = String::from_utf8_lossy(&input);
                eprintln!("{name}: input {count} of seed {seed}: {text:?} {input:?}");
                resume_unwind(panic);
            }
        }
    }
    println!("{name}: {executions} executions, {read} of them were read as something");
    // Else nothing but the first check was ever reached.
    assert!(read > executions / 200, "{name}: only {read} were read");
    assert!(read < executions, "{name}: nothing was refused");
}

/// A good input after a few changes; sometimes none of it is left.
fn input(target: &Target, random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| {
        let place = random.below(target.good.len());
        target.good[place].clone()
    };
    let mut input = pick(random);
    let mut changes = 1 + random.below(4);
    if random.below(50) == 0 {
        input.clear();
        changes = 20;
    }
    for _ in 0..changes {
        let other = pick(random);
        change(&mut input, &other, target.words, random);
        input.truncate(LONGEST);
    }
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    // A piece of it, most often a short one.
    let len = random.below(input.len() - at + 1);
    let len = len.min(1 << random.below(8));
    match random.below(11) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next().to_le_bytes()[0],
        2 => input.insert(at, random.next().to_le_bytes()[0]),
        3 => drop(input.drain(at..at + len)),
        4 => {
            let piece = input[at..at + len].to_vec();
            drop(input.splice(at..at, piece));
        }
        5 => {
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            drop(input.splice(at..at + len, other[from..to].iter().copied()));
        }
        6 | 7 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            let len = if random.below(2) == 0 { 0 } else { len };
            drop(input.splice(at..at + len, word.bytes()));
        }
        8 => number(input, at, random),
        9 => input.truncate(at),
        _ => input.extend_from_slice(&other[..random.below(other.len() + 1)]),
    }
}

/// Puts a number at the end of some range in the place of the next one.
fn number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    const ENDS: [&str; 14] = [
        "0",
        "1",
        "-1",
        "00",
        "255",
        "65535",
        "65536",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
    ];
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = input[at..].iter().position(is_digit) else {
        return;
    };
    let start = at + start;
    let len = input[start..].iter().take_while(|b| is_digit(b)).count();
    let end = ENDS[random.below(ENDS.len())];
    drop(input.splice(start..start + len, end.bytes()));
}
