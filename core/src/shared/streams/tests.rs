use super::*;
use std::pin::pin;
use std::task::Waker;

type State = StreamState<&'static str, &'static str>;

const NOW: Time = Time::from_millis(1_000);
const LATER: Time = Time::from_millis(2_000);

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn lead(state: &State) -> Ensuring<'_, &'static str, &'static str> {
    match state.ensure(NOW) {
        Ensure::Lead(ensuring) => ensuring,
        other => panic!("nobody else ensures: {other:?}"),
    }
}

fn make_ready(state: &State, name: &'static str) -> Epoch {
    lead(state).ready(name).expect("not invalidated")
}

#[test]
fn ready_is_readable_with_what_was_learned() {
    let state = State::new();
    assert_eq!(state.ready(), None);
    assert_eq!(state.with(|_, name| *name), None);
    let epoch = make_ready(&state, "ORDERS");
    assert_eq!(state.ready(), Some(epoch));
    assert_eq!(
        state.with(|seen, name| (seen, *name)),
        Some((epoch, "ORDERS"))
    );
    assert!(matches!(state.ensure(NOW), Ensure::Ready(seen) if seen == epoch));
}

#[test]
fn an_invalidation_during_an_ensure_makes_it_begin_again() {
    let state = State::new();
    let old = make_ready(&state, "old");
    state.invalidate(old);
    assert_eq!(state.ready(), None);
    let ensuring = lead(&state);
    state.invalidate(old);
    let Err(again) = ensuring.ready("from before") else {
        panic!("what it found may be from before the invalidation")
    };
    assert_eq!(state.ready(), None);
    let new = again.ready("new").expect("nothing came between");
    assert!(new > old);
    assert_eq!(state.with(|_, name| *name), Some("new"));
}

#[test]
fn an_invalidation_of_an_old_epoch_leaves_a_newer_one_alone() {
    let state = State::new();
    let old = make_ready(&state, "old");
    state.invalidate(old);
    let new = make_ready(&state, "new");
    state.invalidate(old);
    assert_eq!(state.ready(), Some(new));
    state.invalidate_now();
    assert_eq!(state.ready(), None);
}

#[test]
fn followers_learn_the_outcome_and_inherit_the_task() {
    let state = State::new();
    let ensuring = lead(&state);
    let Ensure::Follow(follower) = state.ensure(NOW) else {
        panic!("somebody ensures")
    };
    drop(ensuring);
    let Poll::Ready(Ensured::Lead(ensuring)) = poll(pin!(follower)) else {
        panic!("the task was handed over")
    };
    let Ensure::Follow(follower) = state.ensure(NOW) else {
        panic!("somebody ensures")
    };
    ensuring.fail("no quorum", LATER);
    assert!(matches!(
        poll(pin!(follower)),
        Poll::Ready(Ensured::Failed("no quorum", LATER))
    ));
    assert!(matches!(
        state.ensure(NOW),
        Ensure::Failed("no quorum", LATER)
    ));
    state.forget_failure();
    make_ready(&state, "ORDERS");
}

#[test]
fn the_collection_has_one_entry_for_each_stream_and_configuration() {
    let streams = Streams::<u64, (), ()>::new(3);
    let orders = streams.entry("ORDERS", &1).unwrap();
    assert!(Arc::ptr_eq(&orders, &streams.entry("ORDERS", &1).unwrap()));
    assert!(!Arc::ptr_eq(&orders, &streams.entry("ORDERS", &2).unwrap()));
    streams.entry("BILLS", &1).unwrap();
    assert_eq!(streams.entry("CARTS", &1).unwrap_err(), Full { limit: 3 });
    let mut seen = Vec::new();
    streams.each_of("ORDERS", |wanted, _| seen.push(*wanted));
    assert_eq!(seen, [1, 2]);
    assert!(streams.remove("ORDERS", &2));
    assert!(!streams.remove("ORDERS", &2));
    assert!(streams.find("ORDERS", &2).is_none());
    streams.entry("CARTS", &1).unwrap();
    assert_eq!(streams.len(), 3);
}

#[test]
fn the_parts_are_send_and_sync() {
    fn assert<T: Send + Sync>() {}
    assert::<StreamState<String, String>>();
    assert::<Ensuring<'_, String, String>>();
    assert::<Following<'_, String, String>>();
    assert::<Streams<u64, String, String>>();
}
