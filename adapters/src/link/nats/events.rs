//! From the client's events to the link's.
//!
//! The client drops events when nobody takes them at once, and sends them a moment
//! before its own state follows. So events are only a hint to look: what counts is
//! how many connections the client has made and which server it now knows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerError};
use jetbus_core::denied::Denied;

use crate::link::news::{Level, News, version};
use crate::link::{LinkEvent, ServerInfo};

use super::asking::Asking;
use super::inbox::Readers;

/// What the client's tasks and the link share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) news: News,
    pub(super) readers: Readers,
    /// Messages dropped by the client, of any subscription.
    pub(super) dropped: AtomicU64,
    client: OnceLock<Weak<Client>>,
    /// Connections that the client has told of.
    heard: AtomicU64,
    /// Who waits to hear what the server says to a subscription.
    pub(super) asking: Asking,
    /// Id of the server last told of, and its number for this client: together
    /// they differ for every connection.
    server: Mutex<(String, u64)>,
}

impl Shared {
    /// Nothing more will come or go.
    pub(super) fn end(&self) {
        self.news.close();
        self.readers.wake();
    }

    /// From now on `client` is the one asked.
    pub(super) fn adopt(&self, client: &Arc<Client>) {
        let _ = self.client.set(Arc::downgrade(client));
        self.apply(client, look(client));
    }

    async fn hear(&self, event: Event) {
        match event {
            Event::Connected => {
                // Relaxed: one task hears, after the one before.
                self.heard.fetch_add(1, Ordering::Relaxed);
                self.hear_connected().await;
            }
            Event::Disconnected => self.news.disconnected(),
            Event::LameDuckMode => self.news.note(LinkEvent::LameDuck),
            Event::SlowConsumer(_) => {
                // Relaxed: a count of its own.
                self.dropped.fetch_add(1, Ordering::Relaxed);
                self.news.note(LinkEvent::SlowConsumer);
            }
            Event::ServerError(ServerError::Other(text)) => self.hear_error(text),
            Event::ServerError(error) => self.news.note(LinkEvent::Error(error.to_string().into())),
            Event::ClientError(error) => self.news.note(LinkEvent::Error(error.to_string().into())),
            // The link drains the client only to end it, and hears of the end by
            // `Tail`.
            Event::Draining | Event::Closed => {}
        }
    }

    fn hear_error(&self, text: String) {
        let Some(denied) = Denied::parse(&text) else {
            return self.news.note(LinkEvent::Error(text.into()));
        };
        self.asking.tell(&denied);
        // Of an earlier connection it says nothing of what goes over this one. Events come
        // in order: when all connections were heard of, it is of the last. If one was
        // dropped, nobody knows.
        let client = self.client.get().and_then(Weak::upgrade);
        let is_present = client.is_some_and(|client| {
            let (connects, up) = look(&client);
            up && connects == self.heard.load(Ordering::Relaxed)
                && self.news.connection() == Some(connects)
        });
        self.news.note(match is_present {
            true => LinkEvent::Denied(denied),
            false => LinkEvent::Error(text.into()),
        });
    }

    async fn hear_connected(&self) {
        let Some(client) = self.client.get().and_then(Weak::upgrade) else {
            // Not adopted yet; `adopt` looks for itself.
            return;
        };
        // The event is a moment ahead of what the server said of itself.
        for _ in 0..20 {
            let info = client.try_server_info().unwrap_or_default();
            if *self.server() != (info.server_id, info.client_id) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.apply(&client, (look(&client).0, true));
    }

    fn apply(&self, client: &Client, (connects, up): (u64, bool)) {
        match client.try_server_info() {
            Some(info) if up && connects > 0 => {
                *self.server() = (info.server_id.clone(), info.client_id);
                self.news.connected(connects, describe(&info));
            }
            _ if up => {}
            _ => self.news.disconnected(),
        }
    }

    fn server(&self) -> MutexGuard<'_, (String, u64)> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the client call `shared`. The callback is owned by a task that ends when
/// the client's own task has ended; then the link has, too.
pub(super) fn listen(options: ConnectOptions, shared: &Arc<Shared>) -> ConnectOptions {
    let tail = Tail(Arc::clone(shared));
    options.event_callback(move |event| {
        let shared = Arc::clone(&tail.0);
        async move { shared.hear(event).await }
    })
}

struct Tail(Arc<Shared>);

impl Drop for Tail {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Looks every `interval`, for the events that the client has dropped. Believes
/// what it sees when it sees the same twice: an event on its way is no loss.
pub(super) async fn watch(shared: Arc<Shared>, client: Weak<Client>, interval: Duration) {
    let is_open = |news: &News| news.level() != Level::Closed;
    let mut last = None;
    loop {
        let sleep = tokio::time::sleep(interval);
        if shared.news.run_while(is_open, sleep).await.is_none() {
            return;
        }
        let Some(client) = client.upgrade() else {
            return;
        };
        let seen = look(&client);
        if last == Some(seen) {
            let known = shared.news.connection();
            if known != seen.1.then_some(seen.0) {
                shared.apply(&client, seen);
            }
        }
        last = Some(seen);
    }
}

fn look(client: &Client) -> (u64, bool) {
    let connects = client.statistics().connects.load(Ordering::Relaxed);
    (connects, client.connection_state() == State::Connected)
}

/// Since when servers store batches on the way.
const FAST_INGEST_SINCE: (u32, u32, u32) = (2, 14, 0);

fn describe(info: &async_nats::ServerInfo) -> ServerInfo {
    let version = version(&info.version);
    ServerInfo {
        name: info.server_name.clone(),
        version,
        max_payload: info.max_payload,
        fast_ingest: version >= FAST_INGEST_SINCE,
    }
}
