use super::*;
use std::pin::pin;

const NOW: Time = Time::from_millis(1_000);
const LATER: Time = Time::from_millis(2_000);

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn lead<E: Clone>(flight: &Flight<E>) -> Leader<'_, E> {
    match flight.join(NOW) {
        Join::Lead(leader) => leader,
        _ => panic!("nobody else leads"),
    }
}

fn follow<E: Clone>(flight: &Flight<E>) -> Follower<'_, E> {
    match flight.join(NOW) {
        Join::Follow(follower) => follower,
        _ => panic!("somebody leads"),
    }
}

#[test]
fn one_leads_and_the_others_get_its_outcome() {
    let flight = Flight::<()>::new();
    let leader = lead(&flight);
    let (mut one, mut two) = (pin!(follow(&flight)), pin!(follow(&flight)));
    assert!(poll(one.as_mut()).is_pending());
    leader.done();
    // A new flight does not take the outcome of the old one away.
    let _next = lead(&flight);
    assert!(matches!(poll(one), Poll::Ready(Landed::Done)));
    assert!(matches!(poll(two.as_mut()), Poll::Ready(Landed::Done)));
    assert!(matches!(poll(two), Poll::Ready(Landed::Done)));
}

#[test]
fn a_failure_is_remembered_until_its_time() {
    let flight = Flight::new();
    let leader = lead(&flight);
    let follower = pin!(follow(&flight));
    leader.fail("no quorum", LATER);
    assert!(matches!(
        poll(follower),
        Poll::Ready(Landed::Failed("no quorum", LATER))
    ));
    assert!(matches!(flight.join(NOW), Join::Failed("no quorum", LATER)));
    assert!(matches!(flight.join(LATER), Join::Lead(_)));
    // The one who tried again went away: the failure is forgotten by then.
    lead(&flight).done();
}

#[test]
fn a_failure_can_be_forgotten() {
    let flight = Flight::new();
    lead(&flight).fail("no quorum", LATER);
    flight.forget_failure();
    let leader = lead(&flight);
    flight.forget_failure();
    assert!(matches!(flight.join(NOW), Join::Follow(_)));
    leader.done();
}

#[test]
fn a_leader_that_goes_away_hands_over_to_the_first_follower() {
    let flight = Flight::<()>::new();
    let leader = lead(&flight);
    let (mut one, mut two) = (pin!(follow(&flight)), pin!(follow(&flight)));
    drop(leader);
    assert!(poll(two.as_mut()).is_pending());
    let Poll::Ready(Landed::Lead(leader)) = poll(one.as_mut()) else {
        panic!("the first follower leads")
    };
    assert!(matches!(flight.join(NOW), Join::Follow(_)));
    leader.done();
    assert!(matches!(poll(two), Poll::Ready(Landed::Done)));
}

#[test]
fn a_follower_that_goes_away_takes_no_lead_with_it() {
    let flight = Flight::<()>::new();
    let leader = lead(&flight);
    let one = follow(&flight);
    let gone = follow(&flight);
    let two = pin!(follow(&flight));
    drop(gone);
    drop(leader);
    drop(one);
    let Poll::Ready(Landed::Lead(leader)) = poll(two) else {
        panic!("the lead was passed on")
    };
    drop(leader);
    lead(&flight).done();
}

#[test]
fn nothing_is_left_behind() {
    let flight = Flight::<()>::new();
    let leader = lead(&flight);
    drop(follow(&flight));
    let mut done = pin!(follow(&flight));
    leader.done();
    assert!(poll(done.as_mut()).is_ready());
    assert!(flight.cabin.lock().seats.is_empty());
}

#[test]
fn the_parts_are_send_and_sync() {
    fn assert<T: Send + Sync>() {}
    assert::<Flight<String>>();
    assert::<Leader<'_, String>>();
    assert::<Follower<'_, String>>();
}
