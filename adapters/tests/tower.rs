//! Layers written for tower, around a handler.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use jetbus::{Bus, Delivery, Event, Handled, News, tower};

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

impl<S> tower_service::Service<Delivery<u32>> for ButSecond<S>
where
    S: tower_service::Service<Delivery<u32>, Response = Handled>,
    S::Error: fmt::Debug,
    S::Future: Send + 'static,
{
    type Response = Handled;
    type Error = Refused;
    type Future = Boxed<Result<Handled, Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.ready = true;
        self.layer.ready.fetch_add(1, Ordering::SeqCst);
        self.inner.poll_ready(cx).map(|ready| {
            ready.expect("the handler is always ready");
            Ok(())
        })
    }

    fn call(&mut self, event: Delivery<u32>) -> Self::Future {
        assert!(self.ready, "it was not made ready");
        if self.layer.calls.fetch_add(1, Ordering::SeqCst) == 1 {
            return Box::pin(async { Err(Refused) });
        }
        let handled = self.inner.call(event);
        Box::pin(async move { Ok(handled.await.expect("handlers do not fail")) })
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
