//! Batches, on three servers of which one leads the stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jetbus::{BatchPath, Event, Outcome, PublishError, Topic};
use jetbus_tests::matrix::Env;
use jetbus_tests::operator::{Stored, all_stored};

use crate::clusters::Ground;
use crate::fire::{Told, Truth};

/// Events of a batch.
const SIZE: u32 = 100;

const KEY: &str = "batched";

/// What was said of the events of a batch.
type Said = Vec<Result<Outcome, PublishError>>;

/// Publishes batches of one key until it is over.
async fn publish(topic: Topic, path: BatchPath, over: Arc<AtomicBool>) -> Vec<Said> {
    let (mut told, mut n) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let event = |n| Event::new(KEY, "Counted", n);
        let batch: Vec<_> = (n..n + SIZE).map(event).collect();
        n += SIZE;
        told.push(topic.publish_batch(path, &batch).await);
    }
    told
}

/// Batches of one path while another server leads, three times by consent and once
/// because the leader is killed. What they were told, and what is stored.
async fn besieged(env: &Env, path: BatchPath) -> (Vec<Said>, Vec<Stored>) {
    let ground = Ground::begin(env).await;
    let over = Arc::new(AtomicBool::new(false));
    let (done, ended) = async_channel::bounded(1);
    let topic = ground.bus.topic("orders.placed").unwrap();
    let publishing = publish(topic, path, Arc::clone(&over));
    env.runtime().spawn(Box::pin(async move {
        let _ = done.send(publishing.await).await;
    }));
    ground.goes_on(env).await;
    for server in 0..3 {
        ground.steps_down(env, server).await;
        ground.goes_on(env).await;
    }
    let leader = ground.leader(env, 0).await;
    ground.cluster.servers()[leader].kill();
    ground.goes_on(env).await;
    ground.cluster.servers()[leader].start_again().unwrap();
    ground.cluster.wait_until_healthy().unwrap();
    over.store(true, Ordering::Relaxed);
    let told = env.soon("the last batch ends", ended.recv()).await.unwrap();
    let stored = all_stored(env, &ground.cluster.servers()[0], "ORDERS").await;
    ground.bus.close().await;
    (told, stored)
}

/// What was told beside what is stored, whole and in order. The server does not say where
/// it stored what is ingested: that it is there is enough.
fn is_whole(told: &[Said], stored: &[Stored]) {
    let places: HashMap<_, _> = stored.iter().map(|at| (at.number, at.sequence)).collect();
    let said = told.iter().flatten().zip(0..).map(|(said, n)| {
        let place = || places.get(&n).copied().unwrap_or(0);
        let said = said.clone().map(|it| it.sequence().unwrap_or_else(place));
        (KEY.to_owned(), n, said)
    });
    let truth = Truth::of(&said.collect::<Told>(), stored);
    assert!(truth.is_whole(), "{truth:?}");
}

pub(crate) async fn a_change_of_leaders_leaves_no_atomic_batch_in_parts(env: Env) {
    let (told, stored) = besieged(&env, BatchPath::Atomic).await;
    is_whole(&told, &stored);
    for batch in &told {
        let places: Vec<_> = batch.iter().flatten().map(Outcome::sequence).collect();
        let first = places[0].expect("a sequence");
        let one_after_the_other = (first..).take(places.len()).map(Some);
        assert!(one_after_the_other.eq(places.iter().copied()), "{places:?}");
    }
}

pub(crate) async fn a_change_of_leaders_leaves_no_gap_in_what_is_ingested(env: Env) {
    let (told, stored) = besieged(&env, BatchPath::FastIngest).await;
    is_whole(&told, &stored);
    let numbers: Vec<_> = stored.iter().map(|event| event.number).collect();
    assert!(
        numbers.iter().copied().eq(0..numbers.len() as u32),
        "{numbers:?}"
    );
}
