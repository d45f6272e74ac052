//! The root of another package, `jetbus-planted-tests`: the simulation alone, on a core
//! with bugs that it must find.

pub mod sim;
