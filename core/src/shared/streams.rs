//! Which streams are known to be as wanted.
//!
//! One entry stands for one stream *and* one wanted configuration. It is absent,
//! being ensured, ready, or failed until some time; being ensured is a
//! [`Flight`], and so is what failed.
//!
//! Ready is one atomic load: `word` holds a version and whether it is ready.
//! Becoming ready and every invalidation is a new version. A leader notes the
//! version it begins with and becomes ready only from that very version, so an
//! invalidation that comes meanwhile makes it begin again.
//!
//! Who orders before whom: becoming ready releases and looking whether it is ready
//! acquires, so that what the ensuring did and learned is seen.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::flight::{Flight, Follower, Join, Landed, Leader};
use crate::sync::{AtomicU64, Ordering, Snapshot};
use crate::time::Time;

mod collection;

pub use collection::{Full, Streams};

/// The lowest bit of the word; the version is above it.
const READY: u64 = 1;

/// Which time a stream became ready; to [invalidate](StreamState::invalidate)
/// what one has relied on and nothing newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// One stream in one wanted configuration; `V` is what ensuring it teaches.
pub struct StreamState<V, E> {
    word: AtomicU64,
    learned: Snapshot<Option<Learned<V>>>,
    flight: Flight<E>,
}

struct Learned<V> {
    epoch: Epoch,
    value: V,
}

/// What [`StreamState::ensure`] says.
#[derive(Debug)]
pub enum Ensure<'a, V, E: Clone> {
    /// It is as wanted.
    Ready(Epoch),
    /// Make it as wanted, then say how it went.
    Lead(Ensuring<'a, V, E>),
    /// Somebody is at it: wait for them.
    Follow(Following<'a, V, E>),
    /// It failed with this error and is not tried again before this time.
    Failed(E, Time),
}

/// What [`Following`] gets.
#[derive(Debug)]
pub enum Ensured<'a, V, E: Clone> {
    /// It was made as wanted. [Ensure](StreamState::ensure) it again: that says
    /// whether it still is.
    Done,
    /// It failed with this error and is not tried again before this time.
    Failed(E, Time),
    /// Whoever was at it went away: it is yours.
    Lead(Ensuring<'a, V, E>),
}

impl<V, E: Clone> StreamState<V, E> {
    /// Nothing is known of the stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            learned: Snapshot::new(None),
            flight: Flight::new(),
        }
    }

    /// Whether the stream is as wanted: one atomic load.
    #[must_use]
    pub fn ready(&self) -> Option<Epoch> {
        // Acquire: pairs with the Release in `Ensuring::ready`.
        // ordering: streams::ready_shows_what_was_done
        let word = self.word.load(Ordering::Acquire);
        (word & READY != 0).then_some(Epoch(word))
    }

    /// Runs `read` on what is known of the stream while it is ready.
    pub fn with<R>(&self, mut read: impl FnMut(Epoch, &V) -> R) -> Option<R> {
        loop {
            let epoch = self.ready()?;
            let known = self.learned.with(|learned| {
                let known = learned.as_ref().filter(|known| known.epoch == epoch);
                known.map(|known| read(epoch, &known.value))
            });
            // Something else is written there only after the epoch has ended, so
            // the word has changed by now.
            if known.is_some() {
                return known;
            }
        }
    }

    /// Finds the stream ready, or says who makes it so.
    pub fn ensure(&self, now: Time) -> Ensure<'_, V, E> {
        if let Some(epoch) = self.ready() {
            return Ensure::Ready(epoch);
        }
        match self.flight.join(now) {
            Join::Lead(leader) => match self.begin(leader) {
                Ok(ensuring) => Ensure::Lead(ensuring),
                Err(epoch) => Ensure::Ready(epoch),
            },
            Join::Follow(follower) => Ensure::Follow(Following {
                stream: self,
                follower,
            }),
            Join::Failed(error, until) => Ensure::Failed(error, until),
        }
    }

    /// The stream is not what it was in epoch `seen`. Nothing changes when it has
    /// been made ready since; when it is just being made ready, that begins again:
    /// what it found may be from before.
    pub fn invalidate(&self, seen: Epoch) {
        self.invalidate_unless(|word| word & READY != 0 && Epoch(word) != seen);
    }

    /// The stream is not as wanted, by knowledge newer than anything known here,
    /// such as its deletion by ourselves.
    pub fn invalidate_now(&self) {
        self.invalidate_unless(|_| false);
    }

    /// Lets a remembered failure be tried again at once, such as after a
    /// reconnect.
    pub fn forget_failure(&self) {
        self.flight.forget_failure();
    }

    fn invalidate_unless(&self, is_newer: impl Fn(u64) -> bool) {
        // Relaxed throughout: an invalidation publishes nothing, and that a leader
        // finds it is the order of changes of this one word.
        let mut word = self.word.load(Ordering::Relaxed);
        while !is_newer(word) && !planted!(LostInvalidation) {
            let next = (word | READY).wrapping_add(1);
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Begins to ensure, unless another leader has finished since we looked.
    fn begin<'a>(&'a self, leader: Leader<'a, E>) -> Result<Ensuring<'a, V, E>, Epoch> {
        // Relaxed: only leaders make it ready, and taking the lead has ordered
        // us after the leader before.
        let word = self.word.load(Ordering::Relaxed);
        if word & READY != 0 {
            leader.done();
            return Err(Epoch(word));
        }
        Ok(Ensuring {
            stream: self,
            leader,
            begun: word,
        })
    }
}

impl<V, E: Clone> Default for StreamState<V, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V, E> fmt::Debug for StreamState<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.word.load(Ordering::Relaxed) & READY != 0;
        f.debug_struct("StreamState")
            .field("ready", &ready)
            .field("flight", &self.flight)
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Learned<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// The task of making a stream as wanted. Dropped (a cancelled task) it goes to
/// the first who waits.
#[must_use = "a dropped task is handed over"]
pub struct Ensuring<'a, V, E: Clone> {
    stream: &'a StreamState<V, E>,
    leader: Leader<'a, E>,
    /// The word to become ready from.
    begun: u64,
}

impl<V, E: Clone> Ensuring<'_, V, E> {
    /// The stream is as wanted, and this was learned of it.
    ///
    /// # Errors
    /// The task itself, when the stream was invalidated since it began: look at
    /// the server again.
    pub fn ready(self, value: V) -> Result<Epoch, Self> {
        let word = self.begun | READY;
        let epoch = Epoch(word);
        // Nobody reads this before the word says so, and only leaders write it.
        let learned = Arc::new(Some(Learned { epoch, value }));
        drop(self.stream.learned.swap(learned));
        // Release: pairs with the Acquire in `StreamState::ready`.
        // ordering: streams::ready_shows_what_was_done
        match self.stream.word.compare_exchange(
            self.begun,
            word,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => {
                self.leader.done();
                Ok(epoch)
            }
            Err(invalidated) => Err(Self {
                begun: invalidated,
                ..self
            }),
        }
    }

    /// Whether it was ready before, or known to have changed: where it is missing, it
    /// was deleted a moment ago.
    #[must_use]
    pub const fn is_again(&self) -> bool {
        self.begun != 0
    }

    /// The stream cannot be made as wanted; not to be tried again before `until`.
    pub fn fail(self, error: E, until: Time) {
        self.leader.fail(error, until);
    }
}

impl<V, E: Clone> fmt::Debug for Ensuring<'_, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensuring").finish_non_exhaustive()
    }
}

/// Ready when somebody else has ensured the stream, or is gone. Whoever waits with
/// a deadline drops it then.
#[must_use = "a future does nothing unless awaited"]
pub struct Following<'a, V, E: Clone> {
    stream: &'a StreamState<V, E>,
    follower: Follower<'a, E>,
}

impl<'a, V, E: Clone> Future for Following<'a, V, E> {
    type Output = Ensured<'a, V, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let landed = ready!(Pin::new(&mut this.follower).poll(cx));
        Poll::Ready(match landed {
            Landed::Done => Ensured::Done,
            Landed::Failed(error, until) => Ensured::Failed(error, until),
            Landed::Lead(leader) => match this.stream.begin(leader) {
                Ok(ensuring) => Ensured::Lead(ensuring),
                Err(_) => Ensured::Done,
            },
        })
    }
}

impl<V, E: Clone> fmt::Debug for Following<'_, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
