//! The embedded broker: nats-server's part, played inside the process.
//!
//! There is no task for the broker. An operation puts a command into a queue, and
//! whoever finds nobody at work on the queue works it off (see `hub`). What only
//! time brings about is done by a ticker task per connection, on the runtime of
//! its bus.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use jetbus_core::broker::{Config, VERSION};
use jetbus_core::{Outbound, Publish, Subject};

use super::news::{Level, version};
use super::{Inbox, Link, LinkError, LinkEvent, Refused, ServerInfo};
use crate::runtime::Runtime;

mod hub;
mod mailbox;
mod ticker;

use hub::{Command, Conn, Hub, Leave};
use mailbox::{EmbeddedInbox, Mailbox};

/// A broker in memory, shared by any number of buses of this process. Clones are
/// handles of the same broker; what it stores ends with the last of them and the
/// last connection.
#[derive(Clone)]
pub struct EmbeddedBroker(Arc<Hub>);

impl EmbeddedBroker {
    /// An empty broker.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(Config {
            seed: RandomState::new().build_hasher().finish(),
            ..Config::default()
        })
    }

    /// An empty broker with limits and a seed of its own. Its wall clock is that of
    /// the first connection's runtime, whatever `config` says.
    #[must_use]
    pub fn with_config(config: Config) -> Self {
        Self(Arc::new(Hub::new(config)))
    }

    /// A connection for a bus on `runtime`. The clock of the first connection's
    /// runtime is the broker's.
    pub async fn connect(&self, runtime: Arc<dyn Runtime>) -> Embedded {
        let conn = self.0.join(runtime).await;
        conn.news.connected(1, self.server());
        let sleeper = ticker::run(Arc::clone(&self.0), Arc::clone(&conn));
        conn.runtime.spawn(Box::pin(sleeper));
        Embedded {
            hub: Arc::clone(&self.0),
            conn,
            next_sid: AtomicU64::new(1),
        }
    }

    /// A fault, for tests of what must survive it: as a server that is killed and starts
    /// again. Connections break and are made again at once, with their subscriptions;
    /// streams in memory, and pulls and deliveries on their way, are gone. So are
    /// acknowledgements of the last `forgotten`, as far back as `ack_memory` of its
    /// configuration reaches.
    pub async fn restart(&self, forgotten: Duration) {
        self.0.submit_waiting(Command::Restart(forgotten)).await;
    }

    /// A fault, for tests of what must survive it: as a cluster that elects. For `time`
    /// no stream has a leader: nothing is stored, delivered or acknowledged, and requests
    /// are not answered.
    pub async fn lose_leaders(&self, time: Duration) {
        self.0.submit_waiting(Command::Leaderless(time)).await;
    }

    fn server(&self) -> ServerInfo {
        let config = &self.0.config;
        ServerInfo {
            name: config.server_name.clone(),
            version: version(VERSION),
            max_payload: config.max_payload,
            fast_ingest: false,
        }
    }
}

impl Default for EmbeddedBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBroker").finish_non_exhaustive()
    }
}

/// A connection to an [`EmbeddedBroker`]. Dropping it closes it.
pub struct Embedded {
    hub: Arc<Hub>,
    conn: Arc<Conn>,
    next_sid: AtomicU64,
}

impl Embedded {
    fn is_closed(&self) -> bool {
        self.conn.news.level() == Level::Closed
    }

    fn end(&self) {
        if !self.is_closed() {
            self.conn.news.close();
            self.conn.ticker.wake();
            self.hub.leave(Leave::Conn(Arc::clone(&self.conn)));
        }
    }
}

impl Link for Embedded {
    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        let len = message
            .headers
            .wire_len()
            .saturating_add(message.payload.len());
        let max = self.hub.config.max_payload;
        if len > max {
            return Err(Refused::TooLarge { len, max });
        }
        let message = Outbound {
            subject: message.subject.clone(),
            reply: message.reply.map(Subject::from),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
        };
        if !is_sendable(&message.subject) || !message.reply.as_ref().is_none_or(is_sendable) {
            return Err(Refused::Invalid);
        }
        let command = Command::Publish(Arc::clone(&self.conn), message);
        match self.hub.submit(command) {
            None => Ok(()),
            Some(_) => Err(Refused::Busy),
        }
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.hub.room())
    }

    fn subscribe(
        &self,
        pattern: Subject,
        group: Option<Subject>,
    ) -> BoxFuture<'_, Result<Box<dyn Inbox>, LinkError>> {
        Box::pin(async move {
            if self.is_closed() {
                return Err(LinkError::Closed);
            }
            if !is_sendable(&pattern) {
                return Err(LinkError::Other(
                    format!("{pattern:?} is no subject").into(),
                ));
            }
            let sid = self.next_sid.fetch_add(1, Ordering::Relaxed);
            let mailbox = Mailbox::new(Arc::clone(&self.conn), sid, pattern, group);
            let mailbox = Arc::new(mailbox);
            let command = Command::Subscribe(Arc::clone(&mailbox));
            self.hub.submit_waiting(command).await;
            Ok(Box::new(EmbeddedInbox::new(Arc::clone(&self.hub), mailbox)) as _)
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), LinkError>> {
        // What was taken is with the broker: nothing has to leave the process.
        Box::pin(async {
            match self.is_closed() {
                true => Err(LinkError::Closed),
                false => Ok(()),
            }
        })
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        self.conn.news.poll(cx)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.end() })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("level", &self.conn.news.level())
            .finish_non_exhaustive()
    }
}

/// What nats-server's protocol could carry.
fn is_sendable(subject: &Subject) -> bool {
    let bytes = subject.as_bytes();
    !bytes.is_empty() && bytes.iter().all(|b| *b > b' ' && *b != 0x7f)
}
