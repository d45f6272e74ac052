//! Histories of three servers under faults.
//!
//! Writers publish events of their own keys, handlers in groups note what they handle,
//! and meanwhile servers are killed, paused and restarted, lose each other and their
//! clients, and give up their leadership, as a seed draws it. Each connection, also
//! between servers, goes through a [proxy](crate::proxy). In the end all is healed, the
//! stream is read back, and [`verdict`] compares what everybody was told with what is
//! there.
//!
//! One server at a time is hurt, and the next only when the cluster is healthy again: a
//! majority always remembers what was acknowledged, as the guarantees ask for.
//!
//! What was seen to fail: a topic that is `unordered` is stored out of order, a
//! subscription that is `unordered` handles out of order, and a stream of one replica in
//! memory loses what was acknowledged; each within the first faults.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jetbus::News;

use crate::bench::timeline::Span;
use crate::failure::{Doing as _, Failure};

mod faults;
mod field;
mod groups;
mod picture;
pub mod record;
mod run;
pub mod verdict;
mod writers;

use record::History;
use verdict::Verdict;

pub use run::run;

/// How a history is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long there are faults. Starting and healing come on top.
    pub lasts: Duration,
    /// What the faults are drawn from.
    pub seed: u64,
}

/// A history and what is to be said of it.
#[derive(Debug)]
pub struct Report {
    /// What it was made of.
    pub options: Options,
    /// What happened.
    pub history: History,
    /// What is true of it.
    pub verdict: Verdict,
    /// When there was which fault.
    pub faults: Vec<Span>,
    /// What the servers have logged.
    pub logs: Vec<String>,
    /// When which bus told what. Two write, two read.
    pub news: Vec<(Duration, usize, News)>,
}

impl Report {
    /// Writes the picture to `folder`, and with violations also what was told and seen of
    /// their keys and the logs of the servers.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Failure> {
        let what = format!("writing to {}", folder.display());
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).doing(&what);
        fs::create_dir_all(folder).doing(&what)?;
        write("history.svg", &picture::timeline(self).svg())?;
        if self.verdict.violations.is_empty() {
            return Ok(());
        }
        let seed = self.options.seed;
        write(&format!("seed-{seed}.txt"), &self.evidence())?;
        for (n, log) in self.logs.iter().enumerate() {
            write(&format!("seed-{seed}-n{n}.log"), log)?;
        }
        Ok(())
    }

    /// The faults, the violations, and all that is known of their keys.
    fn evidence(&self) -> String {
        let mut text = format!("{self}\n");
        for fault in &self.faults {
            text += &format!("{:.3?} to {:.3?}: {}\n", fault.from, fault.to, fault.label);
        }
        for violation in &self.verdict.violations {
            text += &format!("{violation}\n");
        }
        for (at, bus, news) in &self.news {
            text += &format!("{at:.3?}: bus {bus}: {news:?}\n");
        }
        let keys = self.verdict.violations.iter().map(|one| one.which().key);
        let keys: std::collections::BTreeSet<_> = keys.collect();
        for key in keys {
            text += &self.history.of(key);
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}, {} faults: {}",
            self.options.seed,
            self.faults.len(),
            self.verdict
        )
    }
}
