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

    /// A delivery was received. Says whether others before it are missing, of which
    /// it is the first to show or one more.
    pub fn received(&mut self, meta: &Meta) -> bool {
        let (consumer_seq, stream_seq) = (meta.consumer_seq, meta.stream_seq);
        if self.beyond.is_empty() && consumer_seq <= self.at.consumer_seq.saturating_add(1) {
            self.at.consumer_seq = self.at.consumer_seq.max(consumer_seq);
            self.at.stream_seq = self.at.stream_seq.max(stream_seq);
            return false;
        }
        let here = Position {
            consumer_seq,
            stream_seq,
        };
        if consumer_seq > self.at.consumer_seq && !self.beyond.contains(&here) {
            self.beyond.push(here);
        }
        true
    }

    /// Whether deliveries up to this sequence of the consumer, which the server says it
    /// made, did not all arrive.
    #[must_use]
    pub fn lacks(&self, consumer_seq: u64) -> bool {
        consumer_seq > self.at.consumer_seq || !self.beyond.is_empty()
    }

    /// Takes a delivery as received without asking what came before it.
    pub fn skip_to(&mut self, meta: &Meta) {
        self.settle(Position {
            consumer_seq: meta.consumer_seq,
            stream_seq: meta.stream_seq,
        });
    }

    /// What was missing up to `to` is looked after.
    pub fn settle(&mut self, to: Position) {
        for position in std::mem::take(&mut self.beyond).into_iter().chain([to]) {
            self.at.consumer_seq = self.at.consumer_seq.max(position.consumer_seq);
            self.at.stream_seq = self.at.stream_seq.max(position.stream_seq);
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
