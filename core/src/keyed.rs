//! One queue per key: heads that may run, successors held behind them.
//!
//! Items of one key come out one at a time, in order; a head that was handed out
//! holds its successors until it is [finished](Keyed::finish), and a
//! [parked](Keyed::park) head holds them until its time. Only who
//! [asks for them](Keyed::hand_out) gets successors together with their head. Keys
//! never wait for each other: they are compared as they are, not by hash. An item
//! without a key waits for nothing.
//!
//! The owner bounds how many items are held. Memory follows the most items held
//! at once, never the keys ever seen. Every operation takes constant time, except
//! that parking costs the logarithm of the items parked, and that inserting out of
//! order walks the key's queue from its end.

mod list;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, hash_map};
use std::hash::Hash;

use foldhash::fast::FixedState;

use self::list::{LANE, Links, List, Node, QUEUE};
use crate::Time;

/// An item held by a [`Keyed`]. Once the item has left, the id means nothing, also
/// when its place is taken by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    index: usize,
    generation: u32,
}

/// The queues. See the [module](self).
#[derive(Debug)]
pub struct Keyed<K, T> {
    slots: Vec<Slot<K, T>>,
    /// Vacant slots; their generation is that of their next item.
    vacant: Vec<usize>,
    lanes: HashMap<K, Lane, FixedState>,
    /// The items that may run and were not handed out yet.
    ready: List,
    /// The parked items by time, then in order of arrival.
    parked: BTreeSet<(Time, u64, usize)>,
    arrivals: u64,
}

/// The items of one key; not kept while there are none.
#[derive(Debug, Default)]
struct Lane {
    list: List,
    len: usize,
}

#[derive(Debug)]
struct Slot<K, T> {
    generation: u32,
    links: [Links; 2],
    entry: Option<Entry<K, T>>,
}

#[derive(Debug)]
struct Entry<K, T> {
    item: T,
    key: Option<K>,
    arrival: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Behind a head.
    Held,
    /// A head in the queue of those that may run.
    Ready,
    /// A head that was handed out.
    Out,
    /// Not before this time, even as a head.
    Parked(Time),
}

impl<K, T> Node for Slot<K, T> {
    fn links(&mut self, of: usize) -> &mut Links {
        &mut self.links[of]
    }
}

impl<K: Clone + Eq + Hash, T> Keyed<K, T> {
    /// No items. Keys may be hostile: `seed` is to be unknown to who chooses them.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            lanes: HashMap::with_hasher(FixedState::with_seed(seed)),
            ready: List::default(),
            parked: BTreeSet::new(),
            arrivals: 0,
        }
    }

    /// Adds `item` behind all of its key; without a key it may run at once.
    pub fn push(&mut self, key: Option<K>, item: T) -> Id {
        self.insert(key, item, |_| None)
    }

    /// Adds `item` before the first of its key that it is less than, but behind what
    /// was handed out; behind all of them when there is none. What it has no order
    /// with stays where it is. The last is asked first: adding in order does not walk.
    pub fn insert(
        &mut self,
        key: Option<K>,
        item: T,
        order: impl Fn(&T) -> Option<Ordering>,
    ) -> Id {
        let id = self.occupy(key.clone(), item);
        let Some(key) = key else {
            self.set_ready(id.index);
            return id;
        };
        let lane = self.lanes.entry(key).or_default();
        let (mut place, mut before) = (None, lane.list.last());
        while let Some(index) = before
            && let Some(entry) = &self.slots[index].entry
            && entry.phase != Phase::Out
        {
            match order(&entry.item) {
                Some(Ordering::Less) => place = before,
                Some(_) => break,
                None => {}
            }
            before = self.slots[index].links[LANE].prev();
        }
        lane.list.insert(&mut self.slots, LANE, id.index, place);
        lane.len += 1;
        if lane.list.first() == Some(id.index) {
            // It displaces the head that was there.
            if let Some(next) = self.slots[id.index].links[LANE].next()
                && self.phase(next) == Some(Phase::Ready)
            {
                self.ready.unlink(&mut self.slots, QUEUE, next);
                self.set_phase(next, Phase::Held);
            }
            self.set_ready(id.index);
        }
        id
    }

    /// Hands out an item that may run: those that are free the longest first.
    pub fn next_ready(&mut self) -> Option<Id> {
        let id = self.first_ready()?;
        self.hand_out(id).then_some(id)
    }

    /// The item that [`next_ready`](Self::next_ready) would hand out.
    #[must_use]
    pub fn first_ready(&self) -> Option<Id> {
        self.ready.first().map(|index| self.id(index))
    }

    /// Of those that may run and were not handed out, the one behind `id`.
    #[must_use]
    pub fn ready_behind(&self, id: Id) -> Option<Id> {
        let ready = self.item(id).is_some() && self.phase(id.index) == Some(Phase::Ready);
        let next = self.slots.get(id.index)?.links[QUEUE].next();
        next.filter(|_| ready).map(|index| self.id(index))
    }

    /// Hands out this item: one that may run, or one that only waits for items that
    /// were handed out. `false` when it is neither.
    pub fn hand_out(&mut self, id: Id) -> bool {
        if self.item(id).is_none() {
            return false;
        }
        let before = self.slots[id.index].links[LANE].prev();
        match self.phase(id.index) {
            Some(Phase::Ready) => {}
            Some(Phase::Held)
                if before.is_some_and(|before| self.phase(before) == Some(Phase::Out)) => {}
            _ => return false,
        }
        self.leave_phase(id.index);
        self.set_phase(id.index, Phase::Out);
        true
    }

    /// The item, wherever it is in its queue.
    #[must_use]
    pub fn item(&self, id: Id) -> Option<&T> {
        let slot = self.slots.get(id.index)?;
        let entry = slot.entry.as_ref()?;
        (slot.generation == id.generation).then_some(&entry.item)
    }

    /// The item, wherever it is in its queue.
    pub fn item_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index)?;
        let entry = slot.entry.as_mut()?;
        (slot.generation == id.generation).then_some(&mut entry.item)
    }

    /// The item of the same key right behind `id`.
    #[must_use]
    pub fn behind(&self, id: Id) -> Option<Id> {
        self.item(id)?;
        let index = self.slots[id.index].links[LANE].next()?;
        Some(self.id(index))
    }

    /// The item right behind `id`, when it waits for nothing but its turn.
    #[must_use]
    pub fn follower(&self, id: Id) -> Option<Id> {
        self.behind(id)
            .filter(|next| self.phase(next.index) == Some(Phase::Held))
    }

    /// The item's key, if it has one.
    #[must_use]
    pub fn key(&self, id: Id) -> Option<&K> {
        self.item(id)?;
        self.slots[id.index].entry.as_ref()?.key.as_ref()
    }

    /// The first of the key of `id`.
    #[must_use]
    pub fn head(&self, id: Id) -> Option<Id> {
        let lane = self.lanes.get(self.key(id)?)?;
        lane.list.first().map(|index| self.id(index))
    }

    /// Whether `id` is the first of its key, or has none.
    #[must_use]
    pub fn is_head(&self, id: Id) -> bool {
        self.item(id).is_some() && self.slots[id.index].links[LANE].prev().is_none()
    }

    /// Whether `id` is the only one of its key, or has none.
    #[must_use]
    pub fn is_alone(&self, id: Id) -> bool {
        self.is_head(id) && self.slots[id.index].links[LANE].next().is_none()
    }

    /// Takes the item out, wherever it is in its queue. When it was the head, its
    /// successor may run.
    pub fn finish(&mut self, id: Id) -> Option<T> {
        self.item(id)?;
        let index = id.index;
        self.leave_phase(index);
        let entry = self.slots[index].entry.take()?;
        if let Some(key) = entry.key
            && let hash_map::Entry::Occupied(mut lane) = self.lanes.entry(key)
        {
            let Lane { list, len } = lane.get_mut();
            let was_head = list.first() == Some(index);
            list.unlink(&mut self.slots, LANE, index);
            *len -= 1;
            let head = list.first();
            if head.is_none() {
                lane.remove();
            }
            if let Some(head) = head.filter(|_| was_head)
                && self.phase(head) == Some(Phase::Held)
                && !planted!(ForgottenKey)
            {
                self.set_ready(head);
            }
        }
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(index);
        Some(entry.item)
    }

    /// Keeps the item from running before `until`; as a head it holds its
    /// successors. Parking again moves the time. `false` when there is no such item.
    pub fn park(&mut self, id: Id, until: Time) -> bool {
        if self.item(id).is_none() {
            return false;
        }
        self.leave_phase(id.index);
        self.set_phase(id.index, Phase::Parked(until));
        if planted!(OvertakingRetry)
            && let Some(next) = self.follower(id)
        {
            self.set_ready(next.index);
        }
        let arrival = self.arrival(id.index);
        self.parked.insert((until, arrival, id.index))
    }

    /// Lets an item that is parked or was handed out run again when it is its turn.
    /// `false` when there is no such item.
    pub fn release(&mut self, id: Id) -> bool {
        if self.item(id).is_none() {
            return false;
        }
        if matches!(self.phase(id.index), Some(Phase::Out | Phase::Parked(_))) {
            self.leave_phase(id.index);
            if self.is_head(id) {
                self.set_ready(id.index);
            } else {
                self.set_phase(id.index, Phase::Held);
            }
        }
        true
    }

    /// Releases one parked item whose time has come: the earliest, and of one time
    /// the first to arrive. To be called until there is none.
    pub fn release_due(&mut self, now: Time) -> Option<Id> {
        let &(until, _, index) = self.parked.first()?;
        if until > now {
            return None;
        }
        let id = self.id(index);
        self.release(id);
        Some(id)
    }

    /// Items that are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// When the next parked item is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.parked.first().map(|&(until, _, _)| until)
    }

    /// Whether the item was handed out and not released or parked since.
    #[must_use]
    pub fn is_out(&self, id: Id) -> bool {
        self.item(id).is_some() && self.phase(id.index) == Some(Phase::Out)
    }

    /// Whether the item is parked.
    #[must_use]
    pub fn is_parked(&self, id: Id) -> bool {
        self.item(id).is_some() && matches!(self.phase(id.index), Some(Phase::Parked(_)))
    }

    /// Items held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items held of `key`.
    #[must_use]
    pub fn len_of(&self, key: &K) -> usize {
        self.lanes.get(key).map_or(0, |lane| lane.len)
    }

    /// All items, in no order that means anything, but the same at every run.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let generation = slot.generation;
            let entry = slot.entry.as_ref()?;
            Some((Id { index, generation }, &entry.item))
        })
    }

    fn occupy(&mut self, key: Option<K>, item: T) -> Id {
        self.arrivals += 1;
        let entry = Some(Entry {
            item,
            key,
            arrival: self.arrivals,
            phase: Phase::Held,
        });
        if let Some(index) = self.vacant.pop() {
            let slot = &mut self.slots[index];
            slot.entry = entry;
            return Id {
                index,
                generation: slot.generation,
            };
        }
        self.slots.push(Slot {
            generation: 0,
            links: [Links::default(); 2],
            entry,
        });
        Id {
            index: self.slots.len() - 1,
            generation: 0,
        }
    }

    fn id(&self, index: usize) -> Id {
        let generation = self.slots[index].generation;
        Id { index, generation }
    }

    fn phase(&self, index: usize) -> Option<Phase> {
        self.slots[index].entry.as_ref().map(|entry| entry.phase)
    }

    fn arrival(&self, index: usize) -> u64 {
        let entry = self.slots[index].entry.as_ref();
        entry.map_or(0, |entry| entry.arrival)
    }

    fn set_phase(&mut self, index: usize, phase: Phase) {
        if let Some(entry) = &mut self.slots[index].entry {
            entry.phase = phase;
        }
    }

    fn set_ready(&mut self, index: usize) {
        self.set_phase(index, Phase::Ready);
        self.ready.insert(&mut self.slots, QUEUE, index, None);
    }

    /// Undoes what the item's phase keeps outside of its slot.
    fn leave_phase(&mut self, index: usize) {
        match self.phase(index) {
            Some(Phase::Ready) => self.ready.unlink(&mut self.slots, QUEUE, index),
            Some(Phase::Parked(until)) => {
                let arrival = self.arrival(index);
                self.parked.remove(&(until, arrival, index));
            }
            Some(Phase::Held | Phase::Out) | None => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
