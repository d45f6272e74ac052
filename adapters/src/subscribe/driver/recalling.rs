//! A feed moves to another inbox, and recalls what was lost on the way to the last.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::jetstream::admin::{AdminError, Request};
use jetbus_core::jetstream::recall::{Known, Lost, Output, Recall, Recalled};
use jetbus_core::{Message, Outbound, Subject, Time};

use super::super::delivery::Item;
use crate::bus::{Inner, NoAnswer};
use crate::link::{Inbox, LinkError};

/// How long a recall may take. The consumer is not pulled from meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first answer is waited for before the question is asked again, which
/// changes nothing; then twice as long, up to the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(1);

/// A new inbox, and what was on its way to the one before.
pub(super) struct Moved {
    /// The inbox's name: pulls are answered below it.
    pub(super) name: Subject,
    pub(super) inbox: Box<dyn Inbox>,
    /// What was lost, and its key.
    pub(super) lost: Vec<(Meta, Option<Bytes>)>,
    /// Gives back what was lost.
    pub(super) back: Vec<Outbound>,
    pub(super) recalled: Result<Recalled, NotRecalled>,
}

/// Why it is not known what was lost.
#[derive(Debug)]
pub(super) enum NotRecalled {
    Refused(AdminError),
    NoAnswer,
}

/// Opens an inbox and recalls. `None` when the link is closed.
pub(super) async fn moved(bus: Arc<Inner>, known: Known, events: bool) -> Option<Moved> {
    let name = bus.inbox();
    let pattern = Subject::from(format!("{name}.*"));
    let inbox = loop {
        match bus.link.subscribe(pattern.clone(), None).await {
            Ok(inbox) => break inbox,
            Err(LinkError::Closed) => return None,
            Err(_) => bus.runtime.sleep_until(bus.runtime.now() + LONGEST).await,
        }
    };
    let mut moved = Moved {
        name: name.as_str().into(),
        inbox,
        lost: Vec::new(),
        back: Vec::new(),
        recalled: Err(NotRecalled::NoAnswer),
    };
    let by = bus.runtime.now() + PATIENCE;
    loop {
        moved.recalled = recall(&bus, known.clone(), by, |lost| {
            moved.back.push(lost.back);
            let message = Message {
                subject: lost.message.subject,
                reply: None,
                headers: lost.message.headers,
                status: None,
                payload: lost.message.payload,
            };
            let item = Item::new(message, events, None);
            let key = item.key().map(|key| Bytes::copy_from_slice(key.as_bytes()));
            moved.lost.push((lost.meta, key));
        })
        .await;
        let again = match &moved.recalled {
            Err(NotRecalled::Refused(error)) => error.is_transient(),
            _ => false,
        };
        let at = bus.runtime.now() + FIRST;
        if !again || at >= by {
            return Some(moved);
        }
        moved.lost.clear();
        moved.back.clear();
        bus.runtime.sleep_until(at).await;
    }
}

async fn recall(
    bus: &Inner,
    known: Known,
    by: Time,
    mut lose: impl FnMut(Lost),
) -> Result<Recalled, NotRecalled> {
    let mut recall = Recall::new(bus.api.clone(), known);
    while let Some(output) = recall.poll() {
        match output {
            Output::Request(request) => {
                let answer = ask(bus, &request, by).await;
                recall.handle(&answer.ok_or(NotRecalled::NoAnswer)?);
            }
            Output::Lost(lost) => lose(*lost),
            Output::Done(result) => return result.map_err(NotRecalled::Refused),
        }
    }
    // Not reached: a machine that waits has asked.
    Err(NotRecalled::NoAnswer)
}

/// Asks until there is an answer.
async fn ask(bus: &Inner, request: &Request, by: Time) -> Option<Message> {
    let mut wait = FIRST;
    while bus.runtime.now() < by {
        let until = by.min(bus.runtime.now() + wait);
        let asked = bus.request(&request.subject, &request.payload);
        match bus.until(until, asked).await {
            Some(Ok(answer)) => return Some(answer),
            Some(Err(NoAnswer::Closed)) => return None,
            Some(Err(NoAnswer::Timeout { .. })) | None => wait = (wait * 2).min(LONGEST),
        }
    }
    None
}
