//! Where a feed stands in its consumer.

use std::collections::BTreeSet;

use jetbus_core::jetstream::ack::{self, Meta};
use jetbus_core::jetstream::recall::{Reach, Recalled};
use jetbus_core::{Message, Outbound, Subject};

use super::super::consumer::Place;

/// After how many deliveries in a row a consumer is no longer taken for shared.
const ALONE: u64 = 1_000;

/// What a feed has received, what it waits for, and what it knows of others.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) reach: Reach,
    /// A reply subject of the consumer.
    pub(super) reply: Option<Subject>,
    /// Received beyond a gap. No more than was asked for: nothing more is pulled until
    /// the gap is looked after.
    pub(super) held: Vec<(Meta, Message)>,
    /// Others read the consumer: what does not come may be theirs.
    pub(super) shared: bool,
    /// Deliveries in a row since another process got one.
    alone: u64,
    /// What still comes is of a consumer that is no more.
    pub(super) stale: bool,
    /// Another server may serve the consumer than before, and have counted deliveries
    /// that were never sent.
    doubt: bool,
    /// Given back to the server and not yet come again. No more than the consumer's
    /// `max_ack_pending`.
    returned: BTreeSet<u64>,
}

impl Line {
    pub(super) const fn new(place: Place) -> Self {
        Self {
            reach: Reach::new(place.delivered),
            shared: place.others,
            alone: 0,
            place,
            reply: None,
            held: Vec::new(),
            stale: false,
            doubt: false,
            returned: BTreeSet::new(),
        }
    }

    /// Another consumer of the same name.
    pub(super) fn renew(&mut self, place: Place) {
        if !place.same_stream(&self.place) {
            self.returned.clear();
        }
        self.reach = Reach::new(place.delivered);
        self.shared = place.others;
        self.place = place;
        self.reply = None;
        self.stale = true;
    }

    /// A message was received; `dropped`: some were dropped on the way to this inbox.
    /// Says whether others before it are missing, and it is to be held until it is known
    /// which.
    ///
    /// Over a connection that holds and drops nothing, a gap is what others were given,
    /// as long as one server serves the consumer.
    pub(super) fn received(&mut self, meta: &Meta, message: &Message, dropped: bool) -> bool {
        if self.stale {
            return false;
        }
        self.returned.remove(&meta.stream_seq);
        if self.reply.is_none() {
            // A copy: the reply shares its memory with the whole message.
            self.reply = message.reply.as_ref().map(|reply| reply.as_str().into());
        }
        let gap = self.reach.is_gap(meta);
        if gap && self.loses(dropped) {
            self.reach.hold(meta);
            return true;
        }
        self.alone = if gap { 0 } else { self.alone + 1 };
        // Whoever has not been given anything for so long is not there any more.
        self.shared = gap || self.shared && self.alone < ALONE;
        self.reach.skip_to(meta);
        false
    }

    /// Whether a heartbeat says that not all has come which was sent before it;
    /// `dropped` as above.
    pub(super) fn lacks(&self, word: &Message, dropped: bool) -> bool {
        let Some(last) = word.headers.get("Nats-Last-Consumer") else {
            return false;
        };
        let last = last.parse().unwrap_or(0);
        self.loses(dropped) && !self.stale && self.reach.lacks(last)
    }

    /// Whether what did not come was lost, and is not what others were given.
    const fn loses(&self, dropped: bool) -> bool {
        self.place.own || (dropped || self.doubt) && !self.shared
    }

    /// The consumer's server may be another one from now on.
    pub(super) const fn doubts(&mut self) {
        self.doubt = true;
    }

    /// What was lost is known, and asked for again.
    pub(super) fn recalled(&mut self, recalled: &Recalled, shared: bool) {
        // It may have come less far than was received: a server that died forgets.
        self.reach = Reach::new(recalled.to);
        self.doubt = false;
        self.alone = 0;
        self.shared = shared;
        self.place.made.clone_from(&recalled.created);
    }

    /// Something is said of a message, perhaps of another feed.
    pub(super) fn said(&mut self, word: &Outbound) {
        if !self.shared
            && word.payload.starts_with(b"-NAK")
            && ack::names(&word.subject) == Some((&self.place.stream, &self.place.consumer))
            && let Some(meta) = Meta::parse(&word.subject)
        {
            self.returned.insert(meta.stream_seq);
        }
    }

    /// Where a consumer that is made again has to start, so that nothing unsettled is
    /// missed and little that was settled comes again. `unsettled` is the lowest
    /// sequence that is held. What others were given is known from the server only.
    pub(super) fn floor(&self, unsettled: Option<u64>) -> u64 {
        let after = |seq: u64| seq.saturating_add(1);
        if self.shared {
            return after(self.place.settled);
        }
        let lowest = [unsettled, self.returned.first().copied()];
        let next = after(self.reach.at().stream_seq);
        lowest.into_iter().flatten().fold(next, u64::min)
    }
}
