//! What a handler says of its event, and what follows.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use jetbus::{Bus, Class, Delivery, Failure, Handled, News, NewsStream, Retry, Subscribe};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, news, publish_all};

const STREAM: &str = "jetbus~orders~placed";

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Delays that no case waits for.
const QUICK: Retry = Retry {
    first: Duration::from_millis(1),
    max: Duration::from_millis(2),
};

/// A subscription whose events are discarded where others keep dead letters.
pub(crate) fn subscribe(bus: &Bus) -> Subscribe {
    let subscribe = bus.subscribe("orders.placed").group("billing");
    subscribe.dead_letters(false).retry(QUICK)
}

/// The next event that was discarded, and why.
pub(crate) async fn discarded(env: &Env, heard: &mut NewsStream) -> (u64, String) {
    news(env, "it is discarded", heard, |news| match news {
        News::Discarded {
            topic,
            sequence,
            reason,
        } => {
            assert_eq!(&*topic, "orders.placed");
            Some((sequence, reason.to_string()))
        }
        _ => None,
    })
    .await
}

/// The next failure: sequence, attempt and error.
pub(crate) async fn failed(env: &Env, heard: &mut NewsStream) -> (u64, u32, String) {
    news(env, "a failure is told", heard, |news| match news {
        News::HandlerFailed {
            sequence,
            attempt,
            error,
            ..
        } => Some((sequence, attempt, error.to_string())),
        _ => None,
    })
    .await
}

pub(crate) async fn what_a_handler_says_decides_about_its_event(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let admin = Admin::connect(&env).await;
    let mut words = admin.listen("$JS.ACK.>").await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .handle(move |event: Delivery<u32>| {
            noted.note(event.payload);
            ready(match event.payload {
                1 => Handled::dead_letter("look at it"),
                2 => Handled::discard("too old"),
                3 => Handled::terminal("broken"),
                _ => Handled::Done,
            })
        })
        .await
        .unwrap();
    publish_all(&orders, (1..=4).map(|n| ("order-1", n))).await;
    seen.reaches(4, &env).await;
    // Each ran once, and the next of its key after it.
    assert_eq!(seen.all(), [1, 2, 3, 4]);
    let mut told = Vec::new();
    let mut said = Vec::new();
    for _ in 0..3 {
        told.push(discarded(&env, &mut heard).await);
    }
    while said.len() < 4 {
        let word = env.soon("a word", words.next()).await;
        said.push(String::from_utf8(word.payload.to_vec()).unwrap());
    }
    let reasons = ["asked: look at it", "too old", "terminal: broken"];
    let expected: Vec<_> = (1..).zip(reasons.map(str::to_owned)).collect();
    assert_eq!(told, expected);
    assert_eq!(
        said,
        [
            "+TERM asked: look at it",
            "+TERM too old",
            "+TERM terminal: broken",
            "+ACK"
        ]
    );
    env.until("all are counted", || subscription.stats().handled == 3)
        .await;
    assert_eq!(subscription.stats().failed, 1);
    subscription.stop().await;
    admin.all_is_settled(STREAM).await;
    bus.close().await;
}

/// An error of the handler's own.
#[derive(Debug)]
enum Broken {
    Forever,
    ForNow,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

const fn breaks(error: Broken) -> Result<(), Broken> {
    Err(error)
}

pub(crate) async fn errors_are_of_the_class_that_they_are_given(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    publish_all(&orders, (1..=3).map(|n| ("order-1", n))).await;
    // By a failure that says so, of any error.
    let subscription = subscribe(&bus)
        .handle(move |event: Delivery<u32>| {
            let noted = noted.clone();
            async move {
                noted.note((event.payload, event.attempt()));
                match event.payload {
                    1 => breaks(Broken::ForNow).map_err(Failure::terminal)?,
                    2 if event.attempt() == 1 => breaks(Broken::Forever)?,
                    _ => {}
                }
                Ok::<_, Failure>(())
            }
        })
        .await
        .unwrap();
    seen.reaches(4, &env).await;
    assert_eq!(seen.all(), [(1, 1), (2, 1), (2, 2), (3, 1)]);
    assert_eq!(failed(&env, &mut heard).await, (1, 1, "ForNow".into()));
    assert_eq!(
        discarded(&env, &mut heard).await,
        (1, "terminal: ForNow".into())
    );
    assert_eq!(failed(&env, &mut heard).await, (2, 1, "Forever".into()));
    subscription.stop().await;

    // By the type of error.
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .classify(|error: &Broken| match error {
            Broken::Forever => Class::Terminal,
            Broken::ForNow => Class::Unknown,
        })
        .handle(move |event: Delivery<u32>| {
            noted.note((event.payload, event.attempt()));
            ready(match (event.payload, event.attempt()) {
                (4, _) => Err(Broken::Forever),
                (5, 1) => Err(Broken::ForNow),
                _ => Ok(()),
            })
        })
        .await
        .unwrap();
    publish_all(&orders, (4..=6).map(|n| ("order-1", n))).await;
    seen.reaches(8, &env).await;
    assert_eq!(seen.all()[4..], [(4, 1), (5, 1), (5, 2), (6, 1)]);
    assert_eq!(
        discarded(&env, &mut heard).await,
        (4, "terminal: Forever".into())
    );
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn attempts_and_delays_are_as_told(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    let seen = Seen::new();
    let (noted, clock) = (seen.clone(), Arc::clone(env.runtime()));
    let first = Duration::from_millis(400);
    let subscription = subscribe(&bus)
        .attempts(3)
        .retry(Retry { first, max: first })
        .handle(move |event: Delivery<u32>| {
            noted.note((event.payload, event.attempt(), clock.now()));
            ready(match event.payload {
                1 => Err("no"),
                _ => Ok(()),
            })
        })
        .await
        .unwrap();
    seen.reaches(4, &env).await;
    let all = seen.all();
    let runs: Vec<_> = all.iter().map(|(n, attempt, _)| (*n, *attempt)).collect();
    assert_eq!(runs, [(1, 1), (1, 2), (1, 3), (2, 1)]);
    for pair in all[..3].windows(2) {
        assert!(pair[1].2.since(pair[0].2) >= first / 2, "{all:?}");
    }
    assert_eq!(
        discarded(&env, &mut heard).await,
        (1, "exhausted: no".into())
    );
    subscription.stop().await;
    bus.close().await;
}
