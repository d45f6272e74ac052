//! Burying: storing a dead letter before its source is settled.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::mpsc;
use futures_core::Stream as _;
use jetbus_core::dead_letter::{Origin, Record};
use jetbus_core::delivery::{JobId, Letter, Outcome, Task};
use jetbus_core::jetstream::api::codes;
use jetbus_core::shared::session::Current;
use jetbus_core::{Time, Timestamp};

use super::place::Place;
use crate::bus::Inner;
use crate::error::PublishError;
use crate::news::News;
use crate::subscribe::Job;

/// Below this many bytes a dead letter is not cut any further.
const SMALLEST: usize = 1_024;

/// The dead letters of a subscription that are being stored, each in a task of its
/// own: no handler waits for them.
#[derive(Debug)]
pub(crate) struct Burials {
    bus: Arc<Inner>,
    /// `None`: what is given up is not kept, the server is told to forget it.
    kept: Option<Arc<Kept>>,
    /// Each clone has a place of its own in the channel: as many as jobs.
    word: mpsc::Sender<(JobId, Outcome)>,
    words: mpsc::Receiver<(JobId, Outcome)>,
}

/// Where the dead letters of a subscription go.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) group: String,
    /// The topic or pattern.
    pub(crate) topic: String,
    pub(crate) place: Place,
}

impl Burials {
    pub(crate) fn new(bus: &Arc<Inner>, kept: Option<Kept>) -> Self {
        let (word, words) = mpsc::channel(0);
        Self {
            bus: Arc::clone(bus),
            kept: kept.map(Arc::new),
            word,
            words,
        }
    }

    /// Buries the message of a job; [`poll_done`](Self::poll_done) says how it went.
    pub(crate) fn start(&self, job: Job) {
        let Task::Bury(letter) = job.task.clone() else {
            return;
        };
        let mut word = Word {
            id: job.id,
            to: Some(self.word.clone()),
        };
        let Some(kept) = &self.kept else {
            let Letter { reason, error, .. } = &*letter;
            word.say(Outcome::Term {
                reason: Some(match error.is_empty() {
                    true => reason.as_str().into(),
                    false => format!("{reason}: {error}").into(),
                }),
            });
            return;
        };
        let (bus, kept) = (Arc::clone(&self.bus), Arc::clone(kept));
        self.bus.runtime.spawn(Box::pin(async move {
            word.say(bury(&bus, &kept, &job, &letter).await);
        }));
    }

    /// The word on a message that was to be buried.
    pub(crate) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(JobId, Outcome)> {
        match Pin::new(&mut self.words).poll_next(cx) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            // It never ends: one sender is here.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The word on one job. Dropped unsaid, with the task of a runtime that ends, it says
/// that the message is not buried.
struct Word {
    id: JobId,
    to: Option<mpsc::Sender<(JobId, Outcome)>>,
}

impl Word {
    fn say(&mut self, outcome: Outcome) {
        if let Some(mut to) = self.to.take() {
            // Refused only when the subscription is gone.
            let _ = to.try_send((self.id, outcome));
        }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        self.say(Outcome::NotBuried {
            error: "its task was dropped".into(),
        });
    }
}

/// Stores one dead letter, and tells how that went.
async fn bury(bus: &Arc<Inner>, kept: &Kept, job: &Job, letter: &Letter) -> Outcome {
    let (topic, group) = (job.item.message.subject.as_str(), kept.group.as_str());
    let sequence = job.item.sequence(&job.meta);
    match store(bus, kept, job, letter).await {
        Ok(()) => {
            bus.news.tell(&News::DeadLettered {
                topic: topic.into(),
                group: group.into(),
                sequence,
                reason: letter.reason,
                error: letter.error.as_ref().into(),
            });
            Outcome::Buried
        }
        Err(error) => {
            let text = error.to_string();
            bus.news.tell(&News::DeadLetterFailed {
                topic: topic.into(),
                group: group.into(),
                sequence,
                error: Arc::new(error),
            });
            Outcome::NotBuried { error: text.into() }
        }
    }
}

async fn store(
    bus: &Arc<Inner>,
    kept: &Kept,
    job: &Job,
    letter: &Letter,
) -> Result<(), PublishError> {
    let began = bus.runtime.now();
    let deadline = began + bus.settings.publish_timeout;
    let item = &job.item;
    let mut origin = match &item.origin {
        Some(origin) => Origin::clone(origin),
        None => Origin::new(
            &kept.group,
            &kept.topic,
            item.message.subject.clone(),
            item.stream(),
            job.meta.stream_seq,
            job.meta.timestamp,
        ),
    };
    let wall = |at: Time| ago(bus.runtime.wall(), bus.runtime.now(), at);
    origin.first_failed = origin
        .first_failed
        .or_else(|| letter.first_failed.map(wall));
    let record = Record {
        origin: &origin,
        key: item.key(),
        event_id: item.event_id(),
        reason: letter.reason,
        error: &letter.error,
        attempts: letter.attempts,
        deliveries: job.meta.delivered,
        last_failed: letter.last_failed.map(wall),
        headers: &item.message.headers,
        payload: &item.message.payload,
    };
    let mut max = largest(bus, began, deadline).await?;
    loop {
        let message = record.write(&kept.place.names, max);
        match bus.store(&kept.place.dead, message, began, deadline).await {
            Ok(_) => return Ok(()),
            // Somebody set a smaller limit for the stream than the server's.
            Err(PublishError::Refused(error))
                if error.err_code == codes::MESSAGE_TOO_LARGE && max > SMALLEST =>
            {
                max /= 2;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The largest message that the server takes, once there is a connection.
async fn largest(bus: &Inner, began: Time, deadline: Time) -> Result<usize, PublishError> {
    loop {
        let max = bus.session.with(|current| match current {
            Current::Up(session) => Some(session.link.max_payload),
            _ => None,
        });
        match max {
            Some(max) => return Ok(max),
            None => match bus.until(deadline, bus.reconnected()).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(PublishError::Closed),
                None => {
                    let waited = bus.runtime.now().since(began);
                    return Err(PublishError::NotSent { waited });
                }
            },
        }
    }
}

/// The wall-clock time of `at`, when it is `now` at `wall`.
fn ago(wall: Timestamp, now: Time, at: Time) -> Timestamp {
    let ago = i64::try_from(now.since(at).as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_unix_nanos(wall.as_unix_nanos().saturating_sub(ago))
}
