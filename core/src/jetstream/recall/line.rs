//! Where the reader of a consumer stands in it, and what a gap means to it: what did
//! not come was lost on the way, or was given to others.

use std::collections::BTreeSet;

use super::{Finding, Known, Reach, Recalled};
use crate::jetstream::ack::{self, Meta};
use crate::jetstream::admin::AdminError;
use crate::jetstream::api::{ConsumerInfo, Position, codes};
use crate::jetstream::pull::PullEvent;
use crate::{Message, Outbound, Subject};

/// After how many deliveries in a row a consumer is no longer taken for shared.
const ALONE: u64 = 1_000;

/// The most deliveries in a row after which the other readers are asked again.
const LONGEST: u64 = 1_000_000;

/// Where a consumer stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its stream.
    pub stream: String,
    /// Its name.
    pub consumer: String,
    /// When the server says that the stream was created: a stream of the same name
    /// that was made later is another one. `None` when it was not said.
    pub created: Option<String>,
    /// When it says that the consumer was created.
    pub made: Option<String>,
    /// Whether nobody else can know of the consumer.
    pub own: bool,
    /// Whether others wait for its messages.
    pub others: bool,
    /// Whether it was made here just now, and had delivered nothing yet.
    pub fresh: bool,
    /// Everything up to this sequence is settled.
    pub settled: u64,
    /// The last delivery.
    pub delivered: Position,
}

impl Place {
    /// Whether the stream is still the one that it was.
    #[must_use]
    pub fn same_stream(&self, before: &Self) -> bool {
        self.created.is_some() && self.created == before.created
    }

    /// Up to where something is unsettled, if anything is.
    fn unsettled(&self) -> Option<u64> {
        Some(self.delivered.stream_seq).filter(|last| *last > self.settled)
    }
}

/// What was received of a consumer, and what is known of its other readers.
#[derive(Debug)]
pub struct Line {
    place: Place,
    reach: Reach,
    /// A reply subject of the consumer.
    reply: Option<Subject>,
    /// Others read the consumer: what does not come may be theirs.
    shared: bool,
    /// Others were seen to get deliveries of it.
    seen: bool,
    /// That was said.
    told: bool,
    /// Deliveries in a row since another process got one.
    alone: u64,
    /// After how many of these other readers are asked about a gap that nothing explains;
    /// before that it is taken for a sign of others.
    enough: u64,
    /// What still comes is of a consumer that is no more.
    stale: bool,
    /// The connection broke, the inbox dropped some, or another server may serve the
    /// consumer than before: some deliveries that were counted may never come.
    doubt: bool,
    /// From here on deliveries may be missing of which no recall could tell, or that were
    /// dropped with their consumer.
    missed: Option<u64>,
    /// Given back to the server or lost, and not yet come again. No more than the consumer's
    /// `max_ack_pending`.
    returned: BTreeSet<u64>,
    /// Up to here something may be unsettled that others were given, beside this reader or
    /// before it: which, only the server knows.
    elsewhere: Option<u64>,
}

impl Line {
    /// Nothing was received yet.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self {
            elsewhere: place.unsettled(),
            reach: Reach::new(place.delivered),
            shared: place.others,
            seen: false,
            told: false,
            alone: 0,
            enough: 0,
            place,
            reply: None,
            stale: false,
            doubt: false,
            missed: None,
            returned: BTreeSet::new(),
        }
    }

    /// Another consumer of the same name. What comes from now on is not counted, until
    /// a recall says where it stands.
    pub fn renew(&mut self, place: Place) {
        if !place.same_stream(&self.place) {
            self.returned.clear();
        }
        self.reach = Reach::new(place.delivered);
        self.shared = place.others;
        self.elsewhere = place.unsettled();
        self.place = place;
        self.reply = None;
        self.missed = None;
        self.stale = true;
    }

    /// A message was received; `dropped`: some were dropped on the way to this inbox.
    /// Says whether others before it are missing, and it is to be held until a recall
    /// has said which.
    ///
    /// Over a connection that held since the last recall and drops nothing, a gap is what
    /// others were given, as long as one server serves the consumer; or servers have lost
    /// it among themselves. The others are asked which, but not again and again: not all
    /// who read may answer.
    pub fn received(&mut self, meta: &Meta, message: &Message, dropped: bool) -> bool {
        // Whichever consumer it is from: it is here.
        self.returned.remove(&meta.stream_seq);
        if self.stale {
            return false;
        }
        if self.reply.is_none() {
            // A copy: the reply shares its memory with the whole message.
            self.reply = message.reply.as_ref().map(|reply| reply.as_str().into());
        }
        let gap = self.reach.is_gap(meta);
        self.doubt |= dropped;
        if gap && (self.loses() || self.asks_readers()) {
            self.reach.hold(meta);
            return true;
        }
        self.seen |= gap;
        self.alone = if gap { 0 } else { self.alone + 1 };
        // Whoever has not been given anything for so long is not there any more.
        self.shared = gap || self.shared && self.alone < ALONE;
        self.reach.skip_to(meta);
        if self.shared {
            self.elsewhere = Some(self.reach.at().stream_seq);
        }
        false
    }

    /// Whether other readers are to be asked about a gap that nothing explains.
    fn asks_readers(&mut self) -> bool {
        let asked = !self.reach.beyond().is_empty();
        let asks = !self.shared && (asked || self.alone >= self.enough);
        if asks && !asked {
            self.enough = (self.enough * 2).clamp(ALONE, LONGEST);
        }
        asks
    }

    /// Whether a heartbeat says that not all has come which was sent before it, and a
    /// recall has to say what; `dropped` as above.
    #[must_use]
    pub fn lacks(&mut self, word: &Message, dropped: bool) -> bool {
        self.doubt |= dropped;
        let Some(last) = word.headers.get("Nats-Last-Consumer") else {
            return false;
        };
        let last = last.parse().unwrap_or(0);
        self.loses() && !self.stale && self.reach.lacks(last)
    }

    /// Whether what did not come was lost, and is not what others were given.
    const fn loses(&self) -> bool {
        self.place.own || self.doubt && !self.shared
    }

    /// The connection broke. What comes before the next recall may leave out what was on
    /// its way.
    pub const fn broke(&mut self) {
        self.doubts();
    }

    const fn doubts(&mut self) {
        self.doubt = true;
        self.enough = 0;
    }

    /// News of the pulls: the consumer's server may be another one from now on.
    pub const fn heard(&mut self, event: &PullEvent) {
        if matches!(
            event,
            PullEvent::LeaderChanged | PullEvent::ConsumerMissing | PullEvent::Silent { .. }
        ) {
            self.doubts();
        }
    }

    /// Whether others may have something unsettled, so that the server is to be asked from
    /// time to time up to where all is settled: what was settled since it said so would
    /// come again from the next consumer.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.shared || self.elsewhere.is_some()
    }

    /// The server was asked about the consumer. Says whether it should have delivered, if
    /// nothing came though pulls were open.
    pub fn looked(&mut self, info: &ConsumerInfo) -> bool {
        // Of another one of its name, the sequence means something else.
        if info.created == self.place.made {
            self.settled(info.settled());
        }
        let full = i64::try_from(info.num_ack_pending).unwrap_or(i64::MAX)
            >= info.config.max_ack_pending.max(1);
        info.num_pending > 0 && !full
    }

    /// The server says that everything up to this sequence is settled.
    fn settled(&mut self, to: u64) {
        self.place.settled = to;
        self.elsewhere = self.elsewhere.filter(|last| *last > to);
    }

    /// What a recall has to know. `filter`: what the consumer delivers; `most`: the most
    /// deliveries that can have been lost.
    #[must_use]
    pub fn known(&self, filter: String, most: usize) -> Known {
        Known {
            stream: self.place.stream.as_str().into(),
            consumer: self.place.consumer.as_str().into(),
            filter,
            created: self.place.made.clone(),
            own: self.place.own,
            doubt: self.doubt,
            reach: self.reach.clone(),
            most,
            waiting: 0,
            reply: self.reply.clone(),
        }
    }

    /// What was lost is known, and asked for again.
    pub fn recalled(&mut self, recalled: &Recalled) {
        // It may have come less far than was received: a server that died forgets.
        self.reach = Reach::new(recalled.to);
        self.missed = None;
        self.doubt = false;
        self.stale = false;
        self.alone = 0;
        let known = recalled.created == self.place.made && self.is_ours(&self.place);
        let others = match recalled.finding {
            Finding::Shared => true,
            Finding::Another => !known,
            Finding::Whole | Finding::Lost { .. } | Finding::Unclear => false,
        };
        self.elsewhere = (others || self.asks()).then_some(recalled.to.stream_seq);
        self.settled(recalled.settled);
        self.shared = recalled.finding == Finding::Shared;
        self.seen |= self.shared;
        self.place.made.clone_from(&recalled.created);
    }

    /// The other consumer that a recall found is this one.
    pub fn found(&mut self, place: &Place) {
        if self.is_ours(place) {
            self.elsewhere = None;
        }
    }

    /// Whether what it has delivered came here: it was made here, and nobody else was ever
    /// seen.
    const fn is_ours(&self, place: &Place) -> bool {
        place.fresh && !place.others && !self.seen
    }

    /// It cannot be known what was lost: the server refused, or did not answer (`None`). A
    /// gap that shows later leads to a recall again: it is no sign of others.
    ///
    /// Says whether what is held beyond a gap is to be dropped: the consumer is no more, and
    /// from the next one it comes again, behind what is missing.
    pub fn not_recalled(&mut self, refusal: Option<&AdminError>) -> bool {
        self.doubt = true;
        self.stale = false;
        let is_gone = refusal.and_then(AdminError::err_code) == Some(codes::CONSUMER_NOT_FOUND);
        let dropped = self.reach.beyond().iter().map(|here| here.stream_seq);
        let from = match is_gone {
            true => dropped.min(),
            false => Some(self.reach.at().stream_seq.saturating_add(1)),
        };
        self.missed = self.missed.into_iter().chain(from).min();
        match is_gone {
            true => self.reach.forget(),
            false => self.reach.give_up(),
        }
        is_gone
    }

    /// A message was lost, as a recall found, and is not here otherwise.
    pub fn awaits(&mut self, meta: &Meta) {
        self.returned.insert(meta.stream_seq);
    }

    /// Something is said of a message, perhaps of another consumer.
    pub fn said(&mut self, word: &Outbound) {
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
    #[must_use]
    pub fn floor(&self, unsettled: Option<u64>) -> u64 {
        let after = |seq: u64| seq.saturating_add(1);
        if self.shared {
            return after(self.place.settled);
        }
        let others = self.elsewhere.map(|_| after(self.place.settled));
        let returned = self.returned.first().copied();
        let lowest = [unsettled, returned, self.missed, others];
        let next = after(self.reach.at().stream_seq);
        lowest.into_iter().flatten().fold(next, u64::min)
    }

    /// The consumer.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether others read the consumer: what did not come over a connection that broke
    /// may be theirs.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether others were seen to read the consumer, and this was not said before.
    pub const fn turned_shared(&mut self) -> bool {
        let news = self.seen && !self.told;
        self.told |= news;
        news
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
