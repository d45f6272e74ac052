//! Twenty thousand events of which one in a hundred fails at first, on real servers,
//! whatever happens to these.
#![cfg(feature = "nats")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jetbus::{Builder, Bus, Delivery, NatsOptions, News, Subscription};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{in_turns, news, publish_all};
use jetbus_tests::{Server, on_servers};
use serde_json::Value;

on_servers! {
    a_consumer_deleted_underneath_costs_nothing,
    a_frozen_server_costs_nothing,
    a_killed_server_costs_nothing_but_repetitions,
    a_stream_deleted_underneath_costs_what_it_held,
    failing_events_are_never_overtaken,
    two_instances_share_a_group,
}

const KEYS: u32 = 200;
const EACH: u32 = 100;
const ALL: usize = (KEYS * EACH) as usize;

/// What a subscription holds and remembers: no fault costs more repetitions.
const WINDOW: usize = 1_024;

/// A lease that an event lost with a connection comes back after.
const LEASE: Duration = Duration::from_secs(2);

/// One that never lapses, where nothing is lost.
const LONG: Duration = Duration::from_secs(3_600);

/// An event: its key and number.
type Which = (String, u32);

/// What handlers did, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The instance and event of each handling that ended well.
    done: Vec<(usize, Which)>,
    distinct: BTreeSet<Which>,
    failed: BTreeSet<Which>,
}

impl Log {
    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Handles an event; one in a hundred fails the first time anybody does.
    fn handle(&self, instance: usize, which: Which) -> Result<(), String> {
        let number: u32 = which.0.bytes().map(u32::from).sum::<u32>() + which.1 * 37;
        self.with(|log| {
            if number.is_multiple_of(100) && log.failed.insert(which.clone()) {
                return Err("at first".to_owned());
            }
            log.distinct.insert(which.clone());
            log.done.push((instance, which));
            Ok(())
        })
    }

    /// How many different events were handled well.
    fn handled(&self) -> usize {
        self.with(|log| log.distinct.len())
    }

    /// Waits until there are so many. However many they are, the next thousand come soon.
    async fn reaches(&self, count: usize, env: &Env) {
        let mut next = 0;
        while next < count {
            next = count.min(self.handled() + 1_000);
            let what = format!("{next} are handled");
            env.until(&what, || self.handled() >= next).await;
        }
    }

    /// How many failed at first.
    fn failed(&self) -> usize {
        self.with(|log| log.failed.len())
    }

    /// Every instance handled the events of a key in order, counting the first time
    /// only.
    fn assert_order(&self) {
        self.with(|log| {
            let mut last = BTreeMap::new();
            let mut known = BTreeSet::new();
            for (instance, (key, n)) in &log.done {
                if known.insert((instance, key, n)) {
                    let before = last.insert((instance, key), *n).unwrap_or(0);
                    assert!(before < *n, "instance {instance}: {key} {n} after {before}");
                }
            }
        });
    }

    /// Counts what was handled well once more. Whatever is, was first before `until`
    /// in the history: the fault explains it.
    fn repeated(&self, until: usize) -> usize {
        let (repeated, late) = self.with(|log| {
            let mut first = BTreeMap::new();
            let (mut repeated, mut late) = (0, 0);
            for (place, (_, which)) in log.done.iter().enumerate() {
                let before = *first.entry(which).or_insert(place);
                repeated += usize::from(before != place);
                late += usize::from(before != place && before >= until);
            }
            (repeated, late)
        });
        assert_eq!(late, 0, "handled again without a reason, of {repeated}");
        println!("{repeated} of {ALL} were handled again");
        repeated
    }

    /// How long the history is.
    fn len(&self) -> usize {
        self.with(|log| log.done.len())
    }
}

async fn listen(bus: &Bus, log: &Log, instance: usize, lease: Duration) -> Subscription {
    let log = log.clone();
    bus.subscribe("orders.placed")
        .group("billing")
        .window(WINDOW)
        .ack_wait(lease)
        .handle(move |event: Delivery<u32>| {
            let handled = log.handle(instance, (event.key().unwrap().to_owned(), event.payload));
            async move { handled }
        })
        .await
        .unwrap()
}

/// Everything is stored before anybody listens: in the order of each key.
async fn stored(bus: &Bus) {
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(KEYS, EACH)).await;
}

fn server(env: &Env) -> &Server {
    env.server().expect("a real server")
}

/// Nothing of the group is left at the server. After a fault a subscription has to be there
/// for it: what the server has forgotten comes to it again, some of it after its lease.
async fn all_is_settled(env: &Env) {
    let admin = Admin::connect(env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
}

async fn failing_events_are_never_overtaken(env: Env) {
    let bus = env.bus().await;
    stored(&bus).await;
    let log = Log::default();
    let subscription = listen(&bus, &log, 0, LONG).await;
    log.reaches(ALL, &env).await;
    subscription.stop().await;
    assert_eq!(log.failed(), ALL / 100);
    log.assert_order();
    assert_eq!(log.repeated(0), 0);
    all_is_settled(&env).await;
    bus.close().await;
}

async fn a_killed_server_costs_nothing_but_repetitions(env: Env) {
    let bus = env.bus().await;
    stored(&bus).await;
    let log = Log::default();
    let subscription = listen(&bus, &log, 0, LEASE).await;
    let mut last = 0;
    for killed_at in [ALL / 4, ALL / 2] {
        log.reaches(killed_at, &env).await;
        let mut heard = bus.news();
        server(&env).kill();
        server(&env).start_again().unwrap();
        news(&env, "the return is told", &mut heard, |news| {
            matches!(news, News::Connected { .. }).then_some(())
        })
        .await;
        last = log.len();
    }
    log.reaches(ALL, &env).await;
    all_is_settled(&env).await;
    subscription.stop().await;
    log.assert_order();
    // A server with one replica forgets the acknowledgements of its last moments: what
    // was handled since it came back was handled once. It was killed twice.
    assert!(log.repeated(last) <= 2 * WINDOW);
    bus.close().await;
}

async fn two_instances_share_a_group(env: Env) {
    let (first, second) = (env.bus().await, env.bus().await);
    stored(&first).await;
    let log = Log::default();
    let subscriptions = [
        listen(&first, &log, 0, LONG).await,
        listen(&second, &log, 1, LONG).await,
    ];
    log.reaches(ALL, &env).await;
    let shares = subscriptions.each_ref().map(|one| one.stats().handled);
    for subscription in subscriptions {
        subscription.stop().await;
    }
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    log.assert_order();
    assert_eq!(log.repeated(0), 0);
    all_is_settled(&env).await;
    first.close().await;
    second.close().await;
}

async fn a_consumer_deleted_underneath_costs_nothing(env: Env) {
    let bus = env.bus().await;
    stored(&bus).await;
    let log = Log::default();
    let subscription = listen(&bus, &log, 0, LEASE).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    let consumer = admin.only_consumer(&stream).await;
    let mut last = 0;
    for deleted_at in [ALL / 4, ALL / 2] {
        log.reaches(deleted_at, &env).await;
        let mut heard = bus.news();
        admin
            .delete_consumer(&stream, consumer["name"].as_str().unwrap())
            .await;
        news(&env, "that it was made again is told", &mut heard, |news| {
            matches!(news, News::Consumer { .. }).then_some(())
        })
        .await;
        last = log.len();
    }
    log.reaches(ALL, &env).await;
    all_is_settled(&env).await;
    subscription.stop().await;
    log.assert_order();
    // Acknowledgements on their way to a consumer that is gone are lost with it. It was deleted
    // twice.
    assert!(log.repeated(last) <= 2 * WINDOW);
    bus.close().await;
}

async fn a_stream_deleted_underneath_costs_what_it_held(env: Env) {
    let bus = env.bus().await;
    stored(&bus).await;
    let log = Log::default();
    let subscription = listen(&bus, &log, 0, LEASE).await;
    log.reaches(ALL / 4, &env).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin
        .api(&format!("STREAM.DELETE.{stream}"), &Value::Null)
        .await;
    // Each event of a key after the one before it is stored: publishing into a stream
    // that is being made again tries again, and so may reorder.
    let orders = bus.topic("orders.placed").unwrap();
    let later: Vec<_> = in_turns(KEYS, 10).map(|(key, n)| (key, n + EACH)).collect();
    for round in later.chunks(KEYS as usize) {
        publish_all(&orders, round.iter().cloned()).await;
    }
    env.until("all that is stored is handled", || {
        log.with(|log| later.iter().all(|which| log.distinct.contains(which)))
    })
    .await;
    all_is_settled(&env).await;
    subscription.stop().await;
    log.assert_order();
    bus.close().await;
}

async fn a_frozen_server_costs_nothing(env: Env) {
    // The loss is noticed after two to three of these: it is frozen about that long.
    let options = NatsOptions::new(server(&env).url()).ping_interval(Duration::from_secs(4));
    let bus = Builder::nats(options)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    stored(&bus).await;
    let log = Log::default();
    let subscription = listen(&bus, &log, 0, LEASE).await;
    log.reaches(ALL / 4, &env).await;
    let mut heard = bus.news();
    server(&env).freeze().unwrap();
    news(&env, "the loss is told", &mut heard, |news| {
        matches!(news, News::Disconnected).then_some(())
    })
    .await;
    server(&env).thaw().unwrap();
    news(&env, "the return is told", &mut heard, |news| {
        matches!(news, News::Connected { .. }).then_some(())
    })
    .await;
    let last = log.len();
    log.reaches(ALL, &env).await;
    all_is_settled(&env).await;
    subscription.stop().await;
    log.assert_order();
    assert!(log.repeated(last) <= WINDOW);
    bus.close().await;
}
