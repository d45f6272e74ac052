//! Layers around a handler.

use std::future::Future;

use super::delivery::Delivery;
use super::failure::Classes;
use super::handled::{Handled, IntoHandled, IntoHandledBatch};

/// What a service is called with: a [`Delivery`], or the many of a batch.
pub trait Request: Send + 'static {
    /// What is said of it: a [`Handled`], or one for each event in order.
    type Said: Send;

    /// How many events it has.
    fn events(&self) -> usize;

    /// The same word on each of `events` events.
    fn all(word: Handled, events: usize) -> Self::Said;
}

impl<T: Send + 'static> Request for Delivery<T> {
    type Said = Handled;

    fn events(&self) -> usize {
        1
    }

    fn all(word: Handled, _: usize) -> Handled {
        word
    }
}

impl<T: Send + 'static> Request for Vec<Delivery<T>> {
    type Said = Vec<Handled>;

    fn events(&self) -> usize {
        self.len()
    }

    fn all(word: Handled, events: usize) -> Vec<Handled> {
        vec![word; events]
    }
}

/// What handles deliveries: a handler, or a handler with layers around it.
///
/// One service handles many at once. Each call is one attempt: an event that is tried
/// again passes through all layers again. A batch passes as one.
pub trait Service<R: Request>: Send + Sync + 'static {
    /// Handles one. The future is dropped when it takes longer than the
    /// [timeout](crate::Subscribe::timeout).
    fn call(&self, request: R) -> impl Future<Output = R::Said> + Send;
}

/// Makes of a service another one around it, to do something before and after, to
/// answer in its place, or to change what it says. One that is written for any
/// [`Request`] goes around handlers of single events and of batches.
///
/// ```
/// use jetbus::{Layer, Request, Service};
///
/// struct Logged;
/// struct Logging<S>(S);
///
/// impl<S> Layer<S> for Logged {
///     type Service = Logging<S>;
///
///     fn layer(&self, inner: S) -> Logging<S> {
///         Logging(inner)
///     }
/// }
///
/// impl<R: Request, S: Service<R>> Service<R> for Logging<S> {
///     async fn call(&self, request: R) -> R::Said {
///         println!("handling {} events", request.events());
///         let said = self.0.call(request).await;
///         println!("handled");
///         said
///     }
/// }
/// ```
pub trait Layer<S> {
    /// The service around `S`.
    type Service;

    /// Puts itself around `inner`.
    fn layer(&self, inner: S) -> Self::Service;
}

/// No layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare(());

impl<S> Layer<S> for Bare {
    type Service = S;

    fn layer(&self, inner: S) -> S {
        inner
    }
}

/// One layer within others.
#[derive(Clone, Copy, Debug)]
pub struct Within<Outer, Inner> {
    pub(super) outer: Outer,
    pub(super) inner: Inner,
}

impl<S, Outer, Inner> Layer<S> for Within<Outer, Inner>
where
    Inner: Layer<S>,
    Outer: Layer<Inner::Service>,
{
    type Service = Outer::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.outer.layer(self.inner.layer(inner))
    }
}

/// The innermost service: the handler itself.
#[derive(Clone, Debug)]
pub struct Handler<H> {
    pub(super) handler: H,
    pub(super) classes: Classes,
}

impl<T, H, F> Service<Delivery<T>> for Handler<H>
where
    T: Send + 'static,
    H: Fn(Delivery<T>) -> F + Send + Sync + 'static,
    F: Future + Send,
    F::Output: IntoHandled,
{
    async fn call(&self, delivery: Delivery<T>) -> Handled {
        (self.handler)(delivery).await.into_handled(&self.classes)
    }
}

impl<T, H, F> Service<Vec<Delivery<T>>> for Handler<H>
where
    T: Send + 'static,
    H: Fn(Vec<Delivery<T>>) -> F + Send + Sync + 'static,
    F: Future + Send,
    F::Output: IntoHandledBatch,
{
    async fn call(&self, batch: Vec<Delivery<T>>) -> Vec<Handled> {
        let events = batch.len();
        let said = (self.handler)(batch).await;
        said.into_handled_batch(events, &self.classes)
    }
}
