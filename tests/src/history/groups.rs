//! Who handles, and what they saw.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jetbus::{Bus, Delivery, SubscribeError, Subscription};

use super::record::{Group, Handled, Which};

/// Leases that end within a run: what is lost with a process comes again.
const LEASE: Duration = Duration::from_secs(5);

/// A group as it works.
#[derive(Clone, Default)]
pub(super) struct Working {
    name: &'static str,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    processes: Vec<Vec<Handled>>,
    distinct: BTreeSet<Which>,
}

impl Working {
    pub(super) fn named(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a bus handle for the group. One event in a hundred fails at first.
    pub(super) async fn join(
        self,
        bus: Bus,
        topic: &'static str,
        since: Instant,
    ) -> Result<Subscription, SubscribeError> {
        let process = {
            let mut notes = self.notes();
            notes.processes.push(Vec::new());
            notes.processes.len() - 1
        };
        let subscribe = bus.subscribe(topic).group(self.name).ack_wait(LEASE);
        subscribe
            .handle(move |event: Delivery<u32>| {
                let handled = self.handle(process, &event, since);
                async move { handled }
            })
            .await
    }

    fn handle(
        &self,
        process: usize,
        event: &Delivery<u32>,
        since: Instant,
    ) -> Result<(), &'static str> {
        let which = event.key().and_then(|key| Which::named(key, event.payload));
        let which = which.ok_or("it is no writer's")?;
        if event.attempt() == 1 && (which.key + which.number * 37).is_multiple_of(100) {
            return Err("at first");
        }
        let mut notes = self.notes();
        notes.distinct.insert(which);
        notes.processes[process].push(Handled {
            which,
            sequence: event.sequence(),
            at: since.elapsed(),
        });
        Ok(())
    }

    /// How many different events it has handled.
    pub(super) fn handled(&self) -> usize {
        self.notes().distinct.len()
    }

    /// What it has seen.
    pub(super) fn seen(&self) -> Group {
        Group {
            name: self.name.to_owned(),
            processes: self.notes().processes.clone(),
        }
    }
}
