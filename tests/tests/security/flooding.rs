//! Keys that were chosen to meet in one place of a table.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use foldhash::fast::FixedState;
use jetbus_core::keyed::Keyed;
use jetbus_core::random::mix;

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts how often keys are compared.
#[derive(Clone, Debug)]
struct Key([u8; 16]);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.with(|count| count.set(count.get() + 1));
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

const KEYS: u64 = 100_000;

/// What the hasher of the core starts with, for a seed: it is written in its source.
fn start_of(seed: u64) -> u64 {
    0x082e_fa98_ec4e_6c89 ^ seed
}

/// Keys that all have one hash under a seed: their first half makes the hasher multiply
/// by zero, so that the second one does not matter.
fn colliding(seed: u64) -> impl Iterator<Item = Key> {
    let zero = start_of(seed).rotate_right(16).to_ne_bytes();
    (0..KEYS).map(move |n| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&zero);
        key[8..].copy_from_slice(&n.to_ne_bytes());
        Key(key)
    })
}

/// How many comparisons it takes to bring them all into line.
fn comparisons(keyed: &mut Keyed<Key, ()>, keys: impl Iterator<Item = Key>) -> u64 {
    COMPARED.with(|count| count.set(0));
    for key in keys {
        keyed.push(Some(key), ());
        let id = keyed.next_ready().expect("its lane is empty");
        // They stay: the table grows.
        assert!(keyed.item(id).is_some());
    }
    COMPARED.with(Cell::get)
}

#[test]
fn keys_that_collide_without_a_seed_do_not_with_one() {
    let hasher = FixedState::default();
    let hashes: HashSet<u64> = colliding(0).map(|key| hasher.hash_one(&key)).collect();
    assert_eq!(hashes.len(), 1, "they were not built well");
    // To whom the seed is known they do harm: so the count shows something. A few are
    // enough, and take their number squared.
    let few = 2_000;
    let harmed = comparisons(&mut Keyed::new(0), colliding(0).take(few));
    assert!(harmed > 1_000_000, "{harmed}");
    let chance = RandomState::new().build_hasher().finish();
    // A bus draws the seeds of its tables from its own, mixed.
    for seed in [mix(1), mix(2), mix(chance)] {
        let compared = comparisons(&mut Keyed::new(seed), colliding(0));
        assert!(compared < KEYS, "{compared} comparisons with seed {seed}");
    }
}

#[test]
fn every_bus_has_a_seed_of_its_own() {
    // The same numbers that seed tables name the inboxes of a bus.
    let names: HashSet<String> = (0..4)
        .map(|_| {
            smol::block_on(async {
                let broker = jetbus::EmbeddedBroker::new();
                let spied = {
                    let runtime = jetbus::runtime::detect().expect("a runtime");
                    let bus = jetbus::Builder::embedded(&broker).runtime(runtime.clone());
                    let bus = bus.open().await.expect("the bus opens");
                    let link = broker.connect(runtime).await;
                    let mut inbox = {
                        use jetbus::link::Link as _;
                        link.subscribe("orders.placed".into(), None).await.unwrap()
                    };
                    let event = jetbus::Event::new("order-1", "OrderPlaced", 1);
                    bus.publish("orders.placed", &event).await.unwrap();
                    let message = std::future::poll_fn(|cx| inbox.poll_next(cx)).await;
                    bus.close().await;
                    message.expect("the event")
                };
                let reply = spied.reply.expect("it asks for an answer").to_string();
                let (inbox, _) = reply.rsplit_once('.').expect("tokens");
                inbox.to_owned()
            })
        })
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
}
