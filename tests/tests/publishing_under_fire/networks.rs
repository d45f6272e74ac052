//! A server that is well, behind connections that break.

use std::sync::Arc;
use std::time::Duration;

use jetbus::{Builder, Bus, NatsOptions};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::proxy::{Proxy, Ration};

use crate::fire::{Fire, Truth, goes_on};

const KEYS: u32 = 200;

/// A few kilobytes let a connection be made and some publishes pass; which byte is the
/// last changes from connection to connection, and so does who does not get it.
fn rations() -> impl Iterator<Item = Ration> {
    (0..24).map(|n| match n % 2 {
        0 => Ration::ToServer(3_000 + 7_919 * n),
        _ => Ration::ToClient(3_000 + 1_987 * n),
    })
}

async fn through_breaks(env: &Env, how: impl FnOnce(Builder) -> Builder) -> (Bus, Truth) {
    let server = env.server().expect("a real server");
    let proxy = Proxy::start(Server::address(server)).unwrap();
    let builder = Builder::nats(NatsOptions::new(proxy.url())).runtime(Arc::clone(env.runtime()));
    let bus = how(builder).open().await.unwrap();
    let fire = Fire::at(env, &bus.topic("orders.placed").unwrap(), KEYS);
    goes_on(env, &bus, 1_000).await;
    proxy.ration(rations());
    env.until("all connections broke", || proxy.rations() == 0)
        .await;
    goes_on(env, &bus, 1_000).await;
    let truth = fire.ends(env, server, "jetbus~orders~placed").await;
    (bus, truth)
}

pub(crate) async fn connections_that_break_at_any_byte_cost_nothing_while_there_is_time(env: Env) {
    let (bus, truth) = through_breaks(&env, |b| {
        b.publish_timeout(Duration::from_secs(80)).window(256)
    })
    .await;
    assert!(truth.is_whole(), "{truth:?}");
    // Answers were lost on the way: what was sent again was found there.
    assert!(bus.publish_stats().duplicate > 0);
    bus.close().await;
}

pub(crate) async fn what_breaking_connections_leave_behind_is_told_truly(env: Env) {
    let (bus, truth) = through_breaks(&env, |b| b.wait_for_connection(false).window(256)).await;
    assert!(truth.unknown > 0, "{truth:?}");
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
