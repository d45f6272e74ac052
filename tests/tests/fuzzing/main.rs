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
//! | `FUZZ_EXECUTIONS` | inputs in all, shared among the targets; else 400 000 |
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
    ($($module:ident :: $target:ident),* $(,)?) => {
        /// How many parts of all executions there are.
        fn shares() -> u64 {
            0 $(+ $module::$target().share)*
        }

        $(#[test]
        fn $target() {
            driver::run(stringify!($target), &$module::$target());
        })*
    };
}

targets! {
    answers::acknowledgements_of_publishes,
    answers::answers_to_batches,
    answers::answers_to_requests,
    answers::permission_violations,
    answers::statuses_of_pulls,
    answers::stored_messages,
    events::envelopes,
    events::headers,
    events::timestamps,
    letters::dead_letters,
    letters::redriven_events,
    subjects::names_of_durables_and_streams,
    subjects::patterns,
    subjects::reply_subjects_of_batches,
    subjects::reply_subjects_of_deliveries,
    subjects::reply_subjects_of_publishes,
}
