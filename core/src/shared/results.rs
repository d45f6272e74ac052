//! Results of publishes, for whoever wants to be told of each of them.
//!
//! [`Results`] knows who is registered: at most one [`Reader`] for each tenant, and one,
//! under 0, for what belongs to no tenant. Nobody stands in for another. Each has a
//! [`Channel`] of a fixed number of places. A [`Place`] is reserved before anything is
//! sent, settled with the one result that there is in the end, and free again once that
//! is read. So a result never waits for room and is never dropped for want of it: who
//! waits, or is counted, is who has not sent yet.
//!
//! The word of who is registered is replaced as a whole. A channel is taken out of it
//! first and closed then: whoever found it before may still get a place there, and the
//! reader's end comes after that place, or is told that it is closed and looks again.

mod channel;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

pub use self::channel::{Channel, Closed, Overflow, Place, Reader, Refused, Reserve};
use crate::sync::{AtomicUsize, Ordering, Snapshot};

/// Who is registered for the results of which tenant.
pub struct Results<T> {
    /// How many are: whoever publishes where nobody is pays for one look at it.
    registered: AtomicUsize,
    table: Snapshot<Table<T>>,
}

struct Table<T> {
    is_closed: bool,
    channels: BTreeMap<i64, Arc<Channel<T>>>,
}

/// Why nobody was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRegistered {
    /// Somebody is, for this tenant.
    Twice,
    /// Nobody is any more.
    Closed,
}

impl fmt::Display for NotRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Twice => "somebody reads these results",
            Self::Closed => "there are no results any more",
        })
    }
}

impl std::error::Error for NotRegistered {}

impl<T> Results<T> {
    /// Nobody is registered.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registered: AtomicUsize::new(0),
            table: Snapshot::new(Table {
                is_closed: false,
                channels: BTreeMap::new(),
            }),
        }
    }

    /// Registers a reader of the results of `tenant`, with so many places.
    ///
    /// # Errors
    /// When somebody is registered for it, or after [`close`](Self::close).
    pub fn register(
        this: &Arc<Self>,
        tenant: i64,
        places: NonZeroU16,
        overflow: Overflow,
    ) -> Result<Reader<T>, NotRegistered> {
        let channel = Arc::new(Channel::new(places, overflow));
        let mut refused = None;
        this.table.update(|table| {
            refused = match table.channels.contains_key(&tenant) {
                _ if table.is_closed => Some(NotRegistered::Closed),
                true => Some(NotRegistered::Twice),
                false => None,
            };
            refused.is_none().then(|| {
                let mut channels = table.channels.clone();
                channels.insert(tenant, Arc::clone(&channel));
                Table {
                    is_closed: false,
                    channels,
                }
            })
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        // Relaxed: it stays counted from before this call returns until it is taken out,
        // so that who knows of the call sees a count; the table is read for the rest.
        this.registered.fetch_add(1, Ordering::Relaxed);
        Ok(Reader::new(Arc::clone(this), tenant, channel))
    }

    /// Where the results of `tenant` go; `None` when nobody wants them. When nobody is
    /// registered at all this is one load.
    pub fn of(&self, tenant: i64) -> Option<Arc<Channel<T>>> {
        if self.registered.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.table
            .with(|table| table.channels.get(&tenant).map(Arc::clone))
    }

    /// The tenants that somebody is registered for, in order; 0 stands for none.
    #[must_use]
    pub fn tenants(&self) -> Vec<i64> {
        self.table
            .with(|table| table.channels.keys().copied().collect())
    }

    /// Registers nobody any more and reserves no place. What has a place is settled and
    /// read as ever; then the readers come to their end.
    pub fn close(&self) {
        let before = self.table.swap(Arc::new(Table {
            is_closed: true,
            channels: BTreeMap::new(),
        }));
        before.channels.values().for_each(|channel| channel.close());
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.table.with(|table| table.is_closed)
    }

    /// Takes `channel` out, if it is still there, and closes it.
    fn unregister(&self, tenant: i64, channel: &Arc<Channel<T>>) {
        let removed = self.table.update(|table| {
            let known = table.channels.get(&tenant)?;
            Arc::ptr_eq(known, channel).then(|| {
                let mut channels = table.channels.clone();
                channels.remove(&tenant);
                Table {
                    is_closed: table.is_closed,
                    channels,
                }
            })
        });
        if removed.is_some() {
            self.registered.fetch_sub(1, Ordering::Relaxed);
        }
        channel.close();
    }
}

impl<T> Default for Results<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("tenants", &self.tenants())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
