//! smol and a real server in a process without a tokio runtime of its own.
#![cfg(all(feature = "smol", feature = "nats"))]

use jetbus::{Delivery, News};
use jetbus_tests::matrix::{Env, LinkKind, RuntimeKind, run};
use jetbus_tests::support::{Seen, in_order, in_turns, news, publish_all};

/// Threads of this process with the name of the link's own.
fn private_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("jetbus-nats"))
        .count()
}

#[test]
fn the_link_has_a_thread_of_its_own_that_ends_with_it() {
    run(RuntimeKind::Smol, LinkKind::Nats, case);
}

async fn case(env: Env) {
    let linux = cfg!(target_os = "linux");
    assert_eq!(private_threads(), 0);
    let bus = env.bus().await;
    let mut heard = bus.news();
    assert!(!linux || private_threads() > 0);
    let orders = bus.topic("orders.placed").unwrap();
    let seen = Seen::new();
    let noted = seen.clone();
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .handle(move |event: Delivery<u32>| {
            #[cfg(feature = "tokio")]
            assert!(tokio::runtime::Handle::try_current().is_err());
            noted.note((event.key().unwrap().to_owned(), event.payload));
            async {}
        })
        .await
        .unwrap();
    publish_all(&orders, in_turns(5, 10)).await;
    seen.reaches(50, &env).await;
    env.server().unwrap().restart().unwrap();
    news(&env, "the return is told", &mut heard, |news| {
        matches!(
            news,
            News::Connected {
                generation: 2..,
                ..
            }
        )
        .then_some(())
    })
    .await;
    publish_all(&orders, in_turns(5, 20).skip(50)).await;
    env.until("all are handled", || seen.first_by_key() == in_order(5, 20))
        .await;
    subscription.stop().await;
    bus.close().await;
    env.until("the thread is gone", || private_threads() == 0)
        .await;
}
