//! What a subscription is doing at the moment, as numbers that anybody may read.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Written by the driver. Relaxed: each number stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    held: AtomicUsize,
    running: AtomicUsize,
    parked: AtomicUsize,
    lag: AtomicU64,
    paused: AtomicBool,
}

/// One look at them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) held: usize,
    pub(super) running: usize,
    pub(super) parked: usize,
    pub(super) lag: u64,
    pub(super) paused: bool,
}

impl Gauges {
    pub(super) fn holds(&self, held: usize, running: usize, parked: usize) {
        self.held.store(held, Ordering::Relaxed);
        self.running.store(running, Ordering::Relaxed);
        self.parked.store(parked, Ordering::Relaxed);
    }

    pub(super) fn lags(&self, lag: u64) {
        self.lag.store(lag, Ordering::Relaxed);
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        Reading {
            held: self.held.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            lag: self.lag.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
        }
    }
}
