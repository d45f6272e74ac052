//! Models of `shared::gate`.

use std::pin::pin;
use std::sync::Arc;

use core_loom::shared::gate::{Closing, Gate};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, idly, models};

pub(crate) const MODELS: &[Model] = models![
    drained_sees_what_was_done_inside,
    drained_sees_what_all_have_done_inside,
    two_entries_each_against_closing,
    once_refused_always_refused,
    every_closer_gets_the_same_report,
    a_waiter_that_goes_takes_no_wake_up_along,
    who_waits_for_closing_hears_of_it,
];

struct House {
    gate: Gate<UnsafeCell<()>>,
    /// Used by one operation.
    room: [UnsafeCell<()>; 2],
}

impl House {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            room: [UnsafeCell::new(()), UnsafeCell::new(())],
        })
    }

    fn operate(&self, room: usize) -> Result<(), Closing> {
        let _pass = self.gate.enter()?;
        self.room[room].with_mut(|_| ());
        Ok(())
    }

    fn close(&self) {
        assert!(self.gate.close());
        block_on(self.gate.drained());
        for room in &self.room {
            room.with_mut(|_| ());
        }
    }
}

/// Invariants: no entry succeeds after closing began; drained is seen once the
/// last operation left, never earlier, with all it did; the wake-up is not lost.
/// Threads: an operation and a closer. Exhaustive.
/// Seen to fail: Release in `go_out` or Acquire in `is_drained` made Relaxed; the
/// second look in `Drained::poll` left out; the waiters not woken by
/// `mark_drained`; somebody turned away leaving without marking.
fn drained_sees_what_was_done_inside() {
    exhaustive(|| {
        let house = House::new();
        let operation = thread::spawn({
            let house = Arc::clone(&house);
            move || house.operate(0)
        });
        house.close();
        let _ = operation.join().unwrap();
    });
}

/// As above, where one who is turned away and one who leaves can each be the last.
/// Threads: two operations and a closer. Bounded by 3.
fn drained_sees_what_all_have_done_inside() {
    bounded(3, || {
        let house = House::new();
        let operations = [0, 1].map(|room| {
            let house = Arc::clone(&house);
            thread::spawn(move || house.operate(room))
        });
        house.close();
        for operation in operations {
            let _ = operation.join().unwrap();
        }
    });
}

/// As above. Threads: one with two operations in turn, and a closer. Exhaustive.
fn two_entries_each_against_closing() {
    exhaustive(|| {
        let house = House::new();
        let operation = thread::spawn({
            let house = Arc::clone(&house);
            move || (house.operate(0), house.operate(1))
        });
        house.close();
        let _ = operation.join().unwrap();
    });
}

/// Invariant: closing has begun for everybody once it has for anybody.
/// Threads: one that enters twice, one that closes and enters. Exhaustive.
fn once_refused_always_refused() {
    exhaustive(|| {
        let gate = Arc::new(Gate::<()>::new());
        let enterer = thread::spawn({
            let gate = Arc::clone(&gate);
            move || {
                let (first, second) = (gate.enter().is_ok(), gate.enter().is_ok());
                assert!(first || !second, "let in after it was refused");
            }
        });
        gate.close();
        assert!(gate.enter().is_err());
        enterer.join().unwrap();
        assert_eq!(gate.inside(), 0);
    });
}

/// Invariant: one closer leads and every closer gets its report.
/// Threads: two closers. Exhaustive.
fn every_closer_gets_the_same_report() {
    fn close(house: &House) -> usize {
        if house.gate.close() {
            let report = UnsafeCell::new(());
            report.with_mut(|_| ());
            house.gate.finish(report);
        }
        let report = block_on(house.gate.closed());
        report.with(|_| ());
        Arc::as_ptr(&report) as usize
    }
    exhaustive(|| {
        let house = House::new();
        let other = thread::spawn({
            let house = Arc::clone(&house);
            move || close(&house)
        });
        let mine = close(&house);
        assert_eq!(other.join().unwrap(), mine);
    });
}

/// Invariant: a waiter that is dropped does not lose the wake-up of another.
/// Threads: the last operation, a waiter that gives up, a waiter. Bounded by 2.
fn a_waiter_that_goes_takes_no_wake_up_along() {
    bounded(2, || {
        let gate = Arc::new(Gate::<()>::new());
        let pass = Gate::enter_owned(&gate).unwrap();
        gate.close();
        let operation = thread::spawn(move || drop(pass));
        let fickle = thread::spawn({
            let gate = Arc::clone(&gate);
            move || {
                let mut drained = pin!(gate.drained());
                let _ = idly(|cx| drained.as_mut().poll(cx));
            }
        });
        block_on(gate.drained());
        operation.join().unwrap();
        fickle.join().unwrap();
    });
}

/// Invariant: who waits for closing to begin is woken, though somebody stays inside.
/// Threads: a waiter and a closer. Exhaustive.
/// Seen to fail: the second look in `Closes::poll` left out; the waiters not woken by
/// `close`.
fn who_waits_for_closing_hears_of_it() {
    exhaustive(|| {
        let gate = Arc::new(Gate::<()>::new());
        let pass = Gate::enter_owned(&gate).unwrap();
        let closer = thread::spawn({
            let gate = Arc::clone(&gate);
            move || assert!(gate.close())
        });
        block_on(gate.closes());
        assert!(gate.enter().is_err());
        closer.join().unwrap();
        drop(pass);
    });
}
