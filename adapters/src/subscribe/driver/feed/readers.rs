//! A feed among the other readers of its consumer: it answers them, and asks who is
//! there.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::jetstream::recall::readers::{self, Company, Reader};
use jetbus_core::{Headers, Publish, Subject};

use crate::bus::Inner;
use crate::link::{Inbox, LinkError, Refused};

/// How long answers are waited for before the question is repeated, and after that: they
/// take a round trip, and no disk.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often it is asked.
const QUESTIONS: usize = 2;

/// How much is heard before the task lets others run.
const BUDGET: usize = 64;

/// A reader's place among the others.
pub(super) struct Readers {
    me: Reader,
    /// Where all of them listen.
    subject: Subject,
    inbox: Box<dyn Inbox>,
}

/// Somebody who wants to know who else is there.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    me: Reader,
    subject: Subject,
}

impl Readers {
    /// Listens, with the other readers of this consumer.
    pub(super) async fn join(bus: &Inner, stream: &str, consumer: &str) -> Result<Self, LinkError> {
        let subject = readers::subject(bus.link.inbox_prefix(), stream, consumer);
        Ok(Self {
            me: Reader::new(bus.random()),
            inbox: bus.link.subscribe(subject.clone(), None).await?,
            subject,
        })
    }

    /// Answers who asks. Says whether there may be more to hear.
    pub(super) fn answer(&mut self, bus: &Inner, cx: &mut Context<'_>) -> bool {
        for _ in 0..BUDGET {
            let Poll::Ready(Some(heard)) = self.inbox.poll_next(cx) else {
                return false;
            };
            if let Some(answer) = self.me.answer(&heard) {
                // At once, or not at all: who hears nothing asks again.
                let _ = bus.link.try_publish(answer.as_publish());
            }
        }
        true
    }

    pub(super) fn asker(&self) -> Asker {
        Asker {
            me: self.me,
            subject: self.subject.clone(),
        }
    }
}

impl Asker {
    /// Asks, and listens who answers.
    pub(super) async fn ask(&self, bus: &Inner) -> Company {
        let mut roll = self.me.asks();
        let Ok(mut inbox) = bus.link.subscribe(self.subject.clone(), None).await else {
            return roll.company();
        };
        for _ in 0..QUESTIONS {
            let question = Publish {
                subject: &self.subject,
                reply: None,
                headers: &Headers::new(),
                payload: &Bytes::new(),
            };
            while let Err(refused) = bus.link.try_publish(question) {
                if refused != Refused::Busy {
                    return roll.company();
                }
                bus.link.ready().await;
            }
            let by = bus.runtime.now() + PATIENCE;
            // However much is said there meanwhile.
            while bus.runtime.now() < by {
                let next = poll_fn(|cx| inbox.poll_next(cx));
                let Some(Some(heard)) = bus.until(by, next).await else {
                    break;
                };
                roll.heard(&heard);
                if roll.company() == Company::Others {
                    return Company::Others;
                }
            }
        }
        roll.company()
    }
}
