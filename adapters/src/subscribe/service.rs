//! Layers around a handler.

use std::future::Future;

use super::failure::Classes;
use super::handled::{Handled, IntoHandled};

/// What handles deliveries: a handler, or a handler with layers around it.
///
/// One service handles many deliveries at once. Each call is one attempt: an event
/// that is tried again passes through all layers again.
pub trait Service<Request>: Send + Sync + 'static {
    /// Handles one. The future is dropped when it takes longer than the
    /// [timeout](crate::Subscribe::timeout).
    fn call(&self, request: Request) -> impl Future<Output = Handled> + Send;
}

/// Makes of a service another one around it, to do something before and after, to
/// answer in its place, or to change what it says.
///
/// ```
/// use jetbus::{Delivery, Handled, Layer, Service};
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
/// impl<T: Send + 'static, S: Service<Delivery<T>>> Service<Delivery<T>> for Logging<S> {
///     async fn call(&self, delivery: Delivery<T>) -> Handled {
///         println!("handling {delivery:?}");
///         let handled = self.0.call(delivery).await;
///         println!("it is {handled:?}");
///         handled
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

impl<Request, H, F> Service<Request> for Handler<H>
where
    Request: Send,
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future + Send,
    F::Output: IntoHandled,
{
    async fn call(&self, request: Request) -> Handled {
        (self.handler)(request).await.into_handled(&self.classes)
    }
}
