//! What this process has at a moment.

use std::fmt;
use std::fs;

use crate::failure::{Doing as _, Failure};
use crate::place::Place;

/// What this process has at a moment, as Linux and the runtime say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Resident memory, in bytes.
    pub rss: u64,
    /// Tasks of the runtime.
    pub tasks: u64,
    /// Threads.
    pub threads: u64,
    /// Open sockets.
    pub sockets: u64,
}

impl Sample {
    /// Looks.
    ///
    /// # Errors
    /// When there is no `/proc`, as on other systems than Linux.
    pub fn take(place: &Place) -> Result<Self, Failure> {
        let what = "looking at the own process";
        let status = fs::read_to_string("/proc/self/status").doing(what)?;
        let files = fs::read_dir("/proc/self/fd").doing(what)?;
        let is_socket = |file: &fs::DirEntry| {
            let target = fs::read_link(file.path());
            target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        let field = |name| {
            let value = field(&status, name);
            value.ok_or_else(|| Failure::new(what, format_args!("there is no {name}")))
        };
        Ok(Self {
            rss: field("VmRSS")? * 1_024,
            tasks: place.tasks() as u64,
            threads: field("Threads")?,
            sockets: files.flatten().filter(is_socket).count() as u64,
        })
    }
}

/// The number behind a name.
fn field(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RSS {:.1} MiB  {} tasks  {} threads  {} sockets",
            self.rss as f64 / f64::from(1 << 20),
            self.tasks,
            self.threads,
            self.sockets
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_and_a_task_more_are_seen() {
        let place = Place::tokio().unwrap();
        let before = Sample::take(&place).unwrap();
        assert!(before.rss > 0 && before.threads > 0, "{before:?}");
        // Others of this program may have sockets of their own for a moment.
        let sockets: Vec<_> = (0..100)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let waiting = place
            .runtime()
            .sleep_until(place.runtime().now() + std::time::Duration::from_secs(3_600));
        place.runtime().spawn(waiting);
        let after = Sample::take(&place).unwrap();
        assert!(
            after.sockets >= before.sockets + 50,
            "{before} then {after}"
        );
        assert_eq!(after.tasks, before.tasks + 1);
        drop(sockets);
        assert_eq!(field("Threads:\t12\n", "Threads"), Some(12));
        assert_eq!(field("Threads:\t12\n", "VmRSS"), None);
    }
}
