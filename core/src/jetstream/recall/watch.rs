//! When a consumer is looked at that says nothing, or not enough.
//!
//! Heartbeats only show that the server knows of a pull. Consumers were seen that had
//! messages and delivered none of them. So one from which nothing came for a while,
//! though pulls are open, is looked at. And one that others read is looked at all the
//! same, from time to time: what is settled of it only the server knows.

use std::time::Duration;

use crate::Time;

/// How long nothing comes before the consumer is looked at, and between two looks; up
/// to a third more, so that not all look at once.
const IDLE: Duration = Duration::from_secs(30);

/// Since when nothing came, and whether that is looked into.
#[derive(Debug)]
pub struct Watch {
    interval: Duration,
    /// When the last message came, or the consumer was looked at for want of any.
    heard: Time,
    /// When the consumer was looked at, or the watch began.
    looked: Option<Time>,
    /// Since when the server is asked.
    asking: Option<Time>,
}

impl Watch {
    /// A watch that begins with the first [`owed`](Self::owed).
    #[must_use]
    pub const fn new(random: u64) -> Self {
        let third = IDLE.as_millis() as u64 / 3;
        Self {
            interval: IDLE.saturating_add(Duration::from_millis(random % third)),
            heard: Time::ZERO,
            looked: None,
            asking: None,
        }
    }

    /// A message came.
    pub const fn heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// The consumer is not pulled from; what was asked is not waited for.
    pub const fn rests(&mut self, now: Time) {
        self.heard = now;
        self.asking = None;
    }

    /// So many messages are to come. Of nothing no silence is counted.
    pub fn owed(&mut self, now: Time, owed: usize) {
        if owed == 0 {
            self.heard = now;
        }
        self.looked.get_or_insert(now);
    }

    /// When the consumer is to be looked at. `others`: whether somebody else may have
    /// something of it that is unsettled.
    #[must_use]
    pub fn due(&self, owed: usize, others: bool) -> Option<Time> {
        if self.asking.is_some() {
            return None;
        }
        let silent = (owed > 0).then_some(self.heard);
        let others = self.looked.filter(|_| others);
        let since = silent.into_iter().chain(others).min()?;
        Some(since + self.interval)
    }

    /// The server is asked now.
    pub const fn asks(&mut self, now: Time) {
        self.asking = Some(now);
    }

    /// It was asked, and has answered or not. Says for how long nothing came, if that is
    /// why it was asked.
    pub fn asked(&mut self, now: Time) -> Option<Duration> {
        let asked = self.asking.take()?;
        self.looked = Some(now);
        if asked < self.heard + self.interval {
            return None;
        }
        let silence = now.since(self.heard);
        self.heard = now;
        Some(silence)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One that looks every 35 seconds, since ten.
    fn watch() -> Watch {
        let mut watch = Watch::new(5_000);
        watch.owed(at(10), 0);
        watch
    }

    #[test]
    fn a_consumer_that_owes_and_is_silent_is_looked_at() {
        let mut watch = watch();
        assert_eq!(watch.due(0, false), None, "it owes nothing");
        watch.owed(at(20), 0);
        assert_eq!(watch.due(1, false), Some(at(55)), "since it owed nothing");
        watch.heard(at(30));
        assert_eq!(watch.due(1, false), Some(at(65)));
        watch.asks(at(65));
        assert_eq!(watch.due(1, false), None, "it is asked");
        assert_eq!(watch.asked(at(66)), Some(seconds(36)));
        assert_eq!(watch.due(1, false), Some(at(101)));
    }

    #[test]
    fn a_consumer_of_which_others_have_something_is_looked_at_whatever_comes() {
        let mut watch = watch();
        watch.heard(at(40));
        assert_eq!(watch.due(1, true), Some(at(45)));
        assert_eq!(watch.due(0, true), Some(at(45)));
        watch.asks(at(45));
        assert_eq!(watch.asked(at(46)), None, "it is not silent");
        assert_eq!(watch.due(1, true), Some(at(75)), "silent since 40");
        watch.heard(at(60));
        assert_eq!(watch.due(1, true), Some(at(81)), "looked at when it was 46");
    }

    #[test]
    fn what_comes_while_it_is_asked_ends_no_silence_that_was_none() {
        let mut watch = watch();
        watch.asks(at(45));
        watch.heard(at(46));
        assert_eq!(watch.asked(at(47)), None);
        assert_eq!(watch.asked(at(48)), None, "once");
    }

    #[test]
    fn a_consumer_that_is_not_pulled_from_is_no_more_silent() {
        let mut watch = watch();
        watch.asks(at(45));
        watch.rests(at(50));
        assert_eq!(watch.asked(at(51)), None);
        assert_eq!(watch.due(1, false), Some(at(85)));
    }

    #[test]
    fn not_all_look_at_once() {
        for random in [0, 9_999, 10_000, u64::MAX] {
            let due = Watch::new(random).due(1, false).expect("it owes");
            assert!((at(30)..at(40)).contains(&due), "{random}: {due:?}");
        }
    }
}
