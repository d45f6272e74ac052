//! Whether the server lets us subscribe. It says nothing when it does.
//!
//! What it says when it does not comes as an event of the client, beside the messages.
//! So something is sent after the subscription that is answered in any case, and the
//! events get a moment longer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_nats::Client;
use futures_channel::oneshot;
use futures_core::Stream as _;
use jetbus_core::denied::{Denied, Operation};

use super::events::Shared;

/// How long the server's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an event may be on its way after what came behind it.
const MOMENT: Duration = Duration::from_millis(20);

/// Who waits to hear whether something is denied, and what.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Vec<(Denied, oneshot::Sender<Denied>)>>);

impl Asking {
    /// Tells whoever waits for this.
    pub(super) fn tell(&self, denied: &Denied) {
        let mut all = self.all();
        for index in (0..all.len()).rev() {
            if all.get(index).is_some_and(|(asked, _)| asked == denied) {
                let (_, told) = all.swap_remove(index);
                let _ = told.send(denied.clone());
            }
        }
    }

    fn of(&self, operation: Operation, subject: &str) -> oneshot::Receiver<Denied> {
        let (tell, told) = oneshot::channel();
        let subject = subject.to_owned();
        let mut all = self.all();
        all.retain(|(_, waits)| !waits.is_canceled());
        all.push((Denied { operation, subject }, tell));
        told
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Denied, oneshot::Sender<Denied>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Subscribes by `subscribe`, and finds out whether the server permits `pattern`.
    /// Subjects that start with `fence` are for nobody.
    pub(super) async fn permitted<T>(
        &self,
        client: &Client,
        pattern: &str,
        fence: &str,
        subscribe: impl Future<Output = T>,
    ) -> Result<T, Denied> {
        let mut denied = self.asking.of(Operation::Subscribe, pattern);
        let done = subscribe.await;
        // Nobody listens there, and the server says so; or it denies that, too.
        let nowhere = format!("{fence}.nobody");
        let mut passed = self.asking.of(Operation::Publish, &nowhere);
        let Ok(mut answers) = client.subscribe(fence.to_owned()).await else {
            return Ok(done);
        };
        let mut unheard = self.asking.of(Operation::Subscribe, fence);
        let sent = client.publish_with_reply(nowhere, fence.to_owned(), Vec::new().into());
        if sent.await.is_err() {
            return Ok(done);
        }
        let answered = poll_fn(|cx| {
            let heard = [&mut passed, &mut unheard];
            let any = heard
                .into_iter()
                .any(|one| Pin::new(one).poll(cx).is_ready());
            match any || Pin::new(&mut answers).poll_next(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        // Without an answer nothing is known: a denial is news when it comes.
        let _ = tokio::time::timeout(PATIENCE, answered).await;
        match tokio::time::timeout(MOMENT, &mut denied).await {
            Ok(Ok(denied)) => Err(denied),
            _ => Ok(done),
        }
    }
}
