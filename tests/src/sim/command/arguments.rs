//! Words of a command line, read.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;

use crate::sim::plan::Cuts;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be told what it may ask for.
    Help,
    /// To run seeds.
    Run(Arguments),
}

/// Which seeds are run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Whether all that happens is written.
    pub trace: bool,
    /// Whether smaller plans are looked for when some fail.
    pub shrink: bool,
    /// What is left out of their plans.
    pub cuts: Cuts,
}

/// An argument that cannot be used, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadArgument(String);

/// Reads the arguments behind the name of the command.
///
/// # Errors
/// When one is not known, has a value that it cannot have, or does not go with another.
pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Wish, BadArgument> {
    let mut args = args.into_iter();
    let mut given = Vec::new();
    let mut seeds = None;
    let mut arguments = Arguments {
        seeds: 0..0,
        trace: false,
        shrink: true,
        cuts: Cuts::default(),
    };
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        if given.contains(&arg) && arg != "--without" {
            return Err(BadArgument(format!("`{arg}` is given twice")));
        }
        given.push(arg.clone());
        let mut value = || {
            let value = args.next().map(text).transpose()?;
            value.ok_or_else(|| BadArgument(format!("`{arg}` needs a value behind it")))
        };
        match arg.as_str() {
            "--help" | "-h" => return Ok(Wish::Help),
            "--trace" => arguments.trace = true,
            "--no-shrink" => arguments.shrink = false,
            "--seed" | "--seeds" if seeds.is_some() => {
                let rule = "`--seed` and `--seeds` do not go together";
                return Err(BadArgument(rule.into()));
            }
            "--seed" => {
                let seed = number(&arg, &value()?)?;
                let end = seed.checked_add(1).ok_or_else(|| {
                    BadArgument(format!("`--seed {seed}`: a seed is below {}", u64::MAX))
                })?;
                seeds = Some(seed..end);
            }
            "--seeds" => seeds = Some(range(&value()?)?),
            "--without" => {
                for part in value()?.split(',') {
                    arguments.cuts.without(part).map_err(BadArgument::of)?;
                }
            }
            size => {
                let known = Cuts::sizes().find(|known| size.strip_prefix("--") == Some(*known));
                let known = known.ok_or_else(|| {
                    BadArgument(format!("`{size}` is no argument of this command"))
                })?;
                let most = number(&arg, &value()?)?;
                if let Some(Err(error)) = arguments.cuts.at_most(known, most) {
                    return Err(BadArgument::of(error));
                }
            }
        }
    }
    arguments.seeds =
        seeds.ok_or_else(|| BadArgument("`--seed N` or `--seeds A..B` is missing".into()))?;
    let traced = given.iter().any(|arg| arg == "--seed");
    match (arguments.trace, traced, arguments.shrink) {
        (true, false, _) => Err(BadArgument("`--trace` needs `--seed`, a single one".into())),
        (true, _, false) => Err(BadArgument(
            "`--no-shrink` does not go with `--trace`, which shrinks nothing".into(),
        )),
        _ => Ok(Wish::Run(arguments)),
    }
}

fn text(arg: OsString) -> Result<String, BadArgument> {
    arg.into_string()
        .map_err(|arg| BadArgument(format!("`{}` is not UTF-8", arg.to_string_lossy())))
}

fn number(arg: &str, value: &str) -> Result<u64, BadArgument> {
    let rule = || {
        format!(
            "`{arg} {value}`: the value is a whole number from 0 to {}",
            u64::MAX
        )
    };
    value.parse().map_err(|_| BadArgument(rule()))
}

fn range(value: &str) -> Result<Range<u64>, BadArgument> {
    let ends = value.split_once("..");
    let ends = ends.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if from < to => Ok(from..to),
        _ => Err(BadArgument(format!(
            "`--seeds {value}`: the value is A..B, from A to below B, as in 0..1000"
        ))),
    }
}

/// What can be asked for.
pub(super) fn help() -> String {
    let parts: Vec<_> = Cuts::parts().collect();
    let sizes: Vec<_> = Cuts::sizes().map(|size| format!("--{size}")).collect();
    format!(
        "\
Runs seeds of the simulation of the bus. Each seed is one run, the same every time.

  simulate --seeds A..B       all from A to below B, on all cores
  simulate --seed N           one
  simulate --seed N --trace   one, with everything that happens in it

What fails is shrunk: the smallest plan that is found to fail in the same way is printed,
with the arguments that run it. Of many that fail that is done for the first few.

  --no-shrink       only says what is wrong
  --without P,P     leaves these parts out of the plan:
                    {}
  {} N
                    so many at most

The last line counts what happened. The exit code is 0 when every rule was kept, 1 when
one was broken, 2 when an argument is bad.
",
        lines(&parts),
        sizes.join(" N, "),
    )
}

/// Some words a line.
fn lines(words: &[&str]) -> String {
    let lines: Vec<_> = words.chunks(7).map(|words| words.join(", ")).collect();
    lines.join(",\n                    ")
}

impl BadArgument {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadArgument {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &str) -> Result<Wish, String> {
        let words = words.split_whitespace().map(OsString::from);
        read(words).map_err(|error| error.to_string())
    }

    fn run(words: &str) -> Arguments {
        match read_words(words) {
            Ok(Wish::Run(arguments)) => arguments,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn seeds_are_a_range_or_one() {
        assert_eq!(run("--seeds 3..10").seeds, 3..10);
        let one = run("--seed 7 --trace");
        assert_eq!((one.seeds, one.trace, one.shrink), (7..8, true, true));
        assert!(!run("--seeds 3..10 --no-shrink").shrink);
        assert_eq!(read_words("--seed 7 --help"), Ok(Wish::Help));
    }

    #[test]
    fn cuts_are_written_as_they_are_read() {
        let words = "--without drains,stock --events 5 --keys 1";
        let cuts = run(&format!("--seed 1 {words}")).cuts;
        assert_eq!(cuts.to_string(), words);
        let one_by_one = run("--seed 1 --keys 1 --without stock --events 5 --without drains");
        assert_eq!(one_by_one.cuts, cuts);
        for part in Cuts::parts() {
            let words = format!("--without {part}");
            assert_eq!(run(&format!("--seed 1 {words}")).cuts.to_string(), words);
        }
    }

    #[test]
    fn bad_arguments_are_refused_with_the_value_and_the_rule() {
        let range = "the value is A..B, from A to below B, as in 0..1000";
        let number = "the value is a whole number from 0 to 18446744073709551615";
        for (words, error) in [
            ("", "`--seed N` or `--seeds A..B` is missing".into()),
            ("--seeds 5", format!("`--seeds 5`: {range}")),
            ("--seeds 5..5", format!("`--seeds 5..5`: {range}")),
            ("--seeds 9..x", format!("`--seeds 9..x`: {range}")),
            ("--seed -1", format!("`--seed -1`: {number}")),
            ("--seed", "`--seed` needs a value behind it".into()),
            (
                "--seed 1 --events many",
                format!("`--events many`: {number}"),
            ),
            (
                "--seed 1 --events 0",
                "the least for `events` is 1, not 0".into(),
            ),
            (
                "--seed 1 --rain 5",
                "`--rain` is no argument of this command".into(),
            ),
            ("--seed 1 5", "`5` is no argument of this command".into()),
            ("--seed 1 --seed 2", "`--seed` is given twice".into()),
            (
                "--seed 1 --seeds 2..4",
                "`--seed` and `--seeds` do not go together".into(),
            ),
            (
                "--seeds 1..3 --trace",
                "`--trace` needs `--seed`, a single one".into(),
            ),
            (
                "--seed 1 --trace --no-shrink",
                "`--no-shrink` does not go with `--trace`, which shrinks nothing".into(),
            ),
            (
                "--seed 18446744073709551615",
                "`--seed 18446744073709551615`: a seed is below 18446744073709551615".into(),
            ),
        ] {
            assert_eq!(read_words(words), Err(error), "{words}");
        }
        let unknown = read_words("--seed 1 --without rain").expect_err("there is no such part");
        assert!(unknown.starts_with("`rain` is no part of a plan; parts are"));
    }

    #[test]
    fn help_names_every_part_and_size() {
        let help = help();
        let mut words = Cuts::parts().chain(Cuts::sizes());
        assert!(words.all(|word| help.contains(word)), "{help}");
    }
}
