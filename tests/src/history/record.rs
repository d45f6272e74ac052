//! What happened, as those who took part saw it.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// An event. Keys are one writer's, who publishes the numbers of each in order, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Which {
    /// The number in the name of its key.
    pub key: u32,
    /// Its number among the events of the key.
    pub number: u32,
}

impl Which {
    /// The event of a key by its name; `None` when no writer has that key.
    #[must_use]
    pub fn named(key: &str, number: u32) -> Option<Self> {
        let key = key.strip_prefix("key-")?.parse().ok()?;
        Some(Self { key, number })
    }

    /// The name of its key.
    #[must_use]
    pub fn key_name(self) -> String {
        format!("key-{}", self.key)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key-{} {}", self.key, self.number)
    }
}

/// What a writer was told of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is stored at this sequence.
    At(u64),
    /// It is not stored.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A publish, from its call to its outcome. Times are those since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// What was published.
    pub which: Which,
    /// When it was called.
    pub begun: Duration,
    /// When its outcome was known.
    pub ended: Duration,
    /// Its outcome.
    pub told: Told,
}

/// A handling that ended well.
#[derive(Clone, Copy, Debug)]
pub struct Handled {
    /// What was handled.
    pub which: Which,
    /// Where the handler was told that it is stored.
    pub sequence: u64,
    /// When, since the beginning.
    pub at: Duration,
}

/// What the subscriptions of a group handled.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Each of its subscriptions is a process of its own; what it handled is in order.
    pub processes: Vec<Vec<Handled>>,
}

/// An event as it is in the stream.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Which event.
    pub which: Which,
    /// Where it is.
    pub sequence: u64,
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was published.
    pub published: Vec<Published>,
    /// The stream, as it is in the end.
    pub stored: Vec<Stored>,
    /// Who handled what.
    pub groups: Vec<Group>,
}

impl History {
    /// All that happened to a key, a line each.
    #[must_use]
    pub fn of(&self, key: u32) -> String {
        let mut text = String::new();
        for one in self.published.iter().filter(|one| one.which.key == key) {
            let (which, told) = (one.which, one.told);
            let _ = writeln!(
                text,
                "{which}: published at {:.3?}, told {told:?} at {:.3?}",
                one.begun, one.ended
            );
        }
        for one in self.stored.iter().filter(|one| one.which.key == key) {
            let _ = writeln!(text, "{}: stored at {}", one.which, one.sequence);
        }
        for group in &self.groups {
            for (process, handled) in group.processes.iter().enumerate() {
                for one in handled.iter().filter(|one| one.which.key == key) {
                    let _ = writeln!(
                        text,
                        "{}: handled by {} {process} from {} at {:.3?}",
                        one.which, group.name, one.sequence, one.at
                    );
                }
            }
        }
        text
    }
}
