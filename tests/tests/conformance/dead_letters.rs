//! Dead letters: what is given up is stored, and only then settled.

use std::time::Duration;

use bytes::Bytes;
use futures_lite::StreamExt as _;
use jetbus::{
    Bus, DeadLetter, DeadLetterError, DeadLetterFilter, DeadLetterOptions, Delivery, Event,
    Handled, Headers, News, NotRedrivable, OpenError, Raw, Reason, Retry, Stream, Subscription,
};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, news, publish};
use serde_json::json;

pub(crate) const QUICK: Retry = Retry {
    first: Duration::from_millis(1),
    max: Duration::from_millis(5),
};

/// What a handler of numbers saw: key and number.
pub(crate) type Numbers = Seen<(String, u32)>;

/// A subscription that notes numbers and lets `say` say what becomes of them.
pub(crate) async fn handling(
    bus: &Bus,
    topic: &str,
    group: &str,
    say: impl Fn(&Delivery<u32>) -> Handled + Clone + Send + Sync + 'static,
) -> (Subscription, Numbers) {
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe(topic)
        .group(group)
        .retry(QUICK)
        .attempts(3)
        .handle(move |event: Delivery<u32>| {
            let (noted, said) = (noted.clone(), say(&event));
            async move {
                noted.note((event.key().unwrap().to_owned(), event.payload));
                said
            }
        })
        .await
        .unwrap();
    (subscription, seen)
}

/// All dead letters that `filter` means, waited for until there are so many.
pub(crate) async fn letters(
    env: &Env,
    bus: &Bus,
    filter: &DeadLetterFilter,
    count: usize,
) -> Vec<DeadLetter> {
    let stored = async {
        loop {
            let page = bus.dead_letters().list(filter, 0, 1_000).await.unwrap();
            if page.letters.len() >= count {
                assert_eq!((page.letters.len(), page.next), (count, None));
                return page.letters;
            }
        }
    };
    env.soon("the dead letters are stored", stored).await
}

pub(crate) fn all() -> DeadLetterFilter {
    DeadLetterFilter::new()
}

pub(crate) async fn an_event_whose_attempts_run_out_is_a_dead_letter_and_its_key_goes_on(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let event = Event::new("order-1", "Counted", 1).id("id-1");
    let sequence = orders.publish(&event).await.unwrap().sequence().unwrap();
    publish(&orders, "order-1", 2).await;
    let (subscription, seen) = handling(&bus, "orders.*", "billing", |event| match event.payload {
        1 => Handled::retry(format_args!("no stock\r\nfor {}", event.attempt())),
        _ => Handled::Done,
    })
    .await;
    seen.reaches(4, &env).await;
    let numbers: Vec<_> = seen.all().into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [1, 1, 1, 2]);

    let told = news(
        &env,
        "the dead letter is told",
        &mut heard,
        |news| match news {
            News::DeadLettered { .. } => Some(news),
            _ => None,
        },
    );
    let News::DeadLettered {
        topic,
        group,
        sequence: told_sequence,
        reason,
        error,
    } = told.await
    else {
        unreachable!()
    };
    assert_eq!((&*topic, &*group), ("orders.placed", "billing"));
    assert_eq!((told_sequence, reason), (sequence, Reason::Exhausted));
    assert!(error.starts_with("no stock"), "{error}");

    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!(
        (letter.topic(), letter.group()),
        ("orders.placed", "billing")
    );
    assert_eq!(letter.origin.subscription, "orders.*");
    assert_eq!(letter.origin.stream, "ORDERS");
    assert_eq!(
        (letter.origin.sequence, letter.origin.redrives),
        (sequence, 0)
    );
    assert_eq!(letter.key.as_deref(), Some("order-1"));
    assert_eq!(letter.event_id.as_deref(), Some("id-1"));
    assert_eq!((letter.reason, letter.attempts), (Reason::Exhausted, 3));
    assert_eq!(letter.deliveries, 1);
    assert_eq!(letter.error, "no stock  for 3");
    let (first, last) = (
        letter.origin.first_failed.unwrap(),
        letter.last_failed.unwrap(),
    );
    assert!(
        letter.origin.stored_at <= first && first <= last,
        "{letter:?}"
    );
    let body: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    assert_eq!(
        (&body["event_id"], &body["payload"]),
        (&json!("id-1"), &json!(1))
    );
    assert_eq!(
        letter.headers.get("Nats-Msg-Id"),
        Some("id-1/orders.placed")
    );
    assert_eq!(
        bus.dead_letters().get(letter.sequence).await.unwrap(),
        letter
    );

    // Its source is settled: a group that goes on does not get it again.
    let admin = Admin::connect(&env).await;
    admin.all_is_settled("ORDERS").await;
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn what_trying_again_does_not_help_is_a_dead_letter_at_once(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    orders.publish_raw(Raw::new("no event")).await.unwrap();
    orders
        .publish(&Event::new("order-1", "Counted", "no number"))
        .await
        .unwrap();
    for n in 1..=3 {
        publish(&orders, "order-1", n).await;
    }
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |event| {
        match event.payload {
            1 => Handled::terminal("never"),
            2 => Handled::dead_letter("look at this"),
            _ => Handled::Done,
        }
    })
    .await;
    seen.reaches(3, &env).await;
    let said: Vec<_> = letters(&env, &bus, &all(), 4)
        .await
        .into_iter()
        .map(|letter| (letter.origin.sequence, letter.reason, letter.error))
        .collect();
    let mut reasons: Vec<_> = said.iter().map(|(at, reason, _)| (*at, *reason)).collect();
    reasons.sort_by_key(|(at, _)| *at);
    let (undecodable, terminal, asked) = (Reason::Undecodable, Reason::Terminal, Reason::Asked);
    assert_eq!(
        reasons,
        [
            (1, undecodable),
            (2, undecodable),
            (3, terminal),
            (4, asked)
        ]
    );
    assert!(said.contains(&(3, terminal, "never".into())), "{said:?}");
    assert!(
        said.contains(&(4, asked, "look at this".into())),
        "{said:?}"
    );
    assert_eq!(seen.len(), 3);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_stream_of_deliveries_sees_nothing_of_what_is_given_up(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    publish(&orders, "order-1", 2).await;
    orders.publish_raw(Raw::new("no event")).await.unwrap();
    let mut deliveries = bus
        .subscribe("orders.placed")
        .group("billing")
        .attempts(2)
        .deliveries::<u32>()
        .await
        .unwrap();
    for attempt in 1..=2 {
        let (event, settle) = env.soon("a delivery", deliveries.next()).await.unwrap();
        assert_eq!((event.payload, event.attempt()), (1, attempt));
        settle.retry(Some(Duration::from_millis(1)));
    }
    let (event, settle) = env.soon("the next one", deliveries.next()).await.unwrap();
    assert_eq!(event.payload, 2);
    settle.ack();
    let letters = letters(&env, &bus, &all(), 2).await;
    assert!(
        letters
            .iter()
            .any(|letter| letter.reason == Reason::Exhausted)
    );
    assert!(
        letters
            .iter()
            .any(|letter| letter.reason == Reason::Undecodable)
    );
    deliveries.stop().await;
    bus.close().await;
}

pub(crate) async fn what_came_too_often_is_a_dead_letter_before_it_runs(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("ORDERS", ["orders.>"]))
        .open()
        .await
        .unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let (subscription, seen) = handling(&bus, "orders.placed", "billing", |_| Handled::Done).await;
    subscription.stop().await;
    publish(&orders, "order-1", 1).await;
    // Others of the group take the event, and bring it no further.
    let admin = Admin::connect(&env).await;
    let mut inbox = admin.listen("others.inbox").await;
    let pull = "$JS.API.CONSUMER.MSG.NEXT.ORDERS.billing~orders~placed";
    for _ in 0..6 {
        admin.publish(pull, Some("others.inbox"), r#"{"batch":1}"#);
        let message = env.soon("a delivery", inbox.next()).await;
        assert_eq!(message.subject, "orders.placed");
        admin.publish(message.reply.unwrap().as_str(), None, "-NAK");
    }
    publish(&orders, "order-1", 2).await;
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .suspect_after(2)
        .crash_limit(6)
        .handle(move |event: Delivery<u32>| {
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    seen.reaches(1, &env).await;
    assert_eq!(seen.all(), [("order-1".into(), 2)]);
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!((letter.reason, letter.attempts), (Reason::CrashLoop, 0));
    assert_eq!((letter.origin.sequence, letter.deliveries), (1, 7));
    assert_eq!(
        (letter.origin.first_failed, letter.last_failed),
        (None, None)
    );
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn bytes_and_headers_are_kept_and_none_is_acted_upon(env: Env) {
    let bus = env
        .builder()
        .stream(Stream::new("BLOBS", ["blobs"]))
        .open()
        .await
        .unwrap();
    let mut headers = Headers::new();
    for (name, value) in [
        ("X-Aggregate-ID", "blob-1"),
        ("X-Colour", "grün"),
        ("X-Colour", "blue"),
        // Stored under its name among the dead letters, it would be refused.
        ("Nats-Expected-Stream", "BLOBS"),
        ("Jetbus-Dead-Reason", "of another"),
    ] {
        headers.append(name, value).unwrap();
    }
    let blob = Raw::new(vec![0, 159, 146, 150])
        .headers(headers)
        .id("blob-id");
    bus.topic("blobs").unwrap().publish_raw(blob).await.unwrap();
    let subscription = bus
        .subscribe("blobs")
        .group("archive")
        .handle_raw(|_: Delivery<Bytes>| async { Handled::terminal("broken — kaputt") })
        .await
        .unwrap();
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!(&letter.payload[..], [0, 159, 146, 150]);
    assert_eq!(letter.error, "broken — kaputt");
    assert_eq!(
        (letter.key.as_deref(), letter.event_id),
        (Some("blob-1"), None)
    );
    let mut kept: Vec<_> = letter.headers.iter().collect();
    kept.sort_unstable();
    assert_eq!(
        kept,
        [
            ("Jetbus-Dead-Reason", "of another"),
            ("Nats-Expected-Stream", "BLOBS"),
            ("Nats-Msg-Id", "blob-id"),
            ("X-Aggregate-ID", "blob-1"),
            ("X-Colour", "blue"),
            ("X-Colour", "grün"),
        ]
    );
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn an_event_as_large_as_the_server_takes_is_cut_and_stored(env: Env) {
    const MAX: usize = 1 << 20;
    let bus = env.bus().await;
    let blobs = bus.topic("blobs").unwrap();
    // With its headers (`NATS/1.0`, the id, an empty line) just as large.
    let line = "NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n".len();
    let blob = Raw::new(vec![b'x'; MAX - line]).id("1");
    blobs.publish_raw(blob).await.unwrap();
    let subscription = bus
        .subscribe("blobs")
        .group("archive")
        .handle_raw(|_: Delivery<Bytes>| async { Handled::terminal("too large for me") })
        .await
        .unwrap();
    let letter = letters(&env, &bus, &all(), 1).await.remove(0);
    assert_eq!(letter.cut_from, Some((MAX - line) as u64));
    assert!(letter.payload.len() > MAX - 2_048, "{letter:?}");
    assert_eq!(letter.headers.get("Nats-Msg-Id"), Some("1"));
    let error = bus.dead_letters().redrive(letter.sequence).await;
    let cut = NotRedrivable::Cut {
        len: (MAX - line) as u64,
        kept: letter.payload.len() as u64,
        headers_left_out: 0,
    };
    assert!(
        matches!(&error, Err(DeadLetterError::NotRedrivable { error, .. }) if *error == cut),
        "{error:?}"
    );
    assert_eq!(bus.dead_letters().count(&all()).await.unwrap(), 1);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn while_a_dead_letter_cannot_be_stored_its_key_waits_and_nothing_is_lost(
    env: Env,
) {
    let bus = env
        .builder()
        .dead_letters(DeadLetterOptions::new().max_messages(1))
        .publish_timeout(Duration::from_millis(300))
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
    let handled: Vec<_> = seen.all().into_iter().map(|(_, n)| n).collect();
    assert_eq!(handled, [0, 1, 3]);
    let admin = Admin::connect(&env).await;
    let stream = admin.only_stream().await;
    env.soon("what was handled is settled", async {
        while admin.only_consumer(&stream).await["num_ack_pending"] != 2 {}
    })
    .await;

    bus.dead_letters().remove(first.sequence).await.unwrap();
    seen.reaches(4, &env).await;
    let handled: Vec<_> = seen.all().into_iter().map(|(_, n)| n).collect();
    assert_eq!(handled, [0, 1, 3, 2]);
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
