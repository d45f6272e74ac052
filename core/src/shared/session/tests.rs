use super::*;
use std::pin::pin;
use std::task::Waker;

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn generations_grow_with_every_session() {
    let cell = SessionCell::new();
    assert_eq!(cell.generation(), None);
    assert_eq!(cell.connected("a"), Ok(1));
    assert_eq!(cell.connected("b"), Ok(2));
    assert!(cell.disconnected(2));
    assert_eq!(cell.connected("c"), Ok(3));
    assert_eq!(cell.generation(), Some(3));
}

#[test]
fn a_late_disconnect_of_an_old_session_changes_nothing() {
    let cell = SessionCell::new();
    let old = cell.connected("a").unwrap();
    let new = cell.connected("b").unwrap();
    assert!(!cell.disconnected(old));
    assert_eq!(cell.generation(), Some(new));
    assert!(cell.disconnected(new));
    assert!(!cell.disconnected(new));
}

#[test]
fn a_closed_cell_stays_closed() {
    let cell = SessionCell::new();
    cell.connected("a").unwrap();
    assert!(cell.close());
    assert!(!cell.close());
    assert_eq!(cell.connected("b"), Err(Closed));
    assert!(matches!(*cell.load(), Current::Closed));
    assert_eq!(poll(pin!(cell.up())), Poll::Ready(Err(Closed)));
}

#[test]
fn an_old_session_lives_until_its_last_holder_lets_go() {
    let cell = SessionCell::new();
    let link = Arc::new(());
    cell.connected(Arc::clone(&link)).unwrap();
    let held = cell.load();
    cell.connected(Arc::new(())).unwrap();
    assert_eq!(Arc::strong_count(&link), 2);
    drop(held);
    assert_eq!(Arc::strong_count(&link), 1);
}

#[test]
fn waiters_learn_of_the_session_and_dropped_ones_leave() {
    let cell = SessionCell::new();
    assert!(poll(pin!(cell.up())).is_pending());
    let mut up = pin!(cell.up());
    assert!(poll(up.as_mut()).is_pending());
    cell.connected("a").unwrap();
    assert_eq!(poll(up), Poll::Ready(Ok(1)));
    assert!(cell.replacing.lock().for_up.take().is_empty());
}

#[test]
fn the_parts_are_send_and_sync() {
    fn assert<T: Send + Sync>() {}
    assert::<SessionCell<String>>();
    assert::<Up<'_, String>>();
}
