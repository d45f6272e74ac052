//! Names on the server: which are allowed, how topics become streams and
//! consumers, and where the requests of `$JS.API` go.

mod api;
mod escape;

pub use api::Api;

use crate::Subject;
use crate::subject::{NameError, check_pattern};
pub(crate) use escape::fnv128;
use escape::{escape, shorten, unescape};

/// The longest name of a stream or consumer that this crate makes, in bytes.
///
/// The server allows 255 (`JSMaxNameLen`) and uses names as file names; the rest
/// is room for its own suffixes.
pub const MAX_NAME: usize = 200;

/// The longest group, in bytes.
pub const MAX_GROUP: usize = 64;

/// Checks the name of a group.
///
/// # Errors
/// As [`check_stream`], when it is longer than [`MAX_GROUP`], not ASCII, or ends
/// in `-p` and digits, which is kept for partitions.
pub fn check_group(group: &str) -> Result<(), NameError> {
    check("group", group)?;
    let refuse = |rule| Err(NameError::new("group", group, rule));
    if group.len() > MAX_GROUP {
        return refuse("it has at most 64 bytes");
    }
    if !group.is_ascii() {
        return refuse("it holds ASCII characters only");
    }
    if partition_suffix(group).is_some() {
        return refuse("names ending in `-p` and digits are kept for partitions");
    }
    Ok(())
}

/// Checks the name of a stream.
///
/// # Errors
/// When it is empty, longer than [`MAX_NAME`] bytes, or holds `.`, `*`, `>`, `/`,
/// `\`, a space or a control character (nats-server's rule for asset names).
pub fn check_stream(stream: &str) -> Result<(), NameError> {
    check("stream", stream)
}

/// Checks the name of a consumer.
///
/// # Errors
/// As [`check_stream`].
pub fn check_consumer(consumer: &str) -> Result<(), NameError> {
    check("consumer", consumer)
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    let refuse = |rule| Err(NameError::new(what, name, rule));
    if name.is_empty() {
        return refuse("it must not be empty");
    }
    if name.len() > MAX_NAME {
        return refuse("it has at most 200 bytes");
    }
    if name.contains(['.', '*', '>', '/', '\\']) {
        return refuse("it holds none of `. * > / \\`");
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("it holds no space and no control character");
    }
    Ok(())
}

/// The subject that messages of `topic` are stored under. Partitions add a last
/// token `p<n>`, which no topic ends in.
#[must_use]
pub fn subject(topic: &str, partition: Option<u16>) -> Subject {
    match partition {
        None => Subject::from(topic),
        Some(n) => Subject::from(format!("{topic}.p{n}")),
    }
}

/// The name of the durable consumer of `group` on a topic or pattern:
/// `<group>~<topic>`, where the dots of the topic are `~` and everything that is
/// not a letter, digit, `-` or `_` is `=` and two hex digits. A partition adds
/// `-p<n>`. Different arguments give different names, and [`parse_durable`] reads
/// them back; only names longer than [`MAX_NAME`] end in a hash instead.
///
/// # Errors
/// When `group` or `topic` breaks its rules ([`check_group`],
/// [`check_pattern`]).
pub fn durable(group: &str, topic: &str, partition: Option<u16>) -> Result<String, NameError> {
    check_group(group)?;
    check_pattern(topic)?;
    let mut name = String::with_capacity(group.len() + topic.len() + 16);
    escape(group, &mut name);
    name.push('~');
    escape(topic, &mut name);
    if let Some(at) = partition_suffix(&name) {
        name.replace_range(at..=at, "=2D");
    }
    let suffix = partition.map_or_else(String::new, |n| format!("-p{n}"));
    shorten(&mut name, MAX_NAME - suffix.len());
    name.push_str(&suffix);
    Ok(name)
}

/// What [`durable`] was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The group.
    pub group: String,
    /// The topic or pattern.
    pub topic: String,
    /// The partition.
    pub partition: Option<u16>,
}

/// Reads a name that [`durable`] made; `None` for any other, and for one that
/// ends in a hash.
#[must_use]
pub fn parse_durable(name: &str) -> Option<Durable> {
    let (body, partition) = match partition_suffix(name) {
        None => (name, None),
        Some(at) => (name.get(..at)?, Some(name.get(at + 2..)?.parse().ok()?)),
    };
    let (group, topic) = body.split_once('~')?;
    let parsed = Durable {
        group: unescape(group)?,
        topic: unescape(topic)?,
        partition,
    };
    let again = durable(&parsed.group, &parsed.topic, partition).ok()?;
    (again == name).then_some(parsed)
}

const OWN_STREAM: &str = "jetbus~";

/// The name of the stream that is made for a topic which no other stream stores:
/// `jetbus~<topic>`, escaped as in [`durable`].
#[must_use]
pub fn own_stream(topic: &str) -> String {
    let mut name = String::from(OWN_STREAM);
    escape(topic, &mut name);
    shorten(&mut name, MAX_NAME);
    name
}

/// The topic that [`own_stream`] was given; `None` for any other name, and for
/// one that ends in a hash.
#[must_use]
pub fn parse_own_stream(name: &str) -> Option<String> {
    let topic = unescape(name.strip_prefix(OWN_STREAM)?)?;
    (own_stream(&topic) == name).then_some(topic)
}

/// Where messages wait that `stream` is to publish later: a pattern. Each waits
/// under a subject of its own, whose last token is free.
#[must_use]
pub fn schedules(stream: &str) -> String {
    format!("jetbus~schedules.{stream}.*")
}

/// The subject of [`schedules`] that ends in `id`: a token without dots.
#[must_use]
pub fn schedule(stream: &str, id: &str) -> Subject {
    Subject::from(format!("jetbus~schedules.{stream}.{id}"))
}

/// Where `-p` and digits begin that end `name`.
fn partition_suffix(name: &str) -> Option<usize> {
    let body = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (body.len() < name.len() && body.ends_with("-p")).then(|| body.len() - 2)
}

#[cfg(all(test, not(loom)))]
mod tests;
