//! One run of a program that never outlives the test.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Doing as _, Failure};

/// A running server. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Kills `child` when this program dies without dropping anything: a shell
    /// that reads a pipe which only we hold open.
    guard: Option<Child>,
}

impl Process {
    pub(super) fn spawn(program: &Path, config: &Path, log: File) -> Result<Self, Failure> {
        let what = format!("starting {}", program.display());
        let child = Command::new(program)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().doing(&what)?)
            .stderr(log)
            .spawn()
            .doing(&what)?;
        let mut process = Self { child, guard: None };
        let kill = format!("read _; kill -9 {}", process.pid());
        let guard = Command::new("sh")
            .args(["-c", &kill])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing("starting the guard of a server")?;
        process.guard = Some(guard);
        Ok(process)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name: `TERM`, `STOP`, `CONT`.
    pub(super) fn signal(&self, name: &str) -> Result<(), Failure> {
        let what = format!("sending SIG{name} to {}", self.pid());
        let kill = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .doing(&what)?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(what, status))
        }
    }

    /// Whether every thread of it has stopped after SIGSTOP, which reaches them one
    /// by one. Where there is no `/proc` to ask, this says yes.
    pub(super) fn is_stopped(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid())) else {
            return true;
        };
        threads.flatten().all(|thread| {
            // `<id> (<name>) <state> ...`, T being stopped.
            fs::read_to_string(thread.path().join("stat"))
                .ok()
                .and_then(|stat| stat.rsplit(") ").next().map(|rest| rest.starts_with('T')))
                .unwrap_or(true)
        })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(status.to_string()),
            Ok(None) => None,
            Err(why) => Some(why.to_string()),
        }
    }

    /// Waits until it has ended by itself.
    pub(super) fn wait(mut self, within: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + within;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                return Err(Failure::new(
                    format_args!("waiting for {} to end", self.pid()),
                    format_args!("it did not within {within:?}"),
                ));
            }
            super::pause();
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard first: it must not kill a process that got our child's id.
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
