use super::*;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Wake, Waker};

fn window<T>(slots: u16) -> Credit<T> {
    Credit::new(NonZeroU16::new(slots).unwrap())
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_window_never_overfills() {
    let credit = window::<()>(2);
    let one = credit.try_take().unwrap();
    let _two = credit.try_take().unwrap();
    assert_eq!(credit.try_take().unwrap_err(), Refused::Full);
    assert_eq!((credit.taken(), credit.slots()), (2, 2));
    drop(one);
    assert!(credit.try_take().is_ok());
}

#[test]
fn what_is_filled_is_settled_once() {
    let credit = window(1);
    let token = credit.try_take().unwrap().fill("item", 7);
    assert_eq!(credit.in_flight().collect::<Vec<_>>(), [(token, 7)]);
    assert_eq!(credit.try_take().unwrap_err(), Refused::Full);
    let (item, permit) = credit.settle(token).unwrap();
    assert_eq!(item, "item");
    assert!(credit.settle(token).is_none());
    assert_eq!(credit.in_flight().count(), 0);
    drop(permit);
    assert_eq!(credit.taken(), 0);
}

#[test]
fn what_is_in_flight_is_found_by_its_tag() {
    let credit = window(4);
    let fill = |item, tag| credit.try_take().unwrap().fill_tagged(item, 9, tag);
    let (one, _, three) = (fill("one", 7), fill("two", 8), fill("three", 7));
    credit.try_take().unwrap().fill("four", 9);
    let found = |tag| credit.tagged(tag).collect::<Vec<_>>();
    assert_eq!(found(7), [(one, 9), (three, 9)]);
    assert_eq!(found(6), []);
    let (_, permit) = credit.settle(one).unwrap();
    assert_eq!(found(7), [(three, 9)]);
    // The next filling of a place has a tag of its own.
    permit.fill("again", 9);
    assert_eq!(found(7), [(three, 9)]);
}

#[test]
fn a_late_answer_to_an_old_generation_changes_nothing() {
    let credit = window(1);
    let first = credit.try_take().unwrap().fill(1, 0);
    let (_, permit) = credit.settle(first).unwrap();
    let retry = permit.fill(2, 0);
    assert_ne!(first, retry);
    assert!(credit.settle(first).is_none());
    assert_eq!(credit.settle(retry).unwrap().0, 2);
    let other = credit.try_take().unwrap().fill(3, 0);
    assert!(credit.settle(retry).is_none());
    assert_eq!(credit.settle(other).unwrap().0, 3);
}

#[test]
fn tokens_survive_being_numbers_and_forged_ones_find_nothing() {
    let credit = window(3);
    let token = credit.try_take().unwrap().fill("item", 0);
    for forged in [u64::MAX, token.to_bits() + (1 << 16), 2, 3] {
        assert!(credit.settle(Token::from_bits(forged)).is_none());
    }
    assert!(credit.settle(Token::from_bits(token.to_bits())).is_some());
}

#[test]
fn generations_wrap_without_touching_the_flag() {
    let credit = window(1);
    let mut permit = credit.try_take().unwrap();
    permit.generation = u64::MAX >> 16;
    let last = permit.fill("last", 0);
    let (_, permit) = credit.settle(last).unwrap();
    let first = permit.fill("first", 0);
    assert_eq!(first.to_bits(), 0);
    assert!(credit.settle(last).is_none());
    assert_eq!(credit.settle(first).unwrap().0, "first");
}

#[test]
fn waiters_are_served_in_order_and_not_overtaken() {
    let credit = window::<()>(1);
    let held = credit.try_take().unwrap();
    let (mut first, mut second) = (pin!(credit.take()), pin!(credit.take()));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    drop(held);
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(credit.try_take().unwrap_err(), Refused::Full);
    let Poll::Ready(Ok(permit)) = poll(first) else {
        panic!("the place was set aside for the first")
    };
    drop(permit);
    assert_eq!(credit.try_take().unwrap_err(), Refused::Full);
    assert!(poll(second).is_ready());
    assert!(credit.try_take().is_ok());
}

#[test]
fn a_dropped_waiter_hands_its_place_on() {
    let credit = window::<()>(1);
    let held = credit.try_take().unwrap();
    let mut gone = Box::pin(credit.take());
    let mut never_served = Box::pin(credit.take());
    let mut last = pin!(credit.take());
    assert!(poll(gone.as_mut()).is_pending());
    assert!(poll(never_served.as_mut()).is_pending());
    assert!(poll(last.as_mut()).is_pending());
    drop(never_served);
    drop(held);
    drop(gone);
    assert!(poll(last).is_ready());
    assert!(credit.try_take().is_ok(), "the line is empty again");
}

#[test]
fn closing_tells_all_waiters_and_lets_the_flights_end() {
    struct Woken(std::sync::mpsc::Sender<()>);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }
    let (sender, woken) = std::sync::mpsc::channel();
    let waker = Waker::from(Arc::new(Woken(sender)));
    let mut cx = Context::from_waker(&waker);
    let credit = window(2);
    let token = credit.try_take().unwrap().fill("item", 0);
    let permit = credit.try_take().unwrap();
    let (mut one, mut two, mut idle) = (
        pin!(credit.take()),
        pin!(credit.take()),
        pin!(credit.idle()),
    );
    assert!(one.as_mut().poll(&mut cx).is_pending());
    assert!(two.as_mut().poll(&mut cx).is_pending());
    assert!(idle.as_mut().poll(&mut cx).is_pending());
    credit.close();
    assert_eq!(woken.try_iter().count(), 2);
    assert!(matches!(poll(one), Poll::Ready(Err(Closed))));
    assert!(matches!(poll(two), Poll::Ready(Err(Closed))));
    assert!(matches!(
        poll(pin!(credit.take())),
        Poll::Ready(Err(Closed))
    ));
    assert_eq!(credit.try_take().unwrap_err(), Refused::Closed);
    drop(permit);
    let (_, permit) = credit.settle(token).unwrap();
    let retry = permit.fill("again", 0);
    assert!(poll(idle.as_mut()).is_pending());
    drop(credit.settle(retry));
    assert!(poll(idle).is_ready());
}

#[test]
fn a_place_can_be_kept_without_a_borrow() {
    let credit = window(1);
    let reserved = credit.try_take().unwrap().reserve();
    assert_eq!(credit.try_take().unwrap_err(), Refused::Full);
    let token = credit.resume(reserved).fill("item", 0);
    assert!(credit.settle(token).is_some());
    assert_eq!(credit.taken(), 0);
}

#[test]
fn the_parts_are_send_and_sync() {
    fn assert<T: Send + Sync>() {}
    fn assert_send<T: Send>() {}
    assert::<Credit<String>>();
    assert::<Permit<'_, String>>();
    assert::<Reserved<String>>();
    assert::<Take<'_, String>>();
    assert::<Idle<'_, String>>();
    // What is in flight goes from thread to thread, never to two at once.
    assert_send::<Credit<std::cell::Cell<u8>>>();
}
