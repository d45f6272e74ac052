//! Runs any seeds of the simulation, replays one, shrinks those that fail: `--help`.

use std::process::ExitCode;

use jetbus_tests::sim::command;

fn main() -> ExitCode {
    command::main(std::env::args_os().skip(1))
}
