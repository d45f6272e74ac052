//! A server that has lost its mind, or somebody who speaks in its name.

use std::time::Duration;

use bytes::Bytes;
use jetbus::{Bus, Event, NatsOptions, News, Outcome, PublishError, Receipt, Topic};
use jetbus_core::Outbound;
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{builder, works};
use jetbus_tests::peer::Peer as _;
use jetbus_tests::proxy::Proxy;
use jetbus_tests::raw::Raw;
use jetbus_tests::support::news;

/// A bus behind a proxy, which looks often whether its connection still works.
async fn behind(env: &Env) -> (Server, Proxy, Bus) {
    let server = Server::start().expect("a server");
    let proxy = Proxy::start(server.address()).expect("a proxy");
    let options = NatsOptions::new(proxy.url()).ping_interval(Duration::from_millis(200));
    let bus = builder(env, &options).open().await.expect("the bus opens");
    works(env, &bus).await;
    (server, proxy, bus)
}

async fn send(topic: &Topic, count: u32) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for n in 0..count {
        let event = Event::new(format!("order-{n}"), "OrderPlaced", n);
        receipts.push(topic.send(&event).await.expect("it is taken"));
    }
    receipts
}

/// Each is stored, here or there.
async fn all_stored(env: &Env, receipts: Vec<Receipt>) {
    for receipt in receipts {
        let outcome = env.soon("an outcome", receipt).await;
        let is_stored = matches!(
            outcome,
            Ok(Outcome::Stored { .. } | Outcome::Duplicate { .. })
        );
        assert!(is_stored, "{outcome:?}");
    }
}

/// Waits until a connection is lost and another made.
async fn comes_back(env: &Env, heard: &mut jetbus::NewsStream) {
    news(env, "the loss", heard, |news| {
        matches!(news, News::Disconnected).then_some(())
    })
    .await;
    news(env, "the next connection", heard, |news| {
        matches!(news, News::Connected { .. }).then_some(())
    })
    .await;
}

pub(crate) async fn garbage_is_survived_and_told(env: Env) {
    let (_server, proxy, bus) = behind(&env).await;
    let topic = bus.topic("orders.placed").unwrap();
    let noise: Vec<u8> = (0..65_536_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let garbage: [&[u8]; 18] = [
        b"WHAT IS THIS\r\n",
        b"\r\n",
        b"MSG\r\n",
        b"MSG a\r\n",
        b"MSG a b c d e\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 99999999999999999999999\r\n",
        b"HMSG a 1\r\n",
        b"HMSG a 1 9 5\r\nhello\r\n",
        b"HMSG a 1 4 4\r\nxxxx\r\n",
        b"HMSG a 1 16 16\r\nNATS/1.0 abc\r\n\r\n\r\n",
        b"HMSG a 1 20 20\r\nNATS/1.0\r\nno colon\r\n\r\n",
        b"INFO\r\n",
        b"INFO {\"server_id\":\r\n",
        b"INFO \xff\xfe\r\n",
        b"-ERR '\xff\xfe'\r\n",
        b"\0\0\0\0\r\n",
        &noise,
    ];
    for bytes in garbage {
        let mut heard = bus.news();
        let receipts = send(&topic, 50).await;
        proxy.say(bytes);
        // What is cut in two may end anywhere: the connection goes with it.
        proxy.cut();
        comes_back(&env, &mut heard).await;
        all_stored(&env, receipts).await;
        works(&env, &bus).await;
    }
    bus.close().await;
}

pub(crate) async fn a_frame_without_end_is_given_up(env: Env) {
    let (_server, proxy, bus) = behind(&env).await;
    let topic = bus.topic("orders.placed").unwrap();
    // Nothing that follows is ever understood, and all of it is kept, until an answer is
    // missed: for three intervals of looking.
    for head in [
        &b"MSG a 1 9000000000000\r\n"[..],
        b"HMSG a 1 12 9000000000\r\n",
        b"INFO ",
    ] {
        let mut heard = bus.news();
        let receipts = send(&topic, 50).await;
        proxy.say(head);
        comes_back(&env, &mut heard).await;
        all_stored(&env, receipts).await;
        works(&env, &bus).await;
    }
    bus.close().await;
}

pub(crate) async fn a_client_that_breaks_down_is_told_and_leaves_nobody_waiting(env: Env) {
    let (_server, proxy, bus) = behind(&env).await;
    let topic = bus.topic("orders.placed").unwrap();
    let mut heard = bus.news();
    proxy.hold();
    let receipts = send(&topic, 50).await;
    // An error without a text: the client's task panics.
    proxy.say(b"-ERR\r\n");
    let told = news(&env, "the news", &mut heard, |news| match news {
        News::LinkEnded => Some(()),
        _ => None,
    });
    told.await;
    for receipt in receipts {
        let error = env.soon("an end", receipt).await.unwrap_err();
        // Those behind others were not sent yet.
        let is_end = matches!(error, PublishError::Unknown { .. } | PublishError::Closed);
        assert!(is_end, "{error:?}");
    }
    assert!(!bus.is_connected());
    let error = topic.publish(&Event::new("k", "t", 1)).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed), "{error:?}");
    env.soon("the close", bus.close()).await;
}

// Whoever may publish there and guesses the token of what is on its way is believed: no
// client can tell. These are the guesses that name nothing on its way.
pub(crate) async fn lies_about_acknowledgements_settle_nothing(env: Env) {
    let (server, _proxy, bus) = behind(&env).await;
    let mut raw = Raw::connect(&server.address()).expect("a connection");
    raw.subscribe("orders.placed");
    // What comes back was sent after the server knew of both.
    let there = raw.subscribe("there");
    raw.publish(Outbound::new("there", ""));
    raw.next(Duration::from_secs(10)).expect("it comes back");
    raw.unsubscribe(there);
    let topic = bus.topic("orders.placed").unwrap();
    let mut sequence = 1;
    for _ in 0..20 {
        let outcome = env
            .soon("an outcome", topic.publish(&Event::new("k", "t", 1)))
            .await;
        sequence += 1;
        assert_eq!(outcome.unwrap().sequence(), Some(sequence));
        // Whoever may publish there knows where answers are expected.
        let (_, seen) = raw.next(Duration::from_secs(10)).expect("the event");
        let reply = seen.reply.expect("it asks for an answer").to_string();
        let (inbox, token) = reply.rsplit_once('.').expect("tokens");
        let answers = inbox.trim_end_matches(".a").to_owned() + ".r";
        let lies = [
            r#"{"stream":"LIES","seq":666}"#.to_owned(),
            r#"{"error":{"code":400,"err_code":10003,"description":"no"}}"#.to_owned(),
            "{".repeat(10_000),
            "\u{0}".to_owned(),
            String::new(),
        ];
        for lie in lies {
            for place in [
                reply.clone(),
                format!("{inbox}."),
                format!("{inbox}.{token}0"),
                format!("{inbox}.zzzzzzzzzzzzzzzzzzzzzzzzzzzzz"),
                format!("{inbox}.00"),
                format!("{answers}.0"),
                format!("{answers}.{token}"),
            ] {
                if !place.ends_with('.') {
                    raw.publish(Outbound::new(&*place, Bytes::from(lie.clone())));
                }
            }
        }
    }
    let mut sequences = Vec::new();
    for receipt in send(&topic, 200).await {
        let outcome = env.soon("an outcome", receipt).await;
        sequences.push(outcome.unwrap().sequence().expect("it is stored"));
    }
    // Each has a place of its own, and there are no others.
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(sequence + 1..=sequence + 200));
    bus.close().await;
}
