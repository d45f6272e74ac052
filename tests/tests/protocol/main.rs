//! The embedded broker answers what nats-server answers.
//!
//! Scenarios speak raw `$JS.API` to both and their transcripts must be equal,
//! except for the fields listed in [`normal`].

mod acks;
mod consumers;
mod normal;
mod publishing;
mod pulling;
mod script;
mod streams;

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
    let server = SERVER.start().unwrap();
    let mut real = Raw::connect(&server.address()).unwrap();
    let mut script = Script::new(name, &mut real);
    scenario(&mut script);
    let transcript = script.into_transcript();
    println!("{}", transcript.join("\n"));
}
