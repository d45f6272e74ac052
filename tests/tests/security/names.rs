//! Text of strangers where it could become something else: another header, another
//! command, another subject, another stream.
//!
//! Single rules, each with its error, are in `conformance::refusals`; here every place
//! meets every text.

use std::sync::Arc;

use jetbus::{
    Bus, DeadLetterFilter, Delivery, Event, Headers, Raw, Stream, SubscribeError, TopicConfig,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Spy;
use jetbus_tests::{Server, opening};

/// What somebody may send who hopes that nobody looks.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        "*",
        ">",
        "a.*",
        "a.>",
        "a*b",
        "a>b",
        "a b",
        "a\tb",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "a\0b",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}a",
        "größe",
        "订单",
        "a/b",
        "a\\b",
        "../../etc/passwd",
        "a\"b",
        "a'b",
        "a`b",
        "${a}",
        "%s%n",
        "{{a}}",
        "-1",
        "NaN",
        "null",
        "$JS.API.STREAM.DELETE.ORDERS",
        "$JS.ACK.a.b.1.2.3.4.5",
        "$SYS.REQ.USER.INFO",
        "$KV.a.b",
        "_INBOX.a",
        "_INBOX.>",
        "jetbus-dead",
        "x\r\nPUB orders.placed 0\r\n\r\n",
        "x\r\nNats-Rollup: all",
        "x\r\n\r\nNATS/1.0",
        "a.p1",
        "p0",
        "~",
        "a~b",
        "=",
        "=2E",
        "%2E",
    ]
    .map(str::to_owned)
    .to_vec();
    for len in [64, 65, 200, 201, 255, 256, 257, 5_000] {
        texts.push("n".repeat(len));
        texts.push(["t"; 5_000].join(".").chars().take(len).collect());
    }
    texts
}

/// A bus on the embedded broker or a server, and a spy that sees what it sends.
async fn spied(env: &Env, server: Option<&Server>) -> (Bus, Arc<Spy>) {
    let link = match server {
        None => env.link().await,
        Some(server) => {
            let options = jetbus::NatsOptions::new(server.url());
            let link = jetbus::link::Nats::connect(&options, &**env.runtime()).await;
            Arc::new(link.expect("a connection"))
        }
    };
    let spy = Spy::on(link);
    let bus = jetbus::Builder::link(Arc::clone(&spy) as _).runtime(Arc::clone(env.runtime()));
    (bus.open().await.expect("the bus opens"), spy)
}

/// That an error says which value, at least its beginning, and why.
fn names(error: &dyn std::error::Error, value: &str) {
    let (text, quoted) = (error.to_string(), format!("{value:?}"));
    let shown: String = quoted.trim_matches('"').chars().take(50).collect();
    assert!(text.contains(&shown), "{value:?}: {text}");
    assert!(
        text.len() < 2_000,
        "it is as long as what it complains of: {}",
        text.len()
    );
}

pub(crate) async fn hostile_names_are_refused_or_kept_as_they_are(env: Env) {
    let server = Server::start().expect("a server");
    for server in [None, Some(&server)] {
        let (bus, spy) = spied(&env, server).await;
        let event = opening::event();
        let handler = |_: Delivery<u32>| async {};
        let mut taken = Vec::new();
        for text in texts() {
            // Whatever is refused is refused before anything is sent.
            let before = spy.taken("");
            let topic = bus.topic(&text);
            match &topic {
                Err(error) => {
                    names(error, &text);
                    names(&bus.publish(&text, &event).await.unwrap_err(), &text);
                    let config = TopicConfig::new();
                    names(&bus.configure(&text, config).await.unwrap_err(), &text);
                    assert_eq!(spy.taken(""), before, "{text:?}");
                }
                Ok(topic) => {
                    let sent = spy.taken(&text);
                    let outcome = topic.publish(&event).await;
                    assert!(outcome.expect(&text).sequence().is_some(), "{text:?}");
                    assert_eq!(spy.taken(&text), sent + 1, "{text:?}");
                    taken.push(text.clone());
                }
            }
            let before = spy.taken("");
            let group = bus
                .subscribe("orders.placed")
                .group(&*text)
                .handle(handler)
                .await;
            match group {
                Err(error) => {
                    names(&error, &text);
                    assert_eq!(spy.taken(""), before, "{text:?}");
                }
                Ok(subscription) => _ = subscription.stop().await,
            }
            let before = spy.taken("");
            match bus.subscribe(&text).group("billing").handle(handler).await {
                Err(error @ SubscribeError::Name(_)) => {
                    names(&error, &text);
                    assert_eq!(spy.taken(""), before, "{text:?}");
                }
                // Patterns that have no stream of their own, such as all.
                Err(error) => assert!(text.contains(['*', '>']), "{text:?}: {error}"),
                Ok(subscription) => _ = subscription.stop().await,
            }
            let filter = DeadLetterFilter::new().group(&*text).topic(&*text);
            let before = spy.taken("");
            if let Err(error) = bus.dead_letters().count(&filter).await {
                names(&error, &text);
                assert_eq!(spy.taken(""), before, "{text:?}");
            }
            let declared = opening_with(&env, Stream::new(&*text, ["elsewhere.>"])).await;
            if let Err(error) = declared {
                names(&error, &text);
            }
        }
        assert!(taken.len() > 10, "{taken:?}");
        assert!(
            taken
                .iter()
                .all(|topic| topic.is_ascii() && topic.len() <= 255)
        );
        bus.close().await;
    }
}

/// A bus that declares a stream, on a broker of its own.
async fn opening_with(env: &Env, stream: Stream) -> Result<(), jetbus::OpenError> {
    let broker = jetbus::EmbeddedBroker::new();
    let builder = jetbus::Builder::embedded(&broker).runtime(Arc::clone(env.runtime()));
    let bus = builder.stream(stream).open().await?;
    bus.close().await;
    Ok(())
}

pub(crate) async fn no_text_of_an_event_becomes_a_line_of_the_protocol(env: Env) {
    let server = Server::start().expect("a server");
    for server in [None, Some(&server)] {
        let (bus, spy) = spied(&env, server).await;
        let topic = bus.topic("orders.placed").unwrap();
        let mut stored = 0;
        for text in texts() {
            let mut headers = Headers::new();
            let mut attempts = Vec::new();
            // As value and as name of a header.
            attempts.push(match headers.append("X-Note", &text) {
                Ok(()) => topic
                    .publish_raw(Raw::new("x").headers(headers))
                    .await
                    .map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            });
            let mut headers = Headers::new();
            attempts.push(match headers.append(&text, "x") {
                Ok(()) => topic
                    .publish_raw(Raw::new("x").headers(headers))
                    .await
                    .map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            });
            // As message id, as key, and as every text of an event.
            let event = || Event::new("order-1", "OrderPlaced", 1);
            attempts.push(
                topic
                    .publish_raw(Raw::new("x").id(format!("{text}!")))
                    .await
                    .map_err(|e| e.to_string()),
            );
            for event in [
                Event::new(&*text, "OrderPlaced", 1),
                Event::new("order-1", &*text, 1),
                event().id(&*text),
                event().trace_id(&*text),
                event().correlation_id(&*text),
            ] {
                attempts.push(topic.publish(&event).await.map_err(|e| e.to_string()));
            }
            for attempt in attempts {
                match attempt {
                    Ok(outcome) => {
                        let is_new = matches!(outcome, jetbus::Outcome::Stored { .. });
                        stored += u64::from(is_new);
                        assert!(is_new || outcome.sequence().is_some(), "{text:?}");
                    }
                    Err(error) => {
                        assert!(error.len() < 2_000, "{}", error.len());
                    }
                }
            }
        }
        // One message each: nothing was smuggled in, and nothing was rolled up.
        let outcome = topic.publish(&opening::event()).await.unwrap();
        assert_eq!(outcome.sequence(), Some(stored + 1));
        // Nothing was sent to anywhere else.
        let all = spy.taken("");
        let known = spy.taken("orders.placed") + spy.taken("$JS.API.STREAM.");
        assert_eq!(all, known);
        bus.close().await;
    }
}
