//! What happens around a handler: its word, attempts, time, panics, limits.

use std::any::Any;
use std::fmt;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::StreamExt as _;
use jetbus::runtime::Runtime;
use jetbus::{
    AtShare, Batch, Bus, Class, Delivery, Failure, Handled, Headers, News, NewsStream, Raw, Retry,
    Subscribe, SubscribeError, Time, Timestamp,
};
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Door, Meeting, Seen, news, publish, publish_all, yield_often};

const STREAM: &str = "jetbus~orders~placed";

const HOUR: Duration = Duration::from_secs(3_600);

/// Delays that no case waits for.
const QUICK: Retry = Retry {
    first: Duration::from_millis(1),
    max: Duration::from_millis(2),
};

/// A subscription whose events are discarded where others keep dead letters.
fn subscribe(bus: &Bus) -> Subscribe {
    let subscribe = bus.subscribe("orders.placed").group("billing");
    subscribe.dead_letters(false).retry(QUICK)
}

/// The next event that was discarded, and why.
async fn discarded(env: &Env, heard: &mut NewsStream) -> (u64, String) {
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
async fn failed(env: &Env, heard: &mut NewsStream) -> (u64, u32, String) {
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
        .timeout(Duration::from_millis(60))
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
    let why = "the handler did not end within 60ms".to_owned();
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
    let subscription = subscribe(&bus)
        .timeout(limit)
        .handle(move |event: Delivery<u32>| {
            let (go_on, clock) = (Arc::clone(&go_on), Arc::clone(&clock));
            async move {
                let began = clock.now();
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
    assert!(
        seen.all().contains(&(1, deliveries, true)),
        "{:?}",
        seen.all()
    );
    subscription.stop().await;

    let subscription = raw()
        .suspect_after(2)
        .crash_limit(deliveries + 1)
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

/// A runtime whose tasks can be dropped.
#[derive(Debug)]
struct Mortal {
    runtime: Arc<dyn Runtime>,
    /// Whether tasks are mortal that are spawned now.
    armed: AtomicBool,
    lives: Mutex<Vec<Arc<Life>>>,
}

#[derive(Debug, Default)]
struct Life {
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Mortal {
    fn lives(&self) -> Vec<Arc<Life>> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.clone()
    }

    /// Drops all mortal tasks.
    fn kill(&self) {
        for life in self.lives() {
            life.over.store(true, Ordering::SeqCst);
            let waker = life.waker.lock().unwrap_or_else(PoisonError::into_inner);
            waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl Runtime for Mortal {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if !self.armed.load(Ordering::SeqCst) {
            return self.runtime.spawn(task);
        }
        let life = Arc::new(Life::default());
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.push(Arc::clone(&life));
        let mut task = Some(task);
        self.runtime.spawn(Box::pin(poll_fn(move |cx| {
            let mut waker = life.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *waker = Some(cx.waker().clone());
            drop(waker);
            if life.over.load(Ordering::SeqCst) {
                task = None;
            }
            task.as_mut()
                .map_or(Poll::Ready(()), |task| task.as_mut().poll(cx))
        })));
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.runtime.sleep_until(deadline)
    }

    fn now(&self) -> Time {
        self.runtime.now()
    }

    fn wall(&self) -> Timestamp {
        self.runtime.wall()
    }
}

pub(crate) async fn an_event_whose_task_is_dropped_comes_again(env: Env) {
    let mortal = Arc::new(Mortal {
        runtime: Arc::clone(env.runtime()),
        armed: AtomicBool::new(false),
        lives: Mutex::default(),
    });
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
    mortal.armed.store(true, Ordering::SeqCst);
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    seen.reaches(1, &env).await;
    mortal.armed.store(false, Ordering::SeqCst);
    // That was the only worker; the next one takes its place.
    assert!(!mortal.lives().is_empty());
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
