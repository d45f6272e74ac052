//! A plan run and judged, whatever becomes of it.

use std::any::Any;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::panic::{AssertUnwindSafe, catch_unwind};

use jetbus_core::Time;

use super::check::Violation;
use super::history::{Entries, History};
use super::plan::{Cuts, Plan};
use super::run::run_plan;
use super::runtime::{Stuck, Why};

/// What came of a plan.
#[derive(Debug)]
pub struct Trial {
    /// What was planned.
    pub plan: Plan,
    /// What happened; only its entries when it came to no end.
    pub history: History,
    /// What is wrong with that.
    pub wrong: Vec<Wrong>,
}

/// What may be wrong with a run.
#[derive(Clone, Debug)]
pub enum Wrong {
    /// A rule was broken.
    Rule(Violation),
    /// It came to no end.
    Stuck(Stuck),
    /// It panicked, with this message.
    Panicked(String),
}

/// In which way something is wrong: equal for the same rule broken by other events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This rule was broken.
    Rule(Discriminant<Violation>),
    /// It came to no end like this.
    Stuck(Why),
    /// It panicked.
    Panicked,
}

impl Trial {
    /// Runs `plan`.
    #[must_use]
    pub fn of(plan: Plan) -> Self {
        let entries = Entries::default();
        let run = || run_plan(plan.clone(), &entries);
        // Nothing of a run that panicked is used but what it wrote.
        let wrong = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(report)) => {
                return Self {
                    plan: report.plan,
                    history: report.history,
                    wrong: report.violations.into_iter().map(Wrong::Rule).collect(),
                };
            }
            Ok(Err(stuck)) => Wrong::Stuck(stuck),
            Err(panic) => Wrong::Panicked(message(&*panic)),
        };
        Self {
            plan,
            history: History {
                entries: entries.with(std::mem::take),
                ..History::default()
            },
            wrong: vec![wrong],
        }
    }

    /// Whether something is wrong in this way.
    #[must_use]
    pub fn fails(&self, kind: Kind) -> bool {
        self.wrong.iter().any(|wrong| wrong.kind() == kind)
    }

    /// What is wrong, and how to see it again; `cuts` were made in the plan.
    #[must_use]
    pub fn complaint(&self, cuts: &Cuts) -> String {
        let wrong = self.wrong.iter().map(|wrong| format!("  {wrong}\n"));
        let wrong: String = wrong.collect();
        let replay = replay(self.plan.seed, cuts);
        format!("  {:?}\n{wrong}  {replay}\n", self.plan)
    }

    /// The plan and everything that happened, a line each.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn trace(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        writeln!(out, "{:#?}", self.plan)?;
        for (time, entry) in &self.history.entries {
            let seconds = time.since(Time::ZERO).as_secs_f64();
            writeln!(out, "{seconds:>12.6} {entry:?}")?;
        }
        for ((stream, sequence), stored) in &self.history.stored {
            writeln!(out, "{stream} {sequence}: {stored:?}")?;
        }
        Ok(())
    }
}

/// The command that shows a seed again.
fn replay(seed: u64, cuts: &Cuts) -> String {
    let cuts = match cuts.to_string() {
        none if none.is_empty() => none,
        some => format!(" {some}"),
    };
    format!(
        "replay: cargo run --release -p jetbus-tests --bin simulate -- --seed {seed}{cuts} --trace"
    )
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref().map(String::as_str));
    text.unwrap_or("without words").into()
}

impl Wrong {
    /// In which way.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Rule(violation) => Kind::Rule(discriminant(violation)),
            Self::Stuck(stuck) => Kind::Stuck(stuck.why()),
            Self::Panicked(_) => Kind::Panicked,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(violation) => violation.fmt(f),
            Self::Stuck(stuck) => stuck.fmt(f),
            Self::Panicked(message) => write!(f, "it panicked: {message}"),
        }
    }
}
