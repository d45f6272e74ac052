//! The matrix: one suite of cases, run for every runtime on every link.
//!
//! A case is an `async fn(Env)`. [`conformance!`](crate::conformance) makes of each
//! one test for every combination that is compiled in.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jetbus::runtime::Runtime;
use jetbus::{Builder, Bus, EmbeddedBroker};

#[cfg(feature = "nats")]
use crate::server::{self, Server};

/// How long a case may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long [`Env::soon`] waits.
const SOON: Duration = Duration::from_secs(30);

/// What runs the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// tokio, with two workers.
    #[cfg(feature = "tokio")]
    Tokio,
    /// smol's global executor.
    #[cfg(feature = "smol")]
    Smol,
}

/// What the bus talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// An embedded broker of the case's own.
    Embedded,
    /// A real server of the case's own.
    #[cfg(feature = "nats")]
    Nats,
    /// A real server of the oldest version that is supported.
    #[cfg(feature = "nats")]
    OldestNats,
    /// A real server of a version that takes atomic batches and no others.
    #[cfg(feature = "nats")]
    AtomicNats,
}

/// One combination, and a broker or server of the case's own.
#[derive(Debug)]
pub struct Env {
    link: LinkKind,
    runtime: Arc<dyn Runtime>,
    broker: EmbeddedBroker,
    #[cfg(feature = "nats")]
    server: Option<Server>,
}

impl Env {
    /// Whether the embedded broker stands in for a server.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.link == LinkKind::Embedded
    }

    /// The real server; `None` on the embedded broker.
    #[cfg(feature = "nats")]
    #[must_use]
    pub const fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// The server's version, when it is older than `since`.
    ///
    /// # Panics
    /// When the server does not say its version.
    #[must_use]
    pub fn older_than(&self, since: (u32, u32, u32)) -> Option<(u32, u32, u32)> {
        #[cfg(feature = "nats")]
        if let Some(server) = self.server() {
            let text = server.version().expect("a version");
            let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
            let mut part = || parts.next().unwrap_or(0);
            return Some((part(), part(), part())).filter(|version| *version < since);
        }
        // The embedded broker is as new as the newest.
        let _ = since;
        None
    }

    /// The runtime.
    #[must_use]
    pub const fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// The embedded broker; unused on a real server.
    #[must_use]
    pub const fn broker(&self) -> &EmbeddedBroker {
        &self.broker
    }

    /// A builder for a bus on this combination.
    pub fn builder(&self) -> Builder {
        let builder = match self.link {
            LinkKind::Embedded => Builder::embedded(&self.broker),
            #[cfg(feature = "nats")]
            _ => Builder::nats(jetbus::NatsOptions::new(
                self.server.as_ref().map(Server::url).unwrap_or_default(),
            )),
        };
        builder.runtime(Arc::clone(&self.runtime))
    }

    /// A bus with default options on this combination.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn bus(&self) -> Bus {
        self.builder().open().await.expect("the bus opens")
    }

    /// The output of `future`, which is expected soon.
    ///
    /// # Panics
    /// When it does not come within half a minute: `what` did not happen.
    pub async fn soon<F: Future>(&self, what: &str, future: F) -> F::Output {
        let deadline = self.runtime.now() + SOON;
        let mut sleep = self.runtime.sleep_until(deadline);
        let mut future = std::pin::pin!(future);
        let output = std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(cx) {
                return std::task::Poll::Ready(Some(output));
            }
            sleep.as_mut().poll(cx).map(|()| None)
        });
        output
            .await
            .unwrap_or_else(|| panic!("{what}: not within {SOON:?}"))
    }

    /// Waits until `holds` says so, asking again and again.
    ///
    /// # Panics
    /// When it does not within half a minute.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        self.soon(what, async {
            while !holds() {
                let again = self.runtime.now() + Duration::from_millis(5);
                self.runtime.sleep_until(again).await;
            }
        })
        .await;
    }
}

/// Runs one case on one combination.
///
/// # Panics
/// When the case does, or when it takes longer than a minute and a half.
pub fn run<F>(runtime: RuntimeKind, link: LinkKind, case: impl FnOnce(Env) -> F)
where
    F: Future<Output = ()>,
{
    let body = async move {
        let env = Env {
            link,
            runtime: jetbus::runtime::detect().expect("a runtime"),
            broker: EmbeddedBroker::new(),
            #[cfg(feature = "nats")]
            server: match link {
                LinkKind::Embedded => None,
                LinkKind::Nats => Some(Server::start().expect("a server")),
                LinkKind::OldestNats => Some(of_version(server::OLDEST_VERSION)),
                LinkKind::AtomicNats => Some(of_version(server::ATOMIC_VERSION)),
            },
        };
        let clock = Arc::clone(&env.runtime);
        let mut sleep = clock.sleep_until(clock.now() + PATIENCE);
        let mut case = std::pin::pin!(case(env));
        std::future::poll_fn(|cx| {
            if case.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            sleep
                .as_mut()
                .poll(cx)
                .map(|()| panic!("the case is stuck: not over within {PATIENCE:?}"))
        })
        .await;
    };
    match runtime {
        #[cfg(feature = "tokio")]
        RuntimeKind::Tokio => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a tokio runtime")
            .block_on(body),
        #[cfg(feature = "smol")]
        RuntimeKind::Smol => smol::block_on(body),
    }
}

#[cfg(feature = "nats")]
fn of_version(version: &str) -> Server {
    let server = Server::builder().version(version).start();
    server.expect("a server of an older version")
}

/// Makes a test of each case for every combination: `conformance!(module::case, ...)`
/// gives `tokio_embedded::case`, `smol_nats::case` and so on.
#[macro_export]
macro_rules! conformance {
    ($($module:ident :: $case:ident),* $(,)?) => {
        #[cfg(feature = "tokio")]
        mod tokio_embedded {
            $($crate::conformance!(@test $module $case Tokio Embedded);)*
        }
        #[cfg(feature = "smol")]
        mod smol_embedded {
            $($crate::conformance!(@test $module $case Smol Embedded);)*
        }
        #[cfg(all(feature = "tokio", feature = "nats"))]
        mod tokio_nats {
            $($crate::conformance!(@test $module $case Tokio Nats);)*
        }
        #[cfg(all(feature = "smol", feature = "nats"))]
        mod smol_nats {
            $($crate::conformance!(@test $module $case Smol Nats);)*
        }
    };
    (@test $module:ident $case:ident $runtime:ident $link:ident) => {
        #[test]
        fn $case() {
            $crate::matrix::run(
                $crate::matrix::RuntimeKind::$runtime,
                $crate::matrix::LinkKind::$link,
                super::$module::$case,
            );
        }
    };
}

/// Makes a test of each case for every runtime, on a real server:
/// `on_servers!(case, ...)` gives `tokio_nats::case` and `smol_nats::case`.
#[macro_export]
macro_rules! on_servers {
    ($($case:ident),* $(,)?) => {
        #[cfg(feature = "tokio")]
        mod tokio_nats {
            $($crate::on_servers!(@test $case Tokio);)*
        }
        #[cfg(feature = "smol")]
        mod smol_nats {
            $($crate::on_servers!(@test $case Smol);)*
        }
    };
    (@test $case:ident $runtime:ident) => {
        #[test]
        fn $case() {
            $crate::matrix::run(
                $crate::matrix::RuntimeKind::$runtime,
                $crate::matrix::LinkKind::Nats,
                super::$case,
            );
        }
    };
}

/// Makes a test of each case for every runtime; what the bus connects to is the case's
/// own: `on_runtimes!(module::case, ...)` gives `tokio::case` and `smol::case`.
#[macro_export]
macro_rules! on_runtimes {
    ($($module:ident :: $case:ident),* $(,)?) => {
        #[cfg(feature = "tokio")]
        mod tokio {
            $($crate::on_runtimes!(@test $module $case Tokio);)*
        }
        #[cfg(feature = "smol")]
        mod smol {
            $($crate::on_runtimes!(@test $module $case Smol);)*
        }
    };
    (@test $module:ident $case:ident $runtime:ident) => {
        #[test]
        fn $case() {
            $crate::matrix::run(
                $crate::matrix::RuntimeKind::$runtime,
                // Started only when it is used.
                $crate::matrix::LinkKind::Embedded,
                super::$module::$case,
            );
        }
    };
}
