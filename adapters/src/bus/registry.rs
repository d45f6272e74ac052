//! The subscriptions of a bus: who is there, and how to reach their drivers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::mpsc;

use crate::error::SubscribeError;
use crate::subscribe::Control;

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
    control: Option<mpsc::Sender<Control>>,
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
            control: None,
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
            if let Some(control) = &mut entry.control {
                // Full: it will look anyway.
                let _ = control.try_send(Control::Link);
            }
        }
    }

    /// How to reach all drivers.
    pub(crate) fn controls(&self) -> Vec<mpsc::Sender<Control>> {
        self.entries()
            .iter()
            .filter_map(|entry| entry.control.clone())
            .collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// The driver runs and is reached by `control`.
    pub(crate) fn run(&self, control: mpsc::Sender<Control>) {
        if let Some(entry) = self
            .registry
            .entries()
            .iter_mut()
            .find(|entry| entry.id == self.id)
        {
            entry.control = Some(control);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.registry.entries().retain(|entry| entry.id != self.id);
    }
}
