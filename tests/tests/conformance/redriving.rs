//! Dead letters listed, removed, and handled again.

use std::sync::Arc;
use std::time::Duration;

use jetbus::{
    Builder, DeadLetterError, DeadLetterFilter, Delivery, Handled, News, Raw, Reason, Stream,
};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::{Spy, Trick};
use jetbus_tests::support::{Door, Seen, news, publish};
use serde_json::json;

use super::dead_letters::{all, handling, letters};

pub(crate) async fn dead_letters_are_counted_listed_and_removed_by_what_they_are(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("SHOP", ["orders.*", "returns"]))
        .open()
        .await
        .unwrap();
    let failing = |event: &Delivery<u32>| match event.payload {
        9 => Handled::dead_letter("asked"),
        _ => Handled::terminal("never"),
    };
    let billing = handling(&bus, "orders.*", "billing", failing).await;
    let shipping = handling(&bus, "orders.placed", "shipping", failing).await;
    for (topic, key, n) in [
        ("orders.placed", "order-1", 1),
        ("orders.placed", "order-2", 9),
        ("orders.paid", "order-1", 2),
    ] {
        publish(&bus.topic(topic).unwrap(), key, n).await;
    }
    let everything = letters(&env, &bus, &all(), 5).await;
    let dead = bus.dead_letters();
    // Several may be stored at one time of the clock.
    let last = everything[4].stored_at;
    let before = everything.iter().filter(|letter| letter.stored_at < last);
    let before = before.count() as u64;
    for (filter, count) in [
        (all(), 5),
        (all().group("billing"), 3),
        (all().group("shipping"), 2),
        (all().topic("orders.paid"), 1),
        (all().topic("orders.*").group("shipping"), 2),
        (all().topic("returns"), 0),
        (all().key("order-1"), 3),
        (all().key("order-1").group("billing"), 2),
        (all().reason(Reason::Asked), 2),
        (all().reason(Reason::Exhausted), 0),
        (all().from(last), 5 - before),
        (all().until(last), before),
    ] {
        assert_eq!(dead.count(&filter).await.unwrap(), count, "{filter:?}");
        let page = dead.list(&filter, 0, 1_000).await.unwrap();
        assert_eq!(page.letters.len() as u64, count, "{filter:?}");
        assert!(page.letters.iter().all(|letter| filter.matches(letter)));
    }

    // In pages, in order, each once.
    let (mut paged, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let page = dead.list(&all(), from, 2).await.unwrap();
        assert!(page.letters.len() <= 2);
        paged.extend(page.letters);
        next = page.next;
    }
    assert_eq!(paged, everything);

    assert_eq!(dead.purge(&all().key("order-2")).await.unwrap(), 2);
    assert_eq!(dead.purge(&all().group("shipping")).await.unwrap(), 1);
    let left = letters(&env, &bus, &all(), 2).await;
    dead.remove(left[0].sequence).await.unwrap();
    for sequence in [0, left[0].sequence, 10_000] {
        let gone = |error: &DeadLetterError| matches!(error, DeadLetterError::NotFound { sequence: s } if *s == sequence);
        let errors = [
            dead.get(sequence).await.map(drop),
            dead.remove(sequence).await,
            dead.redrive(sequence).await,
        ];
        for error in errors {
            assert!(gone(&error.unwrap_err()));
        }
    }
    assert_eq!(dead.purge(&all()).await.unwrap(), 1);
    assert_eq!(dead.count(&all()).await.unwrap(), 0);
    billing.0.stop().await;
    shipping.0.stop().await;
    bus.close().await;
}

pub(crate) async fn what_cannot_be_meant_is_refused(env: Env) {
    let bus = env.bus().await;
    let dead = bus.dead_letters();
    // Where there is none, there is nothing.
    assert_eq!(dead.count(&all().key("order-1")).await.unwrap(), 0);
    assert_eq!(dead.purge(&all()).await.unwrap(), 0);
    assert!(dead.list(&all(), 0, 10).await.unwrap().letters.is_empty());
    for filter in [all().topic("a..b"), all().group("a.b"), all().group("*")] {
        let error = dead.count(&filter).await.unwrap_err();
        assert!(matches!(error, DeadLetterError::Filter(_)), "{error}");
        let error = dead.purge(&filter).await.unwrap_err();
        assert!(matches!(error, DeadLetterError::Filter(_)), "{error}");
    }
    for limit in [0, 1_001] {
        let error = dead.list(&all(), 0, limit).await.unwrap_err();
        assert!(error.to_string().contains("limit"), "{error}");
    }
    for rate in [0, 100_001] {
        let error = dead.redrive_all(&all(), rate).await.unwrap_err();
        assert!(error.to_string().contains("per_second"), "{error}");
    }
    bus.close().await;
}

pub(crate) async fn a_redriven_event_goes_behind_what_its_key_has_in_hand(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let door = Door::shut();
    let passed = door.clone();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            let (noted, passed) = (noted.clone(), passed.clone());
            async move {
                let origin = (event.topic().to_owned(), event.stream().to_owned());
                noted.note((event.payload, event.redrives()));
                assert_eq!(
                    origin,
                    ("orders.placed".into(), "jetbus~orders~placed".into())
                );
                assert_eq!(event.sequence(), u64::from(event.payload));
                assert_eq!(event.headers().iter().count(), 1);
                match event.payload {
                    1 if event.redrives() == 0 => return Handled::terminal("not yet"),
                    2 => passed.pass().await,
                    _ => {}
                }
                Handled::Done
            }
        })
        .await
        .unwrap();
    publish(&orders, "order-1", 1).await;
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    for n in 2..=4 {
        publish(&orders, "order-1", n).await;
    }
    env.until("its key is in hand", || subscription.stats().received == 4)
        .await;
    seen.reaches(2, &env).await;
    bus.dead_letters().redrive(letter.sequence).await.unwrap();
    assert_eq!(bus.dead_letters().count(&all()).await.unwrap(), 0);
    env.until("it is redriven", || subscription.stats().received == 5)
        .await;
    door.open();
    seen.reaches(5, &env).await;
    assert_eq!(seen.all(), [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1)]);

    // Handled, it is gone from the queue.
    let admin = Admin::connect(&env).await;
    admin.all_is_settled("jetbus-redrive").await;
    let info = admin.api("STREAM.INFO.jetbus-redrive", &json!(null)).await;
    assert_eq!(info["state"]["messages"], 0, "{info}");
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_redriven_event_that_fails_again_is_a_dead_letter_of_its_origin(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |event| {
        match event.payload {
            1 if event.redrives() < 2 => Handled::retry("not yet"),
            _ => Handled::Done,
        }
    })
    .await;
    publish(&orders, "order-0", 0).await;
    publish(&orders, "order-1", 1).await;
    let first = letters(&env, &bus, &all(), 1).await.remove(0);
    bus.dead_letters().redrive(first.sequence).await.unwrap();
    let second = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_ne!(second.sequence, first.sequence);
    let mut origin = first.origin.clone();
    origin.redrives = 1;
    assert_eq!(second.origin, origin);
    assert_eq!((second.origin.sequence, second.attempts), (2, 3));
    assert_eq!(second.payload, first.payload);
    assert_eq!(second.headers, first.headers);
    bus.dead_letters().redrive(second.sequence).await.unwrap();
    seen.reaches(8, &env).await;
    assert_eq!(bus.dead_letters().count(&all()).await.unwrap(), 0);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn all_that_a_filter_means_are_redriven_once(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("SHOP", ["orders.*"]))
        .open()
        .await
        .unwrap();
    let (placed, paid) = (
        bus.topic("orders.placed").unwrap(),
        bus.topic("orders.paid").unwrap(),
    );
    // What fails again has to wait for another redrive.
    let failing = |_: &Delivery<u32>| Handled::terminal("never");
    let billing = handling(&bus, "orders.*", "billing", failing).await;
    let shipping = handling(&bus, "orders.*", "shipping", failing).await;
    for n in 0..20 {
        publish(&placed, "order-1", n).await;
    }
    publish(&paid, "order-1", 20).await;
    letters(&env, &bus, &all(), 42).await;
    let filter = all().group("billing").topic("orders.placed");
    let report = bus
        .dead_letters()
        .redrive_all(&filter, 1_000)
        .await
        .unwrap();
    assert_eq!((report.redriven, report.not_redrivable), (20, 0));
    billing.1.reaches(41, &env).await;
    letters(&env, &bus, &all(), 42).await;
    let again: Vec<_> = billing
        .1
        .all()
        .into_iter()
        .skip(21)
        .map(|(_, n)| n)
        .collect();
    assert_eq!(again, (0..20).collect::<Vec<_>>());
    assert_eq!(shipping.1.len(), 21);
    billing.0.stop().await;
    shipping.0.stop().await;
    bus.close().await;
}

pub(crate) async fn redriven_events_wait_for_their_subscription(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    let failing = |_: &Delivery<u32>| Handled::terminal("never");
    let (subscription, _) = handling(&bus, "orders.placed", "billing", failing).await;
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    subscription.stop().await;
    bus.dead_letters().redrive(letter.sequence).await.unwrap();
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |_| Handled::Done).await;
    seen.reaches(1, &env).await;
    assert_eq!(seen.all(), [("order-1".into(), 1)]);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn what_nobody_would_handle_is_not_redriven(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    let failing = |_: &Delivery<u32>| Handled::terminal("never");
    let (subscription, _) = handling(&bus, "orders.placed", "billing", failing).await;
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    subscription.stop().await;
    let admin = Admin::connect(&env).await;
    admin
        .delete_consumer("jetbus-redrive", "billing~orders~placed")
        .await;
    let dead = bus.dead_letters();
    let error = dead.redrive(letter.sequence).await.unwrap_err();
    assert!(
        matches!(&error, DeadLetterError::NoSubscription { group, topic, .. }
            if group == "billing" && topic == "orders.placed"),
        "{error:?}"
    );
    let report = dead.redrive_all(&all(), 1_000).await.unwrap();
    assert_eq!((report.redriven, report.without_subscription), (0, 1));
    assert_eq!(dead.get(letter.sequence).await.unwrap(), letter);
    bus.close().await;
}

pub(crate) async fn a_lost_consumer_of_redrives_is_made_again(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |event| {
        match event.redrives() {
            0 => Handled::terminal("not yet"),
            _ => Handled::Done,
        }
    })
    .await;
    let admin = Admin::connect(&env).await;
    let mut heard = bus.news();
    for round in 1..=2 {
        admin
            .delete_consumer("jetbus-redrive", "billing~orders~placed")
            .await;
        news(&env, "it is made again", &mut heard, |news| match news {
            News::Consumer { stream, .. } => (&*stream == "jetbus-redrive").then_some(()),
            _ => None,
        })
        .await;
        publish(&orders, "order-1", 1).await;
        let letter = letters(&env, &bus, &all(), 1).await.remove(0);
        bus.dead_letters().redrive(letter.sequence).await.unwrap();
        seen.reaches(2 * round, &env).await;
    }
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_letter_that_could_not_be_removed_is_redriven_once(env: Env) {
    let spy = Spy::on(env.link().await);
    let bus = Builder::link(Arc::clone(&spy) as _)
        .runtime(Arc::clone(env.runtime()))
        .request_timeout(Duration::from_secs(2))
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    publish(&orders, "order-1", 2).await;
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |event| {
        match event.redrives() {
            0 => Handled::terminal("not yet"),
            _ => Handled::Done,
        }
    })
    .await;
    let stuck = letters(&env, &bus, &all(), 2).await.remove(0);
    spy.trick(Trick::Swallow, "$JS.API.STREAM.MSG.DELETE");
    let error = bus
        .dead_letters()
        .redrive(stuck.sequence)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DeadLetterError::NotRemoved { sequence, .. } if *sequence == stuck.sequence),
        "{error:?}"
    );
    seen.reaches(3, &env).await;
    spy.be_honest();
    // The first of them is stored already, and only removed.
    let report = bus.dead_letters().redrive_all(&all(), 1_000).await.unwrap();
    assert_eq!(report.redriven, 2);
    seen.reaches(4, &env).await;
    assert_eq!(bus.dead_letters().count(&all()).await.unwrap(), 0);
    let admin = Admin::connect(&env).await;
    admin.all_is_settled("jetbus-redrive").await;
    let numbers: Vec<_> = seen.all().into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [1, 2, 1, 2]);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn messages_that_are_no_dead_letters_are_told_apart(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    let failing = |_: &Delivery<u32>| Handled::terminal("never");
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", failing).await;
    letters(&env, &bus, &all(), 1).await;
    let forged = |subject: &str| {
        let topic = bus.topic(subject).unwrap();
        async move {
            topic
                .publish_raw(Raw::new("forged"))
                .await
                .unwrap()
                .sequence()
        }
    };
    let sequence = forged("jetbus.dead.billing.orders.placed").await.unwrap();
    let dead = bus.dead_letters();
    let page = dead.list(&all(), 0, 10).await.unwrap();
    assert_eq!((page.letters.len(), page.unreadable), (1, vec![sequence]));
    let error = dead.redrive(sequence).await.unwrap_err();
    assert!(
        matches!(error, DeadLetterError::Unreadable { .. }),
        "{error}"
    );
    let filter = DeadLetterFilter::new().group("billing").key("order-1");
    assert_eq!(dead.count(&filter).await.unwrap(), 1);
    dead.remove(sequence).await.unwrap();

    // Among the redrives it is an event like any other that is none.
    forged("jetbus.redrive.billing~orders~placed.orders.placed").await;
    let letters = letters(&env, &bus, &all(), 2).await;
    assert_eq!(letters[1].reason, Reason::Undecodable);
    assert_eq!(letters[1].origin.stream, "jetbus-redrive");
    assert_eq!(seen.len(), 1);
    subscription.stop().await;
    bus.close().await;
}
