//! The embedded link without a server, on both runtimes.

#![cfg(any(feature = "tokio", feature = "smol"))]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use jetbus::link::{Embedded, EmbeddedBroker, Inbox, Link, LinkError, LinkEvent, Refused};
use jetbus::runtime::Runtime;
use jetbus_core::{Headers, Message, Publish, Subject};

fn publish(link: &dyn Link, subject: &str, reply: Option<&str>, body: &str) -> Result<(), Refused> {
    link.try_publish(Publish {
        subject: &Subject::from(subject),
        reply,
        headers: &Headers::new(),
        payload: &Bytes::copy_from_slice(body.as_bytes()),
    })
}

async fn next(inbox: &mut Box<dyn Inbox>) -> Option<Message> {
    poll_fn(|cx| inbox.poll_next(cx)).await
}

async fn ask(link: &dyn Link, inbox: &mut Box<dyn Inbox>, subject: &str, body: &str) -> Message {
    publish(link, subject, Some("_INBOX.x"), body).unwrap();
    next(inbox).await.unwrap()
}

async fn event(link: &dyn Link) -> Option<LinkEvent> {
    poll_fn(|cx| link.poll_event(cx)).await
}

fn nothing_waits(inbox: &mut Box<dyn Inbox>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    inbox.poll_next(&mut cx).is_pending()
}

async fn two_buses_talk(runtime: Arc<dyn Runtime>) {
    let broker = EmbeddedBroker::new();
    let a = broker.connect(Arc::clone(&runtime)).await;
    let b = broker.connect(Arc::clone(&runtime)).await;
    match event(&a).await {
        Some(LinkEvent::Connected(server)) => assert!(server.version >= (2, 10, 0)),
        other => panic!("{other:?}"),
    }

    let mut questions = b.subscribe("ask.*".into(), None).await.unwrap();
    let mut answers = a.subscribe("_INBOX.a.>".into(), None).await.unwrap();
    // The one who answers runs as a task, and is woken by the one who asks.
    let b = Arc::new(b);
    let answering = Arc::clone(&b);
    runtime.spawn(Box::pin(async move {
        while let Some(question) = next(&mut questions).await {
            let to = question.reply.unwrap();
            publish(&*answering, to.as_str(), None, "yes").unwrap();
        }
    }));
    for n in 0..100 {
        let reply = format!("_INBOX.a.{n}");
        publish(&a, "ask.me", Some(&reply), "?").unwrap();
        let answer = next(&mut answers).await.unwrap();
        assert_eq!(
            (answer.subject, &*answer.payload),
            (reply.into(), &b"yes"[..])
        );
    }
    assert!(a.flush().await.is_ok());
}

async fn closing_ends_everything(runtime: Arc<dyn Runtime>) {
    let broker = EmbeddedBroker::new();
    let link = broker.connect(Arc::clone(&runtime)).await;
    let other = broker.connect(runtime).await;
    let mut inbox = link.subscribe("a".into(), None).await.unwrap();
    publish(&other, "a", None, "1").unwrap();
    link.close().await;
    link.close().await;
    assert_eq!(next(&mut inbox).await.unwrap().payload, "1");
    assert!(next(&mut inbox).await.is_none());
    assert_eq!(publish(&link, "a", None, "2"), Err(Refused::Closed));
    assert!(matches!(
        link.subscribe("a".into(), None).await,
        Err(LinkError::Closed)
    ));
    assert!(event(&link).await.is_none());
    // The broker and its other connections go on.
    let mut inbox = other.subscribe("a".into(), None).await.unwrap();
    publish(&other, "a", None, "3").unwrap();
    assert_eq!(next(&mut inbox).await.unwrap().payload, "3");
}

async fn a_reader_that_waits_hears_of_the_end(runtime: Arc<dyn Runtime>) {
    let link = EmbeddedBroker::new().connect(Arc::clone(&runtime)).await;
    let mut inbox = link.subscribe("a".into(), None).await.unwrap();
    let (tell, told) = futures_channel::oneshot::channel();
    runtime.spawn(Box::pin(async move {
        let _ = tell.send(next(&mut inbox).await.is_none());
    }));
    drop(link);
    assert!(told.await.unwrap());
}

async fn bad_messages_are_refused(runtime: Arc<dyn Runtime>) {
    let link: Embedded = EmbeddedBroker::new().connect(runtime).await;
    for bad in ["", "a b", "a\r\nb"] {
        assert_eq!(publish(&link, bad, None, ""), Err(Refused::Invalid));
        assert_eq!(publish(&link, "a", Some(bad), ""), Err(Refused::Invalid));
        assert!(link.subscribe(bad.into(), None).await.is_err());
    }
    let max = 1_024 * 1_024;
    let body = "x".repeat(max + 1);
    let refused = Refused::TooLarge { len: max + 1, max };
    assert_eq!(publish(&link, "a", None, &body), Err(refused));
    assert_eq!(publish(&link, "a", None, &body[1..]), Ok(()));
}

async fn a_slow_reader_loses_messages_and_hears_of_it(runtime: Arc<dyn Runtime>) {
    let link = EmbeddedBroker::new().connect(runtime).await;
    assert!(matches!(event(&link).await, Some(LinkEvent::Connected(_))));
    let mut inbox = link.subscribe("a".into(), None).await.unwrap();
    for _ in 0..65_536 + 3 {
        publish(&link, "a", None, "").unwrap();
    }
    assert!(matches!(event(&link).await, Some(LinkEvent::SlowConsumer)));
    for _ in 0..65_536 {
        assert!(next(&mut inbox).await.is_some());
    }
    assert!(nothing_waits(&mut inbox));
    publish(&link, "a", None, "").unwrap();
    assert!(next(&mut inbox).await.is_some());
}

async fn an_inbox_that_is_dropped_gets_nothing_more(runtime: Arc<dyn Runtime>) {
    let link = EmbeddedBroker::new().connect(runtime).await;
    let first = link.subscribe("a".into(), None).await.unwrap();
    drop(first);
    let mut second = link.subscribe("b".into(), None).await.unwrap();
    publish(&link, "a", None, "").unwrap();
    publish(&link, "b", None, "").unwrap();
    assert_eq!(next(&mut second).await.unwrap().subject, "b");
    assert!(nothing_waits(&mut second));
}

/// Threads publish while nobody but them could work for the broker: every message
/// arrives, each thread's in order.
async fn no_command_is_left_behind(runtime: Arc<dyn Runtime>) {
    const EACH: u64 = 5_000;
    let broker = EmbeddedBroker::new();
    let reader = broker.connect(Arc::clone(&runtime)).await;
    let mut inbox = reader.subscribe("t.*".into(), None).await.unwrap();
    let mut threads = Vec::new();
    for t in 0..3 {
        let link = broker.connect(Arc::clone(&runtime)).await;
        threads.push(std::thread::spawn(move || {
            for n in 0..EACH {
                let subject = format!("t.{t}");
                while let Err(refused) = publish(&link, &subject, None, &n.to_string()) {
                    assert_eq!(refused, Refused::Busy);
                    smol::block_on(link.ready());
                }
            }
        }));
    }
    let mut seen = [0_u64; 3];
    for _ in 0..3 * EACH {
        let message = next(&mut inbox).await.unwrap();
        let thread: usize = message.subject.as_str()[2..].parse().unwrap();
        let body = std::str::from_utf8(&message.payload).unwrap();
        assert_eq!(body.parse::<u64>().unwrap(), seen[thread]);
        seen[thread] += 1;
    }
    assert_eq!(seen, [EACH; 3]);
    for thread in threads {
        thread.join().unwrap();
    }
}

async fn waiting_for_room_ends_at_once_when_there_is_room(runtime: Arc<dyn Runtime>) {
    let link = EmbeddedBroker::new().connect(runtime).await;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(link.ready().as_mut().poll(&mut cx).is_ready());
}

/// A message nobody acknowledges comes again although no bus does anything: the
/// broker is woken by its tickers, at the deadline of whoever is first.
async fn time_passes_for_the_broker(runtime: Arc<dyn Runtime>) {
    let broker = EmbeddedBroker::new();
    let link = broker.connect(Arc::clone(&runtime)).await;
    let other = broker.connect(Arc::clone(&runtime)).await;
    let mut inbox = link.subscribe("_INBOX.>".into(), None).await.unwrap();
    let stream = r#"{"name":"S","subjects":["s"],"storage":"memory"}"#;
    let made = ask(&link, &mut inbox, "$JS.API.STREAM.CREATE.S", stream).await;
    assert!(!made.payload.windows(7).any(|w| w == b"\"error\""));
    let consumer = r#"{"stream_name":"S","action":"create","config":{"durable_name":"C","name":"C",
        "ack_policy":"explicit","ack_wait":30000000}}"#;
    let made = ask(&link, &mut inbox, "$JS.API.CONSUMER.CREATE.S.C", consumer).await;
    assert!(!made.payload.windows(7).any(|w| w == b"\"error\""));
    ask(&link, &mut inbox, "s", "event").await;
    let pull = r#"{"batch":3,"expires":10000000000}"#;
    let started = runtime.now();
    let first = ask(&link, &mut inbox, "$JS.API.CONSUMER.MSG.NEXT.S.C", pull).await;
    assert_eq!(first.payload, "event");
    for _ in 0..2 {
        assert_eq!(next(&mut inbox).await.unwrap().payload, "event");
    }
    assert!(runtime.now().since(started).as_millis() >= 60);
    drop(other);
}

#[cfg(all(feature = "tokio", feature = "smol"))]
#[test]
fn buses_on_two_runtimes_share_a_broker() {
    use jetbus::runtime::{Smol, Tokio};
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    smol::block_on(async {
        let on_tokio = Arc::new(tokio.block_on(async { Tokio::current().unwrap() }));
        let broker = EmbeddedBroker::new();
        let a = broker.connect(on_tokio).await;
        let b = broker.connect(Arc::new(Smol::new())).await;
        let mut inbox = a.subscribe("a".into(), None).await.unwrap();
        publish(&b, "a", None, "x").unwrap();
        assert_eq!(next(&mut inbox).await.unwrap().payload, "x");
        // The broker outlives the runtime whose clock it took.
        tokio.shutdown_background();
        publish(&b, "a", None, "y").unwrap();
        assert_eq!(next(&mut inbox).await.unwrap().payload, "y");
    });
}

macro_rules! on_each_runtime {
    ($($name:ident)*) => {
        #[cfg(feature = "tokio")]
        mod on_tokio {
            use super::*;

            #[tokio::test(start_paused = true)]
            async fn paused_time_passes_for_the_broker() {
                let runtime = Arc::new(jetbus::runtime::Tokio::current().unwrap());
                super::time_passes_for_the_broker(runtime).await;
            }

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(Arc::new(jetbus::runtime::Tokio::current().unwrap())).await;
            })*
        }
        #[cfg(feature = "smol")]
        mod on_smol {
            use super::*;
            $(#[test]
            fn $name() {
                smol::block_on(super::$name(Arc::new(jetbus::runtime::Smol::new())));
            })*
        }
    };
}

on_each_runtime! {
    two_buses_talk
    closing_ends_everything
    a_reader_that_waits_hears_of_the_end
    bad_messages_are_refused
    a_slow_reader_loses_messages_and_hears_of_it
    an_inbox_that_is_dropped_gets_nothing_more
    no_command_is_left_behind
    time_passes_for_the_broker
    waiting_for_room_ends_at_once_when_there_is_room
}
