//! Layers around handlers.

use std::future::{pending, ready};
use std::time::Duration;

use jetbus::{Delivery, Event, Handled, Layer, News, Retry, Service};
use jetbus_tests::matrix::Env;
use jetbus_tests::support::{Seen, news, publish_all};

/// Notes when it is entered and left.
#[derive(Clone)]
struct Noting(&'static str, Seen<String>);

struct Noted<S>(Noting, S);

impl<S> Layer<S> for Noting {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted(self.clone(), inner)
    }
}

/// Notes that a call is over, however it ended.
struct Leaving(Noting);

impl Drop for Leaving {
    fn drop(&mut self) {
        let Noting(name, seen) = &self.0;
        seen.note(format!("out of {name}"));
    }
}

impl<S: Service<Delivery<u32>>> Service<Delivery<u32>> for Noted<S> {
    async fn call(&self, event: Delivery<u32>) -> Handled {
        let Self(Noting(name, seen), inner) = self;
        seen.note(format!("into {name}"));
        let _leaving = Leaving(self.0.clone());
        inner.call(event).await
    }
}

pub(crate) async fn layers_wrap_each_attempt_the_first_added_outermost(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .layer(Noting("a", seen.clone()))
        .layer(Noting("b", seen.clone()))
        .concurrency(4)
        .layer(Noting("c", seen.clone()))
        .handle(move |event: Delivery<u32>| {
            noted.note(format!("attempt {}", event.attempt()));
            ready(match event.attempt() {
                1 => Err("not yet"),
                _ => Ok(()),
            })
        })
        .await
        .unwrap();
    publish_all(&orders, [("order-1", 1)]).await;
    seen.reaches(14, &env).await;
    let passage = |attempt| {
        let into = ["into a", "into b", "into c"].map(str::to_owned);
        let out = ["out of c", "out of b", "out of a"].map(str::to_owned);
        let handled = [format!("attempt {attempt}")];
        into.into_iter().chain(handled).chain(out)
    };
    let expected: Vec<_> = passage(1).chain(passage(2)).collect();
    assert_eq!(seen.all(), expected);
    subscription.stop().await;
    bus.close().await;
}

/// Handles odd numbers itself, and has failures discarded.
struct Bouncer;

struct Bounced<S>(S);

impl<S> Layer<S> for Bouncer {
    type Service = Bounced<S>;

    fn layer(&self, inner: S) -> Bounced<S> {
        Bounced(inner)
    }
}

impl<S: Service<Delivery<u32>>> Service<Delivery<u32>> for Bounced<S> {
    async fn call(&self, event: Delivery<u32>) -> Handled {
        if event.payload % 2 == 1 {
            return Handled::Done;
        }
        match self.0.call(event).await {
            Handled::Retry { error, .. } => Handled::discard(error),
            handled => handled,
        }
    }
}

pub(crate) async fn a_layer_may_answer_or_change_the_answer(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    publish_all(&orders, (1..=6).map(|n| ("order-1", n))).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .layer(Bouncer)
        .handle(move |event: Delivery<u32>| {
            noted.note(event.payload);
            ready(match event.payload {
                4 => Err("four"),
                _ => Ok(()),
            })
        })
        .await
        .unwrap();
    env.until("all are handled", || subscription.stats().handled == 6)
        .await;
    assert_eq!(seen.all(), [2, 4, 6]);
    assert_eq!(subscription.stats().failed, 0);
    let told = news(&env, "it is told", &mut heard, |news| match news {
        News::Discarded {
            sequence, reason, ..
        } => Some((sequence, reason.to_string())),
        _ => None,
    });
    assert_eq!(told.await, (4, "four".to_owned()));
    subscription.stop().await;
    bus.close().await;
}

/// Goes wrong in its own ways.
struct Wrong(Seen<String>);

struct Wronged<S>(Seen<String>, S);

impl<S> Layer<S> for Wrong {
    type Service = Wronged<S>;

    fn layer(&self, inner: S) -> Wronged<S> {
        Wronged(self.0.clone(), inner)
    }
}

impl<S: Service<Delivery<u32>>> Service<Delivery<u32>> for Wronged<S> {
    async fn call(&self, event: Delivery<u32>) -> Handled {
        let (number, attempt) = (event.payload, event.attempt());
        self.0.note(format!("{number}, attempt {attempt}"));
        match (number, attempt) {
            (1, 1) => panic!("of a layer"),
            (1, 2) => pending().await,
            _ => self.1.call(event).await,
        }
    }
}

pub(crate) async fn the_stages_have_one_order(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    // Decoding comes first: what cannot be read passes no layer.
    let bad = Event::new("order-1", "OrderPlaced", "no number");
    orders.publish(&bad).await.unwrap();
    publish_all(&orders, (1..=2).map(|n| ("order-1", n))).await;
    let seen = Seen::new();
    let noted = seen.clone();
    let short = Duration::from_millis(1);
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .dead_letters(false)
        .timeout(Duration::from_millis(80))
        .retry(Retry {
            first: short,
            max: short,
        })
        .layer(Noting("a layer", seen.clone()))
        .layer(Wrong(seen.clone()))
        .handle(move |event: Delivery<u32>| {
            noted.note(format!("handles {}", event.payload));
            ready(())
        })
        .await
        .unwrap();
    env.until("all are handled", || subscription.stats().handled == 2)
        .await;
    // The key is parked around all of it; the time is over the layers too, and what is
    // dropped has left them before the next attempt.
    let mut expected = Vec::new();
    for (what, handled) in [
        ("1, attempt 1", None),
        ("1, attempt 2", None),
        ("1, attempt 3", Some("handles 1")),
        ("2, attempt 1", Some("handles 2")),
    ] {
        expected.extend(["into a layer", what]);
        expected.extend(handled);
        expected.push("out of a layer");
    }
    assert_eq!(seen.all(), expected);
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(
            news(&env, "all is told", &mut heard, |news| match news {
                News::Discarded { sequence, .. } => Some((sequence, String::new())),
                News::HandlerFailed {
                    sequence, error, ..
                } => Some((sequence, error.to_string())),
                _ => None,
            })
            .await,
        );
    }
    let whys = [
        (1, ""),
        (2, "the handler panicked: of a layer"),
        (2, "the handler did not end within 80ms"),
    ];
    assert_eq!(told, whys.map(|(sequence, why)| (sequence, why.to_owned())));
    subscription.stop().await;
    bus.close().await;
}
