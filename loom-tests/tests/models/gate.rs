//! Models of `shared::gate`.

use std::sync::Arc;

use core_loom::shared::gate::{Closing, Gate};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;

use crate::support::{Model, exhaustive, models};

pub(crate) const MODELS: &[Model] = models![drained_sees_what_was_done_inside];

/// Invariant: drained is seen once the last operation left, never earlier, with
/// all it did; the wake-up is not lost.
/// Threads: an operation and a closer that waits, one each. Exhaustive.
/// Seen to fail: Release in `go_out` or Acquire in `is_drained` made Relaxed, the
/// second look in `Drained::poll` removed, the wake in `mark_drained` removed.
fn drained_sees_what_was_done_inside() {
    exhaustive(|| {
        let shared = Arc::new((Gate::<()>::new(), UnsafeCell::new(())));
        let operation = thread::spawn({
            let shared = Arc::clone(&shared);
            move || match shared.0.enter() {
                Ok(_pass) => shared.1.with_mut(|_| ()),
                Err(Closing) => {}
            }
        });
        assert!(shared.0.close());
        block_on(shared.0.drained());
        shared.1.with_mut(|_| ());
        operation.join().unwrap();
    });
}
