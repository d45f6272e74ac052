//! What may never be in a [`History`].
//!
//! Pure: a history in, what is wrong with it out. Each rule reads the history from
//! its start and knows nothing of the others.

use std::fmt;

use jetbus_core::dead_letter::Reason;

use super::history::History;

mod accounting;
mod ending;
mod giving_back;
mod giving_up;
mod order;
mod publish_order;
mod publishing;
mod repeating;
mod results;
mod runs;
mod settling;
mod whole;

pub use accounting::Accounts;

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A stored event was neither handled to its end by a group that reads its topic,
    /// nor given up in a way that anybody could see.
    NotHandled {
        /// The group.
        group: String,
        /// The event.
        event: u64,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// An event that was redriven was not handled until the end.
    NotRedriven {
        /// The group.
        group: String,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// An event was given up, and nothing that its handlers said or did asked for that.
    GivenUp {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The sequence.
        sequence: u64,
        /// What the dead letter says.
        reason: Reason,
    },
    /// A subscription handled an event to its end, and gave it up too.
    DoneAndGivenUp {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The sequence.
        sequence: u64,
    },
    /// Handled at most once, it ran again.
    RanAgain {
        /// The runs.
        runs: (u64, u64),
    },
    /// A subscription held more than it may.
    HeldTooMuch {
        /// Which.
        subscription: u64,
        /// How many events.
        held: usize,
    },
    /// Draining did not end in time.
    DrainLate {
        /// The subscription.
        subscription: u64,
    },
    /// What a drain reported is not what happened.
    DrainReport {
        /// The subscription.
        subscription: u64,
        /// Handlers that it said were given up.
        abandoned: usize,
        /// Handlers that still ran, and those that ran when the time was up.
        running: (usize, usize),
    },
    /// A handler started after its subscription was drained.
    RanAfterDrain {
        /// The run.
        run: u64,
    },
    /// Something was handled that nobody had published like this.
    NotPublished {
        /// The run of the handler.
        run: u64,
    },
    /// Something was handled that the broker does not hold there.
    NotStored {
        /// The run of the handler.
        run: u64,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// An event was acknowledged, and it was neither handled nor stored as a dead letter.
    SettledEarly {
        /// By whom.
        bus: usize,
        /// For which group.
        group: String,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// To be handled at most once, it was handled before the server had confirmed that it
    /// will not deliver it again.
    NotConfirmed {
        /// The run.
        run: u64,
    },
    /// A subscription handled an event to its end, and still knew that when it ran again.
    HandledAgain {
        /// The runs.
        runs: (u64, u64),
    },
    /// Nothing was wrong, and the server delivered again what a bus held.
    Lapsed {
        /// Whose.
        bus: usize,
        /// For which group.
        group: String,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// A drain gave back `later` before `earlier` of its key, which had come before it.
    GivenBackOutOfOrder {
        /// By whom.
        bus: usize,
        /// For which group.
        group: String,
        /// The sequence that was given back too late.
        earlier: u64,
        /// The sequence that was given back too early.
        later: u64,
    },
    /// The dead letter of an event was published again under another id.
    Renamed {
        /// For which group.
        group: String,
        /// Its stream and sequence.
        at: (String, u64),
    },
    /// When everything was over, a bus could not do something any more.
    NotRecovered {
        /// Which bus.
        bus: usize,
        /// What.
        what: String,
    },
    /// In one process, for one key, `later` was handled before `earlier`, which had
    /// arrived or should have.
    OutOfOrder {
        /// The process.
        bus: usize,
        /// The group.
        group: String,
        /// The key.
        key: String,
        /// The sequence that came too late.
        earlier: u64,
        /// The sequence that came too early.
        later: u64,
    },
    /// In one process, two handlers of one key of one group ran at once.
    Overlap {
        /// The runs.
        runs: (u64, u64),
    },
    /// A publish was not answered exactly once.
    Answers {
        /// The call.
        call: u64,
        /// How often it was.
        count: usize,
    },
    /// Of a batch that is stored whole or not at all, some is stored and some is not, or
    /// something is between, or the answers differ.
    BatchInParts {
        /// Its first call.
        call: u64,
    },
    /// A publish was said to be stored where the broker does not hold it.
    FalselyStored {
        /// The call.
        call: u64,
    },
    /// A publish was said not to be stored, and the broker holds it.
    FalselyFailed {
        /// The call.
        call: u64,
    },
    /// The results of an event are not what those who published it were answered.
    Results {
        /// The bus.
        bus: usize,
        /// Whose results.
        tenant: i64,
        /// The event.
        event: u64,
    },
    /// A stream of results did not come to its end.
    ResultsEndless {
        /// The bus.
        bus: usize,
        /// Whose results.
        tenant: i64,
    },
    /// A publish failed, or was not answered by the server, though nothing stood in
    /// its way.
    FailedInCalm {
        /// The call.
        call: u64,
    },
    /// Of one publisher and key, the later call is stored before the earlier.
    StoredOutOfOrder {
        /// Both calls.
        calls: (u64, u64),
    },
    /// One event of one topic is stored twice.
    StoredTwice {
        /// The event.
        event: u64,
    },
    /// A bus asked for a stream to be created while it waited for the answer to
    /// the same question.
    CreatedAtOnce {
        /// The bus.
        bus: usize,
        /// The stream.
        stream: String,
    },
    /// Closing was not answered, or too late.
    CloseLate {
        /// The bus.
        bus: usize,
        /// Who closed.
        closer: u64,
    },
    /// Closers of one bus got different reports.
    CloseReports {
        /// The bus.
        bus: usize,
    },
    /// Nothing was under way, and some places of a publish window were taken.
    WindowTaken {
        /// The bus.
        bus: usize,
        /// Its free places.
        free: usize,
        /// All of them.
        places: usize,
    },
    /// Something outlived all buses: a task, a timer, a waker, a connection.
    Left {
        /// What, in words.
        what: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Everything that is wrong with `history`.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let runs = runs::read(&history.entries);
    accounting::handled(history, &runs, &mut found);
    accounting::true_handling(history, &runs, &mut found);
    giving_up::asked_for(history, &runs, &mut found);
    repeating::done_and_given_up(history, &runs, &mut found);
    repeating::at_most_once(history, &runs, &mut found);
    repeating::handled_again(history, &runs, &mut found);
    settling::settled(history, &runs, &mut found);
    settling::confirmed(history, &runs, &mut found);
    settling::buried(history, &mut found);
    giving_back::leases(history, &mut found);
    giving_back::drains(history, &mut found);
    order::order(history, &runs, &mut found);
    order::overlap(history, &runs, &mut found);
    publishing::answers(history, &mut found);
    publishing::creation(history, &mut found);
    publish_order::check(history, &mut found);
    results::check(history, &mut found);
    whole::check(history, &mut found);
    ending::closing(history, &mut found);
    ending::drains(history, &runs, &mut found);
    ending::memory(history, &mut found);
    ending::recovery(history, &mut found);
    ending::remains(history, &mut found);
    found
}

#[cfg(test)]
mod tests;
