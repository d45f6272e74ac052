//! Models of `shared::budget`.
//!
//! The budget orders nothing, so there is no cell to hand over: what can go wrong is
//! a lost wake-up, a wrong count, or somebody overtaking.

use std::pin::pin;
use std::sync::Arc;

use core_loom::shared::budget::{Budget, Closed, Refused};
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, idly, models};

pub(crate) const MODELS: &[Model] = models![
    who_gives_back_wakes_who_waits,
    three_share_what_two_may_have,
    a_waiter_that_goes_lets_the_next_in,
    a_head_that_finds_no_room_lets_the_next_in_when_it_goes,
    closing_wakes_all_who_wait,
];

fn pass(budget: &Budget, bytes: u64) {
    block_on(budget.take(bytes)).unwrap();
    budget.give_back(bytes);
}

/// Invariants: no wake-up is lost, and all bytes come back.
/// Threads: two, each with a message larger than the budget. Exhaustive.
/// Seen to fail: the WAITING bit not set when queueing; `serve` not called after
/// queueing; `attend` not called for WAITING.
fn who_gives_back_wakes_who_waits() {
    exhaustive(|| {
        let budget = Arc::new(Budget::new(1));
        let other = thread::spawn({
            let budget = Arc::clone(&budget);
            move || pass(&budget, 2)
        });
        pass(&budget, 2);
        other.join().unwrap();
        assert_eq!(budget.taken(), 0);
        assert_eq!(budget.try_take(1), Ok(()), "the line is empty again");
    });
}

/// As above. Threads: three for what two may have at once. Bounded by 2.
fn three_share_what_two_may_have() {
    bounded(2, || {
        let budget = Arc::new(Budget::new(2));
        let others = [1, 2].map(|bytes| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || pass(&budget, bytes))
        });
        pass(&budget, 1);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(budget.taken(), 0);
    });
}

/// Invariant: who leaves the line, served or not, holds up nobody behind it.
/// Threads: one gives back while the head of the line leaves. Exhaustive.
/// Seen to fail: `give_back` not called for one that was served; `attend` not called.
fn a_waiter_that_goes_lets_the_next_in() {
    exhaustive(|| {
        let budget = Arc::new(Budget::new(2));
        budget.try_take(1).unwrap();
        let mut large = Box::pin(budget.take(2));
        assert!(idly(|cx| large.as_mut().poll(cx)).is_pending());
        let giver = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.give_back(1)
        });
        let mut small = pin!(budget.take(1));
        let early = idly(|cx| small.as_mut().poll(cx)).is_ready();
        drop(large);
        if !early {
            block_on(small).unwrap();
        }
        giver.join().unwrap();
        assert_eq!(budget.taken(), 1);
    });
}

/// As above, where what is given back is not enough for the head.
/// Threads: one gives back while the head of the line leaves. Exhaustive.
/// Seen to fail: `serve` not called when the head leaves.
fn a_head_that_finds_no_room_lets_the_next_in_when_it_goes() {
    exhaustive(|| {
        let budget = Arc::new(Budget::new(3));
        budget.try_take(2).unwrap();
        budget.try_take(1).unwrap();
        let mut large = Box::pin(budget.take(3));
        assert!(idly(|cx| large.as_mut().poll(cx)).is_pending());
        let giver = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.give_back(1)
        });
        let mut small = pin!(budget.take(1));
        assert!(idly(|cx| small.as_mut().poll(cx)).is_pending(), "behind it");
        drop(large);
        block_on(small).unwrap();
        giver.join().unwrap();
        assert_eq!(budget.taken(), 3);
    });
}

/// Invariant: closing reaches whoever waits, and nothing is taken afterwards.
/// Threads: one waits, one closes. Exhaustive.
/// Seen to fail: the look for CLOSED left out when queueing.
fn closing_wakes_all_who_wait() {
    exhaustive(|| {
        let budget = Arc::new(Budget::new(1));
        budget.try_take(1).unwrap();
        let waiter = thread::spawn({
            let budget = Arc::clone(&budget);
            move || block_on(budget.take(1))
        });
        budget.close();
        assert_eq!(waiter.join().unwrap(), Err(Closed));
        assert_eq!(budget.try_take(1), Err(Refused::Closed));
        budget.give_back(1);
        assert_eq!(budget.taken(), 0);
    });
}
