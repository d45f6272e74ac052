//! Wakes the broker when its deadline comes.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use jetbus_core::Time;

use super::hub::{Conn, Hub};
use crate::link::news::Level;

/// Ticks for as long as the connection lasts. Several connections tick at the same
/// deadline; one tick does the work, the others find nothing due.
pub(super) async fn run(hub: Arc<Hub>, conn: Arc<Conn>) {
    loop {
        let mut sleep = Sleep::default();
        let due = poll_fn(|cx| sleep.poll(&hub, &conn, cx)).await;
        if !due {
            return;
        }
        hub.tick();
    }
}

#[derive(Default)]
struct Sleep(Option<(Time, BoxFuture<'static, ()>)>);

impl Sleep {
    /// `true` when the broker is due, `false` when the connection is closed.
    fn poll(&mut self, hub: &Hub, conn: &Conn, cx: &mut Context<'_>) -> Poll<bool> {
        // Registered before the looks at what it is woken for.
        conn.ticker.register(cx.waker());
        loop {
            if conn.news.level() == Level::Closed {
                return Poll::Ready(false);
            }
            let due = hub.due();
            if due == Time::NEVER {
                self.0 = None;
                return Poll::Pending;
            }
            let now = hub.now();
            if due <= now {
                return Poll::Ready(true);
            }
            let (_, sleep) = match &mut self.0 {
                Some(armed) if armed.0 == due => armed,
                other => {
                    // The broker's time on this runtime's clock.
                    let deadline = conn.runtime.now() + due.since(now);
                    other.insert((due, conn.runtime.sleep_until(deadline)))
                }
            };
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                // Look again; this sleep is over even if the other clock is behind.
                Poll::Ready(()) => self.0 = None,
            }
        }
    }
}
