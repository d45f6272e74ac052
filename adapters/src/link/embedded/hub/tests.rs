//! What happens while somebody else works.

use std::task::Context;

use futures_core::future::BoxFuture;

use super::*;
use crate::link::embedded::EmbeddedBroker;
use crate::link::{Embedded, Link, LinkEvent, Refused};

/// Time stands still and tasks are dropped.
#[derive(Debug)]
struct Nowhere;

impl Runtime for Nowhere {
    fn spawn(&self, _: BoxFuture<'static, ()>) {}

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn now(&self) -> Time {
        Time::ZERO
    }

    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }
}

fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut cx = Context::from_waker(Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn connected() -> (Arc<Hub>, Embedded) {
    let broker = EmbeddedBroker::new();
    let link = now(broker.connect(Arc::new(Nowhere))).unwrap();
    (broker.0, link)
}

fn publish(link: &Embedded) -> Result<(), Refused> {
    link.try_publish(Outbound::new("a", "x").as_publish())
}

/// As if another thread had just begun to work.
fn elsewhere(hub: &Hub) {
    assert_eq!(hub.calls.fetch_add(1, Ordering::AcqRel), 0);
}

/// As if it went on now.
fn done(hub: &Hub) {
    hub.calls.swap(0, Ordering::AcqRel);
    hub.serve();
}

#[test]
fn commands_wait_for_the_worker_and_the_queue_is_bounded() {
    let (hub, link) = connected();
    let mut inbox = now(link.subscribe("a".into(), None)).unwrap().unwrap();
    elsewhere(&hub);
    for _ in 0..COMMANDS {
        assert_eq!(publish(&link), Ok(()));
    }
    assert_eq!(publish(&link), Err(Refused::Busy));
    assert!(now(link.ready()).is_none());
    done(&hub);
    assert!(now(link.ready()).is_some());
    let mut arrived = 0;
    while let Some(Some(_)) = now(poll_fn(|cx| inbox.poll_next(cx))) {
        arrived += 1;
    }
    assert_eq!(arrived, COMMANDS);
}

#[test]
fn who_leaves_before_the_worker_heard_of_him_leaves_nothing_behind() {
    let (hub, link) = connected();
    elsewhere(&hub);
    drop(now(link.subscribe("a".into(), None)).unwrap());
    drop(link);
    done(&hub);
    let engine = hub.started.get().unwrap().engine.lock().unwrap();
    assert!(engine.conns.is_empty() && engine.mailboxes.is_empty());
}

#[test]
fn a_deadline_wakes_tickers_only_when_it_comes_earlier() {
    let (hub, link) = connected();
    let request = r#"{"name":"S","subjects":["s"],"storage":"memory","max_age":1000000000}"#;
    let make = Outbound::new("$JS.API.STREAM.CREATE.S", request);
    link.try_publish(make.as_publish()).unwrap();
    assert_eq!(hub.due(), Time::NEVER);
    link.try_publish(Outbound::new("s", "x").as_publish())
        .unwrap();
    let due = hub.due();
    assert!(due <= Time::from_millis(1_000), "{due:?}");
    // A tick that comes too early sets the same alarm again.
    hub.tick();
    assert_eq!(hub.due(), due);
}

#[test]
fn a_waker_that_panics_does_not_stop_the_broker() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker's own fault");
        }
    }
    let (hub, link) = connected();
    let mut inbox = now(link.subscribe("a".into(), None)).unwrap().unwrap();
    let bomb = Waker::from(Arc::new(Bomb));
    assert!(
        inbox
            .poll_next(&mut Context::from_waker(&bomb))
            .is_pending()
    );
    let publishing = std::panic::AssertUnwindSafe(|| publish(&link));
    assert!(std::panic::catch_unwind(publishing).is_err());
    assert_eq!(hub.calls.load(Ordering::Acquire), 0);
    assert_eq!(publish(&link), Ok(()));
    assert!(now(poll_fn(|cx| inbox.poll_next(cx))).is_some());
}

#[test]
fn a_restart_breaks_connections_and_keeps_their_subscriptions() {
    let broker = EmbeddedBroker::new();
    let link = now(broker.connect(Arc::new(Nowhere))).unwrap();
    let mut inbox = now(link.subscribe("a".into(), None)).unwrap().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut news = || match link.poll_event(&mut cx) {
        Poll::Ready(Some(LinkEvent::Connected(_))) => "connected",
        Poll::Ready(Some(LinkEvent::Disconnected)) => "disconnected",
        Poll::Pending => "nothing",
        _ => "something else",
    };
    assert_eq!([news(), news()], ["connected", "nothing"]);
    now(broker.restart(Duration::ZERO)).unwrap();
    assert_eq!(
        [news(), news(), news()],
        ["disconnected", "connected", "nothing"]
    );
    publish(&link).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(inbox.poll_next(&mut cx).is_ready());
    assert!(inbox.poll_next(&mut cx).is_pending());
}

#[test]
fn without_leaders_requests_are_not_answered() {
    let broker = EmbeddedBroker::new();
    let link = now(broker.connect(Arc::new(Nowhere))).unwrap();
    let mut inbox = now(link.subscribe("r".into(), None)).unwrap().unwrap();
    let mut answers = || {
        let mut request = Outbound::new("$JS.API.STREAM.NAMES", "{}");
        request.reply = Some("r".into());
        link.try_publish(request.as_publish()).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        inbox.poll_next(&mut cx).is_ready()
    };
    assert!(answers());
    now(broker.lose_leaders(Duration::from_secs(1))).unwrap();
    assert!(!answers());
}
