//! What was on its way when a connection broke: found out, and asked for again.
//!
//! The server believes that such messages were delivered, and delivers them again only
//! after `ack_wait`; meanwhile it goes on with later ones of the same keys. So before
//! anything more is pulled, the consumer is asked how far it has come
//! (`CONSUMER.INFO`). The messages of its filter between there and what was received
//! are read from the stream (`STREAM.MSG.GET`), so that it is known which keys have to
//! wait, and given back with a `-NAK`, so that they come again at once. For that the
//! server needs no more of an acknowledgement's subject than a sequence in the stream
//! that is unsettled, and one in the consumer that is above the acknowledged ones and
//! not above the delivered.
//!
//! Only who reads the consumer alone can tell: what another process was given looks
//! the same. Another is there when pulls wait that nobody here made, when more was
//! delivered than was asked for here, or when it [says so](readers). Pulls of a
//! connection of which the server has not noticed the end wait too, and take what they
//! can: nothing is decided while they do.
//!
//! A machine of requests and answers: send what [`Recall::poll`] asks for and hand in
//! the answer, until it is done.

mod beyond;
mod line;
mod reach;
pub mod readers;
mod watch;

use crate::jetstream::ack::Meta;
use crate::jetstream::admin::{
    AdminError, Request, StoredMessage, answer, consumer_info, next_message, stored_message,
};
use crate::jetstream::api::{ConsumerInfo, Position, codes};
use crate::names::Api;
use crate::{Message, Subject};

pub use self::beyond::Beyond;
pub use self::line::{Line, Place};
pub use self::reach::Reach;
use self::readers::Company;
pub use self::watch::Watch;

/// What is known here when a connection broke.
#[derive(Clone, Debug)]
pub struct Known {
    /// The stream.
    pub stream: Subject,
    /// Its consumer.
    pub consumer: Subject,
    /// What the consumer delivers: a subject or pattern; empty for all.
    pub filter: String,
    /// When the consumer was created, as far as the server said so: one that was
    /// created later has a count of its own.
    pub created: Option<String>,
    /// Whether nobody else can know of the consumer: whatever pulls wait are of
    /// connections that were lost here, and whatever was delivered was sent here.
    pub own: bool,
    /// Whether something happened by which deliveries are lost. Else what did not come was
    /// given to others, unless it is certain that there are none.
    pub doubt: bool,
    /// What was received.
    pub reach: Reach,
    /// The most deliveries that can have been lost: more were not asked for.
    pub most: usize,
    /// Pulls made here that the server may still have, though nobody waits for them.
    pub waiting: usize,
    /// A reply subject of a delivery, for the form of the others.
    pub reply: Option<Subject>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this and hand in the answer.
    Request(Request),
    /// Ask who else reads the consumer, and say it with [`Recall::company`].
    Readers,
    /// A message was lost on its way.
    Lost(Box<Lost>),
    /// The end.
    Done(Result<Recalled, AdminError>),
}

/// A message that was lost on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What its reply subject would have said, as far as that is known.
    pub meta: Meta,
    /// The message.
    pub message: StoredMessage,
    /// Where it is settled, or given back, so that it is delivered again at once.
    pub reply: Subject,
}

/// How far deliveries have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The last delivery.
    pub to: Position,
    /// Everything up to this sequence of the stream is settled.
    pub settled: u64,
    /// When the consumer was created, as far as the server says so.
    pub created: Option<String>,
    /// What was found.
    pub finding: Finding,
}

/// What a recall found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing was lost.
    Whole,
    /// So many deliveries were lost.
    Lost {
        /// How many.
        count: u64,
    },
    /// Another process takes deliveries of this consumer: what was lost, if anything,
    /// comes again after `ack_wait`.
    Shared,
    /// It is another consumer, made since.
    Another,
    /// Pulls wait that may be those of a connection that was lost here: what they are
    /// sent will be lost too. To be asked again, until they are over.
    Unclear,
}

#[derive(Debug)]
enum Step {
    Info,
    /// Who else reads it.
    Readers,
    /// A message that may be lost.
    Look,
    Done,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Recall {
    api: Api,
    known: Known,
    step: Step,
    out: Option<Output>,
    /// Looks on from here, once what is in `out` was told.
    then: Option<u64>,
    to: Position,
    settled: u64,
    created: Option<String>,
    lost: u64,
    found: u64,
}

impl Recall {
    /// Asks for what was lost, given what is known.
    #[must_use]
    pub fn new(api: Api, known: Known) -> Self {
        let request = consumer_info(&api, known.stream.as_str(), known.consumer.as_str());
        Self {
            api,
            known,
            step: Step::Info,
            out: Some(Output::Request(request)),
            then: None,
            to: Position::default(),
            settled: 0,
            created: None,
            lost: 0,
            found: 0,
        }
    }

    /// The next request, a lost message, or the end.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.out.take() {
            return Some(output);
        }
        let from = self.then.take()?;
        self.look(from);
        self.out.take()
    }

    /// Takes the answer to the last request. Anything after the end is ignored.
    pub fn handle(&mut self, answered: &Message) {
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Info => match answer::<ConsumerInfo>(answered) {
                Ok(info) => self.informed(&info),
                Err(error) => self.out = Some(Output::Done(Err(error))),
            },
            Step::Look => match stored_message(answered) {
                Ok(message) => self.stored(message),
                Err(error) if error.err_code() == Some(codes::MESSAGE_NOT_FOUND) => {
                    self.done(Finding::Lost { count: self.lost });
                }
                Err(error) => self.out = Some(Output::Done(Err(error))),
            },
            Step::Readers => self.step = Step::Readers,
            Step::Done => {}
        }
    }

    /// Takes who else reads the consumer. Ignored unless that was asked.
    pub fn company(&mut self, company: Company) {
        if !matches!(self.step, Step::Readers) {
            return;
        }
        self.step = Step::Done;
        match company {
            Company::Others => self.done(Finding::Shared),
            Company::Unknown if !self.known.doubt => self.done(Finding::Shared),
            Company::Nobody | Company::Unknown => self.look_on(),
        }
    }

    fn informed(&mut self, info: &ConsumerInfo) {
        self.to = info.delivered;
        self.settled = info.settled();
        self.created.clone_from(&info.created);
        let differs = |known: &String| info.created.as_ref().is_some_and(|is| is != known);
        if self.known.created.as_ref().is_some_and(differs) {
            return self.done(Finding::Another);
        }
        let reach = &self.known.reach;
        // A replica may be behind what it has delivered.
        for position in reach.beyond() {
            self.to.consumer_seq = self.to.consumer_seq.max(position.consumer_seq);
            self.to.stream_seq = self.to.stream_seq.max(position.stream_seq);
        }
        let beyond = u64::try_from(reach.beyond().len()).unwrap_or(u64::MAX);
        let made = self.to.consumer_seq.saturating_sub(reach.at().consumer_seq);
        self.lost = made.saturating_sub(beyond);
        let more = |count: u64, than: usize| count > u64::try_from(than).unwrap_or(u64::MAX);
        let shared = more(info.num_waiting, self.known.waiting) || more(self.lost, self.known.most);
        if shared && !self.known.own {
            return self.done(Finding::Shared);
        }
        if info.num_waiting > 0 {
            return self.done(Finding::Unclear);
        }
        if self.lost == 0 {
            return self.done(Finding::Whole);
        }
        if self.known.own {
            return self.look_on();
        }
        self.step = Step::Readers;
        self.out = Some(Output::Readers);
    }

    /// Asks for the first message that may be lost.
    fn look_on(&mut self) {
        self.look(self.known.reach.at().stream_seq.saturating_add(1));
    }

    /// Asks for the next message that may be lost.
    fn look(&mut self, mut from: u64) {
        while self.is_here(from) {
            from = from.saturating_add(1);
        }
        if from > self.to.stream_seq || self.found == self.lost {
            return self.done(Finding::Lost { count: self.lost });
        }
        let filter = match self.known.filter.as_str() {
            "" => ">",
            filter => filter,
        };
        let request = next_message(&self.api, self.known.stream.as_str(), from, filter);
        self.step = Step::Look;
        self.out = Some(Output::Request(request));
    }

    fn stored(&mut self, message: StoredMessage) {
        let seq = message.seq;
        if seq > self.to.stream_seq {
            return self.done(Finding::Lost { count: self.lost });
        }
        self.then = Some(seq.saturating_add(1));
        if self.is_here(seq) {
            return;
        }
        self.found += 1;
        let meta = Meta {
            delivered: 1,
            stream_seq: seq,
            consumer_seq: self.to.consumer_seq,
            timestamp: message.time,
            pending: 0,
        };
        let reply = meta.reply_subject(
            self.known.stream.as_str(),
            self.known.consumer.as_str(),
            self.known.reply.as_ref(),
        );
        self.out = Some(Output::Lost(Box::new(Lost {
            meta,
            message,
            reply,
        })));
    }

    /// Whether the message was received.
    fn is_here(&self, seq: u64) -> bool {
        let reach = &self.known.reach;
        seq <= reach.at().stream_seq || reach.beyond().iter().any(|p| p.stream_seq == seq)
    }

    fn done(&mut self, finding: Finding) {
        self.then = None;
        self.out = Some(Output::Done(Ok(Recalled {
            to: self.to,
            settled: self.settled,
            created: self.created.take(),
            finding,
        })));
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
