//! Cargo's target folder: the one place where the tests leave anything.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::{Doing as _, Failure};

/// The folder that cargo builds into: the one this program runs from, else
/// `CARGO_TARGET_DIR`, else the one beside the workspace's `Cargo.toml`.
#[must_use]
pub fn folder() -> PathBuf {
    let built_into = std::env::current_exe().ok().and_then(|exe| {
        exe.ancestors()
            .find(|folder| folder.join("CACHEDIR.TAG").is_file())
            .map(Path::to_owned)
    });
    built_into
        .or_else(|| std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// A folder of its own, removed when dropped.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes `target/tmp/<name>-<pid>-<count>`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self, Failure> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder()
            .join("tmp")
            .join(format!("{name}-{}-{count}", process::id()));
        // A process of the same id may have died here.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).doing(format_args!("making {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The folder `target/<name>`, filled by `fill` unless it is there already.
///
/// It appears whole or not at all, however many test programs want it at once:
/// each fills one of its own, and the first renames it into place.
pub(crate) fn once(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let place = folder().join(name);
    if place.is_dir() {
        return Ok(place);
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).doing(format_args!("making {}", parent.display()))?;
    }
    let filled = TempFolder::new("install")?;
    fill(filled.path())?;
    match fs::rename(filled.path(), &place) {
        Ok(()) => Ok(place),
        Err(_) if place.is_dir() => Ok(place),
        Err(why) => Err(Failure::new(
            format_args!("moving {} into place", place.display()),
            why,
        )),
    }
}

/// Runs Python 3 with `arguments`, giving it `input`; its output.
///
/// # Errors
/// When there is no `python3`, or it ends with a failure: what it said.
pub(crate) fn python<A: AsRef<OsStr>>(
    what: &str,
    arguments: &[A],
    path: Option<&Path>,
    input: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new("python3");
    command
        .args(arguments)
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .stderr(process::Stdio::piped());
    if let Some(path) = path {
        command.env("PYTHONPATH", path);
    }
    let mut child = command.spawn().map_err(|why| {
        Failure::new(
            what,
            format_args!("python3 does not run ({why}); the tests need Python 3 with pip"),
        )
    })?;
    // Read whole before anything is printed, so that nobody waits for anybody. A
    // script that ends early says why itself.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().doing(what)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Failure::new(
        what,
        format_args!(
            "python3 ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    ))
}
