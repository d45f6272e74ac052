//! Which bugs there are, and which of them is on in this thread: of the core as it is
//! compiled here alone.

use std::cell::Cell;

std::thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Turns on this bug in this thread, or all of them off.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub(crate) fn is_on(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

macro_rules! bugs {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $text])+ $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

bugs! {
    /// An event is acknowledged when it is handed out, not when it is handled.
    AckBeforeHandling,
    /// An event is acknowledged before it is stored as a dead letter.
    AckBeforeBurying,
    /// What waits in a key is not run when the head is done.
    ForgottenKey,
    /// While a head waits for its next attempt, its successor runs.
    OvertakingRetry,
    /// An event is given up one attempt too early.
    LostAttempt,
    /// A drain gives back the last of a key first.
    GivenBackInReverse,
    /// Delivered again, an event that is held is held twice.
    HeldTwice,
    /// Only of what runs the lease is renewed.
    LapsedLease,
    /// Behind a failed event of a batch those of its key count as handled.
    NotCalledBack,
    /// A place of the window is lost when it has been used a few times.
    LeakedPlace,
    /// An answer ends whatever publish has the place now.
    StaleAnswer,
    /// A stream of results ends while some are still to come.
    ResultsCutShort,
    /// A stream that is gone is taken to be there.
    LostInvalidation,
    /// Two make the same stream at once.
    TwoLeaders,
    /// That an attempt may have been stored is forgotten.
    ForgottenDoubt,
    /// Publishes of a key do not wait for each other.
    OvertakingPublish,
    /// An atomic batch is committed one event before its end.
    CutBatch,
    /// A refused acknowledgement counts as confirmed.
    AnyAnswerConfirms,
    /// A dead letter that could not be stored is sent again under another message id.
    AnotherId,
}
