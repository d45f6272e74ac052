//! The embedded broker answers what nats-server answers.
//!
//! Scenarios and random conversations speak raw `$JS.API` to both, and the
//! transcripts must be equal, except for the fields listed in [`normal`]. A server
//! runs in real time; the broker's time passes while a scenario waits. The broker is
//! asked first, so that a server, whose counts lag behind its answers, is asked
//! again until it counts the same or half a second has passed.
//!
//! # Differences that were found and are excused
//!
//! | where | the server | the embedded broker | why |
//! |---|---|---|---|
//! | what it does not do (the table in its docs) | does it | refuses it | said there; not asked here |
//! | words after "invalid JSON" and "Bad Request" | Go's parser | its own | nobody reads them but people |
//! | order of an object's keys | as its structs | sorted | JSON gives it no meaning |
//! | `num_pending` just after a message was stored | may lag | exact | the server counts in the background |
//! | retention changed between limits and interest while there are consumers | touches their state | leaves it | nobody does this to a living stream |
//! | a consumer of an interest stream that changes from filters to none | hears of no new messages, which are lost | hears of them | a defect of 2.15.1 |
//! | a purge under a consumer that starts at the last of each subject | may skip what is left | delivers it | a defect of 2.15.1 |
//! | a file stream made again at once after it was deleted | may say 10049 | makes it | the server removes files in the background |

mod account;
mod acks;
mod atomic;
mod consumers;
mod core_nats;
mod generated;
mod normal;
mod publishing;
mod pulling;
mod script;
mod streams;

use jetbus_tests::Peer;
use jetbus_tests::embedded::Embedded;
use jetbus_tests::raw::Raw;
use jetbus_tests::server::{DEFAULT_VERSION, Server, Shared};

use script::Script;

/// The server that all scenarios speak to, each about a stream of its own. Its
/// version is the one that the embedded broker follows, whatever the environment
/// asks other tests to use.
static SERVER: Shared = Shared::new(|| Server::builder().version(DEFAULT_VERSION));

/// Runs a scenario against a server and against the embedded broker and demands
/// equal transcripts.
fn same(name: &str, scenario: impl Fn(&mut Script<'_>)) {
    if let Some(differences) = differences(name, scenario) {
        panic!("{differences}");
    }
}

/// Where the transcripts of a scenario differ, if they do.
fn differences(name: &str, scenario: impl Fn(&mut Script<'_>)) -> Option<String> {
    compare(name, &SERVER.start().unwrap(), scenario)
}

/// The same with a server of one's own.
fn compare(name: &str, server: &Server, scenario: impl Fn(&mut Script<'_>)) -> Option<String> {
    let embedded = transcript(name, &mut Embedded::new(), Vec::new(), &scenario);
    let mut real = Raw::connect(&server.address()).unwrap();
    let real = transcript(name, &mut real, embedded.clone(), &scenario);
    if real == embedded {
        return None;
    }
    let same = real
        .iter()
        .zip(&embedded)
        .take_while(|(r, e)| r == e)
        .count();
    let mut told = real[..same].join("\n");
    let nothing = String::new();
    for line in same..real.len().max(embedded.len()) {
        let real = real.get(line).unwrap_or(&nothing);
        let embedded = embedded.get(line).unwrap_or(&nothing);
        if real == embedded {
            told += &format!("\n{real}");
        } else {
            told += &format!("\nthe server:          {real}\nthe embedded broker: {embedded}");
        }
    }
    Some(told)
}

fn transcript(
    name: &str,
    peer: &mut dyn Peer,
    expected: Vec<String>,
    scenario: impl Fn(&mut Script<'_>),
) -> Vec<String> {
    let mut script = Script::new(name, peer, expected);
    scenario(&mut script);
    script.into_transcript()
}
