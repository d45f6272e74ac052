//! Whose something is, written into its metadata.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::names::fnv128;

const OWNER: &str = "jetbus.owner";
const VERSION: &str = "jetbus.version";
const HASH: &str = "jetbus.hash";

/// Who configures, and which version of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The owner: a service. What another owner made is never changed.
    pub owner: String,
    /// Let it grow when the configuration changes: lower versions yield.
    pub version: u64,
}

/// What a mark found on the server means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    /// It has no mark, or another owner's.
    Foreign,
    /// A newer version of ours configured it.
    Newer { version: u64 },
    /// It is ours; `same` when it was configured with exactly this.
    Ours { same: bool },
}

impl Mark {
    /// Marks `metadata` of a configuration with the hash `hash`.
    pub(super) fn write(&self, hash: &str, metadata: &mut BTreeMap<String, String>) {
        metadata.insert(OWNER.into(), self.owner.clone());
        metadata.insert(VERSION.into(), self.version.to_string());
        metadata.insert(HASH.into(), hash.into());
    }

    /// Compares with what was found.
    pub(super) fn read(&self, hash: &str, metadata: &BTreeMap<String, String>) -> Owned {
        if metadata.get(OWNER) != Some(&self.owner) {
            return Owned::Foreign;
        }
        // A damaged version is older than any.
        let version = metadata.get(VERSION).and_then(|v| v.parse().ok());
        match version {
            Some(version) if version > self.version => Owned::Newer { version },
            _ => Owned::Ours {
                same: version == Some(self.version)
                    && metadata.get(HASH).is_some_and(|found| found == hash),
            },
        }
    }
}

/// A hash of a configuration that is the same in every process.
pub(super) fn hash(config: &impl Serialize) -> String {
    let json = serde_json::to_vec(config).unwrap_or_default();
    format!("{:032x}", fnv128(&json))
}
