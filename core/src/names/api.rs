//! Subjects of `$JS.API`.

use crate::Subject;
use crate::subject::{NameError, check_pattern};

/// Where the requests of JetStream go: `$JS.API`, `$JS.<domain>.API`, or a prefix
/// under which another account exports its own (ADR-31, leaf node docs).
///
/// Names are put into subjects as they are: check them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    prefix: Box<str>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            prefix: "$JS.API".into(),
        }
    }
}

impl Api {
    /// The API of a JetStream domain.
    ///
    /// # Errors
    /// When `domain` is no legal name ([`check_stream`](super::check_stream)): it is
    /// one token of a subject.
    pub fn domain(domain: &str) -> Result<Self, NameError> {
        super::check("domain", domain)?;
        Ok(Self {
            prefix: format!("$JS.{domain}.API").into(),
        })
    }

    /// The API under `prefix`, which stands in place of `$JS.API`.
    ///
    /// # Errors
    /// When `prefix` is no subject, or holds a wildcard.
    pub fn prefix(prefix: &str) -> Result<Self, NameError> {
        let refuse = |rule| Err(NameError::new("API prefix", prefix, rule));
        if prefix.split('.').any(|t| t == "*" || t == ">") {
            return refuse("it has no wildcard token `*` or `>`");
        }
        // Unlike a topic, a prefix may start with `$` and end in anything.
        if let Err(error) = check_pattern(&format!("{}.API", prefix.trim_start_matches('$'))) {
            return refuse(error.rule());
        }
        Ok(Self {
            prefix: prefix.into(),
        })
    }

    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.prefix
    }

    fn subject(&self, verb: &str) -> Subject {
        format!("{}.{verb}", self.prefix).into()
    }

    fn of(&self, verb: &str, stream: &str) -> Subject {
        format!("{}.{verb}.{stream}", self.prefix).into()
    }

    fn of_consumer(&self, verb: &str, stream: &str, consumer: &str) -> Subject {
        format!("{}.{verb}.{stream}.{consumer}", self.prefix).into()
    }

    /// Whether a request to `subject` changes nothing, however often it is made.
    #[must_use]
    pub fn is_question(&self, subject: &Subject) -> bool {
        let rest = subject.as_str().strip_prefix(&*self.prefix);
        let mut verbs = rest.unwrap_or_default().split('.').skip(1);
        match (verbs.next(), verbs.next()) {
            (Some("INFO"), None) => true,
            (Some("STREAM" | "CONSUMER"), Some(verb)) => ["INFO", "NAMES"].contains(&verb),
            _ => false,
        }
    }

    /// `INFO`: the account.
    #[must_use]
    pub fn account_info(&self) -> Subject {
        self.subject("INFO")
    }

    /// `STREAM.CREATE`
    #[must_use]
    pub fn stream_create(&self, stream: &str) -> Subject {
        self.of("STREAM.CREATE", stream)
    }

    /// `STREAM.UPDATE`
    #[must_use]
    pub fn stream_update(&self, stream: &str) -> Subject {
        self.of("STREAM.UPDATE", stream)
    }

    /// `STREAM.INFO`
    #[must_use]
    pub fn stream_info(&self, stream: &str) -> Subject {
        self.of("STREAM.INFO", stream)
    }

    /// `STREAM.NAMES`
    #[must_use]
    pub fn stream_names(&self) -> Subject {
        self.subject("STREAM.NAMES")
    }

    /// `STREAM.DELETE`
    #[must_use]
    pub fn stream_delete(&self, stream: &str) -> Subject {
        self.of("STREAM.DELETE", stream)
    }

    /// `STREAM.PURGE`
    #[must_use]
    pub fn stream_purge(&self, stream: &str) -> Subject {
        self.of("STREAM.PURGE", stream)
    }

    /// `STREAM.MSG.GET`
    #[must_use]
    pub fn message_get(&self, stream: &str) -> Subject {
        self.of("STREAM.MSG.GET", stream)
    }

    /// `STREAM.MSG.DELETE`
    #[must_use]
    pub fn message_delete(&self, stream: &str) -> Subject {
        self.of("STREAM.MSG.DELETE", stream)
    }

    /// `CONSUMER.CREATE`, in the form of servers since 2.9 that names the consumer
    /// and its one filter, so that permissions can be set on them.
    #[must_use]
    pub fn consumer_create(&self, stream: &str, consumer: &str, filter: Option<&str>) -> Subject {
        match filter {
            None => self.of_consumer("CONSUMER.CREATE", stream, consumer),
            Some(filter) => format!(
                "{}.CONSUMER.CREATE.{stream}.{consumer}.{filter}",
                self.prefix
            )
            .into(),
        }
    }

    /// `CONSUMER.INFO`
    #[must_use]
    pub fn consumer_info(&self, stream: &str, consumer: &str) -> Subject {
        self.of_consumer("CONSUMER.INFO", stream, consumer)
    }

    /// `CONSUMER.DELETE`
    #[must_use]
    pub fn consumer_delete(&self, stream: &str, consumer: &str) -> Subject {
        self.of_consumer("CONSUMER.DELETE", stream, consumer)
    }

    /// `CONSUMER.NAMES`
    #[must_use]
    pub fn consumer_names(&self, stream: &str) -> Subject {
        self.of("CONSUMER.NAMES", stream)
    }

    /// `CONSUMER.MSG.NEXT`: a pull.
    #[must_use]
    pub fn next_messages(&self, stream: &str, consumer: &str) -> Subject {
        self.of_consumer("CONSUMER.MSG.NEXT", stream, consumer)
    }
}
