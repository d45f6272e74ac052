//! The entries in use, found by stream and wanted configuration.

use std::fmt;
use std::sync::Arc;

use super::StreamState;
use crate::sync::Snapshot;

/// All streams a bus uses: one [`StreamState`] for each name and wanted
/// configuration `C`, such as its hash.
///
/// Made for dozens to thousands: finding is a binary search in a snapshot, adding
/// copies it. Whoever publishes keeps the entry and does not come here.
pub struct Streams<C, V, E> {
    sorted: Snapshot<Vec<Entry<C, V, E>>>,
    limit: usize,
}

struct Entry<C, V, E> {
    name: Arc<str>,
    wanted: C,
    state: Arc<StreamState<V, E>>,
}

// Derived, it would ask the same of V and E.
impl<C: Clone, V, E> Clone for Entry<C, V, E> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            wanted: self.wanted.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

/// As many streams are in use as the collection may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The largest number of entries.
    pub limit: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} streams are in use, and no more may be", self.limit)
    }
}

impl std::error::Error for Full {}

impl<C: Ord + Clone, V, E: Clone> Streams<C, V, E> {
    /// An empty collection that holds up to `limit` entries.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            sorted: Snapshot::new(Vec::new()),
            limit,
        }
    }

    /// The entry of stream `name` in configuration `wanted`; a new one when there
    /// is none. Everybody who asks for the same gets the same.
    ///
    /// # Errors
    /// [`Full`] when it would be one too many.
    pub fn entry(&self, name: &str, wanted: &C) -> Result<Arc<StreamState<V, E>>, Full> {
        if let Some(known) = self.find(name, wanted) {
            return Ok(known);
        }
        let new = Entry {
            name: name.into(),
            wanted: wanted.clone(),
            state: Arc::new(StreamState::new()),
        };
        // Runs again when another writer came between: the last run counts.
        let mut found = Ok(Arc::clone(&new.state));
        self.sorted.update(|sorted| {
            let at = match position(sorted, name, wanted) {
                Ok(at) => {
                    let known = sorted.get(at).map(|entry| Arc::clone(&entry.state));
                    found = known.ok_or(Full { limit: self.limit });
                    return None;
                }
                Err(at) => at,
            };
            if sorted.len() >= self.limit {
                found = Err(Full { limit: self.limit });
                return None;
            }
            let mut longer = Vec::with_capacity(sorted.len() + 1);
            longer.extend_from_slice(sorted);
            longer.insert(at, new.clone());
            Some(longer)
        });
        found
    }

    /// The entry of stream `name` in configuration `wanted`, if there is one.
    #[must_use]
    pub fn find(&self, name: &str, wanted: &C) -> Option<Arc<StreamState<V, E>>> {
        self.sorted.with(|sorted| {
            let at = position(sorted, name, wanted).ok()?;
            sorted.get(at).map(|entry| Arc::clone(&entry.state))
        })
    }

    /// Calls `visit` with every configuration of stream `name`: when a stream is
    /// gone, it is gone for all of them.
    pub fn each_of(&self, name: &str, mut visit: impl FnMut(&C, &Arc<StreamState<V, E>>)) {
        self.sorted.with(|sorted| {
            let begin = sorted.partition_point(|entry| &*entry.name < name);
            let entries = sorted.iter().skip(begin);
            for entry in entries.take_while(|entry| &*entry.name == name) {
                visit(&entry.wanted, &entry.state);
            }
        });
    }

    /// Makes room: forgets the entry. Whoever holds it may go on using it, but
    /// meets nobody there who asks for it later.
    pub fn remove(&self, name: &str, wanted: &C) -> bool {
        let removed = self.sorted.update(|sorted| {
            let at = position(sorted, name, wanted).ok()?;
            let mut shorter = sorted.clone();
            shorter.remove(at);
            Some(shorter)
        });
        removed.is_some()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.with(Vec::len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn position<C: Ord, V, E>(
    sorted: &[Entry<C, V, E>],
    name: &str,
    wanted: &C,
) -> Result<usize, usize> {
    sorted.binary_search_by(|entry| (&*entry.name, &entry.wanted).cmp(&(name, wanted)))
}

impl<C, V, E> fmt::Debug for Streams<C, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("entries", &self.sorted.with(Vec::len))
            .field("limit", &self.limit)
            .finish()
    }
}
