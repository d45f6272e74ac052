//! All known things by name: ordered, listed by prefix, grown concurrently to a
//! million.
//!
//! A registration costs some microseconds. A read costs some hundred nanoseconds
//! among thousands of names, and one or two microseconds among a million when they
//! are read at random: the lower nodes are then in no cache, and each step of the
//! search in a node waits for memory. That is the price of any ordered tree of this
//! size: the container alone, with plain keys, takes no less, nor does a `BTreeMap`
//! (the benchmark `hot_path` has both beside it). So this is for declaring, listing
//! and first use; what happens per message goes through resolved handles or the
//! snapshot of [`super::topics`].
//!
//! Invariants: of several registrations of one name one wins and all get its
//! value; never more than the limit are registered; what was registered before a
//! listing began, and is not removed, is in it.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::sync::{self, AtomicUsize, Minimum, Ordering};

/// A bounded directory: name to [`Arc<V>`].
#[derive(Debug)]
pub struct Directory<V: Send + Sync + 'static> {
    entries: sync::Directory<Name, V>,
    /// How many are registered or about to be. Read-modify-written only; it
    /// orders nothing (the entries' own container does), it only counts.
    len: AtomicUsize,
    limit: usize,
}

/// Nothing was registered: the directory already holds `limit` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The most names that the directory holds.
    pub limit: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the directory is full: it holds {} names", self.limit)
    }
}

impl std::error::Error for Full {}

impl<V: Send + Sync + 'static> Directory<V> {
    /// An empty directory for at most `limit` names.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            entries: sync::Directory::new(),
            len: AtomicUsize::new(0),
            limit,
        }
    }

    /// The value registered under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<V>> {
        self.entries.get(&Name::from(name))
    }

    /// The value under `name`, registered with `make` if there is none yet. Of
    /// several callers at once one registers, and all get that one's value.
    ///
    /// # Errors
    /// [`Full`] when the limit is reached. A registration of the same name going on
    /// meanwhile counts until it is found to be one too many, so at the very limit a
    /// place may be refused that is free a moment later; never the other way round.
    pub fn register(&self, name: &str, make: impl FnOnce() -> V) -> Result<Arc<V>, Full> {
        let name = Name::from(name);
        if let Some(present) = self.entries.get(&name) {
            return Ok(present);
        }
        self.reserve()?;
        let value = Arc::new(make());
        match self.entries.try_insert(name, Arc::clone(&value)) {
            Ok(()) => Ok(value),
            Err(present) => {
                self.release();
                Ok(present)
            }
        }
    }

    /// Removes `value` from `name` if it is still what is registered there; says
    /// whether it was.
    pub fn remove(&self, name: &str, value: &Arc<V>) -> bool {
        let removed = self.entries.remove(Name::from(name), value);
        if removed {
            self.release();
        }
        removed
    }

    /// Visits the names that start with `prefix` and come after `after`, in order,
    /// until `visit` breaks. What is registered or removed meanwhile may be seen or
    /// not.
    pub fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        mut visit: impl FnMut(&str, &Arc<V>) -> ControlFlow<()>,
    ) {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(Name::from(after)),
            _ => Bound::Included(Name::from(prefix)),
        };
        self.entries.scan(start.as_ref(), |name, value| {
            name.read(|name| {
                if !name.starts_with(prefix) {
                    return ControlFlow::Break(());
                }
                visit(name, value)
            })
        });
    }

    /// How many names are registered; registrations going on count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether nothing is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // A compare-and-swap, not an add that is taken back: an add over the limit
    // would refuse others that have a place.
    fn reserve(&self) -> Result<(), Full> {
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < self.limit).then_some(len + 1)
            })
            .map_or(Err(Full { limit: self.limit }), |_| Ok(()))
    }

    fn release(&self) {
        self.len.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A key of the tree, ordered as text.
///
/// A read compares some thirty keys on its way down. So the beginning of the name is
/// in the node itself, as numbers of eight bytes each, and mostly all of it: no
/// call to compare them, no cache miss.
#[derive(Clone, Debug)]
struct Name {
    /// The first [`SHORT`] bytes, zeros if there are fewer, and in the last byte how
    /// many the name has, or that it has more.
    words: [u64; WORDS],
    /// The whole name, if it has more. Boxed once more to be one word here.
    long: Option<Arc<Box<str>>>,
}

const WORDS: usize = 5;
const SHORT: usize = 8 * WORDS - 1;

impl Minimum for Name {
    const MIN: Self = Self {
        words: [0; WORDS],
        long: None,
    };
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        let mut bytes = [0; 8 * WORDS];
        if let Some((len, first)) = bytes.split_last_mut() {
            for (place, byte) in first.iter_mut().zip(name.bytes()) {
                *place = byte;
            }
            *len = name.len().min(SHORT + 1) as u8;
        }
        let (eights, _) = bytes.as_chunks();
        let mut words = [0; WORDS];
        for (word, eight) in words.iter_mut().zip(eights) {
            *word = u64::from_be_bytes(*eight);
        }
        Self {
            words,
            long: (name.len() > SHORT).then(|| Arc::new(name.into())),
        }
    }
}

impl Name {
    fn read<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        if let Some(name) = &self.long {
            return read(name);
        }
        let bytes = self.words.map(u64::to_be_bytes);
        let bytes = bytes.as_flattened();
        let len = bytes.last().map_or(0, |len| usize::from(*len));
        let name = bytes.get(..len).unwrap_or_default();
        // Made from text, all of them.
        read(std::str::from_utf8(name).unwrap_or_default())
    }
}

impl Ord for Name {
    // Of names that begin alike and are both short, the longer comes later; so does
    // the one that is not short. Of two that are not, the whole names decide.
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        for (one, another) in self.words.iter().zip(&other.words) {
            if one != another {
                return one.cmp(another);
            }
        }
        self.long.cmp(&other.long)
    }
}

impl PartialOrd for Name {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Name {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn names<V: Send + Sync>(
        directory: &Directory<V>,
        prefix: &str,
        after: Option<&str>,
    ) -> Vec<String> {
        let mut names = Vec::new();
        directory.scan(prefix, after, |name, _| {
            names.push(name.to_owned());
            ControlFlow::Continue(())
        });
        names
    }

    #[test]
    fn a_directory_is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Directory<String>>();
    }

    #[test]
    fn the_first_registration_of_a_name_wins() {
        let directory = Directory::new(2);
        assert_eq!(*directory.register("a", || 1).unwrap(), 1);
        assert_eq!(*directory.register("a", || 2).unwrap(), 1);
        assert_eq!(directory.get("a").as_deref(), Some(&1));
        assert_eq!(directory.len(), 1);
    }

    #[test]
    fn a_full_directory_refuses_new_names_and_finds_old_ones() {
        let directory = Directory::new(1);
        let a = directory.register("a", || 1).unwrap();
        assert_eq!(directory.register("b", || 2), Err(Full { limit: 1 }));
        assert_eq!(*directory.register("a", || 3).unwrap(), 1);
        assert!(directory.remove("a", &a));
        assert_eq!(*directory.register("b", || 2).unwrap(), 2);
    }

    #[test]
    fn only_the_value_itself_is_removed() {
        let directory = Directory::new(4);
        let old = directory.register("a", || 1).unwrap();
        assert!(directory.remove("a", &old));
        let new = directory.register("a", || 1).unwrap();
        assert!(!directory.remove("a", &old));
        assert!(Arc::ptr_eq(&directory.get("a").unwrap(), &new));
        assert_eq!(directory.len(), 1);
    }

    #[test]
    fn names_are_listed_by_prefix_in_order_and_in_pages() {
        let directory = Directory::new(16);
        for name in ["b.2", "a", "b", "b.1", "c", "", "b.3"] {
            directory.register(name, || ()).unwrap();
        }
        assert_eq!(names(&directory, "b.", None), ["b.1", "b.2", "b.3"]);
        assert_eq!(names(&directory, "b.", Some("b.1")), ["b.2", "b.3"]);
        assert_eq!(names(&directory, "b.", Some("a")), ["b.1", "b.2", "b.3"]);
        assert_eq!(names(&directory, "b.", Some("c")), [""; 0]);
        assert_eq!(
            names(&directory, "", None),
            ["", "a", "b", "b.1", "b.2", "b.3", "c"]
        );
    }

    #[test]
    fn long_and_short_names_are_ordered_as_text() {
        let directory = Directory::new(512);
        let mut expected: Vec<String> = (0..150).map(|n| "ab".repeat(n)).collect();
        for name in expected.iter().rev() {
            directory.register(name, || name.len()).unwrap();
        }
        expected.sort();
        assert_eq!(names(&directory, "", None), expected);
        assert!(
            expected
                .iter()
                .all(|name| *directory.get(name).unwrap() == name.len())
        );
    }

    #[test]
    fn keys_are_ordered_as_their_names() {
        let mut names = vec!["".to_owned(), "b".to_owned(), "é".to_owned()];
        for len in [1, 7, 8, 9, 37, 38, 39, 40, 41, 80, 300] {
            for byte in ["a", "b", "\0"] {
                let begin = "a".repeat(len - 1) + byte;
                names.extend([begin.clone(), begin.clone() + "\0", begin + "\u{7f}"]);
            }
        }
        for one in &names {
            Name::from(&**one).read(|read| assert_eq!(read, one));
            for another in &names {
                let (key, other) = (Name::from(&**one), Name::from(&**another));
                assert_eq!(key.cmp(&other), one.cmp(another), "{one:?} {another:?}");
            }
        }
    }

    #[test]
    fn threads_that_register_at_once_lose_nothing() {
        let directory = Directory::new(10_000);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let directory = &directory;
                scope.spawn(move || {
                    for i in 0..1_000 {
                        // Every name is registered by two threads.
                        let name = format!("t.{}.{i}", thread / 2);
                        directory.register(&name, || (thread, i)).unwrap();
                    }
                });
            }
        });
        assert_eq!(directory.len(), 2_000);
        assert_eq!(names(&directory, "t.", None).len(), 2_000);
        assert_eq!(names(&directory, "t.1.", None).len(), 1_000);
        assert_eq!(directory.get("t.1.999").unwrap().1, 999);
    }
}
