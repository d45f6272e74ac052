//! Reaching a real server: logins, TLS, addresses, prefixes, and servers that are
//! not there. Once on tokio and once on smol.

#[path = "connecting/identity.rs"]
mod identity;
#[path = "connecting/place.rs"]
mod place;
#[path = "connecting/trust.rs"]
mod trust;

use std::sync::Arc;

use jetbus::link::{ConnectError, LinkError};
use jetbus::{Builder, Bus, Event, NatsOptions, OpenError, Outcome};
use jetbus_tests::matrix::Env;

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        #[cfg(feature = "tokio")]
        mod tokio {
            $(cases!(@test $module $case Tokio);)*
        }
        #[cfg(feature = "smol")]
        mod smol {
            $(cases!(@test $module $case Smol);)*
        }
    };
    (@test $module:ident $case:ident $runtime:ident) => {
        #[test]
        fn $case() {
            use jetbus_tests::matrix::{LinkKind, RuntimeKind, run};
            // The servers are the cases' own: each wants another one.
            run(RuntimeKind::$runtime, LinkKind::Embedded, super::$module::$case);
        }
    };
}

cases! {
    identity::a_forbidden_subject_is_told,
    identity::credential_files_open,
    identity::nkeys_open,
    identity::passwords_and_tokens_open,
    place::a_dead_server_of_several_is_passed_by,
    place::a_frozen_server_leaves_the_outcome_unknown,
    place::a_killed_server_is_found_again,
    place::a_server_that_is_not_there_yet_is_waited_for_when_told,
    place::closing_without_answers_ends_and_counts_them,
    place::domains_and_prefixes_are_used,
    place::inboxes_start_as_told,
    trust::certificates_of_both_sides_are_checked,
    trust::tls_comes_first_when_told,
}

fn event() -> Event<'static, u32> {
    Event::new("order-1", "OrderPlaced", 1)
}

fn builder(env: &Env, options: &NatsOptions) -> Builder {
    Builder::nats(options.clone()).runtime(Arc::clone(env.runtime()))
}

/// Opens a bus that works, uses it, and closes it.
async fn opens(env: &Env, options: &NatsOptions) {
    let bus = builder(env, options).open().await.expect("the bus opens");
    works(env, &bus).await;
    bus.close().await;
}

async fn works(env: &Env, bus: &Bus) {
    let outcome = env
        .soon("a publish", bus.publish("orders.placed", &event()))
        .await;
    assert!(matches!(outcome, Ok(Outcome::Stored { .. })), "{outcome:?}");
}

/// Why a bus does not open.
async fn refused(env: &Env, options: &NatsOptions) -> ConnectError {
    let opened = env.soon("an answer", builder(env, options).open()).await;
    match opened.expect_err("the bus does not open") {
        OpenError::Link(LinkError::Connect(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// That neither what is shown nor what is said holds a secret.
fn hides(secret: &str, options: &NatsOptions, error: &ConnectError) {
    for text in [
        format!("{options:?}"),
        format!("{error:?}"),
        error.to_string(),
    ] {
        assert!(!text.contains(secret), "{text}");
    }
}
