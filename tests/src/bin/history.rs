//! Makes a history of three servers under faults, of any length.

use std::process::ExitCode;
use std::time::Duration;

use jetbus_tests::history::{Options, run};
use jetbus_tests::{arguments, target};

const USAGE: &str = "\
Three nats-servers under faults drawn from a seed, and what everybody was told beside
what is stored. Writes target/history/history.svg, and what explains violations.

usage: history [--seconds N] [--seed N]

  --seconds N   how long there are faults, 1 to 86400; default 100
  --seed N      what they are drawn from, 0 to 2^64 - 1; default 1
  --help        this

Ends with 0 when all promises were kept, 1 when not, 2 for arguments that are none.";

fn main() -> ExitCode {
    let options = match arguments::read(USAGE, parsed) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let folder = target::folder().join("history");
    let report = run(options).and_then(|report| report.save(&folder).map(|()| report));
    match report {
        Ok(report) => {
            println!("{report}\nwritten to {}", folder.display());
            for violation in &report.verdict.violations {
                eprintln!("{violation}");
            }
            ExitCode::from(u8::from(!report.verdict.violations.is_empty()))
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// `None` when help is asked for.
fn parsed(arguments: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options {
        lasts: Duration::from_secs(100),
        seed: 1,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{name} is without a value: it takes a number"))
        };
        match &**name {
            "--help" | "-h" => return Ok(None),
            "--seconds" => {
                let value = value()?;
                let seconds = value.parse().ok().filter(|n| (1..=86_400).contains(n));
                let rule = "it is a number from 1 to 86400";
                let seconds = seconds.ok_or_else(|| format!("--seconds {value:?}: {rule}"))?;
                options.lasts = Duration::from_secs(seconds);
            }
            "--seed" => {
                let value = value()?;
                let rule = "it is a number from 0 to 2^64 - 1";
                let seed = value
                    .parse()
                    .map_err(|_| format!("--seed {value:?}: {rule}"));
                options.seed = seed?;
            }
            other => return Err(format!("{other:?}: there is --seconds, --seed and --help")),
        }
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parsed(&words)
    }

    #[test]
    fn arguments_are_read_and_bad_ones_named_with_their_rule() {
        let options = Options {
            lasts: Duration::from_secs(7),
            seed: 9,
        };
        assert_eq!(parse("--seed 9 --seconds 7"), Ok(Some(options)));
        assert_eq!(parse("--seconds 7 --help"), Ok(None));
        for (line, words) in [
            ("--seconds 0", ["\"0\"", "1 to 86400"]),
            ("--seconds soon", ["\"soon\"", "1 to 86400"]),
            ("--seconds", ["--seconds", "takes a number"]),
            ("--seed -1", ["\"-1\"", "0 to 2^64"]),
            ("--speed 1", ["\"--speed\"", "--seed"]),
        ] {
            let why = parse(line).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        }
    }
}
