//! Runtimes: where tasks run, what time it is, which one is found.

#[cfg(any(feature = "tokio", feature = "smol"))]
use std::time::Duration;

#[cfg(any(feature = "tokio", feature = "smol"))]
use jetbus::runtime::Runtime;
use jetbus::runtime::detect;

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;
    use jetbus::runtime::Tokio;
    use tokio::runtime::{Builder, Runtime as Rt};

    fn named(name: &str) -> Rt {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_time()
            .build()
            .unwrap()
    }

    fn thread_of_a_task(runtime: &Tokio) -> String {
        let (tell, told) = std::sync::mpsc::channel();
        runtime.spawn(Box::pin(async move {
            tell.send(std::thread::current().name().map(str::to_owned))
                .unwrap();
        }));
        told.recv().unwrap().unwrap()
    }

    #[test]
    fn tasks_run_on_the_captured_runtime_not_on_the_ambient_one() {
        let (given, other) = (named("given"), named("other"));
        let runtime = given.block_on(async { Tokio::current().unwrap() });
        assert_eq!(thread_of_a_task(&runtime), "given");
        let _ambient = other.enter();
        assert_eq!(thread_of_a_task(&runtime), "given");
    }

    #[test]
    fn sleeping_works_outside_of_tokio() {
        let given = named("given");
        let runtime = given.block_on(async { Tokio::current().unwrap() });
        let deadline = runtime.now() + Duration::from_millis(5);
        smol::block_on(runtime.sleep_until(deadline));
        assert!(runtime.now() >= deadline);
    }

    #[test]
    fn time_follows_a_paused_clock_from_inside_and_outside() {
        let paused = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let day = Duration::from_secs(86_400);
        let runtime = paused.block_on(async {
            let runtime = Tokio::current().unwrap();
            let deadline = runtime.now() + day;
            runtime.sleep_until(deadline).await;
            assert!(runtime.now() >= deadline);
            runtime
        });
        assert!(runtime.now().since(jetbus_core::Time::ZERO) >= day);
    }

    #[tokio::test]
    async fn the_end_of_time_is_never_reached() {
        let runtime = Tokio::current().unwrap();
        let never = runtime.sleep_until(jetbus_core::Time::NEVER);
        tokio::select! {
            biased;
            () = never => panic!("slept for ever"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn tokio_is_found_inside_tokio() {
        assert!(format!("{:?}", detect().unwrap()).contains("Tokio"));
    }

    #[test]
    fn tokio_is_not_found_outside() {
        assert!(Tokio::current().is_none());
    }
}

#[cfg(feature = "smol")]
mod on_smol {
    use super::*;
    use jetbus::runtime::Smol;

    #[test]
    fn tasks_run_and_sleep_on_smol() {
        let runtime = Smol::new();
        let (tell, told) = std::sync::mpsc::channel();
        let deadline = runtime.now() + Duration::from_millis(5);
        let sleep = runtime.sleep_until(deadline);
        runtime.spawn(Box::pin(async move {
            sleep.await;
            tell.send(std::thread::current().name().map(str::to_owned))
                .unwrap();
        }));
        assert!(told.recv().unwrap().unwrap().starts_with("smol"));
        assert!(runtime.now() >= deadline);
    }

    #[test]
    fn smol_is_found_outside_of_tokio() {
        assert!(format!("{:?}", detect().unwrap()).contains("Smol"));
    }
}

#[cfg(not(feature = "smol"))]
#[test]
fn no_runtime_is_a_clear_error() {
    let message = detect().unwrap_err().to_string();
    assert!(
        message.contains("tokio") && message.contains("smol"),
        "{message}"
    );
}
