//! Many callers, one machine: whoever comes first works for all.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use crossbeam_queue::{ArrayQueue, SegQueue};
use jetbus_core::broker::{Broker, Config, ConnId, Input, Output};
use jetbus_core::{Outbound, Time, Timestamp};

use super::mailbox::Mailbox;
use crate::link::news::News;
use crate::runtime::Runtime;

/// Commands that wait; one more is refused.
const COMMANDS: usize = 4_096;
/// Commands worked off before readers are woken and the clock is read again.
const ROUND: usize = 256;

/// What one connection and the hub share.
pub(super) struct Conn {
    /// Unique among the connections of a hub.
    key: u64,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) news: News,
    pub(super) ticker: AtomicWaker,
}

pub(super) enum Command {
    Connect(Arc<Conn>),
    Subscribe(Arc<Mailbox>),
    Publish(Arc<Conn>, Outbound),
    /// The server dies and starts again, and forgets acknowledgements of so long.
    Restart(Duration),
    /// No stream has a leader for so long.
    Leaderless(Duration),
}

/// What never waits and is never refused, because it happens in drops. There are
/// no more of them than connections and subscriptions.
pub(super) enum Leave {
    Conn(Arc<Conn>),
    Mailbox(Arc<Mailbox>),
}

/// The machine, its commands, and who may work.
///
/// Every operation puts its command into a queue and then calls `serve`, which
/// counts calls. The call that raises the count from 0 works, alone, until it has
/// lowered it to 0 again; all others leave their command to it. No command is left
/// behind: it was queued before its call was counted, and the worker goes for one
/// more round for every call that it finds counted after a round. Both are
/// read-modify-writes of one atomic, so the worker that sees the call also sees the
/// command. The mutex only tells the compiler what the count ensures; it is always
/// free.
pub(super) struct Hub {
    commands: ArrayQueue<Command>,
    leaving: SegQueue<Leave>,
    calls: AtomicUsize,
    pub(super) config: Config,
    /// Made by the first connection.
    started: OnceLock<Started>,
    /// When tickers are to tick, in nanoseconds: the earliest deadline that the
    /// machine had since the last tick. A deadline that moves later does not wake
    /// them; they come once for nothing.
    alarm: AtomicU64,
    next_key: AtomicU64,
    room: Room,
}

struct Started {
    /// The first connection's clock, which is the broker's.
    clock: Arc<dyn Runtime>,
    engine: Mutex<Engine>,
}

struct Engine {
    broker: Broker,
    conns: BTreeMap<u64, (ConnId, Arc<Conn>)>,
    mailboxes: BTreeMap<(ConnId, u64), Arc<Mailbox>>,
    /// Mailboxes whose readers are to be woken after the round.
    filled: Vec<Arc<Mailbox>>,
}

impl Hub {
    pub(super) fn new(config: Config) -> Self {
        Self {
            commands: ArrayQueue::new(COMMANDS),
            leaving: SegQueue::new(),
            calls: AtomicUsize::new(0),
            config,
            started: OnceLock::new(),
            alarm: AtomicU64::new(u64::MAX),
            next_key: AtomicU64::new(0),
            room: Room::default(),
        }
    }

    pub(super) async fn join(&self, runtime: Arc<dyn Runtime>) -> Arc<Conn> {
        self.started
            .get_or_init(|| Started::new(&self.config, Arc::clone(&runtime)));
        let conn = Arc::new(Conn {
            key: self.next_key.fetch_add(1, Ordering::Relaxed),
            runtime,
            news: News::default(),
            ticker: AtomicWaker::new(),
        });
        self.submit_waiting(Command::Connect(Arc::clone(&conn)))
            .await;
        conn
    }

    /// Hands over a command, or gives it back when too many wait.
    pub(super) fn submit(&self, command: Command) -> Option<Command> {
        let refused = self.commands.push(command).err();
        if refused.is_none() {
            self.serve();
        }
        refused
    }

    pub(super) async fn submit_waiting(&self, mut command: Command) {
        while let Some(refused) = self.submit(command) {
            command = refused;
            self.room().await;
        }
    }

    pub(super) fn leave(&self, leave: Leave) {
        self.leaving.push(leave);
        self.serve();
    }

    /// Completes when a command may find room.
    pub(super) async fn room(&self) {
        poll_fn(|cx| {
            if !self.commands.is_full() {
                return Poll::Ready(());
            }
            self.room.add(cx.waker());
            // A round may have ended in between.
            match self.commands.is_full() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    pub(super) fn now(&self) -> Time {
        let started = self.started.get();
        started.map_or(Time::ZERO, |started| started.clock.now())
    }

    /// When the broker wants a tick; [`Time::NEVER`] when it does not.
    pub(super) fn due(&self) -> Time {
        // Pairs with `fetch_min` in `round`; a ticker has registered itself before.
        Time::from_nanos(self.alarm.load(Ordering::Acquire))
    }

    pub(super) fn tick(&self) {
        // The next round sets it anew.
        self.alarm.swap(u64::MAX, Ordering::AcqRel);
        self.serve();
    }

    fn serve(&self) {
        if self.calls.fetch_add(1, Ordering::AcqRel) != 0 {
            return;
        }
        let turn = Turn(&self.calls);
        let mut heard = 1;
        while heard > 0 {
            while self.round() {}
            let calls = self.calls.fetch_sub(heard, Ordering::AcqRel);
            heard = calls.saturating_sub(heard);
        }
        // Given up with the count, just now.
        std::mem::forget(turn);
    }

    /// Works off some commands; says whether there may be more.
    fn round(&self) -> bool {
        let Some(Started { clock, engine }) = self.started.get() else {
            return false;
        };
        let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        engine.tick(now);
        // Whoever leaves has queued everything else before: take the leavers first
        // and let them go last.
        let leaving: Vec<_> = std::iter::from_fn(|| self.leaving.pop())
            .take(ROUND)
            .collect();
        let mut left = if leaving.is_empty() {
            ROUND
        } else {
            usize::MAX
        };
        while left > 0 {
            let Some(command) = self.commands.pop() else {
                break;
            };
            engine.handle(now, command);
            left -= 1;
        }
        for leave in leaving {
            engine.leave(now, leave);
        }
        if let Some(deadline) = engine.broker.deadline() {
            let deadline = deadline.as_nanos();
            if self.alarm.fetch_min(deadline, Ordering::AcqRel) > deadline {
                for (_, conn) in engine.conns.values() {
                    conn.ticker.wake();
                }
            }
        }
        for mailbox in engine.filled.drain(..) {
            mailbox.reader.wake();
        }
        drop(engine);
        self.room.wake();
        !self.commands.is_empty() || !self.leaving.is_empty()
    }
}

impl Started {
    fn new(config: &Config, clock: Arc<dyn Runtime>) -> Self {
        let now = i64::try_from(clock.now().as_nanos()).unwrap_or(i64::MAX);
        let wall = clock.wall().as_unix_nanos().saturating_sub(now);
        let broker = Broker::new(Config {
            wall: Timestamp::from_unix_nanos(wall),
            ..config.clone()
        });
        let engine = Mutex::new(Engine {
            broker,
            conns: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            filled: Vec::new(),
        });
        Self { clock, engine }
    }
}

impl Engine {
    fn tick(&mut self, now: Time) {
        if self
            .broker
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.broker.handle(now, Input::Tick);
            self.route();
        }
    }

    fn handle(&mut self, now: Time, command: Command) {
        match command {
            Command::Connect(conn) => {
                let id = self.broker.connect(now);
                self.conns.insert(conn.key, (id, conn));
            }
            Command::Subscribe(mailbox) => self.subscribe(now, mailbox),
            Command::Publish(conn, message) => {
                let Some((conn, _)) = self.conns.get(&conn.key) else {
                    return;
                };
                let conn = *conn;
                self.broker.handle(now, Input::Publish { conn, message });
            }
            Command::Restart(forgotten) => self.restart(now, forgotten),
            Command::Leaderless(time) => self.broker.set_leaderless(now, now + time),
        }
        self.route();
    }

    fn subscribe(&mut self, now: Time, mailbox: Arc<Mailbox>) {
        let Some((conn, _)) = self.conns.get(&mailbox.conn.key) else {
            return;
        };
        let (conn, sid) = (*conn, mailbox.sid);
        let group = mailbox.group.as_ref();
        let input = Input::Subscribe {
            conn,
            sid,
            pattern: mailbox.pattern.clone(),
            group: group.map(|group| group.as_str().into()),
        };
        self.mailboxes.insert((conn, sid), mailbox);
        self.broker.handle(now, input);
    }

    /// Connections are made again before anybody hears that they broke, as a client
    /// subscribes again before it says that it is connected.
    fn restart(&mut self, now: Time, forgotten: Duration) {
        let lost = now.as_nanos().saturating_sub(nanos(forgotten));
        let lost = (!forgotten.is_zero()).then(|| Time::from_nanos(lost));
        self.broker.restart(now, lost);
        for (id, _) in self.conns.values_mut() {
            *id = self.broker.connect(now);
        }
        for mailbox in std::mem::take(&mut self.mailboxes).into_values() {
            self.subscribe(now, mailbox);
        }
        for (_, conn) in self.conns.values() {
            conn.news.renewed();
        }
    }

    fn leave(&mut self, now: Time, leave: Leave) {
        match leave {
            Leave::Conn(conn) => {
                let Some((conn, _)) = self.conns.remove(&conn.key) else {
                    return;
                };
                self.broker.handle(now, Input::Disconnect { conn });
                let mine = (conn, 0)..=(conn, u64::MAX);
                let sids: Vec<_> = self.mailboxes.range(mine).map(|(key, _)| *key).collect();
                for key in sids {
                    self.filled.extend(self.mailboxes.remove(&key));
                }
            }
            Leave::Mailbox(mailbox) => {
                let Some((conn, _)) = self.conns.get(&mailbox.conn.key) else {
                    return;
                };
                let (conn, sid) = (*conn, mailbox.sid);
                if self.mailboxes.remove(&(conn, sid)).is_some() {
                    self.broker.handle(now, Input::Unsubscribe { conn, sid });
                    mailbox.end();
                    self.filled.push(mailbox);
                }
            }
        }
        self.route();
    }

    fn route(&mut self) {
        while let Some(output) = self.broker.poll() {
            let Output::Deliver { conn, sid, message } = output;
            let Some(mailbox) = self.mailboxes.get(&(conn, sid)) else {
                continue;
            };
            mailbox.put(message);
            let last = self.filled.last();
            if !last.is_some_and(|last| Arc::ptr_eq(last, mailbox)) {
                self.filled.push(Arc::clone(mailbox));
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The right to work. A panic (in a waker, say) passes it on to the next caller
/// instead of taking it along.
struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.swap(0, Ordering::AcqRel);
    }
}

/// Tasks that wait for room among the commands.
#[derive(Default)]
struct Room {
    some: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Room {
    fn add(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        // Either the worker's `swap` sees this, or this sees the worker's, and then
        // its caller sees the room that the worker had made before.
        self.some.swap(true, Ordering::AcqRel);
    }

    fn wake(&self) {
        if self.some.swap(false, Ordering::AcqRel) {
            let waiting = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting)
            };
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests;
