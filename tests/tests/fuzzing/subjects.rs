//! Subjects: of topics, patterns, answers and deliveries; and names made of them.

use jetbus_core::Subject;
use jetbus_core::jetstream::ack::{Meta, names};
use jetbus_core::jetstream::batch::{Op, Part, Replies, ReplyText, Role};
use jetbus_core::jetstream::publish::{Inbox, ReplyBuf};
use jetbus_core::names::{
    MAX_NAME, check_group, check_stream, durable, own_stream, parse_durable, parse_own_stream,
};
use jetbus_core::subject::{MAX_LEN, check_pattern, check_topic, covers, overlap};

use crate::driver::Target;

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Whether a pattern covers a subject, straight from the words of the documentation.
fn matches(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [token, subject @ ..]) => *token != ">" && matches(pattern, subject),
        ([token, pattern @ ..], [other, subject @ ..]) => {
            token == other && matches(pattern, subject)
        }
        _ => false,
    }
}

/// Some subject that a pattern covers, which another one may cover, too.
fn example(pattern: &str, other: &str) -> String {
    let mut others = other.split('.');
    let mut tokens = Vec::new();
    for token in pattern.split('.') {
        let other = others.next().filter(|other| !["*", ">"].contains(other));
        match token {
            "*" => tokens.push(other.unwrap_or("x")),
            ">" => {
                tokens.push(other.unwrap_or("x"));
                for other in others.by_ref() {
                    tokens.push(if ["*", ">"].contains(&other) {
                        "x"
                    } else {
                        other
                    });
                }
            }
            token => tokens.push(token),
        }
    }
    tokens.join(".")
}

pub(crate) fn patterns() -> Target {
    let good = [
        "a.*.c a.b.c",
        "orders.> orders.a.b",
        "*.> *.x",
        "a a",
        "a.b.* *.b.c",
        "> x",
    ];
    let words = &[
        ".", "*", ">", " ", "a", "..", ".*", ".>", "a*", "$", "_INBOX", ".p1", "é", "\t",
    ];
    Target::new(8, good, words, |input| {
        let input = text(input);
        let (one, other) = input.split_once(' ').unwrap_or((&input, ""));
        let tokens = |text: &'_ str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (tokens(one), tokens(other));
        fn refs(all: &[String]) -> Vec<&str> {
            all.iter().map(String::as_str).collect()
        }
        // The rules, told differently.
        let plain = |text: &str| {
            (1..=MAX_LEN).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_graphic())
                && text.split('.').all(|token| !token.is_empty())
                && !text.starts_with('$')
                && text != "_INBOX"
                && !text.starts_with("_INBOX.")
                && !text.rsplit('.').next().is_some_and(|last| {
                    last.len() > 1
                        && last.starts_with('p')
                        && last[1..].bytes().all(|b| b.is_ascii_digit())
                })
        };
        for (text, tokens) in [(one, &a), (other, &b)] {
            let full = tokens.iter().rev().skip(1).any(|token| token == ">");
            let wild = tokens.iter().any(|token| token == "*" || token == ">");
            assert_eq!(
                check_pattern(text).is_ok(),
                plain(text) && !full,
                "{text:?}"
            );
            assert_eq!(check_topic(text).is_ok(), plain(text) && !wild, "{text:?}");
            if let Err(error) = check_topic(text) {
                assert!(error.to_string().len() < 2_000);
            }
        }
        let (is_one, is_other) = (check_pattern(one).is_ok(), check_pattern(other).is_ok());
        if !is_one || !is_other {
            // Anything goes, but a panic.
            let _ = (covers(one, other), overlap(one, other));
            return false;
        }
        assert_eq!(
            covers(one, other),
            matches(&refs(&a), &refs(&b)),
            "{one} {other}"
        );
        assert_eq!(overlap(one, other), overlap(other, one));
        assert!(covers(one, one) && overlap(one, one));
        if covers(one, other) {
            assert!(overlap(one, other));
        }
        // Both cover something if they say so, and nothing that is found else.
        let both = [example(one, other), example(other, one)];
        let found = both
            .iter()
            .any(|subject| covers(one, subject) && covers(other, subject));
        assert_eq!(found, overlap(one, other), "{one} {other} {both:?}");
        true
    })
}

pub(crate) fn names_of_durables_and_streams() -> Target {
    let long = format!("g {}", "token.".repeat(40) + "end");
    let good = [
        "billing orders.placed",
        "a-b_c orders.*.x",
        "g ~=.h",
        "G-1 a/b\\c",
        "g >",
        &*long,
    ];
    let words = &[
        " ", "~", "=", "=2D", "=h", "-p1", ".p1", "-", "p", ".", "%", "jetbus~", "*", ">",
    ];
    Target::new(4, good, words, |input| {
        let input = text(input);
        let (group, topic) = input.split_once(' ').unwrap_or((&input, ""));
        // Whatever it is, as a name it is read back or nothing.
        for name in [&*input, group, topic] {
            if let Some(parsed) = parse_durable(name) {
                let again = durable(&parsed.group, &parsed.topic, parsed.partition);
                assert_eq!(again.as_deref(), Ok(name));
            }
            if let Some(topic) = parse_own_stream(name) {
                assert_eq!(own_stream(&topic), name);
            }
        }
        let stream = own_stream(topic);
        assert!(
            stream.len() <= MAX_NAME && check_stream(&stream).is_ok(),
            "{stream}"
        );
        assert!(parse_own_stream(&stream).is_none_or(|read| read == topic));
        let Ok(name) = durable(group, topic, None) else {
            assert!(check_group(group).is_err() || check_pattern(topic).is_err());
            // A group of letters is not the only good one; topics are checked elsewhere.
            return check_group(group).is_ok();
        };
        assert!(
            name.len() <= MAX_NAME && check_stream(&name).is_ok(),
            "{name}"
        );
        match parse_durable(&name) {
            Some(read) => assert_eq!((&*read.group, &*read.topic), (group, topic)),
            None => assert_eq!(name.len(), MAX_NAME, "only what is too long ends in a hash"),
        }
        true
    })
}

pub(crate) fn reply_subjects_of_deliveries() -> Target {
    let good = [
        "$JS.ACK.S.c.1.2.3.1795348081000000000.4",
        "$JS.ACK.hub.abcdef.ORDERS.billing~orders.7.18446744073709551615.9.0.0",
        "$JS.ACK._.hash.S.c.1.2.3.4.5.more.tokens",
    ];
    let words = &[
        ".",
        "$JS.ACK.",
        "..",
        "_",
        "+1",
        "0x1",
        " ",
        "é",
        ".1.1.1.1.1",
        "S.c",
    ];
    Target::new(8, good, words, |input| {
        let input = text(input);
        let subject = Subject::from(&*input);
        let _ = names(&subject);
        // The same, told differently.
        let expected = input.strip_prefix("$JS.ACK.").and_then(|rest| {
            let tokens: Vec<_> = rest.split('.').collect();
            let tokens = match tokens.len() {
                7 => &tokens[..],
                9.. => &tokens[2..9],
                _ => return None,
            };
            let number = |text: &str| {
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| text.parse::<u64>().ok()).flatten()
            };
            let numbers: Option<Vec<u64>> = tokens[2..].iter().map(|t| number(t)).collect();
            let numbers = numbers.filter(|n| n[3] <= i64::MAX.unsigned_abs())?;
            let named = !tokens[0].is_empty() && !tokens[1].is_empty();
            named.then(|| (tokens[0].to_owned(), tokens[1].to_owned(), numbers))
        });
        let Some(meta) = Meta::parse(&subject) else {
            assert_eq!(expected, None, "{input}");
            return false;
        };
        let (stream, consumer, numbers) = expected.expect("it was read");
        let time = meta.timestamp.as_unix_nanos().unsigned_abs();
        let read = [
            meta.delivered,
            meta.stream_seq,
            meta.consumer_seq,
            time,
            meta.pending,
        ];
        assert_eq!(read.as_slice(), numbers);
        assert_eq!(names(&subject), Some((&*stream, &*consumer)));
        for like in [None, Some(&subject)] {
            let again = meta.reply_subject(&stream, &consumer, like);
            assert_eq!(Meta::parse(&again), Some(meta));
            assert_eq!(names(&again), Some((&*stream, &*consumer)));
        }
        true
    })
}

pub(crate) fn reply_subjects_of_publishes() -> Target {
    let good = [
        "_INBOX.a.b.0",
        "_INBOX.a.b.__________F",
        "_INBOX.a.b.01",
        "_INBOX.a.b.Zz-9",
    ];
    let words = &["_INBOX.a.b.", "0", "_", "-", ".", "F", "G", "é", " "];
    Target::new(6, good, words, |input| {
        let inbox = Inbox::new("_INBOX.a.b").expect("an inbox");
        let subject = text(input);
        let Some(token) = inbox.token(&subject) else {
            return false;
        };
        assert_eq!(inbox.reply(token, &mut ReplyBuf::new()), subject);
        true
    })
}

pub(crate) fn reply_subjects_of_batches() -> Target {
    let good = [
        "_INBOX.a.b.0-1-00000000000000ff.7",
        "_INBOX.a.b.ffffffffffffffff-ffffffff-00000000000000ff.18446744073709551615",
        "_INBOX.a.b.2-3-00000000000000ff.64.fail.9.0.$FI",
    ];
    let words = &["_INBOX.a.b.", "-", ".", ".fail.", "$FI", "f", "+", "0", "é"];
    Target::new(4, good, words, |input| {
        let replies = Replies::new("_INBOX.a.b", 255).expect("an inbox");
        let Some((batch, attempt, seq)) = replies.read(&text(input)) else {
            return false;
        };
        for role in [
            Role::Question,
            Role::Atomic { commit: true },
            Role::Ingest {
                op: Op::Add,
                flow: 64,
            },
        ] {
            let part = Part {
                index: 0,
                attempt,
                seq,
                role,
            };
            let mut text = ReplyText::default();
            let written = replies.reply(batch, &part, &mut text);
            assert_eq!(replies.read(written), Some((batch, attempt, seq)));
        }
        true
    })
}
