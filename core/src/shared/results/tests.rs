use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;

const TWO: NonZeroU16 = NonZeroU16::new(2).unwrap();

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn next<T>(reader: &mut Reader<T>) -> Poll<Option<T>> {
    reader.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn registered<T>(overflow: Overflow) -> (Arc<Results<T>>, Reader<T>, Arc<Channel<T>>) {
    let results = Arc::new(Results::new());
    let reader = Results::register(&results, 7, TWO, overflow).unwrap();
    let channel = results.of(7).unwrap();
    (results, reader, channel)
}

#[test]
fn results_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Results<String>>();
    shared::<Reader<String>>();
    shared::<Place<String>>();
}

#[test]
fn each_tenant_has_one_reader_and_nobody_stands_in() {
    let results = Arc::new(Results::<u32>::new());
    assert!(results.of(0).is_none());
    let mut none = Results::register(&results, 0, TWO, Overflow::Wait).unwrap();
    let mut seven = Results::register(&results, 7, TWO, Overflow::Wait).unwrap();
    let again = Results::register(&results, 7, TWO, Overflow::Wait);
    assert_eq!(again.err(), Some(NotRegistered::Twice));
    assert!(results.of(8).is_none());
    assert_eq!(results.tenants(), [0, 7]);
    Channel::try_reserve(&results.of(7).unwrap())
        .unwrap()
        .settle(1);
    assert_eq!(next(&mut none), Poll::Pending);
    assert_eq!(next(&mut seven), Poll::Ready(Some(1)));
    drop(seven);
    assert_eq!(results.tenants(), [0]);
    assert!(results.of(7).is_none());
    assert!(Results::register(&results, 7, TWO, Overflow::Wait).is_ok());
}

#[test]
fn a_place_is_free_again_once_its_result_is_read() {
    let (_results, mut reader, channel) = registered(Overflow::Wait);
    let one = Channel::try_reserve(&channel).unwrap();
    let two = Channel::try_reserve(&channel).unwrap();
    assert_eq!(Channel::try_reserve(&channel).err(), Some(Refused::Full));
    let mut third = pin!(Channel::reserve(&channel));
    let mut fourth = pin!(Channel::reserve(&channel));
    assert!(poll(third.as_mut()).is_pending() && poll(fourth.as_mut()).is_pending());
    two.settle(2);
    one.settle(1);
    assert!(poll(third.as_mut()).is_pending(), "not read yet");
    assert_eq!(next(&mut reader), Poll::Ready(Some(2)));
    assert!(poll(fourth.as_mut()).is_pending(), "in the order they came");
    let Poll::Ready(Ok(place)) = poll(third.as_mut()) else {
        panic!("the place that was read is the third's")
    };
    place.settle(3);
    assert_eq!(next(&mut reader), Poll::Ready(Some(1)));
    assert_eq!(next(&mut reader), Poll::Ready(Some(3)));
    assert!(matches!(poll(fourth.as_mut()), Poll::Ready(Ok(_))));
    assert_eq!(next(&mut reader), Poll::Pending);
    assert_eq!(reader.overflowed(), 0);
}

#[test]
fn who_finds_no_place_is_counted_where_that_is_wanted() {
    let (_results, mut reader, channel) = registered(Overflow::Count);
    let places = [(); 2].map(|()| Channel::try_reserve(&channel).unwrap());
    for _ in 0..3 {
        assert_eq!(Channel::try_reserve(&channel).err(), Some(Refused::Counted));
    }
    assert_eq!(reader.overflowed(), 3);
    for (n, place) in (0..).zip(places) {
        place.settle(n);
    }
    assert_eq!(next(&mut reader), Poll::Ready(Some(0)));
    assert!(Channel::try_reserve(&channel).is_ok());
}

#[test]
fn the_end_comes_after_the_last_result() {
    for by_reader in [true, false] {
        let (results, mut reader, channel) = registered(Overflow::Wait);
        let places = [(); 2].map(|()| Channel::try_reserve(&channel).unwrap());
        let mut waiting = pin!(Channel::reserve(&channel));
        assert!(poll(waiting.as_mut()).is_pending());
        match by_reader {
            true => reader.unregister(),
            false => results.close(),
        }
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Err(Closed))));
        assert_eq!(Channel::try_reserve(&channel).err(), Some(Refused::Closed));
        let [one, two] = places;
        one.settle(1);
        assert_eq!(next(&mut reader), Poll::Ready(Some(1)));
        assert_eq!(next(&mut reader), Poll::Pending);
        two.settle(2);
        assert_eq!(next(&mut reader), Poll::Ready(Some(2)));
        assert_eq!(next(&mut reader), Poll::Ready(None));
        assert_eq!(next(&mut reader), Poll::Ready(None));
        let again = Results::register(&results, 7, TWO, Overflow::Wait);
        assert_eq!(again.is_ok(), by_reader);
    }
}

#[test]
fn turns_come_one_after_the_other_also_when_it_is_closed() {
    let (_results, reader, channel) = registered::<u32>(Overflow::Wait);
    let Poll::Ready(Ok(first)) = poll(pin!(channel.turn())) else {
        panic!("nobody was before")
    };
    let mut second = pin!(channel.turn());
    let mut third = pin!(channel.turn());
    assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
    // Who wants one place waits for no turn.
    assert!(Channel::try_reserve(&channel).is_ok());
    drop(reader);
    assert!(poll(second.as_mut()).is_pending());
    drop(first);
    assert!(poll(third.as_mut()).is_pending(), "in the order they came");
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
    assert!(matches!(poll(third.as_mut()), Poll::Ready(Ok(_))));
}

/// Who was registered before is not taken for who is now.
#[test]
fn unregistering_twice_takes_nobody_else_out() {
    let (results, old, _) = registered::<u32>(Overflow::Wait);
    old.unregister();
    let new = Results::register(&results, 7, TWO, Overflow::Wait).unwrap();
    old.unregister();
    drop(old);
    assert_eq!(results.tenants(), [7]);
    assert!(results.of(7).is_some());
    drop(new);
    assert!(results.of(7).is_none());
}

#[test]
fn what_nobody_can_read_any_more_is_dropped() {
    let (_results, reader, channel) = registered(Overflow::Wait);
    let item = Arc::new(());
    let places = [(); 2].map(|()| Channel::try_reserve(&channel).unwrap());
    let [one, two] = places;
    one.settle(Arc::clone(&item));
    assert_eq!(Arc::strong_count(&item), 2);
    drop(reader);
    assert_eq!(Arc::strong_count(&item), 1);
    two.settle(Arc::clone(&item));
    drop(channel);
    assert_eq!(Arc::strong_count(&item), 1);
}
