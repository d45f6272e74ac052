//! Arguments of this package's programs.

use std::process::ExitCode;

/// What the arguments of this process say, read by `parsed`: `None` when help is asked for.
///
/// # Errors
/// The exit code when there is nothing to do: `usage` was printed (0), or why an argument
/// is bad (2).
pub fn read<T>(
    usage: &str,
    parsed: impl FnOnce(&[String]) -> Result<Option<T>, String>,
) -> Result<T, ExitCode> {
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<_> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match parsed(&arguments) {
        Ok(Some(options)) => Ok(options),
        Ok(None) => {
            println!("{usage}");
            Err(ExitCode::SUCCESS)
        }
        Err(why) => {
            eprintln!("{why}");
            Err(ExitCode::from(2))
        }
    }
}
