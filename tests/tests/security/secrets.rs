//! What is never said: payloads, values of headers, passwords, tokens, keys.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jetbus::link::ConnectError;
use jetbus::{
    Builder, Delivery, Event, Failure, Headers, NatsOptions, News, PublishError, Raw, Retry,
};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{builder, works};
use jetbus_tests::support::news;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Stands in payloads and headers of the watched cases, and nowhere else.
const SECRET: &str = "s3cr3t-of-the-company";

/// The password of the watched cases.
const PASSWORD: &str = "pa55w0rd-of-ann";

/// That neither what is shown nor what is said holds a secret.
pub(crate) fn hides(secret: &str, options: &NatsOptions, error: &ConnectError) {
    for text in [
        format!("{options:?}"),
        format!("{error:?}"),
        error.to_string(),
    ] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Reads everything that this process logs.
struct Watch;

#[derive(Default)]
struct Read {
    lines: u64,
    leaks: Vec<String>,
}

fn read() -> &'static Mutex<Read> {
    static READ: OnceLock<Mutex<Read>> = OnceLock::new();
    READ.get_or_init(|| {
        let watching = tracing::subscriber::set_global_default(Watch);
        watching.expect("nobody else watches");
        Mutex::default()
    })
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Watch {
    fn see(metadata: Option<&Metadata<'_>>, record: impl FnOnce(&mut Line)) {
        // The client writes down what it reads and writes, whole, when it is asked for
        // every detail: the one place where a message is ever shown.
        let is_frame = |metadata: &Metadata<'_>| {
            metadata.target().starts_with("async_nats") && *metadata.level() == Level::TRACE
        };
        if metadata.is_some_and(is_frame) {
            return;
        }
        let whence = metadata.map(|metadata| (metadata.target(), metadata.name()));
        let mut line = Line(format!("{whence:?}"));
        record(&mut line);
        let mut read = read().lock().unwrap_or_else(PoisonError::into_inner);
        read.lines += 1;
        let bytes = format!("{:?}", SECRET.as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        if [SECRET, PASSWORD, bytes]
            .iter()
            .any(|secret| line.0.contains(secret))
        {
            read.leaks.push(line.0);
        }
    }
}

impl Subscriber for Watch {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        Self::see(Some(span.metadata()), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        Self::see(None, |line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        Self::see(Some(event.metadata()), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn raw(payload: impl Into<String>) -> Raw {
    let mut headers = Headers::new();
    headers.append("X-Note", SECRET).unwrap();
    Raw::new(payload.into()).headers(headers)
}

pub(crate) async fn a_bus_that_is_watched_says_no_secret(env: Env) {
    let before = read().lock().unwrap().lines;
    let users = format!(
        "authorization {{ users = [ {{ user: ann, password: {PASSWORD:?}, permissions: {{
         publish: {{ allow: [\">\"], deny: [\"orders.denied\"] }}, subscribe: \"_INBOX.>\" }} }} ] }}"
    );
    let server = Server::builder().config(&users).start().unwrap();
    let options = NatsOptions::new(server.url()).user("ann", PASSWORD);
    let on_server = builder(&env, &options);
    let embedded = Builder::embedded(env.broker()).runtime(env.runtime().clone());
    for builder in [on_server, embedded] {
        let is_embedded = format!("{builder:?}").contains("mbedded");
        let bus = builder.open().await.unwrap();
        let mut heard = bus.news();
        let orders = bus.topic("orders.placed").unwrap();
        // Stored, and handled well, badly, and not at all.
        let event = |key: &'static str| Event::new(key, "OrderPlaced", SECRET).trace_id("t");
        orders.publish(&event("well")).await.unwrap();
        orders.publish(&event("failing")).await.unwrap();
        orders.publish(&event("panicking")).await.unwrap();
        // Of another type, cut off, and no envelope at all.
        let odd = Event::new("odd", "OrderPlaced", vec![SECRET]);
        orders.publish(&odd).await.unwrap();
        orders.publish_raw(raw(SECRET)).await.unwrap();
        orders
            .publish_raw(raw(format!("{{\"{SECRET}\":")))
            .await
            .unwrap();
        let envelope = format!(
            r#"{{"event_id":"e","aggregate_id":"a b","event_type":"x",
            "event_version":1,"timestamp":"2026-11-22T21:00:00Z","payload":"{SECRET}"}}"#
        );
        orders.publish_raw(raw(envelope)).await.unwrap();
        let retry = Retry {
            first: Duration::from_millis(1),
            max: Duration::from_millis(1),
        };
        let subscription = bus
            .subscribe("orders.placed")
            .group("billing")
            .attempts(2)
            .retry(retry)
            .handle(|event: Delivery<String>| async move {
                match event.key() {
                    Some("well") => Ok(()),
                    Some("failing") => Err(Failure::retry("not today")),
                    _ => panic!("not this one"),
                }
            })
            .await
            .unwrap();
        for _ in 0..6 {
            let told = news(&env, "a dead letter", &mut heard, |news| match news {
                News::DeadLettered { error, .. } => Some(error),
                _ => None,
            });
            told.await;
        }
        subscription.stop().await;
        // Refused before it is sent, and by the server; nobody waits for the second.
        let large = Event::new("large", "OrderPlaced", SECRET.repeat(100_000));
        let error = orders.publish(&large).await.unwrap_err();
        assert!(matches!(error, PublishError::Invalid(_)), "{error:?}");
        assert!(!format!("{error:?} {error}").contains(SECRET), "{error}");
        if !is_embedded {
            let denied = bus.topic("orders.denied").unwrap();
            drop(denied.send(&event("denied")).await.unwrap());
            let failed = news(&env, "the failure", &mut heard, |news| match news {
                News::PublishFailed { error, .. } => Some(error),
                _ => None,
            });
            let failed = failed.await;
            assert!(matches!(*failed, PublishError::Denied(_)), "{failed:?}");
        }
        bus.close().await;
    }
    let read = read().lock().unwrap();
    assert!(read.lines > before + 10, "nobody was watched");
    assert!(read.leaks.is_empty(), "{:#?}", read.leaks);
}

pub(crate) async fn what_is_shown_of_options_hides_secrets(env: Env) {
    let server = Server::builder()
        .config("authorization { users = [ {user: ann, password: \"pa55w0rd-of-ann\"} ] }")
        .start()
        .unwrap();
    let address = server.address();
    let seed = nkeys::KeyPair::new_user().seed().unwrap();
    for (secret, options) in [
        (
            PASSWORD,
            NatsOptions::new(server.url()).user("ann", PASSWORD),
        ),
        (
            PASSWORD,
            NatsOptions::new(format!("nats://ann:{PASSWORD}@{address}")),
        ),
        (
            PASSWORD,
            NatsOptions::new(format!("nats://{PASSWORD}@{address}")),
        ),
        (PASSWORD, NatsOptions::new(server.url()).token(PASSWORD)),
        (&*seed, NatsOptions::new(server.url()).nkey(&*seed)),
    ] {
        let builder = builder(&env, &options);
        let mut shown = vec![format!("{options:?}"), format!("{builder:?}")];
        match env.soon("an answer", builder.open()).await {
            Ok(bus) => {
                works(&env, &bus).await;
                shown.push(format!("{bus:?}"));
                bus.close().await;
            }
            Err(error) => {
                shown.push(format!("{error:?}"));
                shown.push(error.to_string());
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    shown.push(format!("{error:?} {error}"));
                    source = error.source();
                }
            }
        }
        for text in shown {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
