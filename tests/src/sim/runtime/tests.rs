use std::future::{pending, poll_fn};

use super::*;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Returns to the scheduler `times` times.
async fn yields(times: u32) {
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Three tasks that write their names in turns.
fn order_of(seed: u64) -> (Vec<u32>, u64) {
    let sim = Sim::new(seed);
    let order = Arc::new(Mutex::new(Vec::new()));
    for name in 0..3 {
        let order = Arc::clone(&order);
        sim.spawn(Box::pin(async move {
            for _ in 0..5 {
                order.lock().unwrap().push(name);
                yields(1).await;
            }
        }));
    }
    sim.block_on(sim.sleep(millis(10))).unwrap();
    assert_eq!(sim.tasks(), 0);
    (order.lock().unwrap().clone(), sim.schedule())
}

#[test]
fn a_seed_decides_who_runs() {
    assert_eq!(order_of(7), order_of(7));
    let orders: std::collections::BTreeSet<_> = (0..20).map(|seed| order_of(seed).0).collect();
    assert!(orders.len() > 10, "{} different orders", orders.len());
}

#[test]
fn the_clock_jumps_to_timers_and_is_never_early() {
    let sim = Sim::new(1);
    let hours = Duration::from_secs(500);
    let ended = sim
        .block_on(async {
            let deadline = sim.now() + hours;
            sim.sleep_until(deadline).await;
            assert!(sim.now() >= deadline);
            sim.now().since(deadline)
        })
        .unwrap();
    assert!(ended <= millis(2), "{ended:?} late");
    assert_eq!(
        sim.wall().as_unix_nanos() - ORIGIN.as_unix_nanos(),
        i64::try_from(sim.now().as_nanos()).unwrap()
    );
}

#[test]
fn a_dropped_sleep_leaves_no_timer() {
    let sim = Sim::new(1);
    let mut long = sim.sleep(Duration::from_secs(9));
    let stuck = sim.block_on(poll_fn(|cx| {
        let _ = long.as_mut().poll(cx);
        Poll::Ready(())
    }));
    assert!(stuck.is_ok());
    drop(long);
    assert!(sim.0.with(|state| state.timers.is_empty()));
}

#[test]
fn waiting_for_nothing_is_a_deadlock() {
    let sim = Sim::new(1);
    sim.spawn(Box::pin(pending()));
    let stuck = sim.block_on(sim.sleep_until(Time::NEVER)).unwrap_err();
    assert_eq!(stuck.why(), Why::Deadlock);
    let text = stuck.to_string();
    assert!(
        text.contains("tasks: #1 (of #1 at 0ns, polled 1 times)"),
        "{text}"
    );
    assert!(text.contains("timers: none"), "{text}");
}

#[test]
fn waiting_too_long_and_running_too_long_are_told() {
    let limits = Limits {
        time: Duration::from_secs(5),
        steps: 1_000,
    };
    let sim = Sim::with_limits(1, limits);
    let late = sim.block_on(sim.sleep(Duration::from_secs(6))).unwrap_err();
    assert_eq!(late.why(), Why::Time);
    let busy = sim.block_on(yields(u32::MAX)).unwrap_err();
    assert_eq!(busy.why(), Why::Steps);
    // Each call has the limits for itself.
    sim.block_on(sim.sleep(Duration::from_secs(4))).unwrap();
}

#[test]
fn tasks_are_counted_until_they_end() {
    let sim = Sim::new(3);
    for n in 1..=4 {
        sim.spawn(sim.sleep(millis(10 * n)));
    }
    assert_eq!(sim.tasks(), 4);
    sim.block_on(sim.sleep(millis(25))).unwrap();
    assert_eq!(sim.tasks(), 2);
    sim.block_on(sim.sleep(millis(25))).unwrap();
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn abandoning_frees_what_tasks_hold() {
    let sim = Sim::new(3);
    let held = Arc::new(());
    let (mine, inside) = (Arc::clone(&held), sim.clone());
    sim.spawn(Box::pin(async move {
        inside.sleep(millis(1)).await;
        drop(mine);
    }));
    sim.abandon();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn timers_and_wakers_are_counted_until_nobody_holds_them() {
    let sim = Sim::new(1);
    let kept = Arc::new(Mutex::new(None));
    let (sleeps, keeper) = (sim.clone(), Arc::clone(&kept));
    sim.spawn(Box::pin(async move {
        poll_fn(|cx| {
            *keeper.lock().unwrap() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        sleeps.sleep(Duration::from_secs(9)).await;
    }));
    sim.block_on(sim.sleep(Duration::from_secs(1))).unwrap();
    assert_eq!((sim.tasks(), sim.timers()), (1, 1));
    assert!(sim.wakers() > 0);
    sim.block_on(sim.sleep(Duration::from_secs(10))).unwrap();
    assert_eq!((sim.tasks(), sim.timers(), sim.wakers()), (0, 0, 1));
    kept.lock().unwrap().take();
    assert_eq!(sim.wakers(), 0);
}
