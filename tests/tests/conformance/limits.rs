//! Limits around handlers: of keys, of deliveries, of options.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::StreamExt as _;
use jetbus::{
    AtShare, Batch, Class, Delivery, Failure, Handled, Headers, News, Raw, Retry, SubscribeError,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Meeting, Seen, news, publish, publish_all, yield_often};

use crate::handling::{HOUR, discarded, subscribe};

pub(crate) async fn a_key_that_holds_its_share_is_told_and_given_up_when_asked(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    for (at, handled) in [(AtShare::Stall, 0), (AtShare::DeadLetter, 2)] {
        let mut heard = bus.news();
        let seen = Seen::new();
        let noted = seen.clone();
        let group = format!("{at:?}");
        let failing = Failure::retry_after(HOUR, "not now");
        let subscription = bus
            .subscribe("orders.placed")
            .group(group)
            .key_share(3, at)
            .dead_letters(false)
            .handle(move |event: Delivery<u32>| {
                let result = match event.payload {
                    1 => Err(failing.clone()),
                    _ => Ok(()),
                };
                noted.note(event.payload);
                ready(result)
            })
            .await
            .unwrap();
        if handled == 0 {
            publish_all(&orders, (1..=3).map(|n| ("order-1", n))).await;
        }
        let backlog = news(&env, "it is told", &mut heard, |news| match news {
            News::KeyBacklogged { sequence, held, .. } => Some((sequence, held)),
            _ => None,
        });
        assert_eq!(backlog.await, (1, 3));
        if handled > 0 {
            let (sequence, reason) = discarded(&env, &mut heard).await;
            assert_eq!((sequence, &*reason), (1, "backlogged: not now"));
        }
        seen.reaches(1 + handled, &env).await;
        env.until("all are here", || subscription.stats().received == 3)
            .await;
        subscription.stop().await;
        assert_eq!(seen.len(), 1 + handled);
    }
    bus.close().await;
}

pub(crate) async fn events_that_may_crash_the_process_run_alone_or_not_at_all(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    // The server delivers it several times, and nobody knows what for.
    let raw = || subscribe(&bus).ack_wait(HOUR);
    let mut deliveries = raw().deliveries::<u32>().await.unwrap();
    for _ in 0..3 {
        let (_, settle) = env.soon("it comes", deliveries.next()).await.unwrap();
        settle.nak(None);
    }
    let (delivery, settle) = env.soon("it comes", deliveries.next()).await.unwrap();
    assert_eq!(delivery.deliveries(), 4);
    let stopping = deliveries.stop();
    settle.nak(None);
    env.soon("the stop", stopping).await;

    publish_all(&orders, (2..=40).map(|n| (format!("order-{n}"), n))).await;
    let (seen, running) = (Seen::new(), Arc::new(AtomicUsize::new(0)));
    let (noted, runs) = (seen.clone(), Arc::clone(&running));
    let subscription = raw()
        .suspect_after(5)
        .handle(move |event: Delivery<u32>| {
            let (noted, runs) = (noted.clone(), Arc::clone(&runs));
            async move {
                let before = runs.fetch_add(1, Ordering::SeqCst);
                yield_often().await;
                let suspect = event.payload == 1;
                let alone = before == 0 && runs.load(Ordering::SeqCst) == 1;
                noted.note((event.payload, event.deliveries(), alone || !suspect));
                runs.fetch_sub(1, Ordering::SeqCst);
                // It is left to be delivered once more.
                match suspect {
                    true => Handled::retry_after(HOUR, "not now"),
                    false => Handled::Done,
                }
            }
        })
        .await
        .unwrap();
    let suspect = news(&env, "it is told", &mut heard, |news| match news {
        News::Suspect {
            sequence,
            deliveries,
            ..
        } => Some((sequence, deliveries)),
        _ => None,
    });
    let (sequence, deliveries) = suspect.await;
    assert!(sequence == 1 && deliveries >= 5, "{deliveries}");
    seen.reaches(40, &env).await;
    // Given back twice, it may be delivered once more before its turn.
    let ran = seen.all().into_iter().find(|(n, ..)| *n == 1).unwrap();
    assert!(ran.1 >= deliveries && ran.2, "{ran:?}");
    subscription.stop().await;

    let subscription = raw()
        .suspect_after(2)
        .crash_limit(ran.1 + 1)
        .handle(|event: Delivery<u32>| async move { assert_ne!(event.payload, 1, "it runs") })
        .await
        .unwrap();
    let (sequence, reason) = discarded(&env, &mut heard).await;
    assert_eq!((sequence, &*reason), (1, "crash-loop"));
    assert_eq!(subscription.stats().failed, 0);
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn unordered_events_of_a_key_run_at_once(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    for _ in 0..8 {
        let mut headers = Headers::new();
        headers.append("X-Aggregate-ID", "order-1").unwrap();
        let message = Raw::new(&b"x"[..]).headers(headers);
        orders.publish_raw(message).await.unwrap();
    }
    let seen = Seen::new();
    let noted = seen.clone();
    // Nobody goes on before all eight run.
    let meeting = Meeting::of(8);
    let subscription = subscribe(&bus)
        .unordered()
        .handle_raw(move |message: Delivery<Bytes>| {
            let (noted, meeting) = (noted.clone(), meeting.clone());
            async move {
                assert_eq!(message.key(), Some("order-1"));
                meeting.join().await;
                noted.note(message.sequence());
            }
        })
        .await
        .unwrap();
    seen.reaches(8, &env).await;
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn options_of_handling_have_bounds(env: Env) {
    let bus = env.bus().await;
    let handler = |_: Delivery<u32>| ready(());
    let new = || bus.subscribe("orders.placed").group("billing");
    let ms = Duration::from_millis;
    let retry = |first, max| new().retry(Retry { first, max });
    let (zero, long) = (Duration::ZERO, Duration::MAX);
    for (refused, option, value) in [
        (retry(zero, ms(1)), "retry", "0ns"),
        (retry(HOUR + ms(1), HOUR * 2), "retry", "3600.001s"),
        (retry(ms(2), ms(1)), "retry", "1ms"),
        (retry(ms(2), HOUR * 25), "retry", "90000s"),
        (new().attempts(0), "attempts", "0"),
        (new().timeout(zero), "timeout", "0ns"),
        (new().timeout(long), "timeout", "s"),
        (new().suspect_after(1), "suspect_after", "1"),
        (new().crash_limit(5), "crash_limit", "5"),
        (new().key_share(0, AtShare::Stall), "key_share", "0"),
        (
            new().window(9).key_share(10, AtShare::Stall),
            "key_share",
            "10",
        ),
        (
            new().unordered().key_share(9, AtShare::Stall),
            "key_share",
            "9",
        ),
    ] {
        let error = refused.handle(handler).await.expect_err(option);
        refuses(&error, option, value);
    }
    let batch = |max, linger| Batch { max, linger };
    for (refused, batch, option, value) in [
        (new(), batch(0, zero), "batch", "0"),
        (new(), batch(1_025, zero), "batch", "1025"),
        (new(), batch(1, long), "batch", "s"),
        (new().at_most_once(), batch(1, zero), "at_most_once", "true"),
    ] {
        let many = |_: Vec<Delivery<u32>>| ready(());
        let error = refused.handle_batch(batch, many).await.expect_err(option);
        refuses(&error, option, value);
    }
    // Streams of deliveries have no handlers.
    for (refused, option, value) in [
        (new().timeout(ms(1)), "timeout", "1ms"),
        (new().concurrency(7), "concurrency", "7"),
        (new().at_most_once(), "at_most_once", "true"),
        (new().classify(Class::clone), "classify", "1"),
    ] {
        let error = refused.deliveries::<u32>().await.expect_err(option);
        refuses(&error, option, value);
    }
    // Nothing was made ready for any of them.
    let outside = env.outside().await;
    assert_eq!(outside.streams().await, [""; 0]);
    bus.close().await;
}

/// That an error names option and value, and a rule.
fn refuses(error: &SubscribeError, option: &str, value: &str) {
    assert!(matches!(error, SubscribeError::Option(_)), "{error:?}");
    let text = error.to_string();
    let (named, rule) = text.rsplit_once(": ").unwrap();
    assert!(
        named.starts_with(&format!("option `{option}` cannot be ")),
        "{text}"
    );
    assert!(named.contains(value), "{text}");
    assert!(rule.len() > 10, "{text}");
}
