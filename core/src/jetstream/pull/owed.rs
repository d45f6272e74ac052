//! What the server still owes, over all outstanding pulls.

use std::collections::VecDeque;

use crate::Time;

/// How many of the last ended pulls are remembered, so that a second status of one
/// counts nothing.
const REMEMBERED: usize = 16;

/// Messages owed.
///
/// The total is exact as long as nothing is lost on the way: a message lessens it by
/// one, a status by what its pull had left. Which pull a message belongs to is a
/// guess (the oldest), because the server serves waiting pulls in turns; a status
/// corrects it.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Pulls believed to owe something, oldest first.
    pulls: VecDeque<Pull>,
    /// Owed by pulls believed to owe nothing, which end at this time at the latest.
    adrift: usize,
    adrift_over: Time,
    /// When the newest pull is over.
    last_over: Time,
    total: usize,
    /// The next pull's number.
    next: u64,
    /// Pulls before this one are void.
    current: u64,
    ended: VecDeque<u64>,
}

#[derive(Debug)]
struct Pull {
    number: u64,
    sent: Time,
    /// When it has certainly ended, whatever was heard of it.
    over: Time,
    batch: usize,
    owes: usize,
}

impl Owed {
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// Pulls believed to owe something.
    pub(super) fn pulls(&self) -> usize {
        self.pulls.len()
    }

    /// When each of these has certainly ended.
    pub(super) fn overs(&self) -> impl Iterator<Item = Time> {
        self.pulls.iter().map(|pull| pull.over)
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Whether this pull was made, and nothing voided it since.
    pub(super) const fn is_current(&self, number: u64) -> bool {
        self.current <= number && number < self.next
    }

    /// Counts a new pull and numbers it.
    pub(super) fn asked(&mut self, sent: Time, batch: usize, over: Time) -> u64 {
        let number = self.next;
        self.next += 1;
        self.total += batch;
        self.last_over = over;
        self.pulls.push_back(Pull {
            number,
            sent,
            over,
            batch,
            owes: batch,
        });
        number
    }

    /// Counts a message. One more than is owed answers a void pull.
    pub(super) fn delivered(&mut self) {
        self.total = self.total.saturating_sub(1);
        match self.pulls.front_mut() {
            Some(pull) => {
                pull.owes -= 1;
                if pull.owes == 0 {
                    self.pulls.pop_front();
                }
            }
            None => self.adrift = self.adrift.saturating_sub(1),
        }
    }

    /// Counts the end of a pull that left `pending` messages undelivered (unknown:
    /// what it is believed to owe). `None` when it had ended, or is void; otherwise
    /// when it was sent, if that is still known.
    pub(super) fn ended(&mut self, number: u64, pending: Option<usize>) -> Option<Option<Time>> {
        if !self.is_current(number) || self.ended.contains(&number) {
            return None;
        }
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(number);
        let place = self.pulls.iter().position(|pull| pull.number == number);
        let pull = place.and_then(|place| self.pulls.remove(place));
        let believed = pull.as_ref().map_or(0, |pull| pull.owes);
        self.total -= believed;
        let pending = pending.unwrap_or(believed);
        if pending > believed {
            self.less(pending - believed);
        } else {
            self.more(believed - pending);
        }
        Some(pull.map(|pull| pull.sent))
    }

    /// Nothing is owed any more.
    pub(super) fn void(&mut self) {
        self.pulls.clear();
        self.ended.clear();
        self.adrift = 0;
        self.total = 0;
        self.current = self.next;
    }

    /// Forgets pulls that must have ended.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some(pull) = self.pulls.front()
            && pull.over <= now
        {
            self.total -= pull.owes;
            self.pulls.pop_front();
        }
        if self.adrift > 0 && self.adrift_over <= now {
            self.total -= self.adrift;
            self.adrift = 0;
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let oldest = self.pulls.front().map(|pull| pull.over);
        let adrift = (self.adrift > 0).then_some(self.adrift_over);
        oldest.into_iter().chain(adrift).min()
    }

    /// Others than the ended pull sent what was taken for its messages: they owe
    /// `count` less than believed.
    fn less(&mut self, mut count: usize) {
        let drift = count.min(self.adrift);
        self.adrift -= drift;
        self.total -= drift;
        count -= drift;
        while count > 0
            && let Some(pull) = self.pulls.front_mut()
        {
            let part = count.min(pull.owes);
            pull.owes -= part;
            self.total -= part;
            count -= part;
            if pull.owes == 0 {
                self.pulls.pop_front();
            }
        }
    }

    /// The ended pull sent what was taken for messages of others: they owe `count`
    /// more than believed.
    fn more(&mut self, mut count: usize) {
        self.total += count;
        for pull in &mut self.pulls {
            let part = count.min(pull.batch - pull.owes);
            pull.owes += part;
            count -= part;
        }
        if count > 0 {
            self.adrift += count;
            self.adrift_over = self.last_over;
        }
    }
}
