//! What cases share: what handlers saw, doors they wait at, events by the dozen.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::StreamExt as _;
use jetbus::{Event, News, NewsStream, Topic};

use crate::matrix::Env;

/// What handlers saw, in order.
#[derive(Debug)]
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Default for Seen<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Seen<T> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Adds one; how many there are with it.
    pub fn note(&self, value: T) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(value);
        all.len()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All, in order.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until there are so many. However many they are, the next thousand come soon.
    pub async fn reaches(&self, count: usize, env: &Env) {
        let mut next = 0;
        while next < count {
            next = count.min(self.len() + 1_000);
            let what = format!("{next} are handled");
            env.until(&what, || self.len() >= next).await;
        }
    }
}

impl Seen<(String, u32)> {
    /// What was seen of each key, in order, without what came again.
    #[must_use]
    pub fn first_by_key(&self) -> BTreeMap<String, Vec<u32>> {
        let mut keys = self.by_key();
        for numbers in keys.values_mut() {
            let mut known = BTreeSet::new();
            numbers.retain(|n| known.insert(*n));
        }
        keys
    }

    /// What was seen of each key, in order.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<String, Vec<u32>> {
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for (key, n) in self.all() {
            keys.entry(key).or_default().push(n);
        }
        keys
    }
}

/// A door that is shut at first; whoever waits passes once it is opened.
#[derive(Clone, Debug)]
pub struct Door(async_channel::Sender<()>, async_channel::Receiver<()>);

impl Door {
    /// A shut door.
    #[must_use]
    pub fn shut() -> Self {
        let (open, opened) = async_channel::bounded(1);
        Self(open, opened)
    }

    /// Lets everybody pass, from now on.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until it is open.
    pub async fn pass(&self) {
        // Nothing is ever sent: this ends when the channel does.
        let _ = self.1.recv().await;
    }
}

/// Lets nobody pass before so many are there at once.
#[derive(Clone, Debug)]
pub struct Meeting {
    door: Door,
    missing: Arc<Mutex<usize>>,
}

impl Meeting {
    /// Of so many.
    #[must_use]
    pub fn of(count: usize) -> Self {
        Self {
            door: Door::shut(),
            missing: Arc::new(Mutex::new(count)),
        }
    }

    /// Waits until all are there.
    pub async fn join(&self) {
        {
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                self.door.open();
            }
        }
        self.door.pass().await;
    }
}

/// Lets the others run a few times.
pub async fn yield_often() {
    for _ in 0..5 {
        futures_lite::future::yield_now().await;
    }
}

/// Publishes `n` as an event of `key`.
///
/// # Panics
/// When it is not stored.
pub async fn publish(topic: &Topic, key: &str, n: u32) {
    topic
        .publish(&Event::new(key, "Counted", n))
        .await
        .expect("it is stored");
}

/// Publishes events by key and number, in order, without waiting for each.
///
/// # Panics
/// When one is not stored.
pub async fn publish_all<K: AsRef<str>>(topic: &Topic, events: impl IntoIterator<Item = (K, u32)>) {
    let mut receipts = Vec::new();
    for (key, n) in events {
        let event = Event::new(key.as_ref(), "Counted", n);
        receipts.push(topic.send(&event).await.expect("it is taken"));
    }
    for receipt in receipts {
        receipt.await.expect("it is stored");
    }
}

/// `count` events for each of `keys` keys, taking turns.
pub fn in_turns(keys: u32, count: u32) -> impl Iterator<Item = (String, u32)> {
    (1..=count).flat_map(move |n| (0..keys).map(move |key| (format!("key-{key}"), n)))
}

/// What [`in_turns`] is when every key is in order.
#[must_use]
pub fn in_order(keys: u32, count: u32) -> BTreeMap<String, Vec<u32>> {
    (0..keys)
        .map(|key| (format!("key-{key}"), (1..=count).collect()))
        .collect()
}

/// The first news that `pick` takes.
///
/// # Panics
/// When there is none soon.
pub async fn news<T>(
    env: &Env,
    what: &str,
    news: &mut NewsStream,
    pick: impl Fn(News) -> Option<T>,
) -> T {
    env.soon(what, async {
        loop {
            let next = news.next().await.expect("the bus is open");
            if let Some(picked) = pick(next) {
                return picked;
            }
        }
    })
    .await
}

/// Runs `task` on the case's runtime; the end of what is returned is its end.
///
/// # Panics
/// What is returned does when `task` did.
pub fn spawn<T: Send + 'static>(
    env: &Env,
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Unpin {
    let (done, output) = async_channel::bounded(1);
    env.runtime().spawn(Box::pin(async move {
        let _ = done.send(task.await).await;
    }));
    Box::pin(async move { output.recv().await.expect("the task ends") })
}
