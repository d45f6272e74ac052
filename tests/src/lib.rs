//! What the tests and benches of jetbus share.

pub mod bench;
