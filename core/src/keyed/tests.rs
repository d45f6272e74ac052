use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn ready(keyed: &mut Keyed<u8, u32>) -> Vec<u32> {
    std::iter::from_fn(|| keyed.next_ready())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|id| *keyed.item(id).unwrap())
        .collect()
}

#[test]
fn one_item_of_a_key_is_out_at_a_time_and_in_order() {
    let mut keyed = Keyed::new(1);
    let a1 = keyed.push(Some(1), 11);
    let b1 = keyed.push(Some(2), 21);
    let a2 = keyed.push(Some(1), 12);
    keyed.push(None, 1);
    keyed.push(None, 2);
    assert_eq!(keyed.len_of(&1), 2);
    assert_eq!(keyed.behind(a1), Some(a2));
    assert_eq!(ready(&mut keyed), [11, 21, 1, 2]);
    assert_eq!(keyed.finish(b1), Some(21));
    assert!(ready(&mut keyed).is_empty());
    assert_eq!(keyed.finish(a1), Some(11));
    assert_eq!(ready(&mut keyed), [12]);
    assert_eq!(keyed.finish(a2), Some(12));
    assert_eq!(keyed.len(), 2);
}

#[test]
fn a_parked_head_holds_its_key_only() {
    let mut keyed = Keyed::new(1);
    let a1 = keyed.push(Some(1), 11);
    keyed.push(Some(1), 12);
    assert_eq!(ready(&mut keyed), [11]);
    assert!(keyed.park(a1, at(10)));
    let b1 = keyed.push(Some(2), 21);
    assert_eq!(ready(&mut keyed), [21]);
    assert_eq!(keyed.deadline(), Some(at(10)));
    assert_eq!(keyed.release_due(at(9)), None);
    assert_eq!(keyed.release_due(at(10)), Some(a1));
    assert_eq!(keyed.release_due(at(10)), None);
    assert_eq!(ready(&mut keyed), [11]);
    keyed.finish(b1);
    keyed.finish(a1);
    assert_eq!(ready(&mut keyed), [12]);
}

#[test]
fn a_late_arrival_of_an_earlier_item_goes_before_what_is_not_out() {
    let mut keyed = Keyed::new(1);
    let first = keyed.push(Some(1), 5);
    keyed.push(Some(1), 9);
    keyed.insert(Some(1), 7, |other| Some(7.cmp(other)));
    // The head is ready but not out: the earlier item takes its turn.
    let zero = keyed.insert(Some(1), 0, |other| Some(0.cmp(other)));
    assert_eq!(ready(&mut keyed), [0]);
    // The head is out: nothing goes before it.
    let one = keyed.insert(Some(1), 1, |other| Some(1.cmp(other)));
    let late = keyed.insert(Some(1), 0, |_| Some(Ordering::Less));
    for (id, then) in [(zero, 0), (late, 1), (one, 5), (first, 7)] {
        keyed.finish(id);
        assert_eq!(ready(&mut keyed), [then]);
    }
}

#[test]
fn an_earlier_item_goes_before_a_parked_head() {
    let mut keyed = Keyed::new(1);
    let head = keyed.push(Some(1), 5);
    assert_eq!(ready(&mut keyed), [5]);
    keyed.park(head, at(10));
    let earlier = keyed.insert(Some(1), 3, |other| Some(3.cmp(other)));
    assert_eq!(ready(&mut keyed), [3]);
    assert_eq!(keyed.release_due(at(10)), Some(head));
    assert!(
        ready(&mut keyed).is_empty(),
        "its time came, its turn not yet"
    );
    keyed.finish(earlier);
    assert_eq!(ready(&mut keyed), [5]);
}

#[test]
fn successors_can_be_handed_out_with_their_head() {
    let mut keyed = Keyed::new(1);
    let [a1, a2, a3, a4] = [1, 2, 3, 4].map(|n| keyed.push(Some(1), n));
    let b1 = keyed.push(Some(2), 9);
    assert_eq!(keyed.first_ready(), Some(a1));
    assert_eq!(keyed.ready_behind(a1), Some(b1));
    assert_eq!(keyed.ready_behind(a2), None);
    assert!(!keyed.hand_out(a2), "its head was not");
    assert!(keyed.hand_out(a1) && !keyed.hand_out(a1));
    assert_eq!(keyed.follower(a1), Some(a2));
    assert!(keyed.hand_out(a2) && !keyed.hand_out(a4));
    keyed.park(a3, at(1));
    assert!(keyed.is_parked(a3) && !keyed.hand_out(a3));
    assert_eq!((keyed.behind(a2), keyed.follower(a2)), (Some(a3), None));
    assert_eq!((keyed.head(a4), keyed.key(a4)), (Some(a1), Some(&1)));
    assert_eq!(ready(&mut keyed), [9]);
    // Back in the queue, each is where it was.
    for id in [a1, a2, a3] {
        keyed.release(id);
    }
    for (id, item) in [(a1, 1), (a2, 2), (a3, 3), (a4, 4)] {
        assert_eq!(ready(&mut keyed), [item]);
        keyed.finish(id);
    }
}

#[test]
fn an_id_of_an_item_that_left_means_nothing() {
    let mut keyed = Keyed::new(1);
    let old = keyed.push(Some(1), 1);
    keyed.finish(old);
    let new = keyed.push(Some(1), 2);
    assert_eq!(keyed.item(old), None);
    assert_eq!(keyed.finish(old), None);
    assert!(!keyed.park(old, at(1)));
    assert!(!keyed.release(old));
    assert_eq!(keyed.behind(old), None);
    assert_eq!(keyed.item(new), Some(&2));
}

#[test]
fn keys_that_hash_alike_do_not_wait_for_each_other() {
    #[derive(Clone, PartialEq, Eq)]
    struct Alike(u32);
    impl Hash for Alike {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            0_u8.hash(state);
        }
    }
    let mut keyed = Keyed::new(1);
    for n in 0..100 {
        keyed.push(Some(Alike(n)), n);
    }
    assert_eq!(std::iter::from_fn(|| keyed.next_ready()).count(), 100);
}

#[test]
fn a_million_keys_through_a_window_leave_nothing_behind() {
    const WINDOW: usize = 10_000;
    let mut keyed = Keyed::new(3);
    let mut held = std::collections::VecDeque::new();
    for n in 0..1_000_000_u64 {
        if held.len() == WINDOW {
            keyed.finish(held.pop_front().unwrap()).unwrap();
        }
        let id = keyed.push(Some(n), n);
        assert_eq!(keyed.next_ready(), Some(id));
        if n % 3 == 0 {
            keyed.park(id, at(n));
        }
        held.push_back(id);
    }
    for id in held {
        keyed.finish(id).unwrap();
    }
    assert!(keyed.is_empty() && keyed.lanes.is_empty() && keyed.parked.is_empty());
    assert_eq!(keyed.slots.len(), WINDOW);
    assert!(keyed.lanes.capacity() < 4 * WINDOW);
    assert_eq!(keyed.ready.first(), None);
}

/// The order of ranks; every seventh has none.
fn order(rank: u32, other: u32) -> Option<Ordering> {
    let ordered = !rank.is_multiple_of(7) && !other.is_multiple_of(7);
    ordered.then(|| rank.cmp(&other))
}

/// The plain model: one list of all items in lane order.
#[derive(Default)]
struct Model {
    items: Vec<Item>,
}

#[derive(Clone, Debug)]
struct Item {
    id: Id,
    key: Option<u8>,
    rank: u32,
    out: bool,
    parked: Option<Time>,
}

impl Model {
    fn runnable(&self) -> Vec<u32> {
        let mut heads = BTreeMap::new();
        let mut ranks = Vec::new();
        for item in &self.items {
            let head = item.key.is_none_or(|key| heads.insert(key, ()).is_none());
            if head && !item.out && item.parked.is_none() {
                ranks.push(item.rank);
            }
        }
        ranks.sort_unstable();
        ranks
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert { key: Option<u8>, rank: u32 },
    HandOut,
    HandOutOne(usize),
    Finish(usize),
    Park(usize, u64),
    Release(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::option::weighted(0.8, 0..4_u8), 0..1000_u32)
            .prop_map(|(key, rank)| Op::Insert { key, rank }),
        4 => Just(Op::HandOut),
        2 => any::<prop::sample::Index>().prop_map(|i| Op::HandOutOne(i.index(64))),
        2 => any::<prop::sample::Index>().prop_map(|i| Op::Finish(i.index(64))),
        2 => (any::<prop::sample::Index>(), 0..20_u64).prop_map(|(i, t)| Op::Park(i.index(64), t)),
        1 => any::<prop::sample::Index>().prop_map(|i| Op::Release(i.index(64))),
        1 => (0..10_u64).prop_map(Op::Wait),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_a_plain_list(ops in prop::collection::vec(op(), 0..200), seed in any::<u64>()) {
        let mut keyed = Keyed::new(seed);
        let mut model = Model::default();
        let mut now = Time::ZERO;
        for op in ops {
            let pick = |i: usize| model.items.get(i % model.items.len().max(1)).map(|item| item.id);
            match op {
                Op::Insert { key, rank } => {
                    let id = keyed.insert(key, rank, |other| order(rank, *other));
                    // Where it belongs: behind what is out and what is not more, and
                    // there before the first that is more.
                    let of_key = |item: &Item| key.is_some() && item.key == key;
                    let behind = |item: &Item| {
                        of_key(item) && (item.out || order(rank, item.rank).is_some_and(Ordering::is_ge))
                    };
                    let before = |item: &Item| of_key(item) && order(rank, item.rank) == Some(Ordering::Less);
                    let from = model.items.iter().rposition(behind).map_or(0, |last| last + 1);
                    let place = model.items[from..].iter().position(before);
                    let place = place.map_or(model.items.len(), |place| from + place);
                    model.items.insert(place, Item { id, key, rank, out: false, parked: None });
                }
                Op::HandOut => {
                    let runnable = model.runnable();
                    match keyed.next_ready() {
                        None => prop_assert_eq!(runnable, Vec::<u32>::new()),
                        Some(id) => {
                            let item = model.items.iter_mut().find(|item| item.id == id).unwrap();
                            prop_assert!(runnable.contains(&item.rank));
                            item.out = true;
                        }
                    }
                }
                Op::HandOutOne(i) => if let Some(id) = pick(i) {
                    let place = model.items.iter().position(|item| item.id == id).unwrap();
                    let item = &model.items[place];
                    let of_key = |other: &&Item| item.key.is_some() && other.key == item.key;
                    let before = model.items[..place].iter().rfind(of_key);
                    let free = !item.out && item.parked.is_none();
                    let expected = free && before.is_none_or(|before| before.out);
                    prop_assert_eq!(keyed.hand_out(id), expected);
                    model.items[place].out |= expected;
                },
                Op::Finish(i) => if let Some(id) = pick(i) {
                    let rank = keyed.finish(id);
                    let place = model.items.iter().position(|item| item.id == id).unwrap();
                    prop_assert_eq!(rank, Some(model.items.remove(place).rank));
                    prop_assert_eq!(keyed.finish(id), None);
                },
                Op::Park(i, after) => if let Some(id) = pick(i) {
                    let until = now + Duration::from_millis(after);
                    keyed.park(id, until);
                    let item = model.items.iter_mut().find(|item| item.id == id).unwrap();
                    (item.out, item.parked) = (false, Some(until));
                },
                Op::Release(i) => if let Some(id) = pick(i) {
                    keyed.release(id);
                    let item = model.items.iter_mut().find(|item| item.id == id).unwrap();
                    (item.out, item.parked) = (false, None);
                },
                Op::Wait(millis) => {
                    now = now + Duration::from_millis(millis);
                    while keyed.release_due(now).is_some() {}
                    for item in &mut model.items {
                        item.parked = item.parked.filter(|until| *until > now);
                    }
                }
            }
            prop_assert_eq!(keyed.len(), model.items.len());
            prop_assert_eq!(keyed.deadline(), model.items.iter().filter_map(|item| item.parked).min());
            for key in 0..4 {
                let len = model.items.iter().filter(|item| item.key == Some(key)).count();
                prop_assert_eq!(keyed.len_of(&key), len);
            }
            for item in &model.items {
                prop_assert_eq!(keyed.item(item.id), Some(&item.rank));
            }
        }
        // Whatever happened, everything comes out when all is released and finished.
        while keyed.release_due(Time::NEVER).is_some() {}
        for item in &model.items {
            keyed.release(item.id);
        }
        let mut left = model.items.len();
        while let Some(id) = keyed.next_ready() {
            keyed.finish(id);
            left -= 1;
        }
        prop_assert_eq!(left, 0);
        prop_assert!(keyed.lanes.is_empty());
    }
}
