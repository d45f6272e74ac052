//! What goes into a delivery machine and what comes out.

use std::time::Duration;

use bytes::Bytes;

use crate::dead_letter::Reason;
use crate::jetstream::ack::Meta;
use crate::keyed::Id;
use crate::retry::Retry;
use crate::{Outbound, Subject, Time};

/// What order is kept by; cheap to clone.
pub type Key = Bytes;

/// How deliveries are treated.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Places: the most messages to be held at once, queued and waiting included.
    /// At least one.
    ///
    /// The server may send more, when it answers pulls that were believed lost: up to
    /// twice as many are held, what is beyond is given back at once.
    pub window: usize,
    /// The consumer's `ack_wait`: leases are renewed after a third of it. At least
    /// 100 ms.
    pub ack_wait: Duration,
    /// Waits between a failure and the next attempt.
    pub retry: Retry,
    /// After how many failed attempts a message goes to the dead letters; `None`:
    /// never.
    pub attempts: Option<u32>,
    /// How many messages one key may hold before [`Config::at_share`] applies. At
    /// least one.
    pub key_share: usize,
    /// What is done about a key that holds its share.
    pub at_share: AtShare,
    /// From so many deliveries on a message runs alone, for its handler may be what
    /// brings the process down. Deliveries known to have other causes do not count.
    /// At least two.
    pub suspect_after: u64,
    /// From so many deliveries on a message goes to the dead letters before it runs.
    /// At least two.
    pub crash_limit: u64,
    /// Messages are handed out many at a time; `None`: one by one.
    pub batch: Option<Batch>,
    /// For jitter, and to hash what others choose.
    pub seed: u64,
}

/// What is done about a key that holds its share of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtShare {
    /// Nothing more is asked for until it holds fewer: order before progress.
    Stall,
    /// When its head fails, that goes to the dead letters without further attempts.
    DeadLetter,
}

/// How many messages are handed out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The most messages of a batch. At least one.
    pub max: usize,
    /// How long a batch that is not full waits since its first message could run.
    pub linger: Duration,
}

/// What became of messages since [`Input::Stop`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Settled.
    pub finished: usize,
    /// Given back to the server.
    pub returned: usize,
    /// Still running when they were given up: the server delivers them again.
    pub abandoned: usize,
}

/// One run of a message. Means nothing once the run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    pub(super) id: Id,
    pub(super) run: u32,
}

/// A message to be handled now.
#[derive(Clone, Debug)]
pub struct Job<T> {
    /// To say what became of it.
    pub id: JobId,
    /// The message.
    pub item: T,
    /// What the server says of it.
    pub meta: Meta,
    /// How often this process has tried it, this time included. Storing it as a dead
    /// letter is no attempt.
    pub attempt: u32,
    /// What is to be done with it.
    pub task: Task,
}

/// What is to be done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Handle it.
    Handle,
    /// Store it as a dead letter, then say [`Outcome::Buried`] or
    /// [`Outcome::NotBuried`].
    Bury(Box<Letter>),
}

/// Why a message is given up, and what is known of its failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Why.
    pub reason: Reason,
    /// The last error.
    pub error: Box<str>,
    /// Attempts to handle it.
    pub attempts: u32,
    /// When it failed first here, if it did.
    pub first_failed: Option<Time>,
    /// When it failed last here, if it did.
    pub last_failed: Option<Time>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<T> {
    /// A message was delivered, for the first time or again.
    Received {
        /// What its reply subject says.
        meta: Meta,
        /// What its order is kept by; without a key it waits for nothing.
        key: Option<Key>,
        /// The message.
        item: T,
        /// Where it is acknowledged.
        reply: Subject,
        /// It was a dead letter of this group and is tried again: it comes from
        /// another stream and goes behind everything of its key.
        redriven: bool,
    },
    /// A message was delivered over a connection that broke, and was not received:
    /// it comes again, and later ones of its key wait for it, unless it was redriven. When
    /// it is here all the same, or settled, this delivery is settled with it. Not to be said
    /// of what may have gone to somebody else.
    Missing {
        /// What is known of it.
        meta: Meta,
        /// What its order is kept by; without a key nothing waits for it.
        key: Option<Key>,
        /// Where it is acknowledged.
        reply: Subject,
        /// It was a dead letter of this group and is tried again.
        redriven: bool,
        /// Whether it is given back, to come again at once and not when its lease is over.
        back: bool,
    },
    /// A job that was handed out alone ended. Said of one of a batch, it ends the
    /// batch. Of what is not held any more, it means nothing.
    Done {
        /// Which.
        id: JobId,
        /// How.
        outcome: Outcome,
    },
    /// All jobs of a batch ended. One that is not named here has failed.
    ///
    /// When a message is not settled, the later ones of its key in the batch run
    /// again after it, whatever is said of them.
    BatchDone(Vec<(JobId, Outcome)>),
    /// A job says that it is alive: its lease is renewed now.
    Progress {
        /// Which.
        id: JobId,
    },
    /// The link is connected (as it is taken to be at first).
    Connected,
    /// The link is lost: acknowledgements are kept until it is back.
    Disconnected,
    /// Its stream was made again, and the consumer with it. What is held is of a stream
    /// that is gone: it is handled before what comes now, and nothing is said of it to
    /// the server, which would take it for something else.
    Replaced,
    /// Nothing new runs, what does not run is given back.
    Stop,
    /// As [`Input::Stop`], and what still runs is given up: nothing more is said of
    /// it to the server, which delivers it again once its lease is over.
    Abandon,
    /// Time passed.
    Tick,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled: it is acknowledged.
    Ack,
    /// Not handled: it runs again here after a delay, and holds its key until then;
    /// after the last attempt it goes to the dead letters.
    Failed {
        /// The delay; without it, that of [`Config::retry`].
        retry_after: Option<Duration>,
        /// Why, for the dead letter.
        error: Box<str>,
    },
    /// It will never be handled: it goes to the dead letters at once.
    DeadLetter {
        /// Why.
        reason: Reason,
        /// The error, or what was said.
        error: Box<str>,
    },
    /// It is stored as a dead letter: it is settled.
    Buried,
    /// It could not be stored as a dead letter: its key waits, and it is tried again.
    NotBuried {
        /// Why.
        error: Box<str>,
    },
    /// It is given back to the server, to be delivered again.
    Nak {
        /// Not before this time has passed.
        after: Option<Duration>,
    },
    /// It is discarded: the server does not deliver it again.
    Term {
        /// For the server's advisory.
        reason: Option<Box<str>>,
    },
    /// The worker acknowledged it itself and has that confirmed.
    Settled,
    /// The worker acknowledged it itself, and that was not confirmed: it runs again as one
    /// that [failed](Self::Failed). The consumer may have been made again, and hears of it
    /// only once it has delivered it: it is asked for, whether there is room or not.
    Unconfirmed {
        /// Why.
        error: Box<str>,
    },
    /// Its handle was dropped unsettled: it is given back, and an event says so.
    Returned,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Output<T> {
    /// Handle this message, and say [`Input::Done`].
    Run(Job<T>),
    /// Handle these messages together, and say [`Input::BatchDone`]. Messages of one
    /// key are in order.
    RunBatch(Vec<Job<T>>),
    /// Publish this.
    Publish(Outbound),
    /// This is news.
    Event(DeliveryEvent),
}

/// News of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryEvent {
    /// A message failed. It runs again after the delay; its key waits.
    Retrying {
        /// The message's sequence in its stream.
        stream_seq: u64,
        /// Which attempt failed; the first is 1.
        attempt: u32,
        /// The delay.
        delay: Duration,
    },
    /// A message could not be stored as a dead letter. It is tried again after the
    /// delay; its key waits.
    NotBuried {
        /// The message's sequence in its stream.
        stream_seq: u64,
        /// Why.
        error: Box<str>,
        /// The delay.
        delay: Duration,
    },
    /// A message was stored as a dead letter and is settled.
    DeadLettered {
        /// The message's sequence in its stream.
        stream_seq: u64,
        /// Why.
        reason: Reason,
    },
    /// A message was discarded by its handler.
    Discarded {
        /// The message's sequence in its stream.
        stream_seq: u64,
        /// Why, as far as was said.
        reason: Option<Box<str>>,
    },
    /// A message was delivered so often that its handler may be what brings the
    /// process down: it runs alone.
    Suspect {
        /// The message's sequence in its stream.
        stream_seq: u64,
        /// Deliveries that have no other known cause.
        deliveries: u64,
    },
    /// A key holds its share of the places. Told again only after it held half.
    KeyBacklogged {
        /// The sequence in its stream of the message that the others wait for.
        stream_seq: u64,
        /// Messages of the key held or waited for.
        held: usize,
    },
    /// A message's handle was dropped unsettled.
    Returned {
        /// The message's sequence in its stream.
        stream_seq: u64,
    },
    /// A message that was given back is not waited for any longer, or there was no room to
    /// wait for it; later ones of its key go on. Another process may have it.
    NotReturned {
        /// The message's sequence in its stream.
        stream_seq: u64,
    },
    /// More messages came than twice the places, and this one, which has no order to be
    /// kept, was given back at once.
    Overflow {
        /// The message's sequence in its stream.
        stream_seq: u64,
    },
    /// The link was lost for so long that acknowledgements had to be dropped. The
    /// server delivers their messages again.
    AckDropped,
}
