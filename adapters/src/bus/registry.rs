//! The subscriptions of a bus: who is there, and how to reach their drivers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::mpsc;
use jetbus_core::shared::handoff::Handoff;

use crate::error::SubscribeError;
use crate::subscribe::{Control, Done, Work};

/// All subscriptions. Touched when one starts or ends and when the link comes or
/// goes, never per message.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    id: u64,
    topic: String,
    group: Option<String>,
    /// Set once the driver runs.
    running: Option<Running>,
}

/// How to reach a subscription that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its driver.
    pub(crate) control: mpsc::Sender<Control>,
    /// Where its workers take events.
    pub(crate) handoff: Arc<Handoff<Work, Done>>,
}

/// A place in the registry, free again when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    registry: Registry,
    id: u64,
}

impl Registry {
    /// Takes the place of `topic` and `group`.
    ///
    /// Two subscriptions of one bus to the same topic for the same group would
    /// share the group's events between them and so lose the order per key: the
    /// second is refused.
    pub(crate) fn claim(&self, topic: &str, group: Option<&str>) -> Result<Claim, SubscribeError> {
        let mut entries = self.entries();
        if let Some(group) = group
            && entries
                .iter()
                .any(|entry| entry.topic == topic && entry.group.as_deref() == Some(group))
        {
            return Err(SubscribeError::Twice {
                topic: topic.into(),
                group: group.into(),
            });
        }
        let id = entries
            .iter()
            .map(|entry| entry.id)
            .max()
            .map_or(0, |id| id + 1);
        entries.push(Entry {
            id,
            topic: topic.into(),
            group: group.map(Into::into),
            running: None,
        });
        drop(entries);
        Ok(Claim {
            registry: self.clone(),
            id,
        })
    }

    /// Tells all drivers that the link came or went.
    pub(crate) fn link_changed(&self) {
        for entry in self.entries().iter_mut() {
            if let Some(running) = &mut entry.running {
                // Full: it will look anyway.
                let _ = running.control.try_send(Control::Link);
            }
        }
    }

    /// How to reach all drivers.
    pub(crate) fn controls(&self) -> Vec<mpsc::Sender<Control>> {
        self.entries()
            .iter()
            .filter_map(|entry| Some(entry.running.as_ref()?.control.clone()))
            .collect()
    }

    /// Lets no worker start anything new. Their drivers are still to be stopped.
    pub(crate) fn hold(&self) {
        for running in self
            .entries()
            .iter()
            .filter_map(|entry| entry.running.as_ref())
        {
            running.handoff.close();
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The driver runs.
    pub(crate) fn run(&self, running: Running) {
        if let Some(entry) = self
            .registry
            .entries()
            .iter_mut()
            .find(|entry| entry.id == self.id)
        {
            entry.running = Some(running);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.registry.entries().retain(|entry| entry.id != self.id);
    }
}
