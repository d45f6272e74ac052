//! What a link has to tell the one task that listens to it.
//!
//! Whether it is connected is a level, not a list of changes: it is kept with the
//! number of connections made so far, so that nothing is lost however seldom the
//! listener looks. Everything else waits in a bounded list.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use futures_channel::oneshot;

use super::{LinkEvent, ServerInfo};

/// Notes kept for a slow listener; later ones are counted.
const NOTES: usize = 64;

/// Whether messages can be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Down,
    Up,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct News {
    /// The board's level, for whoever must not lock. It may be late by a moment;
    /// nothing else is read on its account, so no ordering is needed.
    level: AtomicU8,
    board: Mutex<Board>,
    listener: AtomicWaker,
}

#[derive(Debug, Default)]
struct Board {
    /// How many connections were made so far.
    connects: u64,
    /// The server, while connected.
    server: Option<ServerInfo>,
    /// Which connection the listener believes to be up.
    told: Option<u64>,
    notes: VecDeque<LinkEvent>,
    dropped: u64,
    closed: bool,
    /// Whoever waits for the level to change.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Board {
    /// They are of a connection that is over: of what goes over the next they say nothing.
    fn forget_denials(&mut self) {
        for note in &mut self.notes {
            if let LinkEvent::Denied(denied) = note {
                *note = LinkEvent::Error(denied.to_string().into());
            }
        }
    }
}

impl News {
    pub(super) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Down,
            1 => Level::Up,
            _ => Level::Closed,
        }
    }

    /// The number of the present connection.
    #[cfg(any(test, feature = "nats"))]
    pub(super) fn connection(&self) -> Option<u64> {
        let board = self.board();
        let up = board.server.is_some() && !board.closed;
        up.then_some(board.connects)
    }

    /// Whether there ever was a connection.
    #[cfg(feature = "nats")]
    pub(super) fn was_connected(&self) -> bool {
        self.board().connects > 0
    }

    /// Connection number `connects` was made; hearing it twice changes nothing.
    pub(super) fn connected(&self, connects: u64, server: ServerInfo) {
        self.change(|board| {
            if connects < board.connects || (connects == board.connects && board.server.is_some()) {
                return false;
            }
            board.connects = connects;
            board.server = Some(server);
            board.forget_denials();
            true
        });
    }

    #[cfg(any(test, feature = "nats"))]
    pub(super) fn disconnected(&self) {
        self.change(|board| {
            board.forget_denials();
            board.server.take().is_some()
        });
    }

    /// The connection broke and was made again at once.
    pub(super) fn renewed(&self) {
        self.change(|board| {
            board.connects += 1;
            board.server.is_some()
        });
    }

    pub(super) fn close(&self) {
        self.change(|board| !std::mem::replace(&mut board.closed, true));
    }

    pub(super) fn note(&self, event: LinkEvent) {
        let mut board = self.board();
        if board.notes.back().is_some_and(|last| same(last, &event)) {
            return;
        }
        if board.notes.len() < NOTES {
            board.notes.push_back(event);
        } else {
            board.dropped = board.dropped.saturating_add(1);
        }
        drop(board);
        self.listener.wake();
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Option<LinkEvent>> {
        self.listener.register(cx.waker());
        let mut board = self.board();
        match (board.told, &board.server) {
            _ if board.closed => {}
            (Some(told), Some(_)) if told == board.connects => {}
            (Some(_), _) => {
                board.told = None;
                return Poll::Ready(Some(LinkEvent::Disconnected));
            }
            (None, Some(server)) => {
                let event = LinkEvent::Connected(server.clone());
                board.told = Some(board.connects);
                return Poll::Ready(Some(event));
            }
            (None, None) => {}
        }
        if let Some(note) = board.notes.pop_front() {
            return Poll::Ready(Some(note));
        }
        match std::mem::take(&mut board.dropped) {
            0 if board.closed => Poll::Ready(None),
            0 => Poll::Pending,
            dropped => Poll::Ready(Some(LinkEvent::Error(
                format!("{dropped} more pieces of news came faster than they were read").into(),
            ))),
        }
    }

    /// Runs `work` to its end, or until `holds` does not hold any more.
    #[cfg(feature = "nats")]
    pub(super) async fn run_while<T>(
        &self,
        holds: impl Fn(&Self) -> bool,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut changed = self.changed();
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(holds(self).then_some(done));
            }
            while holds(self) {
                match std::pin::Pin::new(&mut changed).poll(cx) {
                    Poll::Ready(_) => changed = self.changed(),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(None)
        })
        .await
    }

    /// Completes when the level changes.
    #[cfg(feature = "nats")]
    fn changed(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut board = self.board();
        board.waiting.retain(|waiting| !waiting.is_canceled());
        board.waiting.push(tell);
        told
    }

    fn change(&self, change: impl FnOnce(&mut Board) -> bool) {
        let mut board = self.board();
        if !change(&mut board) {
            return;
        }
        let level = match (board.closed, &board.server) {
            (true, _) => 2,
            (false, Some(_)) => 1,
            (false, None) => 0,
        };
        self.level.store(level, Ordering::Relaxed);
        let waiting = std::mem::take(&mut board.waiting);
        drop(board);
        for waiting in waiting {
            let _ = waiting.send(());
        }
        self.listener.wake();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Nothing panics while it is locked.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `2.15.1`, also with a `v` before or a suffix behind; what is missing is 0.
pub(super) fn version(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.trim_start_matches('v').splitn(3, '.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part.get(..digits).and_then(|n| n.parse().ok()).unwrap_or(0)
    });
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn same(a: &LinkEvent, b: &LinkEvent) -> bool {
    match (a, b) {
        (LinkEvent::Error(a), LinkEvent::Error(b)) => a == b,
        (LinkEvent::Denied(a), LinkEvent::Denied(b)) => a == b,
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetbus_core::denied::{Denied, Operation};
    use std::task::Waker;

    fn told(news: &News) -> Vec<String> {
        let cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(event) = news.poll(&cx) {
            all.push(match event {
                Some(LinkEvent::Connected(server)) => server.name,
                Some(LinkEvent::Error(text)) => text.to_string(),
                Some(other) => format!("{other:?}"),
                None => "end".into(),
            });
            if all.ends_with(&["end".into()]) {
                break;
            }
        }
        all
    }

    fn server(name: &str) -> ServerInfo {
        ServerInfo {
            name: name.into(),
            ..ServerInfo::default()
        }
    }

    #[test]
    fn a_missed_pair_is_told_as_one() {
        let news = News::default();
        assert_eq!(told(&news), [""; 0]);
        news.connected(1, server("a"));
        news.connected(1, server("a"));
        assert_eq!(told(&news), ["a"]);
        news.disconnected();
        news.connected(2, server("b"));
        assert_eq!(told(&news), ["Disconnected", "b"]);
        // The loss itself was never heard of.
        news.connected(3, server("c"));
        assert_eq!(told(&news), ["Disconnected", "c"]);
        news.disconnected();
        news.disconnected();
        assert_eq!(told(&news), ["Disconnected"]);
        assert_eq!(news.level(), Level::Down);
    }

    #[test]
    fn notes_are_bounded_and_counted() {
        let news = News::default();
        for n in 0..NOTES + 5 {
            news.note(LinkEvent::Error(n.to_string().into()));
        }
        let all = told(&news);
        assert_eq!(all.len(), NOTES + 1);
        assert!(all.last().is_some_and(|last| last.starts_with("5 more")));
        for _ in 0..3 {
            news.note(LinkEvent::SlowConsumer);
        }
        assert_eq!(told(&news), ["SlowConsumer"]);
    }

    #[test]
    fn a_denial_is_of_its_connection_only() {
        let denied = |subject: &str| {
            LinkEvent::Denied(Denied {
                operation: Operation::Publish,
                subject: subject.into(),
            })
        };
        let news = News::default();
        news.connected(1, server("a"));
        news.note(denied("x"));
        // What is said twice in a row is one piece of news.
        news.note(denied("x"));
        news.note(denied("y"));
        assert_eq!(told(&news).len(), 3);
        news.note(denied("x"));
        news.disconnected();
        news.connected(2, server("b"));
        let all = told(&news);
        assert_eq!(all[..2], ["Disconnected", "b"]);
        assert!(all[2].contains("not permit"), "{all:?}");
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(version("2.15.1"), (2, 15, 1));
        assert_eq!(version("v2.10.0-beta.3"), (2, 10, 0));
        assert_eq!(version("2.15"), (2, 15, 0));
        assert_eq!(version("unknown"), (0, 0, 0));
        assert_eq!(version("2.99999999999.1"), (2, 0, 1));
    }

    #[test]
    fn nothing_reopens_what_is_closed() {
        let news = News::default();
        news.connected(1, server("a"));
        news.close();
        news.connected(2, server("b"));
        assert_eq!(news.level(), Level::Closed);
        assert_eq!(news.connection(), None);
        assert_eq!(told(&news), ["end"]);
    }
}
