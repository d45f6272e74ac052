//! The embedded broker answers what nats-server answers.
//!
//! Scenarios speak raw `$JS.API` to both and their transcripts must be equal,
//! except for the fields listed in [`normal`].

mod account;
mod acks;
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
