//! Everything that reads what others wrote is given what nobody would write: none of it
//! panics, what is read is written back as it was, and limits hold.
//!
//! Inputs are made of good ones: bits flipped, numbers driven to their ends, pieces cut
//! out, doubled, swapped between inputs, and words of the format put in. That gets deeper
//! than chance alone. A run has a seed and so can be repeated; a failure prints the seed
//! and the input.
//!
//! | variable | effect |
//! |---|---|
//! | `FUZZ_EXECUTIONS` | inputs in all, shared among the targets; else 600 000 |
//! | `FUZZ_SEED` | other inputs |
//!
//! The header `traceparent` is passed on as it is and read by nobody here; what a server
//! says of itself when it connects is read by the client.

mod answers;
mod driver;
mod events;
mod letters;
mod subjects;

/// Makes a test of each target.
macro_rules! targets {
    ($($module:ident :: $target:ident / $share:literal),* $(,)?) => {
        /// How many parts of all executions there are.
        const SHARES: u64 = 0 $(+ $share)*;

        $(#[test]
        fn $target() {
            driver::run(stringify!($target), $share, $module::$target());
        })*
    };
}

// The name of a target, and its part of all executions.
targets! {
    answers::acknowledgements_of_publishes / 10,
    answers::answers_to_requests / 6,
    answers::answers_to_batches / 8,
    answers::permission_violations / 6,
    answers::statuses_of_pulls / 4,
    answers::stored_messages / 6,
    events::envelopes / 10,
    events::headers / 6,
    events::timestamps / 6,
    letters::dead_letters / 4,
    letters::redriven_events / 4,
    subjects::names_of_durables_and_streams / 4,
    subjects::patterns / 8,
    subjects::reply_subjects_of_batches / 4,
    subjects::reply_subjects_of_deliveries / 8,
    subjects::reply_subjects_of_publishes / 6,
}
