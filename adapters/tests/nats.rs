//! The NATS link against a few lines that play a server. Tests against real
//! servers live in the package `jetbus-tests`.

#![cfg(all(feature = "nats", any(feature = "tokio", feature = "smol")))]

use std::future::poll_fn;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use jetbus::link::{ConnectError, Link, LinkError, LinkEvent, Nats, NatsOptions, Refused};
use jetbus::runtime::Runtime;
use jetbus_core::{Headers, Publish, Subject};

const INFO: &str = r#"INFO {"server_id":"S","server_name":"fake","version":"2.15.1","client_id":7,"max_payload":1000,"headers":true,"proto":1}"#;

/// Greets one client and gives its connection back after `answer` to its PING.
fn greet(listener: &TcpListener, answer: &str) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    write!(&stream, "{INFO}\r\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "PING" {}
    write!(&stream, "{answer}\r\n").unwrap();
    stream
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("nats://user:hush@127.0.0.1:{port}"))
}

async fn event(link: &dyn Link) -> Option<LinkEvent> {
    poll_fn(|cx| link.poll_event(cx)).await
}

fn publish(link: &dyn Link, body: &Bytes) -> Result<(), Refused> {
    link.try_publish(Publish {
        subject: &Subject::from_static("a"),
        reply: Some("_INBOX.1"),
        headers: &Headers::new(),
        payload: body,
    })
}

async fn a_stuck_server_makes_it_busy_and_never_waits(runtime: Arc<dyn Runtime>) {
    let (listener, url) = listen();
    let server = std::thread::spawn(move || greet(&listener, "PONG"));
    let options = NatsOptions::new(url);
    let link = Nats::connect(&options, &*runtime).await.unwrap();
    let stuck = server.join().unwrap();
    match event(&link).await {
        Some(LinkEvent::Connected(server)) => {
            assert_eq!((&*server.name, server.version), ("fake", (2, 15, 1)));
            assert_eq!(server.max_payload, 1_000);
        }
        other => panic!("{other:?}"),
    }
    let refused = Refused::TooLarge {
        len: 1_001,
        max: 1_000,
    };
    assert_eq!(publish(&link, &vec![0; 1_001].into()), Err(refused));

    // A window of 4 096 fits even into a client that sends nothing at all, and a
    // task is not cheated of it by tokio's budget.
    let body = Bytes::from(vec![0; 1_000]);
    let mut taken = 0;
    while publish(&link, &body).is_ok() {
        taken += 1;
        assert!(taken < 100_000);
    }
    assert!(taken >= 16_384, "{taken}");
    assert_eq!(publish(&link, &body), Err(Refused::Busy));
    let mut ready = link.ready();
    let polled = ready.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());

    // The loss ends the wait; there is nothing to wait for any more.
    drop(stuck);
    ready.await;
    assert_eq!(publish(&link, &body), Err(Refused::Disconnected));
    assert!(link.flush().await.is_err());
    while !matches!(event(&link).await, Some(LinkEvent::Disconnected)) {}
    link.close().await;
    assert_eq!(publish(&link, &body), Err(Refused::Closed));
    assert!(matches!(link.flush().await, Err(LinkError::Closed)));
}

async fn refused_credentials_are_told_without_them(runtime: Arc<dyn Runtime>) {
    let (listener, url) = listen();
    let server = std::thread::spawn(move || {
        drop(greet(&listener, "-ERR 'Authorization Violation'"));
    });
    let options = NatsOptions::new(url);
    let error = Nats::connect(&options, &*runtime).await.unwrap_err();
    server.join().unwrap();
    assert!(matches!(
        error,
        LinkError::Connect(ConnectError::Authorization { .. })
    ));
    let shown = format!("{error} {error:?} {options:?}");
    assert!(
        shown.contains("127.0.0.1") && !shown.contains("hush"),
        "{shown}"
    );
}

async fn an_absent_server_is_unreachable(runtime: Arc<dyn Runtime>) {
    let (listener, url) = listen();
    drop(listener);
    let error = Nats::connect(&NatsOptions::new(&url), &*runtime).await;
    assert!(matches!(
        error,
        Err(LinkError::Connect(ConnectError::Unreachable { .. }))
    ));
    let options = NatsOptions::new(&url).retry_first_connect(true);
    let link = Nats::connect(&options, &*runtime).await.unwrap();
    assert_eq!(publish(&link, &Bytes::new()), Err(Refused::Disconnected));
    // Inboxes end although the client never had a server to ask.
    let mut inbox = link.subscribe("a".into(), None).await.unwrap();
    link.close().await;
    assert!(poll_fn(|cx| inbox.poll_next(cx)).await.is_none());
    // What it complained of before is told, then comes the end.
    while let Some(event) = event(&link).await {
        assert!(matches!(event, LinkEvent::Error(_)), "{event:?}");
    }
}

async fn bad_options_send_nothing(runtime: Arc<dyn Runtime>) {
    let (listener, url) = listen();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    for options in [
        NatsOptions::new(&url).inbox_prefix("a b"),
        NatsOptions::new(&url).token("another login"),
        NatsOptions::new(&url).server("http://x"),
        NatsOptions::new(&url).ca_file("/no/such/file"),
    ] {
        assert!(matches!(
            Nats::connect(&options, &*runtime).await,
            Err(LinkError::Connect(ConnectError::Option { .. }))
        ));
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 0);
}

/// Whether there come to be `wanted` threads with the link's name in this process.
#[cfg(all(feature = "smol", target_os = "linux"))]
fn private_threads_become(wanted: usize) -> bool {
    let started = std::time::Instant::now();
    while private_threads() != wanted {
        if started.elapsed().as_secs() > 10 {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[cfg(all(feature = "smol", target_os = "linux"))]
fn private_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| {
        let name = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        (name.trim() == "jetbus-nats").then_some(())
    });
    names.count()
}

macro_rules! on_each_runtime {
    ($($name:ident)*) => {
        #[cfg(feature = "tokio")]
        mod on_tokio {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let runtime = Arc::new(jetbus::runtime::Tokio::current().unwrap());
                // In a task, where tokio's budget counts.
                tokio::spawn(super::$name(runtime)).await.unwrap();
            })*
        }
        /// One test, so that no other link's private thread is counted.
        #[cfg(feature = "smol")]
        #[test]
        fn all_on_smol_without_tokio_and_no_thread_stays() {
            let runtime = Arc::new(jetbus::runtime::Smol::new());
            $(smol::block_on($name(runtime.clone()));)*
            #[cfg(target_os = "linux")]
            {
                assert!(private_threads_become(0));
                let (listener, url) = listen();
                let server = std::thread::spawn(move || greet(&listener, "PONG"));
                let options = NatsOptions::new(url);
                let link = smol::block_on(Nats::connect(&options, &*runtime)).unwrap();
                assert_eq!(private_threads(), 1);
                smol::block_on(link.close());
                assert!(private_threads_become(0));
                drop(server.join());
            }
        }
    };
}

on_each_runtime! {
    a_stuck_server_makes_it_busy_and_never_waits
    refused_credentials_are_told_without_them
    an_absent_server_is_unreachable
    bad_options_send_nothing
}
