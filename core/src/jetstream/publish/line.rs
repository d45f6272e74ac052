//! The order of publishes of one key.
//!
//! One publish of a key is on its way at a time; those after it wait in line until
//! it has ended, however often it is sent again. Other keys go their own way.
//! Where an ending leaves open whether the message is stored, those that wait
//! behind it are not sent: nobody could say any more in which order they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hash;

use crate::Time;
use crate::keyed::{Id, Keyed};

/// A publish that was sent and whose ending its successors wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(Id);

/// How the publish at the head of its line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is known what became of it: stored, or not. The next goes.
    Known,
    /// It may or may not be stored. Those that wait behind it fail.
    Unknown,
}

/// What happened. `K` says what is in order with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<K> {
    /// Only time went by.
    Tick,
    /// A publish comes to the end of its key's line.
    Enter {
        /// Of what it is in order with.
        key: K,
        /// Which publish: a number of its own.
        order: u64,
        /// What the outputs call it. Opaque here.
        token: u64,
        /// When its caller stops waiting.
        deadline: Time,
    },
    /// Its caller does not want it any more. One that was sent goes on.
    Left {
        /// Which.
        order: u64,
    },
    /// The link did not take it after all: it is the first of its key again. Say
    /// [`Busy`](Self::Busy) first, or it is sent at once.
    Back {
        /// Which.
        place: Place,
        /// What the outputs call it from now on.
        token: u64,
    },
    /// A publish that was sent has ended. A second ending changes nothing.
    Ended {
        /// Which.
        place: Place,
        /// How.
        ending: Ending,
    },
    /// The link takes nothing for now: no publish is sent.
    Busy,
    /// The link takes messages again.
    Free,
}

/// Why a publish is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its deadline passed while it waited.
    Late,
    /// Its caller left.
    Left,
    /// The one before it may or may not be stored.
    PredecessorUnknown,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// It is its turn: send it, and say how it ended.
    Send {
        /// Which.
        token: u64,
        /// Its place, for the ending.
        place: Place,
    },
    /// Tell the caller that it is not sent.
    Fail {
        /// Which.
        token: u64,
        /// Why.
        why: Why,
    },
}

/// The lines of all keys.
///
/// One owner, who bounds how many publishes are in line. Call
/// [`handle`](Self::handle), then [`poll`](Self::poll) until `None`, and
/// [`Input::Tick`] at [`deadline`](Self::deadline); earlier is harmless.
#[derive(Debug)]
pub struct Line<K> {
    now: Time,
    busy: bool,
    keyed: Keyed<K, Waiting>,
    /// By when to send those that were not sent yet.
    deadlines: BTreeSet<(Time, Id)>,
    /// The same by their numbers.
    unsent: BTreeMap<u64, Id>,
    failed: VecDeque<(u64, Why)>,
}

#[derive(Debug)]
struct Waiting {
    order: u64,
    token: u64,
    deadline: Time,
}

impl<K: Clone + Eq + Hash> Line<K> {
    /// Nobody is in line. Keys may be hostile: `seed` is to be unknown to who
    /// chooses them.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            busy: false,
            keyed: Keyed::new(seed),
            deadlines: BTreeSet::new(),
            unsent: BTreeMap::new(),
            failed: VecDeque::new(),
        }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Time, input: Input<K>) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Enter {
                key,
                order,
                token,
                deadline,
            } => {
                let waiting = Waiting {
                    order,
                    token,
                    deadline,
                };
                let key = (!planted!(OvertakingPublish)).then_some(key);
                let id = self.keyed.push(key, waiting);
                self.waits(id);
            }
            Input::Left { order } => {
                if let Some(&id) = self.unsent.get(&order) {
                    self.fail(id, Why::Left);
                }
            }
            Input::Back { place, token } => {
                if let Some(waiting) = self.keyed.item_mut(place.0) {
                    waiting.token = token;
                    self.keyed.release(place.0);
                    self.waits(place.0);
                }
            }
            Input::Ended { place, ending } => self.ended(place.0, ending),
            Input::Busy => self.busy = true,
            Input::Free => self.busy = false,
        }
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= self.now
        {
            self.fail(id, Why::Late);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some((token, why)) = self.failed.pop_front() {
            return Some(Output::Fail { token, why });
        }
        if self.busy {
            return None;
        }
        let id = self.keyed.next_ready()?;
        let token = self.keyed.item(id)?.token;
        self.waits_no_more(id);
        Some(Output::Send {
            token,
            place: Place(id),
        })
    }

    /// When to call again at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// How many are in line, those that were sent and have not ended included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keyed.len()
    }

    /// Whether nobody is in line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keyed.is_empty()
    }

    fn ended(&mut self, id: Id, ending: Ending) {
        if ending == Ending::Unknown {
            while let Some(next) = self.keyed.behind(id) {
                self.fail(next, Why::PredecessorUnknown);
            }
        }
        self.keyed.finish(id);
    }

    /// Takes one that was not sent out of its line.
    fn fail(&mut self, id: Id, why: Why) {
        self.waits_no_more(id);
        if let Some(Waiting { token, .. }) = self.keyed.finish(id) {
            self.failed.push_back((token, why));
        }
    }

    fn waits(&mut self, id: Id) {
        if let Some(waiting) = self.keyed.item(id) {
            self.deadlines.insert((waiting.deadline, id));
            self.unsent.insert(waiting.order, id);
        }
    }

    fn waits_no_more(&mut self, id: Id) {
        if let Some(waiting) = self.keyed.item(id) {
            self.deadlines.remove(&(waiting.deadline, id));
            self.unsent.remove(&waiting.order);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
