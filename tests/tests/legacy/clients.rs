//! Connections: their names, and what outlives them.
#![cfg(feature = "nats")]

use std::sync::Arc;
use std::time::Duration;

use jetbus::{Builder, Delivery, NatsOptions, News, Retry};
use jetbus_tests::Server;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::proxy::Proxy;
use jetbus_tests::support::{Seen, in_turns, news, publish, publish_all};

fn server(env: &Env) -> &Server {
    env.server().expect("a real server")
}

/// A subscription is the same after the connection was lost, and is there once.
pub(crate) async fn after_a_lost_connection_failing_events_are_tried_again_and_none_comes_twice(
    env: Env,
) {
    const ROUNDS: u32 = 3;
    let proxy = Proxy::start(server(&env).address()).unwrap();
    let bus = Builder::nats(NatsOptions::new(proxy.url()))
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let (runs, handled) = (Seen::new(), Seen::new());
    let (ran, noted) = (runs.clone(), handled.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(Duration::from_secs(3_600))
        .retry(Retry {
            first: Duration::from_millis(1),
            max: Duration::from_millis(1),
        })
        .handle(move |event: Delivery<u32>| {
            let key = event.key().unwrap().to_owned();
            ran.note((key.clone(), 10 * event.payload + event.attempt()));
            let fails = event.payload.is_multiple_of(2) && event.attempt() == 1;
            if !fails {
                noted.note((key, event.payload));
            }
            async move { if fails { Err("at first") } else { Ok(()) } }
        })
        .await
        .unwrap();
    let admin = Admin::connect(&env).await;
    for round in 0..ROUNDS {
        let numbers = in_turns(5, 2).map(|(key, n)| (key, n + 2 * round));
        publish_all(&orders, numbers).await;
        handled.reaches(10 * (round as usize + 1), &env).await;
        // Nothing is on its way when the connection goes.
        let stream = admin.only_stream().await;
        admin.all_is_settled(&stream).await;
        let mut heard = bus.news();
        proxy.cut();
        news(&env, "the loss is told", &mut heard, |news| {
            matches!(news, News::Disconnected).then_some(())
        })
        .await;
        news(&env, "the return is told", &mut heard, |news| {
            matches!(news, News::Connected { .. }).then_some(())
        })
        .await;
    }
    publish(&orders, "key-0", 7).await;
    handled.reaches(31, &env).await;
    subscription.stop().await;
    for (key, runs) in runs.by_key() {
        let mut expected = vec![11, 21, 22, 31, 41, 42, 51, 61, 62];
        expected.extend((key == "key-0").then_some(71));
        assert_eq!(runs, expected, "{key}");
    }
    bus.close().await;
}

pub(crate) async fn names_of_clients_may_repeat_and_have_dots(env: Env) {
    const NAME: &str = "billing.eu-1 (blue)";
    let open = || {
        Builder::nats(NatsOptions::new(server(&env).url()).name(NAME))
            .runtime(Arc::clone(env.runtime()))
            .open()
    };
    let buses = [open().await.unwrap(), open().await.unwrap()];
    for (n, bus) in (1..).zip(&buses) {
        publish(&bus.topic("orders.placed").unwrap(), "order-1", n).await;
    }
    assert_eq!(server(&env).connection_names(), [NAME, NAME]);
    for bus in buses {
        bus.close().await;
    }
}
