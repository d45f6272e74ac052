//! One part of the topics in use: a hash table that never changes.
//!
//! A lookup is what happens per message, so it touches little: the name is hashed
//! once, by the caller, for its part and its place; hashes are compared before
//! names; a place leads to the name and to the topic without a step between.

use std::sync::Arc;

use super::TopicState;

/// Topics by the hash of their names, at most every other place taken.
#[derive(Debug)]
pub(super) struct Table<C, S> {
    /// As many as a power of two, at least two.
    places: Box<[Option<Entry<C, S>>]>,
    /// Leaves of a hash as many of its high bits as number a place.
    shift: u32,
}

#[derive(Debug)]
struct Entry<C, S> {
    hash: u64,
    name: Arc<str>,
    topic: Arc<TopicState<C, S>>,
}

// Derived, it would ask the same of C and S.
impl<C, S> Clone for Entry<C, S> {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash,
            name: Arc::clone(&self.name),
            topic: Arc::clone(&self.topic),
        }
    }
}

impl<C, S> Table<C, S> {
    pub(super) fn empty() -> Self {
        Self::of(Vec::new())
    }

    /// The topic of this name, whose hash is `hash`.
    #[inline]
    pub(super) fn get(&self, hash: u64, name: &str) -> Option<&Arc<TopicState<C, S>>> {
        let mut at = self.first_place(hash);
        // There is a free place, which ends this.
        loop {
            let entry = self.places.get(self.wrap(at))?.as_ref()?;
            if entry.hash == hash && *entry.name == *name {
                return Some(&entry.topic);
            }
            at += 1;
        }
    }

    /// This table and one more topic, which it does not have yet.
    pub(super) fn with(&self, hash: u64, topic: &Arc<TopicState<C, S>>) -> Self {
        let new = Entry {
            hash,
            name: Arc::clone(&topic.name),
            topic: Arc::clone(topic),
        };
        let mut entries: Vec<_> = self.entries().cloned().collect();
        entries.push(new);
        Self::of(entries)
    }

    /// This table without the topic of this name.
    pub(super) fn without(&self, name: &str) -> Self {
        let rest = self.entries().filter(|entry| *entry.name != *name);
        Self::of(rest.cloned().collect())
    }

    fn of(entries: Vec<Entry<C, S>>) -> Self {
        let places = (2 * entries.len()).next_power_of_two().max(2);
        let mut table = Self {
            places: std::iter::repeat_with(|| None).take(places).collect(),
            shift: u64::BITS - places.ilog2(),
        };
        for entry in entries {
            let first = table.first_place(entry.hash);
            let free = (first..first + places)
                .map(|at| table.wrap(at))
                .find(|at| matches!(table.places.get(*at), Some(None)));
            if let Some(place) = free.and_then(|at| table.places.get_mut(at)) {
                *place = Some(entry);
            }
        }
        table
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<C, S>> {
        self.places.iter().flatten()
    }

    const fn first_place(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    const fn wrap(&self, at: usize) -> usize {
        at & (self.places.len() - 1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn topic(name: &str) -> Arc<TopicState<(), ()>> {
        Arc::new(TopicState::new(name, (), ()))
    }

    /// A table of these names, of which each has the hash that `hash` gives it.
    fn table(names: &[String], hash: impl Fn(usize) -> u64) -> Table<(), ()> {
        let mut table = Table::empty();
        for (n, name) in names.iter().enumerate() {
            assert!(table.get(hash(n), name).is_none());
            table = table.with(hash(n), &topic(name));
        }
        table
    }

    fn names() -> Vec<String> {
        (0..100).map(|n| format!("orders.{n}")).collect()
    }

    fn found(table: &Table<(), ()>, hash: u64, name: &str) -> bool {
        table
            .get(hash, name)
            .is_some_and(|topic| topic.name() == name)
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        for same in [0, 1, u64::MAX] {
            let names = names();
            let table = table(&names, |_| same);
            assert!(names.iter().all(|name| found(&table, same, name)));
            assert!(table.get(same, "orders").is_none());
            assert!(table.get(same ^ 1, "orders.1").is_none());
        }
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_is_found() {
        let names = names();
        // Some share a place and some a hash; the last places wrap to the first.
        let hash = |n: usize| u64::MAX - ((n as u64 / 3) << 58);
        let mut table = table(&names, hash);
        for (n, name) in names.iter().enumerate() {
            table = table.without(name);
            for (m, other) in names.iter().enumerate() {
                assert_eq!(found(&table, hash(m), other), m > n);
            }
        }
    }

    #[test]
    fn at_most_every_other_place_is_taken() {
        let names = names();
        let mut table = table(&names, |n| n as u64);
        for (n, name) in names.iter().enumerate() {
            assert_eq!(table.entries().count(), names.len() - n);
            assert!(2 * table.entries().count() <= table.places.len());
            table = table.without(name);
        }
        assert_eq!(table.places.len(), 2);
    }
}
