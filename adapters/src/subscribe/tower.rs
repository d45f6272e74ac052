//! Layers written for tower.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;

use super::failure::Failure;
use super::service::{Layer, Request, Service};

/// Makes a [`Layer`] of a tower layer, for [`Subscribe::layer`](crate::Subscribe::layer).
///
/// Its service is cloned for each attempt, made ready and called, so limits are to be
/// shared by clones, as those of tower are. An error of it counts as an error of the
/// handler, of a batch for each event, and is tried again.
pub const fn tower<L>(layer: L) -> FromTower<L> {
    FromTower(layer)
}

/// A tower layer, see [`tower`].
#[derive(Clone, Copy, Debug)]
pub struct FromTower<L>(L);

impl<L, S> Layer<S> for FromTower<L>
where
    L: tower_layer::Layer<Innermost<S>>,
{
    type Service = Towered<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        Towered(self.0.layer(Innermost(Arc::new(inner))))
    }
}

/// A service made by a tower layer.
#[derive(Clone, Copy, Debug)]
pub struct Towered<S>(S);

impl<R, S> Service<R> for Towered<S>
where
    R: Request,
    S: tower_service::Service<R, Response = R::Said> + Clone + Send + Sync + 'static,
    S::Error: Into<Failure> + Send,
    S::Future: Send,
{
    async fn call(&self, request: R) -> R::Said {
        let mut service = self.0.clone();
        let events = request.events();
        let called = async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await
        };
        called
            .await
            .unwrap_or_else(|error| R::all(error.into().into(), events))
    }
}

/// What a tower layer is put around: the handler, or further layers.
#[derive(Debug)]
pub struct Innermost<S>(Arc<S>);

impl<S> Clone for Innermost<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R, S> tower_service::Service<R> for Innermost<S>
where
    R: Request,
    S: Service<R>,
{
    type Response = R::Said;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<R::Said, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // There is a worker for it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move { Ok(service.call(request).await) })
    }
}
