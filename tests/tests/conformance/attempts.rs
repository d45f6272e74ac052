//! Attempts that go wrong in themselves: too long, panicking, blocking, dropped.

use std::any::Any;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::StreamExt as _;
use jetbus::runtime::Runtime;
use jetbus::{Delivery, Handled, News};
use jetbus_tests::matrix::Env;
use jetbus_tests::mortal::Mortal;
use jetbus_tests::support::{Door, Seen, news, publish, publish_all, yield_often};

use crate::handling::{HOUR, failed, subscribe};

/// Notes when it is dropped.
struct Noted(Seen<&'static str>, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

pub(crate) async fn an_attempt_that_takes_too_long_is_dropped_before_its_key_goes_on(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .timeout(Duration::from_millis(500))
        .handle(move |event: Delivery<u32>| {
            let noted = noted.clone();
            async move {
                noted.note("begins");
                let _held = Noted(noted, "is dropped");
                if (event.payload, event.attempt()) == (1, 1) {
                    pending::<()>().await;
                }
                yield_often().await;
            }
        })
        .await
        .unwrap();
    seen.reaches(6, &env).await;
    assert_eq!(seen.all(), ["begins", "is dropped"].repeat(3));
    let why = "the handler did not end within 500ms".to_owned();
    assert_eq!(failed(&env, &mut heard).await, (1, 1, why));
    env.until("both are handled", || subscription.stats().handled == 2)
        .await;
    assert_eq!(subscription.stats().failed, 1);
    subscription.stop().await;
    bus.close().await;
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb was dropped");
    }
}

/// A handler's future that is done at once or never, and panics when it is dropped.
struct Trap {
    _bomb: Bomb,
    ends: bool,
}

impl Future for Trap {
    type Output = Handled;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Handled> {
        match self.ends {
            true => Poll::Ready(Handled::Done),
            false => Poll::Pending,
        }
    }
}

pub(crate) async fn a_panic_of_anything_that_is_dropped_is_an_error(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish(&orders, "order-1", 1).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = subscribe(&bus)
        .concurrency(1)
        .timeout(Duration::from_millis(50))
        .handle(move |event: Delivery<u32>| {
            noted.note(event.attempt());
            let future: Pin<Box<dyn Future<Output = Handled> + Send>> = match event.attempt() {
                1 => Box::pin(Trap {
                    _bomb: Bomb,
                    ends: true,
                }),
                2 => Box::pin(Trap {
                    _bomb: Bomb,
                    ends: false,
                }),
                // What is thrown panics in its turn when it is dropped.
                3 => Box::pin(async { std::panic::panic_any(Bomb) }),
                _ => Box::pin(ready(Handled::Done)),
            };
            future
        })
        .await
        .unwrap();
    seen.reaches(4, &env).await;
    let bomb = "the handler panicked: a bomb was dropped";
    let late = "the handler did not end within 50ms";
    let thrown = "the handler panicked: no message";
    for (attempt, why) in (1..).zip([bomb, late, thrown]) {
        assert_eq!(failed(&env, &mut heard).await, (1, attempt, why.into()));
    }
    env.until("it is handled", || subscription.stats().handled == 1)
        .await;
    subscription.stop().await;
    bus.close().await;
}

pub(crate) async fn a_handler_that_blocks_its_thread_is_told_once(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    let limit = Duration::from_millis(80);
    // All of smol's tasks share a thread: nobody else can tell while it is blocked.
    let alone = is_smol(&**env.runtime());
    let told = Arc::new(AtomicBool::new(false));
    let (go_on, clock) = (Arc::clone(&told), Arc::clone(env.runtime()));
    let (begins, begun) = async_channel::unbounded();
    let subscription = subscribe(&bus)
        .timeout(limit)
        .handle(move |event: Delivery<u32>| {
            let (go_on, clock) = (Arc::clone(&go_on), Arc::clone(&clock));
            let begins = begins.clone();
            async move {
                let began = clock.now();
                begins.try_send(()).unwrap();
                while event.payload == 1 && !go_on.load(Ordering::SeqCst) {
                    if alone && clock.now().since(began) > limit {
                        break;
                    }
                    std::thread::yield_now();
                }
            }
        })
        .await
        .unwrap();
    begun.recv().await.unwrap();
    // The thread may be the one that looked after the timers: another one wakes up.
    env.runtime().spawn(Box::pin(async {}));
    let (topic, sequence, time) = news(&env, "it is told", &mut heard, stuck).await;
    assert_eq!((&*topic, sequence), ("orders.placed", 1));
    assert!(time >= limit, "{time:?}");
    assert!(alone || subscription.stats().handled == 0);
    told.store(true, Ordering::SeqCst);
    // It ended in its own time: its word counts.
    env.until("both are handled", || subscription.stats().handled == 2)
        .await;
    assert_eq!(subscription.stats().failed, 0);
    subscription.stop().await;
    bus.close().await;
    let rest = env.soon("the end", heard.collect::<Vec<_>>()).await;
    assert!(!rest.into_iter().any(|news| stuck(news).is_some()));
}

fn stuck(news: News) -> Option<(Arc<str>, u64, Duration)> {
    match news {
        News::HandlerStuck {
            topic,
            sequence,
            running_for,
        } => Some((topic, sequence, running_for)),
        _ => None,
    }
}

fn is_smol(runtime: &dyn Runtime) -> bool {
    #[cfg(feature = "smol")]
    return (runtime as &dyn Any).is::<jetbus::runtime::Smol>();
    #[cfg(not(feature = "smol"))]
    {
        let _: &dyn Any = runtime;
        false
    }
}

pub(crate) async fn an_event_whose_task_is_dropped_comes_again(env: Env) {
    let mortal = Mortal::new(Arc::clone(env.runtime()));
    let bus = env
        .builder()
        .runtime(Arc::clone(&mortal) as _)
        .open()
        .await
        .unwrap();
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let door = Door::shut();
    let shut = door.clone();
    let subscription = subscribe(&bus)
        .concurrency(1)
        .ack_wait(HOUR)
        .handle(move |event: Delivery<u32>| {
            let (noted, shut) = (noted.clone(), shut.clone());
            async move {
                let _held = Noted(noted.clone(), "is dropped");
                noted.note(["", "one", "two"][event.payload as usize]);
                shut.pass().await;
            }
        })
        .await
        .unwrap();
    mortal.arm(true);
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    seen.reaches(1, &env).await;
    mortal.arm(false);
    // That was the only worker; the next one takes its place.
    assert!(mortal.spawned() > 0);
    mortal.kill();
    let unsettled = news(&env, "it is told", &mut heard, |news| match news {
        News::Unsettled { sequence, .. } => Some(sequence),
        _ => None,
    });
    assert_eq!(unsettled.await, 1);
    let runs = [
        "one",
        "is dropped",
        "one",
        "is dropped",
        "two",
        "is dropped",
    ];
    door.open();
    seen.reaches(runs.len(), &env).await;
    assert_eq!(seen.all(), runs);
    subscription.stop().await;
    bus.close().await;
}
