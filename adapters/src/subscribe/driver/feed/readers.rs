//! A feed among the other readers of its consumer: it answers them, and asks who is
//! there.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use jetbus_core::jetstream::recall::readers::{self, Company, Reader};
use jetbus_core::{Headers, Outbound, Publish, Subject};

use crate::bus::Inner;
use crate::link::{Inbox, LinkError};

/// How long answers are waited for before the question is repeated, and after that: they
/// take a round trip, and no disk.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often it is asked.
const QUESTIONS: usize = 2;

/// Most answers that wait for the link. Who has none asks again.
const ANSWERS: usize = 64;

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
        let subject = readers::subject(&bus.settings.inbox_prefix, stream, consumer);
        Ok(Self {
            me: Reader::new(bus.random()),
            inbox: bus.link.subscribe(subject.clone(), None).await?,
            subject,
        })
    }

    /// Answers who asks.
    pub(super) fn answer(&mut self, answers: &mut VecDeque<Outbound>, cx: &mut Context<'_>) {
        while answers.len() < ANSWERS
            && let Poll::Ready(Some(heard)) = self.inbox.poll_next(cx)
        {
            answers.extend(self.me.answer(&heard));
        }
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
            if bus.link.try_publish(question).is_err() {
                break;
            }
            let by = bus.runtime.now() + PATIENCE;
            loop {
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
