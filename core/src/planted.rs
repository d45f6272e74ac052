//! Bugs that are planted on purpose, so that tests can show that they would be found.
//!
//! This is the one place that knows of `cfg(planted)`, which the package
//! `jetbus-planted-core` sets when it compiles these sources a second time. There,
//! `planted!(Name)` asks whether the bug of that name is on in this thread. Everywhere
//! else it is `false`: no bug has a name, and no code is left of it.

#[cfg(not(planted))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(planted)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_on($crate::planted::Bug::$bug)
    };
}

#[cfg(planted)]
pub use self::garden::*;

// The switch is a thing of threads, which the core knows nothing of.
#[cfg(planted)]
#[path = "../../tests/planted/core/garden.rs"]
mod garden;
