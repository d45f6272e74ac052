//! Models of `shared::results`.
//!
//! The orderings are those of `shared::credit`, seen here from outside: what a place
//! hands over carries a cell. The end alone has one of its own.

use std::future::poll_fn;
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;

use core_loom::shared::results::{
    Channel, NotRegistered, Overflow, Place, Reader, Refused, Results,
};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, idly, models};

pub(crate) const MODELS: &[Model] = models![
    a_settled_result_is_read_with_all_that_was_done,
    two_settled_results_are_read_once_each,
    a_reading_frees_the_place_for_who_waits,
    who_finds_no_place_goes_without_and_is_counted,
    the_end_comes_after_whoever_had_a_place,
    a_place_given_up_unsettled_lets_the_end_come,
    a_waiter_that_goes_with_its_place_lets_the_end_come,
    unregistering_loses_no_result,
    closing_tells_who_waits_and_who_reads,
    a_dropped_reader_leaves_no_result_behind,
    one_of_two_is_registered,
    who_is_registered_while_all_closes_comes_to_an_end,
    reserve_settle_read_and_unregister,
];

/// A result that tells when two threads touch it unordered.
struct Item(UnsafeCell<()>);

fn item() -> Item {
    let item = Item(UnsafeCell::new(()));
    item.touch();
    item
}

impl Item {
    fn touch(&self) {
        self.0.with_mut(|_| ());
    }
}

type Registered<T> = (Arc<Results<T>>, Reader<T>, Arc<Channel<T>>);

fn registered<T>(places: u16, overflow: Overflow) -> Registered<T> {
    let results = Arc::new(Results::new());
    let places = NonZeroU16::new(places).unwrap();
    let reader = Results::register(&results, 7, places, overflow).unwrap();
    let channel = results.of(7).unwrap();
    (results, reader, channel)
}

fn place<T>(channel: &Arc<Channel<T>>) -> Place<T> {
    Channel::try_reserve(channel).unwrap()
}

fn next<T>(reader: &mut Reader<T>) -> Option<T> {
    block_on(poll_fn(|cx| reader.poll_next(cx)))
}

/// What is read until the end.
fn all<T>(reader: &mut Reader<T>) -> usize {
    std::iter::from_fn(|| next(reader)).count()
}

/// Invariants: what is settled is read, with all that was done to it; no wake-up is
/// lost.
/// Threads: one settles, one reads. Exhaustive.
/// Seen to fail: the wake in `settle` left out, or before the token is in the queue; no
/// second look in `poll_next`.
fn a_settled_result_is_read_with_all_that_was_done() {
    exhaustive(|| {
        let (_results, mut reader, channel) = registered(1, Overflow::Wait);
        let place = place(&channel);
        let settler = thread::spawn(move || place.settle(item()));
        next(&mut reader).unwrap().touch();
        settler.join().unwrap();
    });
}

/// As above, once each, and then the end.
/// Threads: two settle, one reads until the end. Bounded by 3.
/// Seen to fail: as above; `is_over` without the look at the places taken.
fn two_settled_results_are_read_once_each() {
    bounded(3, || {
        let (_results, mut reader, channel) = registered(2, Overflow::Wait);
        let settlers = [(); 2].map(|()| {
            let place = place(&channel);
            thread::spawn(move || place.settle(item()))
        });
        reader.unregister();
        for _ in 0..2 {
            next(&mut reader).unwrap().touch();
        }
        assert!(next(&mut reader).is_none());
        for settler in settlers {
            settler.join().unwrap();
        }
    });
}

/// Invariants: who waits for a place gets the one that is read, and with it sees what
/// was done by who had it before; there is always room for its result.
/// Threads: one waits and settles, one reads. Exhaustive.
/// Seen to fail: `read` that keeps the place.
fn a_reading_frees_the_place_for_who_waits() {
    exhaustive(|| {
        let (_results, mut reader, channel) = registered(1, Overflow::Wait);
        let done = Arc::new(item());
        place(&channel).settle(item());
        let waiter = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let place = block_on(Channel::reserve(&channel)).unwrap();
                done.touch();
                place.settle(item());
            }
        });
        done.touch();
        next(&mut reader).unwrap().touch();
        waiter.join().unwrap();
        next(&mut reader).unwrap().touch();
    });
}

/// Invariant: each of those who publish has a result or is counted.
/// Threads: two for one place, while it is read. Bounded by 3.
/// Seen to fail: the count left out.
fn who_finds_no_place_goes_without_and_is_counted() {
    bounded(3, || {
        let (_results, mut reader, channel) = registered(1, Overflow::Count);
        let publishers = [(); 2].map(|()| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || match Channel::try_reserve(&channel) {
                Ok(place) => place.settle(item()),
                Err(refused) => assert_eq!(refused, Refused::Counted),
            })
        });
        next(&mut reader).unwrap().touch();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        reader.unregister();
        let read = 1 + all(&mut reader);
        assert_eq!(read + usize::try_from(reader.overflowed()).unwrap(), 2);
    });
}

/// Invariant: who sees the end sees what everybody did who had a place.
/// Threads: one gives its place up, one unregisters and reads. Exhaustive.
/// Seen to fail: Acquire in `is_over` made Relaxed; Release in `give_back` made Relaxed.
fn the_end_comes_after_whoever_had_a_place() {
    exhaustive(|| {
        let (_results, mut reader, channel) = registered::<()>(1, Overflow::Wait);
        let done = Arc::new(item());
        let place = place(&channel);
        let holder = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                done.touch();
                drop(place);
            }
        });
        reader.unregister();
        assert!(next(&mut reader).is_none());
        done.touch();
        holder.join().unwrap();
    });
}

/// Invariant: no wake-up is lost at the end.
/// Threads: one gives up its place unsettled, one closes, one reads. Bounded by 3.
/// Seen to fail: the wake in `Place::drop` left out; the wake in `close` left out.
fn a_place_given_up_unsettled_lets_the_end_come() {
    bounded(3, || {
        let (results, mut reader, channel) = registered::<()>(1, Overflow::Wait);
        let place = place(&channel);
        let holder = thread::spawn(move || drop(place));
        let closer = thread::spawn(move || results.close());
        assert!(next(&mut reader).is_none());
        holder.join().unwrap();
        closer.join().unwrap();
    });
}

/// As above, where the place is given to one that waits and goes.
/// Threads: one waits and goes, one reads until the end. Exhaustive.
/// Seen to fail: the wake in `Reserve::drop` left out, or before it leaves the line.
fn a_waiter_that_goes_with_its_place_lets_the_end_come() {
    exhaustive(|| {
        let (_results, mut reader, channel) = registered(1, Overflow::Wait);
        place(&channel).settle(item());
        let waiter = thread::spawn(move || {
            let mut waiting = pin!(Channel::reserve(&channel));
            drop(idly(|cx| waiting.as_mut().poll(cx)));
        });
        next(&mut reader).unwrap().touch();
        reader.unregister();
        assert!(next(&mut reader).is_none());
        waiter.join().unwrap();
    });
}

/// Invariant: who found the channel before it was taken out has a place whose result is
/// read, or is told that it is closed; then nobody is found any more.
/// Threads: one publishes, one unregisters and reads to the end. Exhaustive.
/// Seen to fail: `close` not called by `unregister`; a channel closed before it is taken
/// out.
fn unregistering_loses_no_result() {
    exhaustive(|| {
        let (results, mut reader, _) = registered(1, Overflow::Wait);
        let publisher = thread::spawn({
            let results = Arc::clone(&results);
            move || {
                let Some(channel) = results.of(7) else {
                    return false;
                };
                match Channel::try_reserve(&channel) {
                    Ok(place) => {
                        place.settle(item());
                        true
                    }
                    Err(refused) => {
                        assert_eq!(refused, Refused::Closed);
                        // Told, it looks again, and finds nobody.
                        assert!(results.of(7).is_none());
                        false
                    }
                }
            }
        });
        reader.unregister();
        let read = all(&mut reader);
        assert_eq!(publisher.join().unwrap(), read == 1);
    });
}

/// Invariants: closing tells whoever waits for a place, and the reader.
/// Threads: one waits, one reads to the end, one closes. Bounded by 2.
/// Seen to fail: the wake in `close` left out; channels that `Results::close` leaves
/// open.
fn closing_tells_who_waits_and_who_reads() {
    bounded(2, || {
        let (results, mut reader, channel) = registered::<Item>(1, Overflow::Wait);
        place(&channel).settle(item());
        let waiter = thread::spawn(move || match block_on(Channel::reserve(&channel)) {
            Ok(place) => {
                place.settle(item());
                1
            }
            Err(_) => 0,
        });
        let closer = thread::spawn({
            let results = Arc::clone(&results);
            move || results.close()
        });
        let read = all(&mut reader);
        assert_eq!(read, 1 + waiter.join().unwrap());
        closer.join().unwrap();
        assert!(results.of(7).is_none() && results.is_closed());
    });
}

/// Invariant: what nobody reads is dropped, once, with the last who has a place.
/// Threads: one settles, one drops the reader. Exhaustive.
/// No change of ours is seen to fail here: what is left goes with the channel. That what
/// is in it goes with the reader, whoever keeps the channel, is a unit test's.
fn a_dropped_reader_leaves_no_result_behind() {
    exhaustive(|| {
        let (_results, reader, channel) = registered(1, Overflow::Wait);
        let result = Arc::new(item());
        let place = place(&channel);
        drop(channel);
        let settler = thread::spawn({
            let result = Arc::clone(&result);
            move || place.settle(result)
        });
        drop(reader);
        settler.join().unwrap();
        assert_eq!(Arc::strong_count(&result), 1);
    });
}

/// Invariants: of two that register for one tenant one is told that it came second, and
/// whoever is registered is found by who knows of it.
/// Threads: two register. Exhaustive.
/// Seen to fail: the look for the tenant left out; the count left out.
fn one_of_two_is_registered() {
    exhaustive(|| {
        let results = Arc::new(Results::<()>::new());
        let one = NonZeroU16::MIN;
        let other = thread::spawn({
            let results = Arc::clone(&results);
            move || {
                let reader = Results::register(&results, 7, one, Overflow::Wait);
                assert!(reader.is_err() || results.of(7).is_some());
                reader
            }
        });
        let mine = Results::register(&results, 7, one, Overflow::Wait);
        let theirs = other.join().unwrap();
        let refused = [&mine, &theirs].map(|one| one.as_ref().err().copied());
        assert!(
            matches!(
                refused,
                [Some(NotRegistered::Twice), None] | [None, Some(_)]
            ),
            "{refused:?}"
        );
        drop((mine, theirs));
        assert!(results.of(7).is_none());
        assert!(Results::register(&results, 7, one, Overflow::Wait).is_ok());
        assert!(results.of(7).is_none());
    });
}

/// Invariant: nobody is left registered by a close: told so, or at its end.
/// Threads: one registers and reads, one closes. Exhaustive.
/// Seen to fail: the look at `is_closed` left out of `register`.
fn who_is_registered_while_all_closes_comes_to_an_end() {
    exhaustive(|| {
        let results = Arc::new(Results::<()>::new());
        let closer = thread::spawn({
            let results = Arc::clone(&results);
            move || results.close()
        });
        match Results::register(&results, 7, NonZeroU16::MIN, Overflow::Wait) {
            Ok(mut reader) => assert!(next(&mut reader).is_none()),
            Err(refused) => assert_eq!(refused, NotRegistered::Closed),
        }
        closer.join().unwrap();
        assert!(results.tenants().is_empty());
    });
}

/// All together: each of two that publish has a result that is read, or none because
/// nobody was registered any more.
/// Threads: two publish through one place, one reads one result, unregisters and reads
/// to the end. Bounded by 2.
/// Seen to fail: what the models above name.
fn reserve_settle_read_and_unregister() {
    bounded(2, || {
        let (results, mut reader, channel) = registered(1, Overflow::Wait);
        drop(channel);
        let publishers = [(); 2].map(|()| {
            let results = Arc::clone(&results);
            thread::spawn(move || {
                let Some(channel) = results.of(7) else {
                    return 0;
                };
                match block_on(Channel::reserve(&channel)) {
                    Ok(place) => {
                        place.settle(item());
                        1
                    }
                    Err(_) => 0,
                }
            })
        });
        next(&mut reader).unwrap().touch();
        reader.unregister();
        let read = 1 + all(&mut reader);
        let published: usize = publishers.map(|one| one.join().unwrap()).into_iter().sum();
        assert_eq!(read, published);
    });
}
