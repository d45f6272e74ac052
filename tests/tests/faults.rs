//! Real servers that die, freeze and come back, with a bus on them.
#![cfg(feature = "nats")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::{
    Builder, Bus, DeadLetterOptions, Delivery, Event, NatsOptions, News, Outcome, PublishError,
    PullNews, Retry, Settle, Stream,
};
use jetbus_core::names;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::operator::asked;
use jetbus_tests::proxy::Proxy;
use jetbus_tests::server::Cluster;
use jetbus_tests::support::{Door, Seen, in_order, in_turns, news, publish, publish_all, spawn};
use jetbus_tests::{Server, on_servers};
use serde_json::Value;

on_servers! {
    a_frozen_server_is_noticed_and_handling_resumes,
    a_killed_server_loses_nothing_and_keeps_order,
    acknowledgements_of_many_events_share_writes,
    a_leader_that_is_killed_is_replaced_and_handling_goes_on,
    a_leader_that_steps_down_is_replaced_and_handling_goes_on,
    an_idle_subscription_is_served_at_once_after_a_restart,
    what_a_cut_connection_loses_comes_at_once_and_in_order,
    what_a_lost_connection_still_gets_comes_at_once_and_in_order,
    what_is_handled_while_the_server_is_down_is_not_handled_again,
}

/// A lease that no case waits for.
const LONG: Duration = Duration::from_secs(3600);

fn server(env: &Env) -> &Server {
    env.server().expect("a real server")
}

/// Notes the events of `orders.placed`. What the server sent into a connection that
/// had died comes again after the lease.
async fn listen(bus: &Bus) -> (jetbus::Subscription, Seen<(String, u32)>) {
    listen_for(bus, Duration::from_secs(2)).await
}

/// A subscription whose events are delivered again after `ack_wait`, and what it handles.
async fn listen_for(bus: &Bus, ack_wait: Duration) -> (jetbus::Subscription, Seen<(String, u32)>) {
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(ack_wait)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    (subscription, seen)
}

async fn a_killed_server_loses_nothing_and_keeps_order(env: Env) {
    const KEYS: u32 = 50;
    const EACH: u32 = 40;
    let (sender, receiver) = (env.bus().await, env.bus().await);
    let (subscription, seen) = listen(&receiver).await;
    let orders = sender.topic("orders.placed").unwrap();
    let publishing: Vec<_> = (0..KEYS)
        .map(|key| {
            let (orders, key) = (orders.clone(), format!("key-{key}"));
            spawn(&env, async move {
                let mut stored = Vec::new();
                for n in 1..=EACH {
                    let event = Event::new(&*key, "Counted", n);
                    match orders.publish(&event).await {
                        Ok(Outcome::Stored { .. } | Outcome::Duplicate { .. }) => stored.push(n),
                        Err(PublishError::Unknown { .. } | PublishError::NotSent { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
                (key, stored)
            })
        })
        .collect();
    for killed_at in [300, 1_000] {
        seen.reaches(killed_at, &env).await;
        server(&env).kill();
        server(&env).start_again().unwrap();
    }
    // No publish hangs.
    let mut stored = BTreeMap::new();
    for publishing in publishing {
        let (key, numbers) = env.soon("publishing", publishing).await;
        stored.insert(key, numbers);
    }
    env.until("every stored event is handled", || {
        let handled = seen.first_by_key();
        stored.iter().all(|(key, numbers)| {
            handled
                .get(key)
                .is_some_and(|handled| numbers.iter().all(|n| handled.contains(n)))
        })
    })
    .await;
    let all: usize = stored.values().map(Vec::len).sum();
    assert!(all > 1_900, "only {all} of 2000 were stored");
    for (key, numbers) in seen.first_by_key() {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    subscription.stop().await;
    sender.close().await;
    receiver.close().await;
}

async fn what_is_handled_while_the_server_is_down_is_not_handled_again(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(10, 2)).await;
    let (door, begun, seen) = (Door::shut(), Seen::new(), Seen::new());
    let (pass, begins, noted) = (door.clone(), begun.clone(), seen.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .handle(move |event: Delivery<u32>| {
            let (pass, begins, noted) = (pass.clone(), begins.clone(), noted.clone());
            async move {
                begins.note(());
                pass.pass().await;
                noted.note((event.key().unwrap().to_owned(), event.payload));
            }
        })
        .await
        .unwrap();
    begun.reaches(10, &env).await;
    server(&env).kill();
    news(&env, "the loss is told", &mut heard, |news| {
        matches!(news, News::Disconnected).then_some(())
    })
    .await;
    assert!(!bus.is_connected());
    // Handling goes on with what is held.
    door.open();
    seen.reaches(20, &env).await;
    server(&env).start_again().unwrap();
    news(&env, "the return is told", &mut heard, |news| {
        matches!(news, News::Connected { .. }).then_some(())
    })
    .await;
    publish(&orders, "key-0", 3).await;
    seen.reaches(21, &env).await;
    let mut expected = in_order(10, 2);
    expected.get_mut("key-0").unwrap().push(3);
    assert_eq!(seen.by_key(), expected);
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;
    bus.close().await;
}

async fn an_idle_subscription_is_served_at_once_after_a_restart(env: Env) {
    let bus = env.bus().await;
    let (subscription, seen) = listen(&bus).await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut expected = Vec::new();
    for n in 1..=3 {
        let mut heard = bus.news();
        server(&env).restart().unwrap();
        news(&env, "the return is told", &mut heard, |news| {
            matches!(news, News::Connected { .. }).then_some(())
        })
        .await;
        publish(&orders, "order-1", n).await;
        seen.reaches(n as usize, &env).await;
        expected.push(("order-1".to_owned(), n));
        assert_eq!(seen.all(), expected);
        // It came by itself, not because silence was noticed.
        while let Some(Some(next)) = future::poll_once(heard.next()).await {
            let silent =
                matches!(&next, News::Pull { what, .. } if what.to_string().contains("heard"));
            assert!(!silent, "{next:?}");
        }
    }
    subscription.stop().await;
    bus.close().await;
}

async fn what_a_cut_connection_loses_comes_at_once_and_in_order(env: Env) {
    let sender = env.bus().await;
    let orders = sender.topic("orders.placed").unwrap();
    let proxy = Proxy::start(server(&env).address()).unwrap();
    let bus = Builder::nats(NatsOptions::new(proxy.url()))
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let (subscription, seen) = listen_for(&bus, LONG).await;
    publish_all(&orders, in_turns(10, 1)).await;
    seen.reaches(10, &env).await;
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    admin.all_is_settled(&stream).await;

    proxy.hold();
    publish_all(&orders, in_turns(10, 3).skip(10).take(10)).await;
    env.soon("the server has delivered them", async {
        while admin.only_consumer(&stream).await["num_ack_pending"] != 10 {}
    })
    .await;
    // Until the server has seen the end of the connection, it sends what comes into that.
    proxy.shut();
    env.soon("the server has ended its pulls", async {
        while admin.only_consumer(&stream).await["num_waiting"] != 0 {}
    })
    .await;
    proxy.open();
    publish_all(&orders, in_turns(10, 3).skip(20)).await;
    seen.reaches(30, &env).await;
    assert_eq!(seen.by_key(), in_order(10, 3));
    let count = news(&env, "the loss is told", &mut heard, |news| match news {
        News::Pull {
            what: PullNews::Lost { count },
            ..
        } => Some(count),
        _ => None,
    });
    assert_eq!(count.await, 10);
    admin.all_is_settled(&stream).await;
    subscription.stop().await;
    for bus in [bus, sender] {
        bus.close().await;
    }
}

async fn what_a_lost_connection_still_gets_comes_at_once_and_in_order(env: Env) {
    let sender = env.bus().await;
    let orders = sender.topic("orders.placed").unwrap();
    let [old, new] = [0, 1].map(|_| Proxy::start(server(&env).address()).unwrap());
    new.shut();
    let options = NatsOptions::new(old.url())
        .server(new.url())
        .ping_interval(Duration::from_secs(1));
    let bus = Builder::nats(options)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let (subscription, seen) = listen_for(&bus, LONG).await;
    publish_all(&orders, in_turns(10, 1)).await;
    seen.reaches(10, &env).await;

    // The client gives the connection up; the server believes in it, and in its pulls.
    let mut heard = bus.news();
    new.open();
    old.strand();
    news(&env, "another connection is told", &mut heard, |news| {
        matches!(news, News::Connected { .. }).then_some(())
    })
    .await;
    publish_all(&orders, in_turns(10, 5).skip(10)).await;
    seen.reaches(50, &env).await;
    assert_eq!(seen.by_key(), in_order(10, 5));
    subscription.stop().await;
    for bus in [bus, sender] {
        bus.close().await;
    }
}

async fn a_frozen_server_is_noticed_and_handling_resumes(env: Env) {
    let options = NatsOptions::new(server(&env).url()).ping_interval(Duration::from_secs(1));
    let bus = Builder::nats(options)
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let (subscription, seen) = listen(&bus).await;
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, in_turns(5, 4)).await;
    seen.reaches(20, &env).await;

    server(&env).freeze().unwrap();
    let answered = Arc::new(AtomicBool::new(false));
    let publishing = spawn(&env, {
        let (orders, answered) = (orders.clone(), Arc::clone(&answered));
        async move {
            publish_all(&orders, in_turns(5, 8).skip(20)).await;
            answered.store(true, Ordering::SeqCst);
        }
    });
    news(&env, "the loss is told", &mut heard, |news| {
        matches!(news, News::Disconnected).then_some(())
    })
    .await;
    assert!(!answered.load(Ordering::SeqCst));
    server(&env).thaw().unwrap();
    news(&env, "the return is told", &mut heard, |news| {
        matches!(news, News::Connected { .. }).then_some(())
    })
    .await;
    env.soon("publishing ends by itself", publishing).await;
    env.until("all are handled", || {
        seen.first_by_key().values().map(Vec::len).sum::<usize>() == 40
    })
    .await;
    // What the server took from the old connection it delivered there too: handled
    // again after the lease, perhaps behind later events of its key. Stored it is in
    // order.
    let outside = env.outside().await;
    let mut stored = BTreeMap::<String, Vec<u32>>::new();
    for sequence in 1..=40 {
        let message = outside.stored("jetbus~orders~placed", sequence).await;
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let key = body["aggregate_id"].as_str().unwrap().to_owned();
        let n = body["payload"].as_u64().unwrap();
        stored
            .entry(key)
            .or_default()
            .push(u32::try_from(n).unwrap());
    }
    assert_eq!(stored, in_order(5, 8));
    assert_eq!(outside.messages("jetbus~orders~placed").await, 40);
    subscription.stop().await;
    bus.close().await;
}

/// The proxy reads as fast as it can: had each acknowledgement a write of its own, it
/// would read most of them one by one.
async fn acknowledgements_of_many_events_share_writes(env: Env) {
    const ALL: u32 = 1_000;
    let proxy = Proxy::start(server(&env).address()).unwrap();
    let bus = Builder::nats(NatsOptions::new(proxy.url()))
        .runtime(Arc::clone(env.runtime()))
        .open()
        .await
        .unwrap();
    let mut deliveries = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(LONG)
        .deliveries::<u32>()
        .await
        .unwrap();
    publish_all(&bus.topic("orders.placed").unwrap(), in_turns(ALL, 1)).await;
    let mut handles = Vec::new();
    for _ in 0..ALL {
        let next = env.soon("a delivery", deliveries.next()).await;
        handles.push(next.unwrap().1);
    }
    assert_eq!(proxy.acks().all, 0);
    handles.into_iter().for_each(Settle::ack);
    env.until("all are acknowledged", || proxy.acks().all == ALL as usize)
        .await;
    let reads = proxy.acks().reads;
    assert!(reads <= ALL as usize / 10, "{reads} reads");
    deliveries.stop().await;
    bus.close().await;
}

/// The group's durable.
fn durable() -> String {
    names::durable("billing", "orders.placed", None).unwrap()
}

/// Three servers of which one leads a stream; a bus that publishes and handles, every
/// third event after a failure; and three times `elect`, with the number of events that
/// are handled by then. Returns what was told, beside the failures.
async fn through_elections<F: Future<Output = ()>>(
    env: &Env,
    elect: impl Fn(Arc<Cluster>, usize) -> F,
) -> Vec<News> {
    const KEYS: u32 = 20;
    const EACH: u32 = 40;
    let cluster = Arc::new(Cluster::start(3).unwrap());
    // Healthy servers may still not know of each other what it takes to replicate.
    let probe = r#"{"name":"PROBE","subjects":["probe"],"num_replicas":3}"#;
    asked(env, &cluster.servers()[0], "STREAM.CREATE.PROBE", probe).await;
    let urls = cluster.urls();
    let options = NatsOptions::new(&urls[0]).server(&urls[1]).server(&urls[2]);
    let bus = Builder::nats(options)
        .runtime(Arc::clone(env.runtime()))
        .stream(Stream::new("ORDERS", ["orders.*"]).replicas(3))
        .dead_letters(DeadLetterOptions::new().replicas(3))
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let told = spawn(env, async move {
        let mut told = Vec::new();
        while let Some(news) = heard.next().await {
            if !matches!(news, News::HandlerFailed { .. }) {
                told.push(news);
            }
        }
        told
    });
    let (seen, failed) = (Seen::new(), Seen::new());
    let (noted, fails) = (seen.clone(), failed.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .ack_wait(Duration::from_secs(2))
        .retry(Retry {
            first: Duration::from_millis(5),
            max: Duration::from_millis(50),
        })
        .handle(move |event: Delivery<u32>| {
            let (noted, fails) = (noted.clone(), fails.clone());
            async move {
                if event.payload.is_multiple_of(3) && event.attempt() == 1 {
                    fails.note(event.payload);
                    return Err("not yet");
                }
                noted.note((event.key().unwrap().to_owned(), event.payload));
                Ok(())
            }
        })
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let publishing: Vec<_> = (0..KEYS)
        .map(|key| {
            let (orders, key) = (orders.clone(), format!("key-{key}"));
            spawn(env, async move {
                for n in 1..=EACH {
                    publish(&orders, &key, n).await;
                }
            })
        })
        .collect();
    for handled in [100, 300, 500] {
        seen.reaches(handled, env).await;
        elect(Arc::clone(&cluster), handled).await;
    }
    for publishing in publishing {
        env.soon("publishing", publishing).await;
    }
    env.until("every event is handled", || {
        seen.first_by_key().values().map(Vec::len).sum::<usize>() == (KEYS * EACH) as usize
    })
    .await;
    assert_eq!(seen.first_by_key(), in_order(KEYS, EACH));
    assert!(failed.len() >= (KEYS * (EACH / 3)) as usize);
    env.soon("the stop", subscription.stop()).await;
    env.soon("the close", bus.close()).await;
    env.soon("the news end", told).await
}

async fn a_leader_that_steps_down_is_replaced_and_handling_goes_on(env: Env) {
    let elect = |cluster: Arc<Cluster>, _| {
        let env = &env;
        async move {
            let server = &cluster.servers()[0];
            asked(env, server, "STREAM.LEADER.STEPDOWN.ORDERS", "").await;
            let what = format!("CONSUMER.LEADER.STEPDOWN.ORDERS.{}", durable());
            asked(env, server, &what, "").await;
        }
    };
    let told = through_elections(&env, elect).await;
    let is_told = |news: &News| {
        let changed = |what: &PullNews| matches!(what, PullNews::LeaderChanged);
        matches!(news, News::Pull { what, .. } if changed(what))
    };
    assert!(told.iter().any(is_told), "{told:?}");
    // Nothing had to be made again, and nothing was given up.
    for news in told {
        let calm = match &news {
            News::Stream { what, .. } => what.ends_with("was created"),
            News::Pull { what, .. } => matches!(
                what,
                PullNews::LeaderChanged
                    | PullNews::ConsumerMissing
                    | PullNews::Refused { .. }
                    | PullNews::Silent { .. }
                    | PullNews::Lost { .. }
            ),
            News::Consumer { .. } => true,
            _ => false,
        };
        assert!(calm, "{news:?}");
    }
}

async fn a_leader_that_is_killed_is_replaced_and_handling_goes_on(env: Env) {
    let victim = Arc::new(Mutex::new(None::<usize>));
    let elect = |cluster: Arc<Cluster>, handled| {
        let (env, victim) = (&env, Arc::clone(&victim));
        async move {
            let servers = cluster.servers();
            let dead = victim.lock().unwrap().take();
            if let Some(dead) = dead {
                servers[dead].start_again().unwrap();
                cluster.wait_until_healthy().unwrap();
                return;
            }
            // First who serves the subscription, then who stores.
            let what = match handled {
                500 => "STREAM.INFO.ORDERS".to_owned(),
                _ => format!("CONSUMER.INFO.ORDERS.{}", durable()),
            };
            let info = asked(env, &servers[0], &what, "").await;
            let leader = info["cluster"]["leader"].as_str().unwrap();
            let leader: usize = leader[1..].parse().unwrap();
            servers[leader].kill();
            if handled == 500 {
                servers[leader].start_again().unwrap();
            } else {
                *victim.lock().unwrap() = Some(leader);
            }
        }
    };
    let told = through_elections(&env, elect).await;
    let lost = |news: &News| {
        let missed = |what: &PullNews| {
            matches!(
                what,
                PullNews::ConsumerMissing | PullNews::Silent { .. } | PullNews::Lost { .. }
            )
        };
        matches!(news, News::Disconnected)
            || matches!(news, News::Pull { what, .. } if missed(what))
    };
    assert!(told.iter().any(lost), "{told:?}");
    let worse = |news: &&News| {
        matches!(
            news,
            News::DeadLettered { .. }
                | News::PublishFailed { .. }
                | News::Pull {
                    what: PullNews::ConsumerDeleted | PullNews::StreamReplaced { .. },
                    ..
                }
        )
    };
    assert!(told.iter().find(worse).is_none(), "{told:?}");
}
