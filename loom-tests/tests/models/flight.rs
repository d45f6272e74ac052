//! Models of `shared::flight`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use core_loom::Time;
use core_loom::shared::flight::{Flight, Join, Landed, Leader};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, bounded, exhaustive, idly, models};

pub(crate) const MODELS: &[Model] = models![
    at_most_one_leads,
    at_most_one_of_three_leads,
    two_flights_each,
    a_leader_that_goes_hands_over,
    a_follower_that_goes_passes_the_lead_on,
    a_failure_is_tried_once,
    one_tries_again_when_a_failure_expires,
    forgetting_a_failure_grounds_nobody,
];

const NOW: Time = Time::from_millis(1);
const LATER: Time = Time::from_millis(2);

/// A flight and the work, touched by whoever leads.
struct Airfield {
    flight: Flight<&'static str>,
    work: UnsafeCell<()>,
    attempts: AtomicUsize,
}

impl Airfield {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flight: Flight::new(),
            work: UnsafeCell::new(()),
            attempts: AtomicUsize::new(0),
        })
    }

    fn work(&self) {
        self.work.with_mut(|_| ());
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Joins at `now` and ends as `land` says, whoever leads.
    fn fly(&self, now: Time, land: impl Fn(&Self, Leader<'_, &'static str>)) {
        let leader = match self.flight.join(now) {
            Join::Lead(leader) => leader,
            Join::Failed(..) => return,
            Join::Follow(follower) => match block_on(follower) {
                Landed::Lead(leader) => leader,
                Landed::Done | Landed::Failed(..) => return,
            },
        };
        self.work();
        land(self, leader);
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }
}

fn done(_: &Airfield, leader: Leader<'_, &'static str>) {
    leader.done();
}

fn fail(_: &Airfield, leader: Leader<'_, &'static str>) {
    leader.fail("refused", LATER);
}

/// The first to lead goes away without an outcome.
fn fail_to_land_at_first(airfield: &Airfield, leader: Leader<'_, &'static str>) {
    if airfield.attempts() == 1 {
        drop(leader);
    } else {
        leader.done();
    }
}

fn together(threads: usize, fly: impl Fn(&Airfield) + Copy + Send + 'static) -> Arc<Airfield> {
    let airfield = Airfield::new();
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let airfield = Arc::clone(&airfield);
            thread::spawn(move || fly(&airfield))
        })
        .collect();
    fly(&airfield);
    for other in others {
        other.join().unwrap();
    }
    airfield
}

/// Invariants: at most one leads, the next sees what the one before did, no
/// wake-up is lost.
/// Threads: two. Exhaustive.
/// Seen to fail: Acquire in `take_off` or Release in `land_alone` made Relaxed.
fn at_most_one_leads() {
    exhaustive(|| {
        together(2, |airfield| airfield.fly(NOW, done));
    });
}

/// As above. Threads: three. Bounded by 3.
/// Seen to fail: Release in `land` made Relaxed.
fn at_most_one_of_three_leads() {
    bounded(3, || {
        together(3, |airfield| airfield.fly(NOW, done));
    });
}

/// As above. Threads: two, twice. Bounded by 3.
fn two_flights_each() {
    bounded(3, || {
        together(2, |airfield| {
            airfield.fly(NOW, done);
            airfield.fly(NOW, done);
        });
    });
}

/// Invariant: a leader that goes away hands over to exactly one follower, and no
/// follower is forgotten.
/// Threads: three. Bounded by 3.
/// Seen to fail: a dropped leader landing instead of handing over; the follower
/// that leads not woken.
fn a_leader_that_goes_hands_over() {
    bounded(3, || {
        let airfield = together(3, |airfield| airfield.fly(NOW, fail_to_land_at_first));
        assert!(matches!(airfield.flight.join(NOW), Join::Lead(_)));
    });
}

/// Invariant: a lead given to a follower that goes away goes on to the next.
/// Threads: one leads and goes, one follows or leads and goes, one stays. Bounded
/// by 3.
/// Seen to fail: `Follower::drop` not passing the lead on.
fn a_follower_that_goes_passes_the_lead_on() {
    bounded(3, || {
        let airfield = Airfield::new();
        let fickle = thread::spawn({
            let airfield = Arc::clone(&airfield);
            move || {
                if let Join::Follow(follower) = airfield.flight.join(NOW) {
                    let mut follower = pin!(follower);
                    let _ = idly(|cx| follower.as_mut().poll(cx));
                }
            }
        });
        let cancelled = thread::spawn({
            let airfield = Arc::clone(&airfield);
            move || {
                if let Join::Lead(leader) = airfield.flight.join(NOW) {
                    airfield.work();
                    drop(leader);
                }
            }
        });
        airfield.fly(NOW, done);
        fickle.join().unwrap();
        cancelled.join().unwrap();
    });
}

/// Invariant: a failure is remembered, not retried by everybody at once.
/// Threads: three. Bounded by 3.
/// Seen to fail: `fail` remembering nothing.
fn a_failure_is_tried_once() {
    bounded(3, || {
        let airfield = together(3, |airfield| airfield.fly(NOW, fail));
        assert_eq!(airfield.attempts(), 1);
    });
}

/// Invariant: at most one leads, also when a failure has expired for all at once.
/// Threads: two, after a failure. Exhaustive.
/// Seen to fail: an expired failure leaving FAILED for IDLE, not for LEADING.
fn one_tries_again_when_a_failure_expires() {
    exhaustive(|| {
        let airfield = Airfield::new();
        airfield.fly(NOW, fail);
        let other = thread::spawn({
            let airfield = Arc::clone(&airfield);
            move || airfield.fly(LATER, done)
        });
        airfield.fly(LATER, done);
        other.join().unwrap();
    });
}

/// Invariant: forgetting a failure takes the lead from nobody.
/// Threads: one forgets, one joins when the failure has expired, one before.
/// Bounded by 3.
/// Seen to fail: `forget_failure` landing in IDLE whatever was remembered.
fn forgetting_a_failure_grounds_nobody() {
    bounded(3, || {
        let airfield = Airfield::new();
        airfield.fly(NOW, fail);
        let forgetful = thread::spawn({
            let airfield = Arc::clone(&airfield);
            move || airfield.flight.forget_failure()
        });
        let early = thread::spawn({
            let airfield = Arc::clone(&airfield);
            move || airfield.fly(NOW, done)
        });
        airfield.fly(LATER, done);
        forgetful.join().unwrap();
        early.join().unwrap();
    });
}
