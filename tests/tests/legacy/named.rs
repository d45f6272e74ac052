//! The documentation's tables and the tests that they name.
