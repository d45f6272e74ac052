use super::*;
use std::pin::pin;
use std::task::Waker;

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_open_gate_lets_in_and_a_closing_one_does_not() {
    let gate = Gate::<()>::new();
    let pass = gate.enter().unwrap();
    assert_eq!((gate.state(), gate.inside()), (State::Open, 1));
    assert!(gate.close());
    assert_eq!(gate.enter().unwrap_err(), Closing);
    assert_eq!((gate.state(), gate.inside()), (State::Draining, 1));
    drop(pass);
    assert_eq!(gate.inside(), 0);
}

#[test]
fn drained_comes_with_the_last_pass_and_stays() {
    let gate = Arc::new(Gate::<()>::new());
    let (one, two) = (gate.enter().unwrap(), Gate::enter_owned(&gate).unwrap());
    gate.close();
    let mut drained = pin!(gate.drained());
    assert!(poll(drained.as_mut()).is_pending());
    drop(one);
    assert!(poll(drained.as_mut()).is_pending());
    drop(two);
    assert!(poll(drained).is_ready());
    assert!(gate.enter().is_err());
    assert!(poll(pin!(gate.drained())).is_ready());
}

#[test]
fn closing_is_told_while_somebody_is_inside() {
    let gate = Gate::<()>::new();
    let _pass = gate.enter().unwrap();
    let mut closes = pin!(gate.closes());
    assert!(poll(closes.as_mut()).is_pending());
    drop(gate.closes());
    gate.close();
    assert!(poll(closes).is_ready());
    assert!(poll(pin!(gate.closes())).is_ready());
    assert!(poll(pin!(gate.drained())).is_pending());
}

#[test]
fn an_empty_gate_is_drained_by_closing_it() {
    let gate = Gate::<()>::new();
    assert!(poll(pin!(gate.drained())).is_pending());
    gate.close();
    assert!(poll(pin!(gate.drained())).is_ready());
}

#[test]
fn one_closer_leads_and_all_get_its_report() {
    let gate = Gate::new();
    assert!(gate.close());
    assert!(!gate.close());
    let mut waiting = pin!(gate.closed());
    assert!(poll(waiting.as_mut()).is_pending());
    gate.finish("first");
    gate.finish("second");
    assert_eq!(gate.state(), State::Closed);
    let Poll::Ready(early) = poll(waiting) else {
        panic!("the report is there")
    };
    let Poll::Ready(late) = poll(pin!(gate.closed())) else {
        panic!("the report is there")
    };
    assert_eq!(*early, "first");
    assert!(Arc::ptr_eq(&early, &late));
}

#[test]
fn dropped_waiters_leave_nothing_behind() {
    let gate = Gate::<()>::new();
    for _ in 0..10 {
        assert!(poll(pin!(gate.drained())).is_pending());
        assert!(poll(pin!(gate.closed())).is_pending());
    }
    let mut waiting = gate.waiting.lock();
    assert!(waiting.for_drained.take().is_empty());
    assert!(waiting.for_closed.take().is_empty());
}

#[test]
fn the_parts_are_send_and_sync() {
    fn assert<T: Send + Sync>() {}
    assert::<Gate<String>>();
    assert::<Pass<'_, String>>();
    assert::<OwnedPass<String>>();
    assert::<Drained<'_, String>>();
    assert::<Closed<'_, String>>();
}
