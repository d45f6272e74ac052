//! Storing dead letters: where they go, and what happens when they cannot.

use std::sync::Arc;
use std::time::Duration;

use jetbus::{Builder, DeadLetterOptions, Delivery, Handled, News, OpenError};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::mortal::Mortal;
use jetbus_tests::spy::{Spy, Trick};
use jetbus_tests::support::{news, publish};
use serde_json::json;

use super::dead_letters::{all, handling, letters};

pub(crate) async fn while_a_dead_letter_cannot_be_stored_its_key_waits_and_nothing_is_lost(
    env: Env,
) {
    let bus = env
        .builder()
        .dead_letters(DeadLetterOptions::new().max_messages(1))
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "full", 0).await;
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |event| {
        match event.payload {
            0 | 1 => Handled::terminal("never"),
            _ => Handled::Done,
        }
    })
    .await;
    let first = letters(&env, &bus, &all(), 1).await.remove(0);
    for (key, n) in [("bad", 1), ("bad", 2), ("good", 3)] {
        publish(&orders, key, n).await;
    }
    for _ in 0..2 {
        news(&env, "that it is not stored is told", &mut heard, |news| {
            let News::DeadLetterFailed {
                topic, sequence, ..
            } = news
            else {
                return None;
            };
            assert_eq!((&*topic, sequence), ("orders.placed", 2));
            Some(())
        })
        .await;
    }
    // Its key waits, others go on; nothing of it is settled at the server.
    seen.reaches(3, &env).await;
    // Those of different keys in any order.
    let mut handled: Vec<_> = seen.all().into_iter().map(|(_, n)| n).collect();
    handled.sort_unstable();
    assert_eq!(handled, [0, 1, 3]);
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    env.soon("what was handled is settled", async {
        while admin.only_consumer(&stream).await["num_ack_pending"] != 2 {}
    })
    .await;

    bus.dead_letters().remove(first.sequence).await.unwrap();
    seen.reaches(4, &env).await;
    assert_eq!(seen.all().last().unwrap().1, 2);
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!(letter.origin.sequence, 2);
    admin.all_is_settled(&stream).await;
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_deleted_stream_of_dead_letters_is_made_again(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let (subscription, _) = handling(&bus, "orders.placed", "billing", |_| {
        Handled::terminal("never")
    })
    .await;
    let admin = Admin::connect(&env).await;
    admin.api("STREAM.DELETE.jetbus-dead", &json!(null)).await;
    publish(&orders, "order-1", 1).await;
    publish(&orders, "order-1", 2).await;
    let letters = letters(&env, &bus, &all(), 2).await;
    assert_eq!(letters[1].origin.sequence, 2);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn where_no_dead_letters_are_kept_what_is_given_up_is_told(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let off = bus
        .subscribe("orders.placed")
        .group("billing")
        .dead_letters(false)
        .handle(|_: Delivery<u32>| async { Handled::terminal("never") })
        .await
        .unwrap();
    let alone = bus
        .subscribe("orders.placed")
        .handle(|_: Delivery<u32>| async { Handled::terminal("never") })
        .await
        .unwrap();
    publish(&orders, "order-1", 1).await;
    for _ in 0..2 {
        news(&env, "that it is given up is told", &mut heard, |news| {
            let News::Discarded {
                sequence, reason, ..
            } = news
            else {
                return None;
            };
            assert_eq!((sequence, &*reason), (1, "terminal: never"));
            Some(())
        })
        .await;
    }
    assert_eq!(bus.dead_letters().count(&all()).await.unwrap(), 0);
    // Nor is there a place for any.
    let admin = Admin::connect(&env).await;
    let list = admin.api("STREAM.NAMES", &json!(null)).await;
    assert_eq!(list["streams"], json!(["jetbus~orders~placed"]));
    off.stop().await;
    alone.stop().await;
    bus.close().await;
}

pub(crate) async fn options_of_dead_letters_are_those_of_their_streams(env: Env) {
    let bad = DeadLetterOptions::new().prefix("a.b");
    let error = env.builder().dead_letters(bad).open().await;
    assert!(matches!(error, Err(OpenError::Name(_))), "{error:?}");
    let options = DeadLetterOptions::new()
        .prefix("shop")
        .max_age(Duration::from_secs(3_600));
    let bus = env.builder().dead_letters(options).open().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    let (subscription, _) = handling(&bus, "orders.placed", "billing", |_| {
        Handled::terminal("never")
    })
    .await;
    letters(&env, &bus, &all(), 1).await;
    let admin = Admin::connect(&env).await;
    let dead = admin.api("STREAM.INFO.shop-dead", &json!(null)).await;
    assert_eq!(dead["config"]["max_age"], 3_600_000_000_000_u64, "{dead}");
    assert_eq!(dead["state"]["messages"], 1, "{dead}");
    let redrive = admin.api("STREAM.INFO.shop-redrive", &json!(null)).await;
    assert_eq!(redrive["config"]["retention"], "workqueue", "{redrive}");
    // A bus of another prefix sees none of them.
    let other = env.bus().await;
    assert_eq!(other.dead_letters().count(&all()).await.unwrap(), 0);
    subscription.stop().await;
    other.close().await;
    bus.close().await;
}

pub(crate) async fn a_dead_letter_whose_task_is_dropped_is_stored_by_another(env: Env) {
    let spy = Spy::on(env.link().await);
    let mortal = Mortal::new(Arc::clone(env.runtime()));
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(&mortal) as _)
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |event| {
        match event.payload {
            2 => Handled::terminal("never"),
            _ => Handled::Done,
        }
    })
    .await;
    publish(&orders, "order-1", 1).await;
    seen.reaches(1, &env).await;
    // Its worker is there by now: what is spawned is what stores.
    spy.trick(Trick::Swallow, "jetbus.dead.");
    mortal.arm(true);
    publish(&orders, "order-1", 2).await;
    publish(&orders, "order-1", 3).await;
    env.until("it is on its way", || spy.taken("jetbus.dead.") == 1)
        .await;
    mortal.arm(false);
    spy.be_honest();
    assert_eq!(seen.len(), 2);
    mortal.kill();
    seen.reaches(3, &env).await;
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!(letter.origin.sequence, 2);
    subscription.stop().await;
    bus.close().await;
}
