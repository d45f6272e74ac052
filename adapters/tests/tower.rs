//! Layers written for tower, around a handler.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use jetbus::{Batch, Bus, Delivery, Event, News, Request, tower};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Lets through every call but the second, and counts those that were made ready.
#[derive(Clone, Default)]
struct Second {
    calls: Arc<AtomicUsize>,
    ready: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct ButSecond<S> {
    layer: Second,
    inner: S,
    ready: bool,
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the second call is refused")
    }
}

impl<S> tower_layer::Layer<S> for Second {
    type Service = ButSecond<S>;

    fn layer(&self, inner: S) -> ButSecond<S> {
        ButSecond {
            layer: self.clone(),
            inner,
            ready: false,
        }
    }
}

impl<R, S> tower_service::Service<R> for ButSecond<S>
where
    R: Request,
    S: tower_service::Service<R, Response = R::Said>,
    S::Error: fmt::Debug,
    S::Future: Send + 'static,
{
    type Response = R::Said;
    type Error = Refused;
    type Future = Boxed<Result<R::Said, Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.ready = true;
        self.layer.ready.fetch_add(1, Ordering::SeqCst);
        self.inner.poll_ready(cx).map(|ready| {
            ready.expect("the handler is always ready");
            Ok(())
        })
    }

    fn call(&mut self, request: R) -> Self::Future {
        assert!(self.ready, "it was not made ready");
        if self.layer.calls.fetch_add(1, Ordering::SeqCst) == 1 {
            return Box::pin(async { Err(Refused) });
        }
        let said = self.inner.call(request);
        Box::pin(async move { Ok(said.await.expect("handlers do not fail")) })
    }
}

#[tokio::test]
async fn a_tower_layer_is_around_each_attempt() {
    let bus = Bus::embedded().await.unwrap();
    let mut heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let layer = Second::default();
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let (done, mut all_done) = tokio::sync::mpsc::unbounded_channel();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .layer(tower(layer.clone()))
        .handle(move |event: Delivery<u32>| {
            noted.lock().unwrap().push(event.payload);
            let done = done.clone();
            async move { done.send(event.attempt()).unwrap() }
        })
        .await
        .unwrap();
    for n in 1..=3 {
        let event = Event::new("order-1", "OrderPlaced", n);
        orders.publish(&event).await.unwrap();
    }
    let attempts = [
        all_done.recv().await,
        all_done.recv().await,
        all_done.recv().await,
    ];
    assert_eq!(attempts, [Some(1), Some(2), Some(1)]);
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
    assert_eq!(layer.calls.load(Ordering::SeqCst), 4);
    assert_eq!(layer.ready.load(Ordering::SeqCst), 4);
    let error = std::future::poll_fn(|cx| {
        loop {
            match futures_core::Stream::poll_next(Pin::new(&mut heard), cx) {
                Poll::Ready(Some(News::HandlerFailed { error, .. })) => return Poll::Ready(error),
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => panic!("the bus is open"),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    assert_eq!(&*error.await, "the second call is refused");
    subscription.stop().await;
    bus.close().await;
}

#[tokio::test]
async fn a_tower_layer_that_fails_fails_each_event_of_a_batch() {
    let bus = Bus::embedded().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    for n in 1..=4 {
        let event = Event::new(format!("order-{n}"), "OrderPlaced", n);
        orders.publish(&event).await.unwrap();
    }
    let layer = Second::default();
    let (done, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let size = Batch {
        max: 2,
        linger: Duration::ZERO,
    };
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .concurrency(1)
        .layer(tower(layer.clone()))
        .handle_batch(size, move |batch: Vec<Delivery<u32>>| {
            let done = done.clone();
            async move {
                for event in batch {
                    done.send((event.payload, event.attempt())).unwrap();
                }
            }
        })
        .await
        .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(handled.recv().await.unwrap());
    }
    let again = seen.iter().filter(|(_, attempt)| *attempt == 2).count();
    // One or two were in the second call.
    assert!((1..=2).contains(&again), "{seen:?}");
    seen.sort_unstable();
    assert!(seen.iter().map(|(event, _)| *event).eq(1..=4), "{seen:?}");
    subscription.stop().await;
    bus.close().await;
}
