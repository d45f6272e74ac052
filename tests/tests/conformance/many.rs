//! Many events at once, whichever way they go.

use std::time::Duration;

use futures_lite::{Stream as _, StreamExt as _, future};
use jetbus::{
    BatchPath, Batching, Event, Invalid, News, Outcome, PublishError, Raw, ResultsOptions, Stream,
    Topic, TopicConfig, Unsupported,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Trick;

use crate::ordering::watched;
use crate::publishing::stored;

type Results = Vec<Result<Outcome, PublishError>>;

/// The declared stream of these cases.
const ORDERS: &str = "ORDERS";

fn orders() -> Stream {
    Stream::new(ORDERS, ["orders.>"]).fast_ingest(true)
}

fn event(n: u32) -> Event<'static, u32> {
    Event::new(format!("order-{}", n % 3), "OrderPlaced", n)
}

fn events(count: u32) -> Vec<Event<'static, u32>> {
    (0..count).map(event).collect()
}

/// Whether server and stream take batches on the way.
fn ingests(env: &Env) -> bool {
    !env.is_embedded() && env.older_than((2, 14, 0)).is_none()
}

fn is_stored(result: &Result<Outcome, PublishError>, ingested: bool) -> bool {
    match result {
        Ok(Outcome::Ingested { stream }) => ingested && **stream == *ORDERS,
        Ok(Outcome::Stored { .. }) => !ingested,
        _ => false,
    }
}

/// The payloads in the stream, in order.
async fn payloads(env: &Env, sequences: impl IntoIterator<Item = u64>) -> Vec<u32> {
    let outside = env.outside().await;
    let mut all = Vec::new();
    for sequence in sequences {
        let message = outside.stored(ORDERS, sequence).await;
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        let (_, rest) = text.split_once(r#""payload":"#).unwrap();
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        all.push(digits.unwrap().parse().unwrap());
    }
    all
}

pub(crate) async fn many_go_as_their_results_are_read(env: Env) {
    let bus = env.builder().stream(orders()).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let results = bus.results(ResultsOptions::new().capacity(3)).unwrap();
    let all = events(10);
    let read = results.take(10).collect::<Vec<_>>();
    let both = future::zip(topic.publish_all(&all), read);
    let (outcomes, read) = env.soon("all outcomes", both).await;
    assert!(outcomes.iter().all(|one| is_stored(one, ingests(&env))));
    assert!(
        read.iter()
            .all(|one| is_stored(&one.outcome, ingests(&env)))
    );
    assert_eq!((outcomes.len(), read.len()), (10, 10));
    bus.close().await;
}

pub(crate) async fn each_of_many_has_its_own_outcome(env: Env) {
    let bus = env.builder().window(4).open().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    assert_eq!(orders.publish_all::<u32>(&[]).await.len(), 0);
    orders.publish(&event(0).id("known")).await.unwrap();
    let mut all = events(40);
    all[10] = Event::new("a b", "OrderPlaced", 10);
    all[20] = event(20).id("known");
    all[30] = event(30).expect_last_sequence(7_000);
    for path in [BatchPath::Auto, BatchPath::Pipelined] {
        let results = orders.publish_batch(path, &all);
        let results = env.soon("all outcomes", results).await;
        assert_eq!(results.len(), 40);
        let mut last = [0; 3];
        for (n, result) in results.into_iter().enumerate() {
            match (n, result) {
                (10, Err(PublishError::Invalid(Invalid::Envelope(_))))
                | (20, Ok(Outcome::Duplicate { sequence: 1, .. }))
                | (30, Err(PublishError::Conflict { .. })) => {}
                (n, result) => {
                    // In order, of each key.
                    let sequence = stored(result.unwrap()).1;
                    assert!(sequence > last[n % 3], "{n}: {sequence}");
                    last[n % 3] = sequence;
                }
            }
        }
    }
    assert_eq!(bus.publish_stats().stored, 1 + 2 * 37);
    bus.close().await;
}

pub(crate) async fn many_are_ingested_in_order(env: Env) {
    let bus = env.builder().stream(orders()).window(300);
    let bus = bus.open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let ingested = ingests(&env);
    let results = env.soon("all", topic.publish_all(&events(2_000))).await;
    assert_eq!(results.len(), 2_000);
    for result in &results {
        assert!(is_stored(result, ingested), "{result:?}");
    }
    let outside = env.outside().await;
    assert_eq!(outside.messages(ORDERS).await, 2_000);
    if ingested {
        let sample = [1, 299, 300, 301, 1_234, 2_000];
        let wanted = sample.map(|sequence| u32::try_from(sequence - 1).unwrap());
        assert_eq!(payloads(&env, sample).await, wanted);
    }
    // Who wants sequences, or to know of duplicates, says so.
    let path = BatchPath::Pipelined;
    let results = env.soon("all", topic.publish_batch(path, &events(3))).await;
    for result in results {
        stored(result.unwrap());
    }
    assert_eq!(bus.publish_stats().stored, 2_003);

    // A stream that does not take them.
    bus.configure("plain", TopicConfig::new()).await.unwrap();
    let plain = bus.topic("plain").unwrap();
    for result in plain.publish_batch(BatchPath::FastIngest, &events(3)).await {
        let Err(PublishError::Unsupported(why)) = result else {
            panic!("{result:?}")
        };
        let option = "fast_ingest";
        let too_old = env.older_than((2, 14, 0));
        let wanted = match too_old {
            Some(version) => Unsupported::Server {
                option,
                since: (2, 14, 0),
                version,
            },
            None => Unsupported::Stream {
                option,
                stream: "jetbus~plain".into(),
                needs: option,
            },
        };
        assert_eq!(why, wanted);
    }
    for result in plain.publish_all(&events(3)).await {
        stored(result.unwrap());
    }
    bus.close().await;
}

/// One that is refused lets the others go, in order, whichever way they go.
pub(crate) async fn one_of_many_that_is_refused_lets_the_others_go(env: Env) {
    let stream = orders().max_messages(60);
    let bus = env.builder().stream(stream).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let ingested = ingests(&env);
    let mut all = events(30);
    for n in [0, 7, 8, 29] {
        all[n] = event(u32::try_from(n).unwrap()).expect_last_sequence(7_000);
    }
    let results = env.soon("all", topic.publish_all(&all)).await;
    let mut wanted = Vec::new();
    for (n, result) in (0..).zip(&results) {
        if [0, 7, 8, 29].contains(&n) {
            assert!(
                matches!(result, Err(PublishError::Conflict { .. })),
                "{n}: {result:?}"
            );
        } else {
            assert!(is_stored(result, ingested), "{n}: {result:?}");
            wanted.push(n);
        }
    }
    if ingested {
        assert_eq!(payloads(&env, 1..=26).await, wanted);
    }
    // Full in the middle: what is stored is the beginning.
    let results: Results = env.soon("all", topic.publish_all(&events(40))).await;
    let full = results.iter().filter(
        |result| matches!(result, Err(PublishError::Refused(error)) if error.err_code == 10_077),
    );
    assert_eq!(full.count(), 6);
    let fit = results.iter().filter(|result| is_stored(result, ingested));
    assert_eq!(fit.count(), 34);
    assert_eq!(env.outside().await.messages(ORDERS).await, 60);
    bus.close().await;
}

/// What a batch lost on its way is sent again, behind what came before it.
pub(crate) async fn a_gap_among_many_is_filled_in_order(env: Env) {
    let (bus, spy) = watched(&env, |b| b.stream(orders())).await;
    let ingested = ingests(&env);
    let topic = bus.topic("orders.placed").unwrap();
    spy.trick(Trick::Swallow, r#""payload":41"#);
    let all = events(100);
    let all = topic.publish_all(&all);
    let healing = async {
        env.until("it is lost", || spy.taken("orders.placed") >= 42)
            .await;
        spy.be_honest();
        if !ingested {
            // One by one, nobody says what is missing but time or a new connection.
            spy.disconnect();
            env.until("the bus knows", || !bus.is_connected()).await;
            spy.connect();
        }
    };
    let (results, ()) = env.soon("all", future::zip(all, healing)).await;
    for result in &results {
        // Others were on their way when the connection broke, and are sent again.
        let again = !ingested && matches!(result, Ok(Outcome::Duplicate { .. }));
        assert!(again || is_stored(result, ingested), "{result:?}");
    }
    assert_eq!(env.outside().await.messages(ORDERS).await, 100);
    if ingested {
        assert_eq!(payloads(&env, 1..=100).await, (0..100).collect::<Vec<_>>());
    }
    bus.close().await;
}

pub(crate) async fn a_lost_connection_amid_many_loses_and_repeats_none(env: Env) {
    let (bus, spy) = watched(&env, |b| {
        b.stream(orders()).publish_timeout(Duration::from_secs(60))
    })
    .await;
    let topic = bus.topic("orders.placed").unwrap();
    let all = events(3_000);
    let all = topic.publish_all(&all);
    let trouble = async {
        for taken in [100, 1_000, 2_000] {
            env.until("it is amid them", || spy.taken("orders.placed") >= taken)
                .await;
            spy.disconnect();
            env.until("the bus knows", || !bus.is_connected()).await;
            spy.connect();
        }
    };
    let (results, ()) = env.soon("all", future::zip(all, trouble)).await;
    for result in &results {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(env.outside().await.messages(ORDERS).await, 3_000);
    if ingests(&env) {
        let sample = [1, 50, 500, 1_500, 3_000];
        let wanted = sample.map(|sequence| u32::try_from(sequence - 1).unwrap());
        assert_eq!(payloads(&env, sample).await, wanted);
    }
    bus.close().await;
}

pub(crate) async fn what_lingers_goes_together(env: Env) {
    let stream = Stream::new(ORDERS, ["orders.>"]).atomic_batches(true);
    let bus = env.builder().stream(stream).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    for (size, linger) in [(0, 1), (1_001, 1), (10, 60_001)] {
        let linger = Duration::from_millis(linger);
        let options = Batching {
            size,
            linger,
            ..Batching::default()
        };
        assert!(topic.batching(options).is_err(), "{options:?}");
    }
    let patient = Batching {
        size: 10,
        linger: Duration::from_secs(60),
        path: BatchPath::Atomic,
    };
    let publisher = topic.batching(patient).unwrap();
    let mut receipts = Vec::new();
    // More than wait at once: those behind wait for outcomes.
    for event in events(50) {
        let taken = env.soon("room", publisher.send(&event)).await;
        receipts.push(taken.unwrap());
    }
    for (sequence, receipt) in (1..).zip(receipts) {
        let outcome = env.soon("an outcome", receipt).await.unwrap();
        assert_eq!(stored(outcome).1, sequence);
    }
    // Fewer go when somebody says so, and when nobody is left.
    let receipt = publisher.send_raw(Raw::new("raw")).await.unwrap();
    env.soon("all goes", publisher.flush()).await;
    let outcome = future::poll_once(receipt).await.expect("it is told");
    assert_eq!(stored(outcome.unwrap()).1, 51);
    let receipt = publisher.send(&event(1)).await.unwrap();
    drop(publisher);
    let outcome = env.soon("an outcome", receipt).await.unwrap();
    assert_eq!(stored(outcome).1, 52);
    // And when they have waited for so long.
    let quick = topic.batching(Batching::default()).unwrap();
    let receipt = quick.send(&event(1)).await.unwrap();
    let outcome = env.soon("an outcome", receipt).await.unwrap();
    assert_eq!(stored(outcome).1, 53);

    // What breaks a rule is refused at once, and alone; what fails unread is told.
    let mut news = bus.news();
    let bad = Event::new("a b", "OrderPlaced", 1);
    assert!(quick.send(&bad).await.is_err());
    let conflict = event(1).expect_last_sequence(7_000);
    drop(quick.send(&conflict).await.unwrap());
    env.soon("the news", async {
        while !matches!(
            future::poll_fn(|cx| std::pin::Pin::new(&mut news).poll_next(cx)).await,
            Some(News::PublishFailed { .. })
        ) {}
    })
    .await;
    let held = topic.batching(patient).unwrap();
    let receipt = held.send(&event(1)).await.unwrap();
    env.soon("closing", bus.close()).await;
    let error = env.soon("an outcome", receipt).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed), "{error:?}");
    drop(held);
}

pub(crate) async fn closing_answers_each_of_many(env: Env) {
    let (bus, spy) = watched(&env, |b| {
        b.stream(orders()).close_timeout(Duration::from_millis(300))
    })
    .await;
    let topic: Topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0)).await.unwrap();
    spy.trick(Trick::Swallow, "orders.placed");
    let all = events(9);
    let all = topic.publish_all(&all);
    let closing = async {
        env.until("some are on their way", || spy.taken("orders.placed") >= 4)
            .await;
        bus.close().await
    };
    let (results, report) = env.soon("all", future::zip(all, closing)).await;
    let unknown = |result: &&_| matches!(result, Err(PublishError::Unknown { .. }));
    let count = results.iter().filter(unknown).count();
    // One by one, each key has one on its way.
    assert_eq!(count, if ingests(&env) { 9 } else { 3 });
    assert_eq!(report.unknown, count);
    let rest = results.iter().filter(|result| !unknown(result));
    for result in rest {
        assert!(matches!(result, Err(PublishError::Closed)), "{result:?}");
    }
}
