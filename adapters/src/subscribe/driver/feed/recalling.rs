//! A feed moves to another inbox, and recalls what was lost on the way to the last.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::jetstream::ack::Meta;
use jetbus_core::jetstream::admin::{AdminError, Request};
use jetbus_core::jetstream::pull;
use jetbus_core::jetstream::recall::readers::Company;
use jetbus_core::jetstream::recall::{Finding, Known, Lost, Output, Recall, Recalled};
use jetbus_core::{Message, Subject, Time};

use super::super::super::consumer::Source;
use super::super::super::delivery::Item;
use super::super::super::lanes::Lanes;
use super::readers::{Asker, Readers};
use super::{Feed, Phase};
use crate::bus::{Inner, NoAnswer};
use crate::link::{Inbox, LinkError};
use crate::news::PullNews;

/// How long a recall may take: longer than elections. The consumer is not pulled from
/// meanwhile, for what comes would be out of order.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the first answer is waited for before the question is asked again, which
/// changes nothing; then twice as long, up to the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(1);

/// A new inbox, and what was on its way to the one before.
pub(super) struct Moved {
    /// The inbox's name: pulls are answered below it.
    name: Subject,
    inbox: Box<dyn Inbox>,
    missing: Vec<Missing>,
    recalled: Result<Recalled, NotRecalled>,
}

/// Why it is not known what was lost.
#[derive(Debug)]
enum NotRecalled {
    Refused(AdminError),
    NoAnswer,
}

/// A message that was lost on its way.
pub(in super::super) struct Missing {
    pub(in super::super) meta: Meta,
    pub(in super::super) key: Option<Bytes>,
    /// Where it is acknowledged.
    pub(in super::super) reply: Subject,
}

/// What a recall found.
pub(in super::super) struct Found {
    /// What was lost.
    pub(in super::super) missing: Vec<Missing>,
    /// What came meanwhile, and when its lease began.
    pub(in super::super) held: Vec<(Time, Meta, Message)>,
}

impl Feed {
    /// Finds out what was lost on the way to the last inbox, and opens another.
    pub(super) fn recall(&mut self, now: Time) {
        let (Some(stream), Source::Stream { wanted, .. }) = (&self.stream, &*self.source) else {
            return;
        };
        let filter = wanted.filters.first().cloned().unwrap_or_default();
        let known = stream.line.known(filter, self.window.saturating_mul(2));
        let lingering = stream.pull.lingering(now).collect();
        let asker = stream.readers.as_ref().map(Readers::asker);
        let recall = moved(Arc::clone(&self.bus), known, asker, lingering, self.events);
        self.phase = Phase::Recalling(Box::pin(recall));
    }

    /// What a recall found, once it has: the feed pulls again. `None` inside when the
    /// link is closed for good.
    pub(in super::super) fn recalling(
        &mut self,
        now: Time,
        lanes: &Lanes,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Found>> {
        let (Phase::Recalling(recalling), Some(stream)) = (&mut self.phase, &mut self.stream)
        else {
            return Poll::Pending;
        };
        let Poll::Ready(moved) = recalling.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        let Some(moved) = moved else {
            self.phase = Phase::Over;
            return Poll::Ready(None);
        };
        self.phase = Phase::Open;
        self.inbox = Some(moved.inbox);
        let line = &mut stream.line;
        match moved.recalled {
            Ok(recalled) => {
                if let Finding::Lost { count } = recalled.finding {
                    lanes.tell_pull(PullNews::Lost { count });
                }
                line.recalled(&recalled);
            }
            Err(error) => {
                let refusal = match &error {
                    NotRecalled::Refused(error) => Some(error),
                    NotRecalled::NoAnswer => None,
                };
                if line.not_recalled(refusal) {
                    stream.held.forget();
                }
                match error {
                    // Pulling shows it too, and leads to its repair.
                    NotRecalled::Refused(error) if error.is_not_found() => {}
                    NotRecalled::Refused(error) => {
                        lanes.tell_pull(PullNews::NotRecalled {
                            why: error.to_string().into(),
                        });
                    }
                    NotRecalled::NoAnswer => lanes.tell_pull(PullNews::NotRecalled {
                        why: "the server did not answer in time".into(),
                    }),
                }
            }
        }
        stream.pull.moved(moved.name);
        // What was held back and what was lost take their places first.
        stream.pull.handle(now, pull::Input::Free(0));
        stream.pull.handle(now, pull::Input::Connected);
        Poll::Ready(Some(Found {
            missing: moved.missing,
            held: stream.held.take(),
        }))
    }
}

/// Opens an inbox and recalls, `lingering` being when pulls are over that were lost with
/// a connection. `None` when the link is closed.
async fn moved(
    bus: Arc<Inner>,
    mut known: Known,
    asker: Option<Asker>,
    lingering: Vec<Time>,
    events: bool,
) -> Option<Moved> {
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
        missing: Vec::new(),
        recalled: Err(NotRecalled::NoAnswer),
    };
    let mut by = bus.runtime.now() + PATIENCE;
    loop {
        let now = bus.runtime.now();
        known.waiting = lingering.iter().filter(|over| **over > now).count();
        moved.recalled = recall(&bus, known.clone(), asker.as_ref(), by, |lost| {
            let message = Message {
                subject: lost.message.subject,
                reply: None,
                headers: lost.message.headers,
                status: None,
                payload: lost.message.payload,
            };
            let item = Item::new(message, events, None);
            let key = item.key().map(|key| Bytes::copy_from_slice(key.as_bytes()));
            moved.missing.push(Missing {
                meta: lost.meta,
                key,
                reply: lost.reply,
            });
        })
        .await;
        let at = bus.runtime.now() + FIRST;
        let again = match &moved.recalled {
            Err(NotRecalled::Refused(error)) => error.is_transient(),
            Ok(Recalled {
                finding: Finding::Unclear,
                ..
            }) => {
                // They are over in the end, and then it is clear.
                by = at + PATIENCE;
                true
            }
            _ => false,
        };
        if !again || at >= by {
            return Some(moved);
        }
        moved.missing.clear();
        bus.runtime.sleep_until(at).await;
    }
}

async fn recall(
    bus: &Inner,
    known: Known,
    asker: Option<&Asker>,
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
            Output::Readers => recall.company(match asker {
                Some(asker) => asker.ask(bus).await,
                None => Company::Unknown,
            }),
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
            Some(Err(NoAnswer::Closed | NoAnswer::Denied(_))) => return None,
            Some(Err(NoAnswer::Timeout { .. })) | None => wait = (wait * 2).min(LONGEST),
        }
    }
    None
}
