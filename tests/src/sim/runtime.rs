//! A runtime of one thread whose clock is virtual and whose scheduler is a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::future::BoxFuture;
use jetbus::runtime::Runtime;
use jetbus_core::random::mix;
use jetbus_core::{Time, Timestamp};

use super::rng::Rng;

/// The wall clock at the origin: the first moment of 2026.
const ORIGIN: Timestamp = Timestamp::from_unix_nanos(1_767_225_600_000_000_000);

/// Running a task once takes up to this long.
const STEP: Duration = Duration::from_micros(20);

/// Timers fire up to this late, as real ones do.
const LATE: Duration = Duration::from_micros(1_000);

/// How far one [`Sim::block_on`] may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Virtual time.
    pub time: Duration,
    /// Tasks run, each time counted.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(600),
            steps: 5_000_000,
        }
    }
}

/// A deterministic runtime. Clones are the same.
///
/// Among the tasks that are ready, the seed chooses the next one. When none is, the
/// clock jumps to the earliest timer.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Of tasks, here and in whatever may wake them.
    wakers: AtomicUsize,
}

struct State {
    limits: Limits,
    rng: Rng,
    now: Time,
    /// What runs now.
    current: u64,
    /// Numbers tasks and timers.
    last: u64,
    tasks: BTreeMap<u64, Task>,
    ready: Vec<u64>,
    timers: BTreeMap<(Time, u64), Waker>,
    steps: u64,
    /// All choices so far, digested.
    schedule: u64,
}

struct Task {
    /// Taken out while it runs. The future of `block_on` is never here.
    future: Option<BoxFuture<'static, ()>>,
    queued: bool,
    parent: u64,
    born: Time,
    polls: u64,
}

/// Why a [`Sim::block_on`] gave up, and what was there at that moment.
#[derive(Clone, Debug)]
pub struct Stuck {
    why: Why,
    waited: Duration,
    steps: u64,
    tasks: Vec<String>,
    timers: Vec<String>,
}

/// The kinds of being stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is ready and no timer is set: it would wait for ever.
    Deadlock,
    /// The limit of virtual time has passed.
    Time,
    /// The limit of steps has passed: something runs all the time.
    Steps,
}

impl Sim {
    /// The runtime of `seed`, with the usual limits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, Limits::default())
    }

    /// The runtime of `seed`.
    #[must_use]
    pub fn with_limits(seed: u64, limits: Limits) -> Self {
        let state = Mutex::new(State {
            limits,
            rng: Rng::new(seed),
            now: Time::ZERO,
            current: 0,
            last: 0,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            steps: 0,
            schedule: 0,
        });
        Self(Arc::new(Shared {
            state,
            wakers: AtomicUsize::new(0),
        }))
    }

    /// Runs everything until `future` is done.
    ///
    /// # Errors
    /// When it cannot be done, or not within the limits.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stuck> {
        let mut future = pin!(future);
        let main = self.0.with(|state| state.add(None));
        let _leave = Leave {
            shared: &self.0,
            main,
        };
        let (began, limit) = self
            .0
            .with(|state| (state.now, state.steps + state.limits.steps));
        loop {
            let Some((id, task)) = self.0.turn(began, limit)? else {
                continue;
            };
            let waker = Waker::from(Alarm::new(&self.0, id));
            let mut cx = Context::from_waker(&waker);
            if id == main {
                if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                    return Ok(output);
                }
            } else if let Some(mut task) = task {
                if task.as_mut().poll(&mut cx).is_pending() {
                    self.0.with(|state| state.put_back(id, task));
                } else {
                    let over = self.0.with(|state| state.tasks.remove(&id));
                    // Not under the lock: a drop may wake, and so lock.
                    drop(task);
                    drop(over);
                }
            }
        }
    }

    /// Tasks that were spawned and have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        let spawned =
            |state: &mut State| state.tasks.values().filter(|task| task.parent != 0).count();
        self.0.with(spawned)
    }

    /// The tasks that were spawned and have not ended, in words.
    #[must_use]
    pub fn describe_tasks(&self) -> Vec<String> {
        self.0.with(|state| state.describe_tasks())
    }

    /// The timers that are set.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.0.with(|state| state.timers.len())
    }

    /// The wakers of tasks that somebody holds.
    #[must_use]
    pub fn wakers(&self) -> usize {
        self.0.wakers.load(Ordering::Relaxed)
    }

    /// A digest of every choice made so far: equal for equal runs.
    #[must_use]
    pub fn schedule(&self) -> u64 {
        self.0.with(|state| state.schedule)
    }

    /// Completes after `time`.
    pub fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + time)
    }

    /// Drops all tasks, and what their dropping spawns, so that what they share is
    /// freed.
    pub fn abandon(&self) {
        loop {
            let tasks = self.0.with(|state| std::mem::take(&mut state.tasks));
            if tasks.is_empty() {
                return;
            }
        }
    }
}

impl Runtime for Sim {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.with(|state| state.add(Some(task)));
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        let fires = self.0.with(|state| match deadline <= state.now {
            true => deadline,
            false => deadline + state.rng.up_to(LATE),
        });
        Box::pin(Sleep {
            shared: Arc::clone(&self.0),
            fires,
            timer: None,
        })
    }

    fn now(&self) -> Time {
        self.0.with(|state| state.now)
    }

    fn wall(&self) -> Timestamp {
        ORIGIN.plus(self.now().since(Time::ZERO))
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

impl Shared {
    /// Nothing that `work` does may wake, spawn or drop a future.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What runs next; `None` when only timers fired.
    fn turn(&self, began: Time, limit: u64) -> Result<Option<Turn>, Stuck> {
        let mut due = Vec::new();
        let turn = self.with(|state| {
            let over = state.now.since(began) > state.limits.time;
            if over || state.steps > limit {
                let why = if over { Why::Time } else { Why::Steps };
                return Err(state.stuck(why, began));
            }
            if state.ready.is_empty() {
                let Some((&(fires, _), _)) = state.timers.first_key_value() else {
                    return Err(state.stuck(Why::Deadlock, began));
                };
                state.now = state.now.max(fires);
            }
            while let Some(timer) = state.timers.first_entry()
                && timer.key().0 <= state.now
            {
                due.push(timer.remove());
            }
            Ok(if due.is_empty() { state.choose() } else { None })
        });
        for waker in due {
            waker.wake();
        }
        turn
    }
}

type Turn = (u64, Option<BoxFuture<'static, ()>>);

impl State {
    fn add(&mut self, future: Option<BoxFuture<'static, ()>>) -> u64 {
        self.last += 1;
        let id = self.last;
        // Only the future of `block_on` has no parent.
        let parent = if future.is_some() {
            self.current.max(1)
        } else {
            0
        };
        let task = Task {
            future,
            queued: true,
            parent,
            born: self.now,
            polls: 0,
        };
        self.tasks.insert(id, task);
        self.ready.push(id);
        id
    }

    fn choose(&mut self) -> Option<Turn> {
        let count = u64::try_from(self.ready.len()).ok()?;
        let index = usize::try_from(self.rng.below(count)).ok()?;
        let id = self.ready.swap_remove(index);
        self.now = self.now + self.rng.up_to(STEP);
        self.steps += 1;
        for word in [id, self.now.as_nanos()] {
            self.schedule = mix(self.schedule ^ word);
        }
        let task = self.tasks.get_mut(&id)?;
        task.queued = false;
        task.polls += 1;
        self.current = id;
        Some((id, task.future.take()))
    }

    fn put_back(&mut self, id: u64, future: BoxFuture<'static, ()>) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.future = Some(future);
        }
    }

    fn stuck(&self, why: Why, began: Time) -> Stuck {
        let timers = self.timers.keys();
        Stuck {
            why,
            waited: self.now.since(began),
            steps: self.steps,
            tasks: self.describe_tasks(),
            timers: timers
                .map(|(fires, _)| format!("{:?}", fires.since(Time::ZERO)))
                .collect(),
        }
    }

    fn describe_tasks(&self) -> Vec<String> {
        let spawned = self.tasks.iter().filter(|(_, task)| task.parent != 0);
        spawned
            .map(|(id, task)| {
                let Task { parent, polls, .. } = task;
                let born = task.born.since(Time::ZERO);
                let ready = if task.queued { ", ready" } else { "" };
                format!("#{id} (of #{parent} at {born:?}, polled {polls} times{ready})")
            })
            .collect()
    }
}

/// Takes the future of a `block_on` out again, also when a task panics.
struct Leave<'a> {
    shared: &'a Shared,
    main: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let entry = self.shared.with(|state| {
            state.ready.retain(|id| *id != self.main);
            state.current = 0;
            state.tasks.remove(&self.main)
        });
        drop(entry);
    }
}

struct Alarm {
    shared: Weak<Shared>,
    task: u64,
}

impl Alarm {
    fn new(shared: &Arc<Shared>, task: u64) -> Arc<Self> {
        shared.wakers.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            shared: Arc::downgrade(shared),
            task,
        })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.wakers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        shared.with(|state| {
            if let Some(task) = state.tasks.get_mut(&self.task)
                && !task.queued
            {
                task.queued = true;
                state.ready.push(self.task);
            }
        });
    }
}

struct Sleep {
    shared: Arc<Shared>,
    fires: Time,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let before = this.shared.with(|state| {
            if this.fires <= state.now {
                return Err(());
            }
            // The end of time never comes.
            if this.fires == Time::NEVER {
                return Ok(None);
            }
            let id = *this.timer.get_or_insert_with(|| {
                state.last += 1;
                state.last
            });
            Ok(state.timers.insert((this.fires, id), cx.waker().clone()))
        });
        match before {
            Err(()) => Poll::Ready(()),
            Ok(_replaced) => Poll::Pending,
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(id) = self.timer else { return };
        let waker = self
            .shared
            .with(|state| state.timers.remove(&(self.fires, id)));
        drop(waker);
    }
}

impl Stuck {
    /// In which way.
    #[must_use]
    pub const fn why(&self) -> Why {
        self.why
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Deadlock => "nothing is ready and no timer is set",
            Why::Time => "the limit of virtual time has passed",
            Why::Steps => "the limit of steps has passed",
        };
        let list = |items: &[String]| match items {
            [] => "none".into(),
            _ => items.join(", "),
        };
        write!(
            f,
            "not done after {:.3} virtual seconds and {} steps: {why}; tasks: {}; timers: {}",
            self.waited.as_secs_f64(),
            self.steps,
            list(&self.tasks),
            list(&self.timers),
        )
    }
}

impl std::error::Error for Stuck {}

#[cfg(test)]
mod tests;
