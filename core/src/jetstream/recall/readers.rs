//! Who else reads a consumer: its readers ask each other.
//!
//! The server does not say. It knows of pulls that wait, and a reader that has its hands
//! full has none. So every reader listens on a [subject] of the consumer. A
//! message without a payload asks who is there, and all answer on the same subject with
//! their numbers, who asks too: its own number shows that questions and answers get
//! through, and only then does silence mean that nobody else is there.
//!
//! Readers hear each other when they share an account and the prefix of their inboxes,
//! and may publish to that subject. Those of another make are not heard.

use crate::{Message, Outbound, Subject};

/// Where the readers of a consumer listen. `prefix`: that of their inboxes.
#[must_use]
pub fn subject(prefix: &str, stream: &str, consumer: &str) -> Subject {
    format!("{prefix}.readers.{stream}.{consumer}").into()
}

/// A reader, known by a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader(u64);

impl Reader {
    /// A reader with this number, which nobody else may have: a random one.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// What it says to that: its number, when it is asked.
    #[must_use]
    pub fn answer(self, heard: &Message) -> Option<Outbound> {
        let asked = heard.payload.is_empty();
        asked.then(|| Outbound::new(heard.subject.clone(), self.0.to_string()))
    }

    /// Begins to ask who else is there.
    #[must_use]
    pub const fn asks(self) -> Roll {
        Roll {
            own: self,
            heard: Company::Unknown,
        }
    }
}

/// Who was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nothing at all: questions or answers do not get through.
    Unknown,
    /// Nobody but the one who asks.
    Nobody,
    /// Another reader.
    Others,
}

/// What is heard after a question.
#[derive(Clone, Copy, Debug)]
pub struct Roll {
    own: Reader,
    heard: Company,
}

impl Roll {
    /// Takes what was heard. What is no answer is ignored.
    pub fn heard(&mut self, heard: &Message) {
        let number = std::str::from_utf8(&heard.payload).map(str::parse);
        let Ok(Ok(number)) = number else {
            return;
        };
        if Reader(number) != self.own {
            self.heard = Company::Others;
        } else if self.heard == Company::Unknown {
            self.heard = Company::Nobody;
        }
    }

    /// Who was heard so far.
    #[must_use]
    pub const fn company(&self) -> Company {
        self.heard
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Headers;

    fn said(payload: &str) -> Message {
        Message {
            subject: subject("_INBOX", "ORDERS", "billing"),
            reply: None,
            headers: Headers::new(),
            status: None,
            payload: payload.to_owned().into(),
        }
    }

    /// What all hear when a reader answers.
    fn answer(reader: Reader) -> Message {
        let answer = reader.answer(&said("")).expect("an answer");
        assert_eq!(answer.subject, "_INBOX.readers.ORDERS.billing");
        Message {
            payload: answer.payload,
            ..said("")
        }
    }

    #[test]
    fn questions_are_answered_and_answers_are_not() {
        let one = Reader::new(1);
        assert!(one.answer(&said("")).is_some());
        assert_eq!(one.answer(&answer(Reader::new(2))), None);
    }

    #[test]
    fn silence_means_nobody_only_where_the_own_answer_is_heard() {
        let own = Reader::new(u64::MAX);
        let mut roll = own.asks();
        assert_eq!(roll.company(), Company::Unknown);
        roll.heard(&answer(own));
        assert_eq!(roll.company(), Company::Nobody);
        roll.heard(&answer(Reader::new(3)));
        roll.heard(&answer(own));
        assert_eq!(roll.company(), Company::Others);
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        let mut roll = Reader::new(1).asks();
        for payload in ["", "-1", "one", "18446744073709551616", "2 "] {
            roll.heard(&said(payload));
        }
        let bytes = Message {
            payload: b"\xff".as_slice().into(),
            ..said("")
        };
        roll.heard(&bytes);
        assert_eq!(roll.company(), Company::Unknown);
    }
}
