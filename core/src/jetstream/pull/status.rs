//! Statuses that answer a pull, as nats-server writes them.

use crate::{Message, Status};

/// What a status means for the pull that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It still waits.
    Waiting,
    /// It ended in its course; the next may follow at once.
    Ended,
    /// It ended because another server serves the consumer from now on.
    Moved,
    /// It was not taken, and the next would not be either if it came at once.
    Refused,
    /// Nobody was there to take it.
    Missing,
    /// The consumer was deleted, and with it every pull.
    Gone,
}

pub(super) fn read(status: &Status) -> Verdict {
    let says = |words: &str| {
        status
            .description
            .get(..words.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(words))
    };
    match status.code {
        100 => Verdict::Waiting,
        408 => Verdict::Ended,
        409 if says("Consumer Deleted") => Verdict::Gone,
        409 if says("Leadership Change") => Verdict::Moved,
        409 if says("Server Shutdown")
            || says("Batch Completed")
            || says("Message Size Exceeds MaxBytes") =>
        {
            Verdict::Ended
        }
        503 => Verdict::Missing,
        // 400, 404, 412, 423; of 409: Exceeded MaxWaiting and MaxRequest*, Consumer
        // is push based; and whatever later servers say.
        _ => Verdict::Refused,
    }
}

/// How many messages the pull still owed when it ended, when the server says so.
pub(super) fn pending(message: &Message) -> Option<usize> {
    message.headers.get("Nats-Pending-Messages")?.parse().ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_known_status_has_its_meaning() {
        for (code, description, verdict) in [
            (100, "Idle Heartbeat", Verdict::Waiting),
            (100, "FlowControl Request", Verdict::Waiting),
            (400, "Bad Request", Verdict::Refused),
            (404, "No Messages", Verdict::Refused),
            (408, "Request Timeout", Verdict::Ended),
            (408, "Interest Expired", Verdict::Ended),
            (409, "Consumer Deleted", Verdict::Gone),
            (409, "Leadership Change", Verdict::Moved),
            (409, "Server Shutdown", Verdict::Ended),
            (409, "Batch Completed", Verdict::Ended),
            (409, "Message Size Exceeds MaxBytes", Verdict::Ended),
            (409, "Exceeded MaxWaiting", Verdict::Refused),
            (409, "Exceeded MaxRequestBatch of 10", Verdict::Refused),
            (409, "Exceeded MaxRequestExpires of 1s", Verdict::Refused),
            (409, "Exceeded MaxRequestMaxBytes of 1", Verdict::Refused),
            (409, "Consumer is push based", Verdict::Refused),
            (409, "", Verdict::Refused),
            (409, "é", Verdict::Refused),
            (412, "API level", Verdict::Refused),
            (423, "Nats-Wrong-Pin-Id", Verdict::Refused),
            (503, "", Verdict::Missing),
            (999, "?", Verdict::Refused),
        ] {
            let status = Status {
                code,
                description: description.into(),
            };
            assert_eq!(read(&status), verdict, "{code} {description}");
        }
    }
}
