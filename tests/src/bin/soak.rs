//! A steady load on one bus, for as long as wanted.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use jetbus_tests::arguments;
use jetbus_tests::matrix::RuntimeKind;
use jetbus_tests::soak::{Options, run};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const USAGE: &str = "\
Publishes at a rate and handles, on one bus, and prints latencies (p50/p99/p99.9), memory,
tasks, threads, sockets and allocations: every ten seconds, or minutes if it is long.

usage: soak [--rate N] [--duration TIME] [--keys N] [--handlers N]
            [--runtime tokio|smol] [--link nats|embedded]

  --rate N         events per second, 1 to 1000000; default 10000
  --duration TIME  how long, as 90s, 10m or 2h, from 10s to 168h; default 60s
  --keys N         how many keys take turns, 1 to 1000000; default 1000
  --handlers N     how many run at once, 1 to 10000; default 64
  --runtime NAME   tokio or smol; default tokio
  --link NAME      nats (a server of its own) or embedded; default nats
  --help           this

Ends with 0 when all is well; 1 when something was not published, not handled, out of
order, or memory, tasks, threads or sockets grew after the warm-up (a third of the time, a
minute at most); 2 for arguments that are none.";

fn main() -> ExitCode {
    let options = match arguments::read(USAGE, parsed) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(options, allocations, |line| println!("{line}")) {
        Ok(summary) => {
            println!("{summary}");
            let troubles = summary.troubles();
            troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
            ExitCode::from(u8::from(!troubles.is_empty()))
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// `None` when help is asked for.
fn parsed(arguments: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options {
        rate: 10_000,
        lasts: Duration::from_secs(60),
        keys: 1_000,
        handlers: 64,
        runtime: RuntimeKind::Tokio,
        server: true,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value
                .map(|value| &**value)
                .ok_or_else(|| format!("{name} is without a value"))
        };
        match &**name {
            "--help" | "-h" => return Ok(None),
            "--rate" => options.rate = number(name, value()?, 1_000_000)?,
            "--keys" => options.keys = number(name, value()?, 1_000_000)?,
            "--handlers" => options.handlers = number(name, value()?, 10_000)? as usize,
            "--duration" => options.lasts = duration(name, value()?)?,
            "--runtime" => {
                options.runtime = match value()? {
                    "tokio" => RuntimeKind::Tokio,
                    "smol" => RuntimeKind::Smol,
                    other => return Err(format!("{name} {other:?}: it is tokio or smol")),
                }
            }
            "--link" => {
                options.server = match value()? {
                    "nats" => true,
                    "embedded" => false,
                    other => return Err(format!("{name} {other:?}: it is nats or embedded")),
                }
            }
            other => return Err(format!("{other:?}: --help tells what there is")),
        }
    }
    Ok(Some(options))
}

fn number(name: &str, value: &str, most: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("{name} {value:?}: it is a number from 1 to {most}"))
}

fn duration(name: &str, value: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = value.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*seconds)
    });
    let found = found.filter(|seconds| (10..=168 * 3_600).contains(seconds));
    found
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{name} {value:?}: it is a number with s, m or h, from 10s to 168h"))
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
        let line = "--rate 5 --duration 2m --keys 7 --handlers 3 --runtime smol --link embedded";
        let options = Options {
            rate: 5,
            lasts: Duration::from_secs(120),
            keys: 7,
            handlers: 3,
            runtime: RuntimeKind::Smol,
            server: false,
        };
        assert_eq!(parse(line), Ok(Some(options)));
        assert_eq!(parse("--help"), Ok(None));
        for (line, words) in [
            ("--rate 0", ["--rate \"0\"", "1 to 1000000"]),
            ("--keys many", ["--keys \"many\"", "1 to 1000000"]),
            ("--handlers -1", ["--handlers \"-1\"", "1 to 10000"]),
            ("--handlers", ["--handlers", "without a value"]),
            ("--duration 60", ["--duration \"60\"", "10s to 168h"]),
            ("--duration 9s", ["--duration \"9s\"", "10s to 168h"]),
            ("--duration 99999999999999999999h", ["9h\"", "10s to 168h"]),
            ("--runtime own", ["\"own\"", "tokio or smol"]),
            ("--link kafka", ["\"kafka\"", "nats or embedded"]),
            ("fast", ["\"fast\"", "--help"]),
        ] {
            let why = parse(line).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        }
    }
}
