//! Batches that are stored whole or not at all.

use std::pin::pin;
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use jetbus::{
    BatchPath, Bus, Class, Event, Invalid, Outcome, Persistence, PublishError, Raw, ResultsOptions,
    Stream, Topic, TopicConfig, Unsupported,
};
use jetbus_tests::matrix::Env;
use jetbus_tests::spy::Trick;

use crate::ordering::watched;
use crate::publishing::stored;

type Results = Vec<Result<Outcome, PublishError>>;

/// The declared stream of these cases.
const ORDERS: &str = "ORDERS";

fn orders() -> Stream {
    Stream::new(ORDERS, ["orders.>"]).atomic_batches(true)
}

fn event(key: u32, text: &str) -> Event<'static, String> {
    Event::new(format!("order-{key}"), "OrderPlaced", text.to_owned())
}

fn events(count: u32) -> Vec<Event<'static, String>> {
    (0..count).map(|n| event(n % 3, &n.to_string())).collect()
}

async fn publish(env: &Env, topic: &Topic, events: &[Event<'_, String>]) -> Results {
    let all = topic.publish_batch(BatchPath::Atomic, events);
    env.soon("the outcomes", all).await
}

fn sequences(results: Results) -> Vec<u64> {
    let stored = |result: Result<Outcome, PublishError>| stored(result.unwrap()).1;
    results.into_iter().map(stored).collect()
}

/// A batch has all places of its results, or none: it waits for no other of its own.
pub(crate) async fn a_batch_with_no_room_for_its_results_is_refused(env: Env) {
    let bus = env.builder().stream(orders()).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let mut results = bus.results(ResultsOptions::new().capacity(3)).unwrap();
    for result in publish(&env, &topic, &events(4)).await {
        let Err(PublishError::Invalid(Invalid::BatchTooLarge { len: 4, max: 3 })) = result else {
            panic!("{result:?}");
        };
    }
    let stored = sequences(publish(&env, &topic, &events(3)).await);
    assert_eq!(stored, [1, 2, 3], "nothing was stored before");
    for sequence in stored {
        let result = env.soon("a result", results.next()).await.unwrap();
        let stored = crate::publishing::stored(result.outcome.unwrap());
        assert_eq!(stored.1, sequence);
    }
    bus.close().await;
    assert!(env.soon("the end", results.next()).await.is_none());
}

/// Another reader's results, and those of none, are no matter of who waits for this one.
pub(crate) async fn a_batch_waits_for_no_reader_of_others(env: Env) {
    let bus = env.builder().stream(orders()).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let room = ResultsOptions::new().capacity(2);
    let mut none = bus.results(room).unwrap();
    let mut seven = bus.tenant_results(7, room).unwrap();
    publish(&env, &topic, &events(1)).await;
    // It has one of its places.
    let batch = [event(10, "x"), event(11, "x")];
    let mut waiting = pin!(topic.publish_batch(BatchPath::Atomic, &batch));
    assert!(future::poll_once(&mut waiting).await.is_none());
    let another = [event(12, "x")];
    let mut behind = pin!(topic.publish_batch(BatchPath::Atomic, &another));
    assert!(future::poll_once(&mut behind).await.is_none());
    for (tenant, sequence) in [(7, 2), (9, 3)] {
        let batch = [event(20 + sequence, "x").tenant(tenant)];
        let results = publish(&env, &topic, &batch).await;
        assert_eq!(sequences(results), [u64::from(sequence)]);
    }
    let result = async |results: &mut jetbus::Results| {
        let result = env.soon("a result", results.next()).await.unwrap();
        stored(result.outcome.unwrap()).1
    };
    assert_eq!(result(&mut seven).await, 2);
    assert_eq!(result(&mut none).await, 1);
    assert_eq!(sequences(env.soon("places", waiting).await), [4, 5]);
    assert!(future::poll_once(&mut behind).await.is_none());
    assert_eq!(result(&mut none).await, 4);
    assert_eq!(sequences(env.soon("a place", behind).await), [6]);
    bus.close().await;
}

/// The error code that all were refused with.
fn refused_with(results: &Results) -> u32 {
    let codes = results.iter().map(|result| match result {
        Err(PublishError::Refused(error) | PublishError::Conflict { error, .. }) => error.err_code,
        other => panic!("not refused: {other:?}"),
    });
    let mut codes: Vec<u32> = codes.collect();
    codes.dedup();
    assert_eq!(codes.len(), 1, "{codes:?}");
    codes[0]
}

pub(crate) async fn a_batch_is_stored_whole_or_not_at_all(env: Env) {
    let bus = env.builder().stream(orders()).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let outside = env.outside().await;
    assert_eq!(publish(&env, &topic, &[]).await.len(), 0);
    let all = publish(&env, &topic, &events(10)).await;
    assert_eq!(sequences(all), (1..=10).collect::<Vec<_>>());
    for (sequence, text) in [(1, "0"), (7, "6")] {
        let message = outside.stored(ORDERS, sequence).await;
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        assert!(
            payload.contains(&format!(r#""payload":"{text}""#)),
            "{payload}"
        );
    }
    let whole = publish(&env, &topic, &events(1_000)).await;
    assert_eq!(sequences(whole), (11..=1_010).collect::<Vec<_>>());
    let raws = vec![Raw::new("a"), Raw::new("b")];
    let raws = topic.publish_raw_batch(BatchPath::Atomic, raws).await;
    assert_eq!(sequences(raws), [1_011, 1_012]);

    // A known id, also within the batch; an expectation that is not met.
    topic.publish(&event(1, "x").id("known")).await.unwrap();
    for (id, other) in [("known", "new"), ("new", "known"), ("twice", "twice")] {
        let batch = [event(1, "y").id(id), event(2, "y").id(other), event(3, "y")];
        assert_eq!(refused_with(&publish(&env, &topic, &batch).await), 10_201);
    }
    let batch = [event(1, "y").expect_last_sequence(5), event(2, "y")];
    assert_eq!(refused_with(&publish(&env, &topic, &batch).await), 10_071);
    assert_eq!(outside.messages(ORDERS).await, 1_013);
    // An event that breaks a rule, and too many.
    let batch = [event(1, "y"), Event::new("a b", "X", String::new())];
    for result in publish(&env, &topic, &batch).await {
        assert!(
            matches!(result, Err(PublishError::Invalid(Invalid::Envelope(_)))),
            "{result:?}"
        );
    }
    for result in publish(&env, &topic, &events(1_001)).await {
        let Err(PublishError::Invalid(Invalid::BatchTooLarge { len, max })) = result else {
            panic!("{result:?}")
        };
        assert_eq!((len, max), (1_001, 1_000));
    }
    assert_eq!(outside.messages(ORDERS).await, 1_013);
    // A batch that is there already is not stored again.
    let named = [event(1, "z").id("a"), event(2, "z").id("b")];
    assert_eq!(
        sequences(publish(&env, &topic, &named).await),
        [1_014, 1_015]
    );
    for (wanted, result) in (1_014..).zip(publish(&env, &topic, &named).await) {
        let Ok(Outcome::Duplicate { sequence, .. }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(sequence, wanted);
    }
    assert_eq!(outside.messages(ORDERS).await, 1_015);
    let stats = bus.publish_stats();
    assert_eq!(stats.duplicate, 2);
    assert_eq!((stats.stored, stats.rejected), (1_015, 9 + 2 + 2 + 1_001));
    bus.close().await;
}

pub(crate) async fn what_is_refused_in_the_middle_is_refused_for_that(env: Env) {
    let stream = orders().max_messages(4);
    let bus = env.builder().stream(stream).open().await.unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    assert_eq!(
        sequences(publish(&env, &topic, &events(3)).await),
        [1, 2, 3]
    );
    assert_eq!(
        refused_with(&publish(&env, &topic, &events(2)).await),
        10_077
    );
    assert_eq!(sequences(publish(&env, &topic, &events(1)).await), [4]);
    let outside = env.outside().await;
    assert_eq!(outside.messages(ORDERS).await, 4);
    // The server's limit of one message: nothing of a batch with a larger one is sent.
    let huge = event(1, &"x".repeat(2 << 20));
    for result in publish(&env, &topic, &[event(1, "y"), huge]).await {
        assert!(
            matches!(result, Err(PublishError::Invalid(Invalid::TooLarge { .. }))),
            "{result:?}"
        );
    }
    bus.close().await;
}

/// Whole or not at all is never less, silently.
pub(crate) async fn where_it_cannot_be_had_nothing_is_sent(env: Env) {
    let (bus, spy) = watched(&env, |b| b.stream(Stream::new("PLAIN", ["plain.>"]))).await;
    let option = "atomic_batches";
    let unsupported = |results: Results| {
        assert_eq!(results.len(), 3);
        let mut all = results.into_iter().map(|result| match result {
            Err(PublishError::Unsupported(why)) => why,
            other => panic!("{other:?}"),
        });
        all.next().unwrap()
    };
    let plain = bus.topic("plain.x").unwrap();
    let too_old = env.older_than((2, 12, 1));
    let wanted = match too_old {
        Some(version) => Unsupported::Server {
            option,
            since: (2, 12, 1),
            version,
        },
        None => Unsupported::Stream {
            option,
            stream: "PLAIN".into(),
            needs: option,
        },
    };
    assert_eq!(unsupported(publish(&env, &plain, &events(3)).await), wanted);
    bus.configure(
        "seen",
        TopicConfig::new().persistence(Persistence::Ephemeral),
    )
    .await
    .unwrap();
    let seen = bus.topic("seen").unwrap();
    let ephemeral = Unsupported::Ephemeral { option };
    assert_eq!(
        unsupported(publish(&env, &seen, &events(3)).await),
        ephemeral
    );
    assert_eq!(spy.taken("plain.") + spy.taken("seen"), 0);

    spy.disconnect();
    spy.pretend((2, 11, 9));
    env.until("the bus knows", || !bus.is_connected()).await;
    spy.connect();
    env.until("the bus knows", || bus.is_connected()).await;
    // A stream is asked for what the server can.
    bus.configure("new", TopicConfig::new().atomic_batches(true))
        .await
        .unwrap();
    let new = bus.topic("new").unwrap();
    let server = Unsupported::Server {
        option,
        since: (2, 12, 1),
        version: (2, 11, 9),
    };
    assert_eq!(unsupported(publish(&env, &new, &events(3)).await), server);
    assert_eq!(spy.taken("new"), 0);
    // All else goes on.
    let all = env.soon("all", new.publish_all(&events(3))).await;
    let mut all = sequences(all);
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    bus.close().await;
}

/// A watched bus, and a topic whose stream is there with one message.
async fn prepared(env: &Env) -> (Bus, std::sync::Arc<jetbus_tests::spy::Spy>, Topic) {
    let (bus, spy) = watched(env, |b| {
        b.stream(orders()).close_timeout(Duration::from_millis(300))
    })
    .await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0, "before")).await.unwrap();
    (bus, spy, topic)
}

pub(crate) async fn a_batch_comes_behind_what_its_keys_have_in_hand(env: Env) {
    let (bus, spy, topic) = prepared(&env).await;
    spy.trick(Trick::Swallow, "lost");
    let lost = topic.send(&event(1, "lost")).await.unwrap();
    let batch = events(6);
    let all = publish(&env, &topic, &batch);
    let behind = async {
        env.until("it is lost", || spy.taken("orders.placed") == 2)
            .await;
        // Others do not wait, also while the batch does.
        let other = topic.publish(&event(7, "other")).await.unwrap();
        assert_eq!(stored(other).1, 2);
        spy.disconnect();
        spy.be_honest();
        env.until("the bus knows", || !bus.is_connected()).await;
        spy.connect();
        let behind = topic.publish(&event(2, "behind")).await.unwrap();
        stored(behind).1
    };
    let (all, behind) = future::zip(all, behind).await;
    let lost = stored(env.soon("an end", lost).await.unwrap()).1;
    let all = sequences(all);
    assert!(all.is_sorted() && all.len() == 6, "{all:?}");
    assert!(lost < all[0], "{lost} {all:?}");
    assert_eq!(all[5] - all[0], 5);
    assert!(behind > all[5], "{all:?} {behind}");
    bus.close().await;
}

pub(crate) async fn behind_an_unknown_outcome_no_batch_is_sent(env: Env) {
    let (bus, spy) = watched(&env, |b| b.stream(orders()).wait_for_connection(false)).await;
    let topic = bus.topic("orders.placed").unwrap();
    topic.publish(&event(0, "before")).await.unwrap();
    spy.trick(Trick::Swallow, "lost");
    let lost = topic.send(&event(1, "lost")).await.unwrap();
    env.until("it is on its way", || spy.taken("orders.placed") == 2)
        .await;
    let batch = events(4);
    let mut all = std::pin::pin!(publish(&env, &topic, &batch));
    // It has its place in line by the time another publish has gone all the way.
    assert!(future::poll_once(&mut all).await.is_none());
    topic.publish(&event(9, "after")).await.unwrap();
    spy.disconnect();
    for result in all.await {
        assert!(
            matches!(result, Err(PublishError::PredecessorUnknown)),
            "{result:?}"
        );
    }
    let error = env.soon("an end", lost).await.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error:?}");
    assert_eq!(spy.taken("orders.placed"), 3);
    bus.close().await;
}

/// The server has it and did not say so: it is asked, and says where.
pub(crate) async fn a_batch_whose_answer_is_lost_is_stored_once(env: Env) {
    for count in [1, 2, 50] {
        let (bus, spy, topic) = prepared(&env).await;
        let outside = env.outside().await;
        let before = outside.messages(ORDERS).await;
        let mut batch = events(count - 1);
        batch.push(event(9, "the last of them"));
        spy.trick(Trick::Mute, "the last of them");
        let all = publish(&env, &topic, &batch);
        let trouble = async {
            while outside.messages(ORDERS).await < before + u64::from(count) {}
            spy.disconnect();
            spy.be_honest();
            env.until("the bus knows", || !bus.is_connected()).await;
            spy.connect();
        };
        let (all, ()) = future::zip(all, trouble).await;
        let wanted = (before + 1..).take(batch.len());
        for (result, wanted) in all.into_iter().zip(wanted) {
            let Ok(Outcome::Duplicate { sequence, .. }) = result else {
                panic!("{result:?}")
            };
            assert_eq!(sequence, wanted);
        }
        assert_eq!(outside.messages(ORDERS).await, before + u64::from(count));
        bus.close().await;
    }
}

pub(crate) async fn a_batch_that_was_cut_off_is_sent_whole_again(env: Env) {
    let (bus, spy, topic) = prepared(&env).await;
    let mut batch = events(20);
    batch.push(event(9, "the last of them"));
    spy.trick(Trick::Swallow, "the last of them");
    let all = publish(&env, &topic, &batch);
    let trouble = async {
        env.until("all are sent", || spy.taken("orders.placed") == 22)
            .await;
        spy.disconnect();
        spy.be_honest();
        env.until("the bus knows", || !bus.is_connected()).await;
        spy.connect();
    };
    let (all, ()) = future::zip(all, trouble).await;
    assert_eq!(sequences(all), (2..=22).collect::<Vec<_>>());
    assert_eq!(env.outside().await.messages(ORDERS).await, 22);
    bus.close().await;
}

pub(crate) async fn closing_answers_every_event_of_a_batch(env: Env) {
    let (bus, spy, topic) = prepared(&env).await;
    spy.trick(Trick::Swallow, "orders.placed");
    let (first, behind) = (
        [event(1, "1"), event(2, "2")],
        [event(2, "3"), event(3, "4")],
    );
    let first = publish(&env, &topic, &first);
    let behind = publish(&env, &topic, &behind);
    let closing = async {
        env.until("it is on its way", || spy.taken("orders.placed") == 3)
            .await;
        bus.close().await
    };
    let ((first, behind), report) = future::zip(future::zip(first, behind), closing).await;
    assert_eq!(report.unknown, 2);
    for result in first {
        let error = result.unwrap_err();
        assert!(matches!(error, PublishError::Unknown { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Unknown);
    }
    for result in behind {
        let error = result.unwrap_err();
        assert!(matches!(error, PublishError::Closed), "{error:?}");
    }
    for result in publish(&env, &topic, &events(2)).await {
        assert!(matches!(result, Err(PublishError::Closed)), "{result:?}");
    }
}

/// Batches and single events at once in a narrow window: all end, none waits for one
/// that waits for it.
pub(crate) async fn batches_share_the_window_with_all_others(env: Env) {
    let bus = env
        .builder()
        .stream(orders())
        .window(8)
        .window_bytes(2_000)
        .open()
        .await
        .unwrap();
    let topic = bus.topic("orders.placed").unwrap();
    let batches = async {
        for _ in 0..10 {
            let (a, b) = (events(8), events(5));
            let a = publish(&env, &topic, &a);
            let b = publish(&env, &topic, &b);
            let (a, b) = future::zip(a, b).await;
            for all in [sequences(a), sequences(b)] {
                assert!(all.windows(2).all(|w| w[1] == w[0] + 1), "{all:?}");
            }
        }
    };
    let singles = async {
        let mut receipts = Vec::new();
        for n in 0..100 {
            receipts.push(topic.send(&event(n % 4, "single")).await.unwrap());
        }
        for receipt in receipts {
            stored(receipt.await.unwrap());
        }
    };
    env.soon("all ends", future::zip(batches, singles)).await;
    for result in publish(&env, &topic, &events(9)).await {
        assert!(
            matches!(
                result,
                Err(PublishError::Invalid(Invalid::BatchTooLarge {
                    len: 9,
                    max: 8
                }))
            ),
            "{result:?}"
        );
    }
    assert_eq!(env.outside().await.messages(ORDERS).await, 230);
    bus.close().await;
}
