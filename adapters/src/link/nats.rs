//! A connection to nats-server, kept by async-nats.
//!
//! The client does connections, reconnects, TLS, logins and the NATS protocol. Its
//! JetStream layer is not used: the core speaks that protocol.
//!
//! The client needs tokio, for its own tasks. When the bus runs on
//! [`Tokio`](crate::runtime::Tokio), they live there; on any other runtime the
//! link brings a private tokio runtime with one thread (`jetbus-nats`) and stops it
//! with itself. Everything else runs where it is called, on any executor.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::client::traits::Publisher;
use async_nats::{Client, ConnectErrorKind, PublishErrorKind};
use futures_core::future::BoxFuture;
use jetbus_core::{Publish, Subject};
use tokio::task::unconstrained;

use super::news::{Level, News};
use super::{ConnectError, Inbox, Link, LinkError, LinkEvent, Refused};
use crate::runtime::Runtime;

mod asking;
mod backoff;
mod convert;
mod events;
mod home;
mod inbox;
mod options;

pub use options::NatsOptions;

use events::Shared;
use home::Home;
use inbox::NatsInbox;

/// How long closing waits for what was handed over to leave the process.
const LINGER: Duration = Duration::from_secs(2);

/// A connection to nats-server, or to one server of a cluster at a time.
///
/// The client library behind it needs tokio for its own tasks. When the bus runs on
/// tokio, they live on that runtime. On any other runtime the link brings a private
/// tokio runtime with one thread, `jetbus-nats`, and stops it when it is closed or
/// dropped. When a link on a shared tokio runtime is closed while no server is
/// there, one idle task of the client stays until that runtime ends.
///
/// Dropping it ends the connection as [`close`](Link::close) does, but what was
/// handed over last may not leave the process.
pub struct Nats {
    client: Arc<Client>,
    shared: Arc<Shared>,
    home: Home,
    servers: String,
    inbox_prefix: String,
    replies: convert::Replies,
}

impl Nats {
    /// Connects, and stays connected until closed. `runtime` is what the bus runs
    /// on; the call itself works on any executor.
    ///
    /// # Errors
    /// When an option cannot be used (then nothing was sent), or no server can be
    /// reached or lets us in. With
    /// [`retry_first_connect`](NatsOptions::retry_first_connect) the latter are
    /// news ([`LinkEvent::Error`]), and the link is returned before it is connected.
    pub async fn connect(options: &NatsOptions, runtime: &dyn Runtime) -> Result<Self, LinkError> {
        let checked = options.check().map_err(LinkError::Connect)?;
        let home = Home::beside(runtime)
            .map_err(|why| LinkError::Other(format!("no thread for the client: {why}").into()))?;
        let shared = Arc::new(Shared::default());
        let start = events::listen(checked.options, &shared)
            .reconnect_delay_callback(backoff::delays(&shared));
        let servers = checked.servers;
        let client = match home.run(start.connect(servers)).await {
            Some(Ok(client)) => Arc::new(client),
            Some(Err(error)) => {
                let error = connect_error(&error, checked.shown);
                return Err(LinkError::Connect(error));
            }
            None => return Err(LinkError::Other("the client could not be started".into())),
        };
        shared.adopt(&client);
        home.spawn(events::watch(
            Arc::clone(&shared),
            Arc::downgrade(&client),
            options.ping_interval,
        ));
        Ok(Self {
            client,
            shared,
            home,
            servers: checked.shown,
            inbox_prefix: options.inbox_prefix.clone(),
            replies: convert::Replies::new(),
        })
    }
}

impl Link for Nats {
    fn inbox_prefix(&self) -> &str {
        &self.inbox_prefix
    }

    fn try_publish(&self, message: Publish<'_>) -> Result<(), Refused> {
        match self.shared.news.level() {
            Level::Up => {}
            Level::Down => return Err(Refused::Disconnected),
            Level::Closed => return Err(Refused::Closed),
        }
        let len = message
            .headers
            .wire_len()
            .saturating_add(message.payload.len());
        let max = self.client.max_payload();
        if len > max {
            return Err(Refused::TooLarge { len, max });
        }
        let message = convert::outgoing(message, &self.replies).ok_or(Refused::Invalid)?;
        match once(self.client.publish_message(message)) {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Pending => Err(Refused::Busy),
            Poll::Ready(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Refused::TooLarge { len, max },
                PublishErrorKind::InvalidSubject => Refused::Invalid,
                // The client's task is gone, whatever its last state says.
                PublishErrorKind::Send => {
                    self.shared.end();
                    Refused::Closed
                }
            }),
        }
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let news = &self.shared.news;
            if let now @ Some(_) = news.connection() {
                let flush = self.client.flush();
                let _ = news.run_while(|news| news.connection() == now, flush).await;
            }
        })
    }

    fn subscribe(
        &self,
        pattern: Subject,
        group: Option<Subject>,
    ) -> BoxFuture<'_, Result<Box<dyn Inbox>, LinkError>> {
        Box::pin(async move {
            let news = &self.shared.news;
            let is_open = |news: &News| news.level() != Level::Closed;
            if !is_open(news) {
                return Err(LinkError::Closed);
            }
            let name = async_nats::Subject::from(pattern.as_str());
            let client = Arc::clone(&self.client);
            let subscribing = async move {
                match group {
                    Some(group) => client.queue_subscribe(name, group.to_string()).await,
                    None => client.subscribe(name).await,
                }
            };
            let subscribed = if news.connection().is_none() || self.is_inbox(&pattern) {
                let subscribed = news.run_while(is_open, subscribing).await;
                subscribed.map(Ok)
            } else {
                let (shared, client) = (Arc::clone(&self.shared), Arc::clone(&self.client));
                let fence = self.unheard_of();
                let asking = async move {
                    let pattern = pattern.as_str();
                    shared
                        .permitted(&client, pattern, &fence, subscribing)
                        .await
                };
                let asked = news.run_while(is_open, self.home.run(asking)).await;
                asked.flatten()
            };
            match subscribed {
                Some(Ok(Ok(inbox))) => {
                    Ok(Box::new(NatsInbox::new(inbox, Arc::clone(&self.shared))) as _)
                }
                Some(Ok(Err(error))) => Err(LinkError::Other(error.to_string().into())),
                Some(Err(denied)) => Err(LinkError::Denied(denied)),
                None => Err(LinkError::Closed),
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async {
            let news = &self.shared.news;
            let now = news.connection();
            let flushed = match now {
                Some(_) => {
                    let flush = self.client.flush();
                    news.run_while(|news| news.connection() == now, flush).await
                }
                None => None,
            };
            match flushed {
                Some(Ok(())) => Ok(()),
                _ if news.level() == Level::Closed => Err(LinkError::Closed),
                _ => Err(LinkError::Other("the connection was lost".into())),
            }
        })
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        self.shared.news.poll(cx)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.shared.news.level() == Level::Up {
                let client = Arc::clone(&self.client);
                let flush = async move { tokio::time::timeout(LINGER, client.flush()).await };
                self.home.run(flush).await;
            }
            self.end();
        })
    }
}

impl Nats {
    /// Whether it is for answers. Whoever waits for those hears of a denial.
    fn is_inbox(&self, pattern: &Subject) -> bool {
        let rest = pattern.as_str().strip_prefix(&*self.inbox_prefix);
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    /// A subject among those for answers that nobody has.
    fn unheard_of(&self) -> String {
        let chance = RandomState::new().build_hasher().finish();
        format!("{}.{chance:016x}", self.inbox_prefix)
    }

    fn end(&self) {
        // Draining makes the client's task end although inboxes still hold it. While
        // it reconnects it does not listen; then `backoff` stops it.
        let _ = once(self.client.drain());
        self.shared.end();
        self.home.close();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("servers", &self.servers)
            .field("level", &self.shared.news.level())
            .finish_non_exhaustive()
    }
}

/// Polls once: the client's futures wait only for room in its queue. Dropped while
/// they wait, they have put nothing there. Without `unconstrained`, a tokio task
/// that has used up its turn would see a full queue where there is room.
fn once<T>(work: impl Future<Output = T>) -> Poll<T> {
    pin!(unconstrained(work)).poll(&mut Context::from_waker(Waker::noop()))
}

fn connect_error(error: &async_nats::ConnectError, servers: String) -> ConnectError {
    let reason = error.to_string();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            ConnectError::Authorization { servers }
        }
        ConnectErrorKind::Tls => ConnectError::Tls { servers, reason },
        _ if is_tls(error) => ConnectError::Tls { servers, reason },
        _ => ConnectError::Unreachable { servers, reason },
    }
}

/// Whether TLS is behind an error of input or output.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<async_nats::rustls::Error>() {
            return true;
        }
        // An `io::Error` does not count what it wraps among its sources.
        let wrapped = error.downcast_ref::<std::io::Error>();
        next = match wrapped.and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}
