//! Models of `shared::credit`.
//!
//! The stand-in of a slot's room orders nothing and fails on overlapping turns;
//! that of the queue of free places orders what goes through it, as crossbeam
//! documents.

use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use core_loom::shared::credit::{Closed, Credit, Refused, Token};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::atomic::AtomicU64;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, idly, models};

pub(crate) const MODELS: &[Model] = models![
    the_last_place_hands_over_what_was_done,
    the_last_place_serves_three,
    the_window_never_overfills,
    one_settler_wins_and_sees_the_item,
    a_late_settle_changes_nothing,
    a_mark_is_not_older_than_its_token,
    a_tag_is_not_older_than_its_token,
    a_sweep_or_a_look_finds_the_change,
    nobody_overtakes_the_line,
    a_waiter_that_goes_passes_its_place_on,
    closing_wakes_those_who_wait,
    idle_sees_what_was_done,
    nothing_is_taken_after_closed_and_idle,
];

/// The token of the first filling of the first slot.
const FIRST: u64 = 0;
/// That of the second.
const SECOND: u64 = 1 << 16;

fn window<T>(slots: u16) -> Arc<Credit<T>> {
    Arc::new(Credit::new(NonZeroU16::new(slots).unwrap()))
}

/// A window with a cell that only a holder of its one place touches.
type Guarded = Arc<(Arc<Credit<()>>, UnsafeCell<()>)>;

fn touch(guarded: &Guarded) {
    let permit = block_on(guarded.0.take()).unwrap();
    guarded.1.with_mut(|_| ());
    drop(permit);
}

/// Invariants: no slot has two owners, the next owner sees what the one before
/// did, no wake-up is lost.
/// Threads: two for one place. Exhaustive.
/// Seen to fail: the WAITING bit not set when queueing; `serve` not called after
/// queueing; `attend` not called for WAITING.
fn the_last_place_hands_over_what_was_done() {
    exhaustive(|| {
        let guarded: Guarded = Arc::new((window(1), UnsafeCell::new(())));
        let other = thread::spawn({
            let guarded = Arc::clone(&guarded);
            move || touch(&guarded)
        });
        touch(&guarded);
        other.join().unwrap();
        assert_eq!(guarded.0.taken(), 0);
    });
}

/// As above. Threads: three for one place. Bounded by 2.
fn the_last_place_serves_three() {
    bounded(2, || {
        let guarded: Guarded = Arc::new((window(1), UnsafeCell::new(())));
        let others = [(), ()].map(|()| {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || touch(&guarded))
        });
        touch(&guarded);
        for other in others {
            other.join().unwrap();
        }
        assert!(guarded.0.try_take().is_ok(), "the line is empty again");
    });
}

/// Invariant: the window never overfills, and all its places come back.
/// Threads: three for two places. Bounded by 3.
/// Seen to fail: the comparison with TAKEN left out of `claim`: the queue runs dry
/// and the count is off for ever.
fn the_window_never_overfills() {
    bounded(3, || {
        let credit = window::<()>(2);
        let holders = Arc::new(AtomicUsize::new(0));
        let hold = {
            let (credit, holders) = (Arc::clone(&credit), Arc::clone(&holders));
            move || {
                if let Ok(permit) = credit.try_take() {
                    assert!(holders.fetch_add(1, Ordering::Relaxed) < 2);
                    thread::yield_now();
                    holders.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                }
            }
        };
        let others = [thread::spawn(hold.clone()), thread::spawn(hold.clone())];
        hold();
        for other in others {
            other.join().unwrap();
        }
        let all = [credit.try_take(), credit.try_take()];
        assert!(all.iter().all(Result::is_ok), "a place was lost");
        drop(all);
        assert_eq!(credit.taken(), 0, "the count is off");
    });
}

/// Invariants: exactly one gets what was in flight, and sees all of it, also who
/// knows the token only by its number.
/// Threads: one fills and settles, two settle. Exhaustive.
/// Seen to fail: Acquire in `settle` made Relaxed; Release of the swap in
/// `fill_tagged` dropped.
fn one_settler_wins_and_sees_the_item() {
    exhaustive(|| {
        let credit = window::<UnsafeCell<()>>(1);
        let settle = {
            let credit = Arc::clone(&credit);
            move |token| {
                let (item, _permit) = credit.settle(token)?;
                item.with_mut(|_| ());
                Some(())
            }
        };
        let others = [(), ()].map(|()| {
            let settle = settle.clone();
            thread::spawn(move || settle(Token::from_bits(FIRST)))
        });
        let item = UnsafeCell::new(());
        item.with_mut(|_| ());
        let token = credit.try_take().unwrap().fill(item, 0);
        let mine = settle(token);
        let won = others.map(|other| other.join().unwrap());
        assert_eq!(won.iter().flatten().count() + mine.iter().count(), 1);
        assert_eq!(credit.taken(), 0);
    });
}

/// Invariant: a late settle of an old generation changes nothing.
/// Threads: one settles and fills again, one settles both by their numbers.
/// Exhaustive.
/// Seen to fail: `settle` not counting the generation up.
fn a_late_settle_changes_nothing() {
    exhaustive(|| {
        let credit = window(1);
        credit.try_take().unwrap().fill("first", 0);
        let late = thread::spawn({
            let credit = Arc::clone(&credit);
            move || {
                let second = credit.settle(Token::from_bits(SECOND)).map(|won| won.0);
                let first = credit.settle(Token::from_bits(FIRST)).map(|won| won.0);
                assert!(second.is_none_or(|item| item == "second"));
                assert!(first.is_none_or(|item| item == "first"));
                (first.is_some(), second.is_some())
            }
        });
        let mut mine = (false, false);
        if let Some((item, permit)) = credit.settle(Token::from_bits(FIRST)) {
            assert_eq!(item, "first");
            mine.0 = true;
            let token = permit.fill("second", 0);
            assert_eq!(token.to_bits(), SECOND);
            mine.1 = credit.settle(token).is_some();
        }
        let theirs = late.join().unwrap();
        assert!(mine.0 != theirs.0, "the first was settled once");
        assert_eq!(mine.0, mine.1 != theirs.1, "so was the second");
        assert_eq!(credit.taken(), 0);
    });
}

/// Invariant: a scan shows no token with the mark of an earlier one.
/// Threads: one fills three times, one scans and sweeps. Exhaustive.
/// Seen to fail: Acquire in `in_flight` or `sweep` dropped; Release of the swap in
/// `fill_tagged` dropped.
fn a_mark_is_not_older_than_its_token() {
    exhaustive(|| {
        let credit = window(1);
        let scanner = thread::spawn({
            let credit = Arc::clone(&credit);
            move || {
                for (token, mark) in credit.in_flight().chain(credit.sweep()) {
                    assert!(mark > token.to_bits() >> 16);
                }
            }
        });
        for mark in 1..=3 {
            let token = credit.try_take().unwrap().fill((), mark);
            assert!(credit.settle(token).is_some());
        }
        scanner.join().unwrap();
    });
}

/// Invariant: what is found by its tag has that tag, or is over.
/// Threads: one fills three times, one looks for the first tag. Exhaustive.
/// The orderings are those of the mark; what they are seen to fail with stands there.
fn a_tag_is_not_older_than_its_token() {
    exhaustive(|| {
        let credit = window(1);
        let finder = thread::spawn({
            let credit = Arc::clone(&credit);
            move || {
                for (token, _) in credit.tagged(1) {
                    assert_eq!(token.to_bits() >> 16, 0);
                }
            }
        });
        for tag in 1..=3 {
            let token = credit.try_take().unwrap().fill_tagged((), 0, tag);
            assert!(credit.settle(token).is_some());
        }
        finder.join().unwrap();
    });
}

/// Invariant: of "change, then sweep" and "fill, then look at what changed", one
/// sees the other. The change is relaxed here: nothing else orders the two.
/// Threads: one each. Exhaustive.
/// Seen to fail: Release in `sweep` dropped; Acquire of the swap in `fill_tagged` dropped;
/// `in_flight` in place of `sweep`.
fn a_sweep_or_a_look_finds_the_change() {
    exhaustive(|| {
        let credit = window(1);
        let session = Arc::new(AtomicU64::new(1));
        let filler = thread::spawn({
            let (credit, session) = (Arc::clone(&credit), Arc::clone(&session));
            move || {
                credit.try_take().unwrap().fill(UnsafeCell::new(()), 0);
                session.load(loom::sync::atomic::Ordering::Relaxed) == 2
            }
        });
        session.store(2, loom::sync::atomic::Ordering::Relaxed);
        let found = credit.sweep().count() == 1;
        let looked = filler.join().unwrap();
        assert!(found || looked, "missed by both");
    });
}

/// Invariant: waiters are served before those who come later.
/// Threads: one gives the place back, one tries to take it past a waiter, and the
/// waiter. Exhaustive.
/// Seen to fail: `try_take` not respecting WAITING.
fn nobody_overtakes_the_line() {
    exhaustive(|| {
        let credit = window::<()>(1);
        let held = credit.try_take().unwrap().reserve();
        let mut waiting = pin!(credit.take());
        assert!(idly(|cx| waiting.as_mut().poll(cx)).is_pending());
        let holder = thread::spawn({
            let credit = Arc::clone(&credit);
            move || drop(credit.resume(held))
        });
        let pusher = thread::spawn({
            let credit = Arc::clone(&credit);
            move || assert!(matches!(credit.try_take(), Err(Refused::Full)))
        });
        holder.join().unwrap();
        pusher.join().unwrap();
        assert!(idly(|cx| waiting.as_mut().poll(cx)).is_ready());
    });
}

/// Invariant: a waiter that goes, before or after a place was set aside for it,
/// costs nobody a wake-up.
/// Threads: one gives the place back, one gives up waiting, one waits behind it.
/// Bounded by 2.
/// Seen to fail: `Take::drop` keeping the place it was granted.
fn a_waiter_that_goes_passes_its_place_on() {
    bounded(2, || {
        let credit = window::<()>(1);
        let held = credit.try_take().unwrap().reserve();
        let fickle = thread::spawn({
            let credit = Arc::clone(&credit);
            move || {
                let mut waiting = pin!(credit.take());
                let _ = idly(|cx| waiting.as_mut().poll(cx));
            }
        });
        let holder = thread::spawn({
            let credit = Arc::clone(&credit);
            move || drop(credit.resume(held))
        });
        drop(block_on(credit.take()).unwrap());
        holder.join().unwrap();
        fickle.join().unwrap();
        assert!(credit.try_take().is_ok(), "the line is empty again");
    });
}

/// Invariant: all who wait are told of the close.
/// Threads: two wait, one closes and gives nothing back. Bounded by 2.
/// Seen to fail: CLOSED not looked for when queueing; nobody dismissed at close.
fn closing_wakes_those_who_wait() {
    bounded(2, || {
        let credit = window::<()>(1);
        let held = credit.try_take().unwrap().reserve();
        let waiters = [(), ()].map(|()| {
            let credit = Arc::clone(&credit);
            thread::spawn(move || assert!(matches!(block_on(credit.take()), Err(Closed))))
        });
        credit.close();
        assert!(matches!(credit.try_take(), Err(Refused::Closed)));
        for waiter in waiters {
            waiter.join().unwrap();
        }
        drop(credit.resume(held));
        assert!(matches!(credit.try_take(), Err(Refused::Closed)));
        assert_eq!(credit.taken(), 0);
    });
}

/// Invariant: idle comes with the last place given back, with all that was done
/// before; its wake-up is not lost.
/// Threads: one holds the place, one waits for idle. Exhaustive.
/// Seen to fail: Release in `give_back` made Relaxed; either Acquire in
/// `Idle::poll` made Relaxed; the second look there left out.
fn idle_sees_what_was_done() {
    exhaustive(|| {
        let credit = window::<()>(1);
        let cell = Arc::new(UnsafeCell::new(()));
        let held = credit.try_take().unwrap().reserve();
        let holder = thread::spawn({
            let (credit, cell) = (Arc::clone(&credit), Arc::clone(&cell));
            move || {
                let permit = credit.resume(held);
                cell.with_mut(|_| ());
                drop(permit);
            }
        });
        block_on(credit.idle());
        cell.with_mut(|_| ());
        holder.join().unwrap();
    });
}

/// Invariant: once closed and idle, a window stays so.
/// Threads: one takes, one closes and waits for idle. Exhaustive.
/// Seen to fail: CLOSED not looked for in `claim`.
fn nothing_is_taken_after_closed_and_idle() {
    exhaustive(|| {
        let guarded: Guarded = Arc::new((window(1), UnsafeCell::new(())));
        let taker = thread::spawn({
            let guarded = Arc::clone(&guarded);
            move || {
                if let Ok(permit) = guarded.0.try_take() {
                    guarded.1.with_mut(|_| ());
                    drop(permit);
                }
            }
        });
        guarded.0.close();
        block_on(guarded.0.idle());
        guarded.1.with_mut(|_| ());
        taker.join().unwrap();
    });
}
