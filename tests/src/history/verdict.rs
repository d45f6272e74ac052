//! What is true of a history. Pure: a history in, what is wrong with it out.
//!
//! A publish without an outcome may be in the stream or not, and may turn up there later
//! than the events of its key that come after it: so the guarantees say. Order in
//! handling is that of the stream, and a matter of one process that reads for its group
//! alone: what a process of several loses comes again after its lease, to anybody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::record::{Group, History, Told, Which};

#[cfg(test)]
mod tests;

/// Something that must not be in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It was acknowledged, and is not in the stream.
    Lost(Which),
    /// It was acknowledged at another sequence than it is at.
    Misplaced(Which),
    /// It was refused, and is in the stream.
    StoredThoughRefused(Which),
    /// It is in the stream more than once.
    StoredTwice(Which),
    /// It is in the stream, and nobody published it.
    StoredUnpublished(Which),
    /// It is stored before an acknowledged event of its key that was published earlier.
    StoredOutOfOrder(Which),
    /// A handler saw what nobody published.
    HandledUnpublished(Which, String),
    /// A handler saw what is not in the stream, or not where it says.
    HandledUnstored(Which, String),
    /// The only process of a group handled it for the first time after an event of its
    /// key that is behind it in the stream.
    HandledOutOfOrder(Which, String),
    /// It is in the stream, and a group never handled it.
    NeverHandled(Which, String),
}

impl Violation {
    /// The event that it is about.
    #[must_use]
    pub const fn which(&self) -> Which {
        match self {
            Self::Lost(which)
            | Self::Misplaced(which)
            | Self::StoredThoughRefused(which)
            | Self::StoredTwice(which)
            | Self::StoredUnpublished(which)
            | Self::StoredOutOfOrder(which)
            | Self::HandledUnpublished(which, _)
            | Self::HandledUnstored(which, _)
            | Self::HandledOutOfOrder(which, _)
            | Self::NeverHandled(which, _) => *which,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Lost(_) => "acknowledged and lost",
            Self::Misplaced(_) => "elsewhere than acknowledged",
            Self::StoredThoughRefused(_) => "refused and stored",
            Self::StoredTwice(_) => "stored twice",
            Self::StoredUnpublished(_) => "stored and not published",
            Self::StoredOutOfOrder(_) => "stored out of order",
            Self::HandledUnpublished(..) => "handled and not published",
            Self::HandledUnstored(..) => "handled and not stored",
            Self::HandledOutOfOrder(..) => "handled out of order",
            Self::NeverHandled(..) => "stored and never handled",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.which(), self.kind())?;
        match self {
            Self::HandledUnpublished(_, group)
            | Self::HandledUnstored(_, group)
            | Self::HandledOutOfOrder(_, group)
            | Self::NeverHandled(_, group) => write!(f, " by {group}"),
            _ => Ok(()),
        }
    }
}

/// What is true of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Publishes that were told where they are stored.
    pub acknowledged: usize,
    /// Publishes that were told that they are not stored.
    pub refused: usize,
    /// Publishes of which nothing was told.
    pub unknown: usize,
    /// Of these, those that are in the stream.
    pub unknown_stored: usize,
    /// What is in the stream.
    pub stored: usize,
    /// Handlings of an event by a group, the first of each.
    pub handled: usize,
    /// Handlings beyond those.
    pub repeated: usize,
    /// In groups of several processes: first handlings after one of an event of the key
    /// that is behind in the stream. Allowed.
    pub overtaken: usize,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// How many violations there are of those that `is` takes.
    fn count(&self, is: impl Fn(&Violation) -> bool) -> usize {
        self.violations.iter().filter(|one| is(one)).count()
    }
}

/// All counts, in one line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Violation as V;
        write!(
            f,
            "{} published: {} acknowledged ({} lost, {} misplaced), {} refused ({} stored), \
             {} unknown ({} stored); {} stored ({} twice, {} out of order, {} never published); \
             {} handled ({} again, {} out of order, {} overtaken between processes, \
             {} never published, {} not stored), {} never handled",
            self.acknowledged + self.refused + self.unknown,
            self.acknowledged,
            self.count(|one| matches!(one, V::Lost(_))),
            self.count(|one| matches!(one, V::Misplaced(_))),
            self.refused,
            self.count(|one| matches!(one, V::StoredThoughRefused(_))),
            self.unknown,
            self.unknown_stored,
            self.stored,
            self.count(|one| matches!(one, V::StoredTwice(_))),
            self.count(|one| matches!(one, V::StoredOutOfOrder(_))),
            self.count(|one| matches!(one, V::StoredUnpublished(_))),
            self.handled,
            self.repeated,
            self.count(|one| matches!(one, V::HandledOutOfOrder(..))),
            self.overtaken,
            self.count(|one| matches!(one, V::HandledUnpublished(..))),
            self.count(|one| matches!(one, V::HandledUnstored(..))),
            self.count(|one| matches!(one, V::NeverHandled(..))),
        )
    }
}

/// Judges a history.
#[must_use]
pub fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict {
        stored: history.stored.len(),
        ..Verdict::default()
    };
    let mut places: HashMap<Which, u64> = HashMap::new();
    for stored in &history.stored {
        if places.insert(stored.which, stored.sequence).is_some() {
            let twice = Violation::StoredTwice(stored.which);
            verdict.violations.push(twice);
        }
    }
    let mut told: BTreeMap<Which, Told> = BTreeMap::new();
    for published in &history.published {
        told.insert(published.which, published.told);
    }
    publishing(&told, &places, &mut verdict);
    for group in &history.groups {
        handling(group, &told, &places, &mut verdict);
    }
    verdict
}

fn publishing(told: &BTreeMap<Which, Told>, places: &HashMap<Which, u64>, verdict: &mut Verdict) {
    let unpublished = places.keys().filter(|which| !told.contains_key(which));
    let unpublished = unpublished.copied().map(Violation::StoredUnpublished);
    verdict.violations.extend(unpublished);
    // Of the key at hand: the last place of an acknowledged event.
    let mut last = (None, 0);
    for (&which, &told) in told {
        if last.0 != Some(which.key) {
            last = (Some(which.key), 0);
        }
        let place = places.get(&which).copied();
        match told {
            Told::At(at) => {
                verdict.acknowledged += 1;
                match place {
                    None => verdict.violations.push(Violation::Lost(which)),
                    Some(place) if place != at => {
                        verdict.violations.push(Violation::Misplaced(which));
                    }
                    Some(_) => {}
                }
            }
            Told::Refused => {
                verdict.refused += 1;
                if place.is_some() {
                    let stored = Violation::StoredThoughRefused(which);
                    verdict.violations.push(stored);
                }
            }
            Told::Unknown => {
                verdict.unknown += 1;
                verdict.unknown_stored += usize::from(place.is_some());
            }
        }
        let Some(place) = place else { continue };
        if place < last.1 {
            let wrong = Violation::StoredOutOfOrder(which);
            verdict.violations.push(wrong);
        }
        if told != Told::Unknown {
            last.1 = last.1.max(place);
        }
    }
}

fn handling(
    group: &Group,
    told: &BTreeMap<Which, Told>,
    places: &HashMap<Which, u64>,
    verdict: &mut Verdict,
) {
    let name = || group.name.clone();
    let mut handled = BTreeSet::new();
    for process in &group.processes {
        let mut last: HashMap<u32, u64> = HashMap::new();
        let mut known = BTreeSet::new();
        for one in process {
            let which = one.which;
            if !handled.insert(which) {
                verdict.repeated += 1;
            }
            if !known.insert(which) {
                continue;
            }
            if !told.contains_key(&which) {
                let wrong = Violation::HandledUnpublished(which, name());
                verdict.violations.push(wrong);
            } else if places.get(&which) != Some(&one.sequence) {
                let wrong = Violation::HandledUnstored(which, name());
                verdict.violations.push(wrong);
            }
            let last = last.entry(which.key).or_default();
            if one.sequence < *last && group.processes.len() > 1 {
                verdict.overtaken += 1;
            } else if one.sequence < *last {
                let wrong = Violation::HandledOutOfOrder(which, name());
                verdict.violations.push(wrong);
            }
            *last = one.sequence.max(*last);
        }
    }
    verdict.handled += handled.len();
    let mut missed: Vec<_> = places.keys().filter(|one| !handled.contains(one)).collect();
    missed.sort_unstable();
    let missed = missed
        .into_iter()
        .map(|one| Violation::NeverHandled(*one, name()));
    verdict.violations.extend(missed);
}
