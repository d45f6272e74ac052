//! How far the deliveries of a consumer have come here.

use crate::jetstream::ack::Meta;
use crate::jetstream::api::Position;

/// How far deliveries were received without a gap, and what came beyond one.
///
/// A consumer numbers its deliveries one by one, so whoever reads it alone sees at
/// the next delivery, or at the next heartbeat, that some did not arrive.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    at: Position,
    /// Received beyond a gap: sequences in the consumer and in the stream.
    beyond: Vec<Position>,
}

impl Reach {
    /// Everything up to `at` was delivered before, or is another's.
    #[must_use]
    pub const fn new(at: Position) -> Self {
        Self {
            at,
            beyond: Vec::new(),
        }
    }

    /// Whether deliveries before this one have not come, or it comes beyond such.
    #[must_use]
    pub fn is_gap(&self, meta: &Meta) -> bool {
        let next = self.at.consumer_seq.saturating_add(1);
        !self.beyond.is_empty() || meta.consumer_seq > next
    }

    /// A delivery came beyond a gap that is to be looked after.
    pub fn hold(&mut self, meta: &Meta) {
        let here = position(meta);
        if here.consumer_seq > self.at.consumer_seq && !self.beyond.contains(&here) {
            self.beyond.push(here);
        }
    }

    /// Whether deliveries up to this sequence of the consumer, which the server says it
    /// made, did not all arrive.
    #[must_use]
    pub fn lacks(&self, consumer_seq: u64) -> bool {
        consumer_seq > self.at.consumer_seq || !self.beyond.is_empty()
    }

    /// A delivery was received; what came before it is not asked for.
    pub fn skip_to(&mut self, meta: &Meta) {
        self.reaches(position(meta));
    }

    /// What came beyond a gap is as good as the rest: nobody looks after the gap.
    pub fn give_up(&mut self) {
        for position in std::mem::take(&mut self.beyond) {
            self.reaches(position);
        }
    }

    /// What came beyond a gap counts for nothing: it comes again.
    pub fn forget(&mut self) {
        self.beyond.clear();
    }

    const fn reaches(&mut self, to: Position) {
        if to.consumer_seq > self.at.consumer_seq {
            self.at.consumer_seq = to.consumer_seq;
        }
        if to.stream_seq > self.at.stream_seq {
            self.at.stream_seq = to.stream_seq;
        }
    }

    /// Everything up to here was received.
    #[must_use]
    pub const fn at(&self) -> Position {
        self.at
    }

    /// What came beyond a gap.
    #[must_use]
    pub fn beyond(&self) -> &[Position] {
        &self.beyond
    }
}

const fn position(meta: &Meta) -> Position {
    Position {
        consumer_seq: meta.consumer_seq,
        stream_seq: meta.stream_seq,
    }
}
