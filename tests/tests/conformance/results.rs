//! Results of publishes as a stream: one for each that had a place, none for others.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::link::Refused;
use jetbus::{
    Delivery, Event, Handled, News, Outcome, Persistence, PublishError, PublishResult, Raw,
    Results, ResultsError, ResultsOptions, TopicConfig,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Trick;
use jetbus_tests::support::{news, spawn};

use crate::ordering::watched;

/// Of a key of its own.
pub(crate) fn event(n: u32) -> Event<'static, u32> {
    Event::new(format!("order-{n}"), "OrderPlaced", n).id(id(n))
}

pub(crate) fn id(n: u32) -> String {
    format!("event-{n}")
}

pub(crate) fn room(capacity: usize) -> ResultsOptions {
    ResultsOptions::new().capacity(capacity)
}

pub(crate) async fn next(env: &Env, results: &mut Results) -> PublishResult {
    let next = env.soon("a result", results.next()).await;
    next.expect("the stream goes on")
}

/// What is left, until the end.
pub(crate) async fn rest(env: &Env, results: &mut Results) -> Vec<PublishResult> {
    env.soon("the end of the results", results.collect()).await
}

pub(crate) fn ids(results: &[PublishResult]) -> Vec<&str> {
    results.iter().map(|result| &*result.event_id).collect()
}

/// In words: errors cannot be compared.
pub(crate) fn words(outcome: &Result<Outcome, PublishError>) -> String {
    format!("{outcome:?}")
}

pub(crate) async fn each_kind_of_outcome_gives_its_result(env: Env) {
    let (bus, spy) = watched(&env, |b| b.wait_for_connection(false)).await;
    let ephemeral = TopicConfig::new().persistence(Persistence::Ephemeral);
    bus.configure("orders.shown", ephemeral).await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let shown = bus.topic("orders.shown").unwrap();
    orders.publish(&event(0)).await.unwrap();

    let mut results = bus.results(ResultsOptions::new()).unwrap();
    let began = env.runtime().wall();
    let mut told = Vec::new();
    told.push((id(1), orders.publish(&event(1)).await));
    told.push((id(1), orders.publish(&event(1)).await));
    told.push((id(2), shown.publish(&event(2)).await));
    let wrong = event(3).expect_last_sequence(77);
    told.push((id(3), orders.publish(&wrong).await));
    let wrong = event(4).ttl(Duration::from_secs(1));
    told.push((id(4), orders.publish(&wrong).await));
    let wrong = event(5).ttl(Duration::from_secs(1));
    told.push((id(5), shown.publish(&wrong).await));
    let raw = Raw::new("raw").id("raw");
    told.push(("raw".into(), orders.publish_raw(raw).await));
    // Broken before it has a place.
    let error = orders.publish(&event(6).id(" ")).await;
    assert!(matches!(error, Err(PublishError::Invalid(_))), "{error:?}");

    spy.trick(Trick::Swallow, "orders.placed");
    let before = spy.taken("orders.placed");
    let lost = orders.send(&event(7)).await.unwrap();
    let behind = orders.send(&event(7).id("behind")).await.unwrap();
    env.until("it is on its way", || {
        spy.taken("orders.placed") == before + 1
    })
    .await;
    spy.disconnect();
    told.push((id(7), env.soon("an end", lost).await));
    told.push(("behind".into(), env.soon("an end", behind).await));
    told.push((id(8), orders.publish(&event(8)).await));
    bus.close().await;
    assert!(matches!(
        orders.publish(&event(9)).await,
        Err(PublishError::Closed)
    ));
    let ended = env.runtime().wall();

    let results = rest(&env, &mut results).await;
    let read = results
        .iter()
        .map(|result| (result.event_id.to_string(), words(&result.outcome)));
    let expected = told
        .iter()
        .map(|(id, outcome)| (id.clone(), words(outcome)));
    assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let kinds: Vec<_> = told.into_iter().map(|(_, outcome)| outcome).collect();
    assert!(
        matches!(
            kinds[..],
            [
                Ok(Outcome::Stored { sequence: 2, .. }),
                Ok(Outcome::Duplicate { sequence: 2, .. }),
                Ok(Outcome::Unconfirmed),
                Err(PublishError::Conflict { .. }),
                Err(PublishError::Unsupported(_)),
                Err(PublishError::Unsupported(_)),
                Ok(Outcome::Stored { sequence: 3, .. }),
                Err(PublishError::Unknown { .. }),
                Err(PublishError::PredecessorUnknown),
                Err(PublishError::Disconnected),
            ]
        ),
        "{kinds:?}"
    );
    let (first, raw) = (&results[0], &results[6]);
    assert_eq!((&*first.topic, first.tenant), ("orders.placed", 0));
    assert_eq!(first.key.as_deref(), Some("order-1"));
    assert_eq!(first.event_type.as_deref(), Some("OrderPlaced"));
    assert_eq!(
        (raw.key.as_deref(), raw.event_type.as_deref()),
        (None, None)
    );
    let times: Vec<_> = results.iter().map(|result| result.time).collect();
    assert!(times.is_sorted() && began <= times[0] && times[9] <= ended);
}

pub(crate) async fn results_of_tenants_never_mix(env: Env) {
    let bus = env.bus().await;
    let orders = bus.topic("orders.placed").unwrap();
    let mut none = bus.results(ResultsOptions::new()).unwrap();
    let seven = bus.tenant_results(7, ResultsOptions::new()).unwrap();
    // Full at once.
    let mut eight = bus.tenant_results(8, room(1)).unwrap();
    assert_eq!(bus.result_tenants(), [7, 8]);
    assert_eq!((none.tenant(), seven.tenant()), (0, 7));
    for n in 0..40 {
        let tenant = [0, 7, 9, -7][n as usize % 4];
        orders.publish(&event(n).tenant(tenant)).await.unwrap();
        let raw = Raw::new("x").id(format!("raw-{n}")).tenant(tenant);
        orders.publish_raw(raw).await.unwrap();
    }
    orders.publish(&event(40).tenant(8)).await.unwrap();
    // An unread stream holds up its own tenant alone.
    let more = event(41).tenant(8);
    let mut more = Box::pin(orders.publish(&more));
    assert!(future::poll_once(&mut more).await.is_none());
    orders.publish(&event(42).tenant(7)).await.unwrap();
    orders.publish(&event(43).tenant(9)).await.unwrap();
    assert_eq!(next(&env, &mut eight).await.tenant, 8);
    env.soon("room", more).await.unwrap();

    // Nobody stands in for one that is gone.
    drop(seven);
    assert_eq!(bus.result_tenants(), [8]);
    orders.publish(&event(44).tenant(7)).await.unwrap();
    let mut seven = bus.tenant_results(7, ResultsOptions::new()).unwrap();
    orders.publish(&event(45).tenant(7)).await.unwrap();
    bus.close().await;
    let none = rest(&env, &mut none).await;
    assert!(none.iter().all(|result| result.tenant == 0));
    let expected = (0..40).step_by(4).flat_map(|n| [id(n), format!("raw-{n}")]);
    assert_eq!(ids(&none), expected.collect::<Vec<_>>());
    assert_eq!(ids(&rest(&env, &mut eight).await), [id(41)]);
    assert_eq!(ids(&rest(&env, &mut seven).await), [id(45)]);
    // What was dropped unread: those of ten events, twice, and one.
    assert_eq!(bus.publish_stats().results_undelivered, 21);
}

pub(crate) async fn streams_of_results_that_cannot_be_are_refused(env: Env) {
    let bus = env.bus().await;
    for capacity in [0, 65_536, usize::MAX] {
        let error = bus.results(room(capacity)).unwrap_err();
        assert!(matches!(error, ResultsError::Option(_)), "{error:?}");
        assert!(error.to_string().contains(&capacity.to_string()));
    }
    let zero = bus.tenant_results(0, ResultsOptions::new());
    assert_eq!(zero.unwrap_err(), ResultsError::NoTenant);
    for tenant in [0, 7, i64::MIN] {
        let open = || match tenant {
            0 => bus.results(room(65_535)),
            _ => bus.tenant_results(tenant, room(1)),
        };
        let first = open().unwrap();
        assert_eq!(open().unwrap_err(), ResultsError::Twice { tenant });
        drop(first);
        drop(open().unwrap());
    }
    assert!(bus.result_tenants().is_empty());
    bus.close().await;
    let closed = bus.results(ResultsOptions::new());
    assert_eq!(closed.unwrap_err(), ResultsError::Closed);
}

/// A failure that is read in the results is nobody's news.
pub(crate) async fn a_failure_that_a_result_tells_is_no_news(env: Env) {
    let (bus, spy) = watched(&env, |b| b.wait_for_connection(false)).await;
    let heard = bus.news();
    let orders = bus.topic("orders.placed").unwrap();
    let mut results = bus.results(room(8)).unwrap();
    orders.publish(&event(0)).await.unwrap();
    next(&env, &mut results).await;
    spy.trick(Trick::Swallow, "orders.placed");
    drop(orders.send(&event(1)).await.unwrap());
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    spy.disconnect();
    let outcome = next(&env, &mut results).await.outcome;
    assert!(matches!(outcome, Err(PublishError::Unknown { .. })));
    bus.close().await;
    let all: Vec<_> = env.soon("the end of the news", heard.collect()).await;
    let failed = |news: &News| matches!(news, News::PublishFailed { .. });
    assert!(!all.iter().any(failed), "{all:?}");
}

pub(crate) async fn a_publish_that_is_taken_back_gives_its_result(env: Env) {
    let (bus, spy) = watched(&env, |b| b).await;
    let orders = bus.topic("orders.placed").unwrap();
    orders.publish(&event(0)).await.unwrap();
    let mut results = bus.results(room(3)).unwrap();
    let recalled = |result: PublishResult, id: &str| {
        assert_eq!(&*result.event_id, id);
        let outcome = result.outcome;
        assert!(
            matches!(outcome, Err(PublishError::Recalled)),
            "{outcome:?}"
        );
    };
    // While the link takes nothing: with a key in the hub, without one in its caller.
    spy.refuse(Some(Refused::Busy));
    let one = event(1);
    let mut keyed = Box::pin(orders.publish(&one));
    assert!(future::poll_once(&mut keyed).await.is_none());
    drop(keyed);
    recalled(next(&env, &mut results).await, &id(1));
    let mut keyless = Box::pin(orders.publish_raw(Raw::new("x").id("x")));
    assert!(future::poll_once(&mut keyless).await.is_none());
    drop(keyless);
    recalled(next(&env, &mut results).await, "x");
    spy.refuse(None);
    // Behind another of its key.
    spy.trick(Trick::Swallow, "orders.placed");
    let first = orders.send(&event(2)).await.unwrap();
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    let behind = event(2).id("behind");
    let mut behind = Box::pin(orders.publish(&behind));
    assert!(future::poll_once(&mut behind).await.is_none());
    drop(behind);
    recalled(next(&env, &mut results).await, "behind");
    // One that waits for a place has none, and gives none.
    let others = [(); 2].map(|()| Box::pin(orders.send_raw(Raw::new("y"))));
    for mut other in others {
        let sent = future::poll_once(&mut other).await;
        drop(sent.expect("there is room").unwrap());
    }
    let late = event(3);
    let mut late = Box::pin(orders.publish(&late));
    assert!(future::poll_once(&mut late).await.is_none());
    drop(late);
    spy.disconnect();
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.be_honest();
    spy.connect();
    drop(first);
    bus.close().await;
    let rest = rest(&env, &mut results).await;
    assert_eq!(rest.len(), 3);
    assert!(rest.iter().all(|result| result.outcome.is_ok()), "{rest:?}");
}

/// Dead letters and what is redriven are not what the service published.
pub(crate) async fn what_the_bus_stores_for_itself_gives_no_result(env: Env) {
    let bus = env.bus().await;
    let mut heard = bus.news();
    let mut results = bus.results(ResultsOptions::new()).unwrap();
    let handled = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(async |_: Delivery<u32>| Handled::dead_letter("not this one"))
        .await
        .unwrap();
    bus.publish("orders.placed", &event(1)).await.unwrap();
    news(&env, "that it is a dead letter", &mut heard, |news| {
        matches!(news, News::DeadLettered { .. }).then_some(())
    })
    .await;
    handled.stop().await;
    bus.close().await;
    assert_eq!(ids(&rest(&env, &mut results).await), [id(1)]);
}

/// A thousand publishes of ten publishers, half of them forgotten at once, while the
/// connection comes and goes, answers are lost and the reader reads on.
pub(crate) async fn a_connection_that_is_cut_loses_and_repeats_no_result(env: Env) {
    const PUBLISHERS: u32 = 10;
    const EACH: u32 = 100;
    let (bus, spy) = watched(&env, |b| b).await;
    let mut results = bus.results(room(64)).unwrap();
    let reader = spawn(&env, async move {
        let mut all = Vec::new();
        while let Some(result) = results.next().await {
            all.push(result);
            if all.len() % 7 == 0 {
                future::yield_now().await;
            }
        }
        all
    });
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let orders = bus.topic("orders.placed").unwrap();
            spawn(&env, async move {
                let mut receipts = Vec::new();
                for n in publisher * EACH..(publisher + 1) * EACH {
                    let key = format!("order-{}", n % 4);
                    let event = Event::new(key, "OrderPlaced", n).id(id(n));
                    let receipt = orders.send(&event).await.expect("it is taken");
                    if n % 2 == 0 {
                        receipts.push((id(n), receipt));
                    }
                }
                let mut told = Vec::new();
                for (id, receipt) in receipts {
                    told.push((id, words(&receipt.await)));
                }
                told
            })
        })
        .collect();
    for round in 0..20 {
        spy.trick([Trick::Mute, Trick::Swallow][round % 2], "orders.placed");
        let before = spy.taken("orders.placed");
        // All may be out by now.
        let mut looks = 0;
        env.until("some are caught", || {
            looks += 1;
            spy.taken("orders.placed") > before || looks > 10
        })
        .await;
        spy.disconnect();
        env.until("the bus knows", || !bus.is_connected()).await;
        spy.be_honest();
        spy.connect();
        env.until("the bus knows", || bus.is_connected()).await;
    }
    let mut told = BTreeMap::new();
    for publisher in publishers {
        told.extend(env.soon("all are told", publisher).await);
    }
    bus.close().await;
    let results = env.soon("the end of the results", reader).await;
    assert_eq!(results.len(), (PUBLISHERS * EACH) as usize);
    let by_id: BTreeMap<_, _> = results
        .iter()
        .map(|result| (result.event_id.to_string(), words(&result.outcome)))
        .collect();
    assert_eq!(by_id.len(), results.len(), "some twice");
    assert_eq!(told.len(), by_id.len() / 2);
    assert!(told.iter().all(|(id, words)| by_id[id] == *words));
    // What is said to be stored is, once.
    let sequences: BTreeMap<_, _> = results
        .iter()
        .map(|result| {
            let outcome = result.outcome.as_ref().expect("nothing fails");
            (outcome.sequence(), &result.event_id)
        })
        .collect();
    assert_eq!(sequences.len(), results.len());
    let stored = env.outside().await.messages("jetbus~orders~placed").await;
    assert_eq!(stored, results.len() as u64);
}
