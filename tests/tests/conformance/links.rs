//! What subscriptions need of every link.

use std::future::poll_fn;

use futures_lite::future;
use jetbus_tests::admin::Admin;
use jetbus_tests::matrix::Env;

pub(crate) async fn an_inbox_that_is_ended_gives_all_that_was_on_its_way(env: Env) {
    let admin = Admin::connect(&env).await;
    let mut inbox = admin.listen("numbers.*").await.into_inbox();
    for n in 1..=100_u32 {
        admin.publish("numbers.a", None, n.to_string());
    }
    let mut seen = 0;
    while seen < 40 {
        let next = env.soon("the first forty", poll_fn(|cx| inbox.poll_next(cx)));
        let message = next.await.unwrap();
        seen += 1;
        assert_eq!(&message.payload[..], seen.to_string().as_bytes());
    }
    // At least all that was published is on its way; a server counts, the embedded
    // broker knows.
    assert!(inbox.end_after(70));
    for n in 101..=150_u32 {
        admin.publish("numbers.a", None, n.to_string());
    }
    let last = env
        .soon("the end", async {
            while let Some(message) = poll_fn(|cx| inbox.poll_next(cx)).await {
                seen += 1;
                assert_eq!(&message.payload[..], seen.to_string().as_bytes());
            }
            seen
        })
        .await;
    assert_eq!(last, if env.is_embedded() { 100 } else { 110 });
    // It stays ended.
    let next = poll_fn(|cx| inbox.poll_next(cx));
    assert!(matches!(future::poll_once(next).await, Some(None)));
}
