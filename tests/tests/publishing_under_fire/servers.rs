//! One server, and many publishers at full speed.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use jetbus::{Builder, Bus, Class, Event, NatsOptions, Topic};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::operator::all_stored;
use jetbus_tests::support::publish;

use crate::fire::{Fire, Told, Truth, goes_on, said};

const KEYS: u32 = 1_000;

const STREAM: &str = "jetbus~orders~placed";

fn server(env: &Env) -> &Server {
    env.server().expect("a real server")
}

/// How many publishes are answered while the server is killed again and again.
fn publishes() -> u64 {
    let set = std::env::var("PUBLISHES").ok();
    set.map_or(15_000, |count| {
        count.parse().expect("PUBLISHES is a number")
    })
}

/// A bus with this patience.
async fn bus(env: &Env, patience: Duration) -> Bus {
    Builder::nats(NatsOptions::new(server(env).url()))
        .runtime(Arc::clone(env.runtime()))
        .publish_timeout(patience)
        .open()
        .await
        .unwrap()
}

/// Somebody else who publishes, and whose patience tells how long a server is away.
struct Clock(Bus, Topic);

impl Clock {
    async fn of(env: &Env, patience: Duration) -> Self {
        let bus = bus(env, patience).await;
        let topic = bus.topic("clocks").unwrap();
        publish(&topic, "clock", 1).await;
        Self(bus, topic)
    }

    async fn runs_out(self) {
        let given_up = self.1.publish(&Event::new("clock", "Counted", 2)).await;
        let class = given_up.expect_err("nobody answers").class();
        assert!(matches!(class, Class::Retryable | Class::Unknown));
        self.0.close().await;
    }
}

pub(crate) async fn a_killed_server_costs_nothing_at_full_speed(env: Env) {
    let bus = bus(&env, Duration::from_secs(80)).await;
    let fire = Fire::at(&env, &bus.topic("orders.placed").unwrap(), KEYS);
    let third = publishes() / 3;
    for _ in 0..2 {
        goes_on(&env, &bus, third).await;
        server(&env).kill();
        server(&env).start_again().unwrap();
    }
    goes_on(&env, &bus, third).await;
    let truth = fire.ends(&env, server(&env), STREAM).await;
    assert!(truth.is_whole(), "{truth:?}");
    bus.close().await;
}

pub(crate) async fn a_server_that_is_away_for_long_is_gone_on_with_by_itself(env: Env) {
    let bus = bus(&env, Duration::from_secs(3)).await;
    let clock = Clock::of(&env, Duration::from_secs(10)).await;
    let fire = Fire::at(&env, &bus.topic("orders.placed").unwrap(), KEYS);
    goes_on(&env, &bus, 1_000).await;
    server(&env).kill();
    clock.runs_out().await;
    server(&env).start_again().unwrap();
    goes_on(&env, &bus, 1_000).await;
    let truth = fire.ends(&env, server(&env), STREAM).await;
    // The publishers had less patience than that.
    assert!(truth.rejected > 0, "{truth:?}");
    let stats = bus.publish_stats();
    let counted = [
        stats.stored + stats.duplicate,
        stats.rejected,
        stats.unknown,
    ];
    assert_eq!(counted, truth.counts());
    bus.close().await;
}

pub(crate) async fn a_server_that_stands_still_is_waited_for_and_nobody_is_told_wrong(env: Env) {
    let bus = bus(&env, Duration::from_secs(80)).await;
    let clock = Clock::of(&env, Duration::from_secs(8)).await;
    let fire = Fire::at(&env, &bus.topic("orders.placed").unwrap(), KEYS);
    goes_on(&env, &bus, 1_000).await;
    server(&env).freeze().unwrap();
    clock.runs_out().await;
    server(&env).thaw().unwrap();
    goes_on(&env, &bus, 1_000).await;
    let truth = fire.ends(&env, server(&env), STREAM).await;
    assert!(truth.is_whole(), "{truth:?}");
    bus.close().await;
}

pub(crate) async fn closing_right_after_publishing_ends_every_publish_truly(env: Env) {
    const ALL: u32 = 50_000;
    let bus = Builder::nats(NatsOptions::new(server(&env).url()))
        .runtime(Arc::clone(env.runtime()))
        .window(16_384)
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let mut receipts = Vec::new();
    for n in 0..ALL {
        let key = format!("key-{}", n % KEYS);
        let event = Event::new(key, "Counted", n / KEYS);
        receipts.push((n, orders.send(&event).await.unwrap()));
    }
    let report = env.soon("the close", bus.close()).await;
    assert_eq!(report.unknown, 0, "{report:?}");
    let mut told = Told::new();
    for (n, receipt) in receipts {
        let outcome = future::poll_once(receipt).await;
        let outcome = outcome.expect("all is told when the bus is closed");
        told.push((format!("key-{}", n % KEYS), n / KEYS, said(outcome)));
    }
    let stored = all_stored(&env, server(&env), STREAM).await;
    let truth = Truth::of(&told, &stored);
    assert!(truth.is_whole(), "{truth:?}");
    assert_eq!(truth.stored, ALL as usize);
}
