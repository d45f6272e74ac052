//! The configuration of a stream: reading, defaults, checks, changes, in the
//! server's order.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::error::{self, Error};
use super::json::{Object, object};
use crate::jetstream::api::{Compression, Discard, Retention, Storage};
use crate::subject::overlap;

/// As nats-server keeps it. Durations are nanoseconds, -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StreamConfig {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) subjects: Vec<String>,
    pub(super) retention: Retention,
    pub(super) max_consumers: i64,
    pub(super) max_msgs: i64,
    pub(super) max_bytes: i64,
    pub(super) max_age: i64,
    pub(super) max_msgs_per_subject: i64,
    pub(super) max_msg_size: i64,
    pub(super) discard: Discard,
    pub(super) discard_new_per_subject: bool,
    pub(super) storage: Storage,
    pub(super) num_replicas: i64,
    pub(super) no_ack: bool,
    pub(super) duplicate_window: i64,
    pub(super) placement: Option<Value>,
    pub(super) compression: Compression,
    pub(super) first_seq: u64,
    pub(super) allow_direct: bool,
    pub(super) mirror_direct: bool,
    pub(super) sealed: bool,
    pub(super) deny_delete: bool,
    pub(super) deny_purge: bool,
    pub(super) allow_rollup_hdrs: bool,
    pub(super) allow_msg_ttl: bool,
    pub(super) allow_atomic: bool,
    pub(super) max_inactive: i64,
    pub(super) max_ack_pending: i64,
    pub(super) metadata: BTreeMap<String, String>,
    unsupported: Option<&'static str>,
}

/// What a server does and this broker does not; asked for, it is refused.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("mirror", "mirrors are not supported"),
    ("sources", "sources are not supported"),
    ("republish", "republishing is not supported"),
    ("subject_transform", "subject transforms are not supported"),
    (
        "subject_delete_marker_ttl",
        "subject delete markers are not supported",
    ),
    ("allow_msg_counter", "message counters are not supported"),
    ("allow_msg_schedules", "message schedules are not supported"),
    ("allow_batched", "batch publish is not supported"),
    ("persist_mode", "persist modes are not supported"),
];

impl StreamConfig {
    /// Reads a create or update request.
    pub(super) fn read(payload: &[u8]) -> Result<Self, Error> {
        let mut o = object(payload, "StreamConfigRequest")?;
        let config = Self::fields(&mut o)?;
        let _pedantic = o.bool("pedantic")?;
        o.finish()?;
        Ok(config)
    }

    fn fields(o: &mut Object) -> Result<Self, Error> {
        let mut limits = o.child("consumer_limits", "server.StreamConsumerLimits")?;
        let max_inactive = limits.duration("inactive_threshold")?;
        let max_ack_pending = limits.int("max_ack_pending")?;
        limits.finish()?;
        let mut config = Self {
            name: o.string("name")?,
            description: o.string("description")?,
            subjects: o.strings("subjects")?,
            retention: o.word(
                "retention",
                &[
                    ("limits", Retention::Limits),
                    ("interest", Retention::Interest),
                    ("workqueue", Retention::WorkQueue),
                ],
            )?,
            max_consumers: o.int("max_consumers")?,
            max_msgs: o.int64("max_msgs")?,
            max_bytes: o.int64("max_bytes")?,
            max_age: o.duration("max_age")?,
            max_msgs_per_subject: o.int64("max_msgs_per_subject")?,
            max_msg_size: o.int32("max_msg_size")?,
            discard: o.word("discard", &[("old", Discard::Old), ("new", Discard::New)])?,
            discard_new_per_subject: o.bool("discard_new_per_subject")?,
            storage: o.word(
                "storage",
                &[("file", Storage::File), ("memory", Storage::Memory)],
            )?,
            num_replicas: o.int("num_replicas")?,
            no_ack: o.bool("no_ack")?,
            duplicate_window: o.duration("duplicate_window")?,
            placement: o.raw("placement"),
            compression: o
                .word(
                    "compression",
                    &[("none", Compression::None), ("s2", Compression::S2)],
                )
                .map_err(|_| Error::invalid_json("unknown compression algorithm"))?,
            first_seq: o.uint64("first_seq")?,
            allow_direct: o.bool("allow_direct")?,
            mirror_direct: o.bool("mirror_direct")?,
            sealed: o.bool("sealed")?,
            deny_delete: o.bool("deny_delete")?,
            deny_purge: o.bool("deny_purge")?,
            allow_rollup_hdrs: o.bool("allow_rollup_hdrs")?,
            allow_msg_ttl: o.bool("allow_msg_ttl")?,
            allow_atomic: o.bool("allow_atomic")?,
            max_inactive,
            max_ack_pending,
            metadata: o.metadata()?,
            unsupported: None,
        };
        for (field, why) in UNSUPPORTED {
            if o.raw(field).is_some() {
                config.unsupported.get_or_insert(why);
            }
        }
        Ok(config)
    }

    /// Fills in defaults and checks what needs no other stream.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        let refuse = |why: &'static str| Err(Error::stream_config(why));
        if !is_asset_name(&self.name) {
            return refuse("stream name is required and can not contain '.', '*', '>', '\\', '/'");
        }
        if self.name.len() > 255 {
            return refuse("stream name is too long, maximum allowed is 255");
        }
        if self.description.len() > 4096 {
            return refuse("stream description is too long, maximum allowed is 4096");
        }
        for limit in [
            &mut self.max_msgs,
            &mut self.max_msgs_per_subject,
            &mut self.max_bytes,
            &mut self.max_msg_size,
            &mut self.max_consumers,
        ] {
            if *limit <= 0 {
                *limit = -1;
            }
        }
        match self.num_replicas {
            0 => self.num_replicas = 1,
            n if n > 5 => return refuse("maximum replicas is 5"),
            n if n < 0 => return Err(error::REPLICAS_NEGATIVE),
            _ => {}
        }
        const SHORTEST: i64 = 100_000_000;
        const WINDOW: i64 = 120_000_000_000;
        if self.max_age < 0 {
            return refuse("max age can not be negative");
        }
        if self.max_age != 0 && self.max_age < SHORTEST {
            return refuse("max age needs to be >= 100ms");
        }
        if self.duplicate_window == 0 {
            self.duplicate_window = match self.max_age {
                0 => WINDOW,
                age => WINDOW.min(age),
            };
        }
        if self.duplicate_window < 0 {
            return refuse("duplicates window can not be negative");
        }
        if self.max_age != 0 && self.duplicate_window > self.max_age {
            return refuse("duplicates window can not be larger then max age");
        }
        if self.duplicate_window < SHORTEST {
            return refuse("duplicates window needs to be >= 100ms");
        }
        if self.deny_purge && self.allow_rollup_hdrs {
            return refuse("roll-ups require the purge permission");
        }
        if self.discard_new_per_subject {
            if self.discard != Discard::New {
                return refuse("discard new per subject requires discard new policy to be set");
            }
            if self.max_msgs_per_subject <= 0 {
                return refuse("discard new per subject requires max msgs per subject > 0");
            }
        }
        if let Some(why) = self.unsupported {
            return refuse(why);
        }
        if metadata_len(&self.metadata) > METADATA {
            return refuse("stream metadata exceeds maximum size of 131072 bytes");
        }
        self.check_subjects()?;
        if self.num_replicas > 1 {
            return Err(error::REPLICAS);
        }
        let level = match (self.allow_atomic, self.allow_msg_ttl) {
            (true, _) => "2",
            (false, true) => "1",
            (false, false) => "0",
        };
        self.metadata.remove("_nats.ver");
        self.metadata.remove("_nats.level");
        self.metadata.insert("_nats.req.level".into(), level.into());
        Ok(())
    }

    fn check_subjects(&mut self) -> Result<(), Error> {
        if self.subjects.is_empty() {
            self.subjects.push(self.name.clone());
        }
        for (index, subject) in self.subjects.iter().enumerate() {
            if !is_subject(subject) {
                return Err(Error::stream_config("invalid subject"));
            }
            if !self.no_ack {
                if subject == ">" {
                    return Err(Error::stream_config(
                        "capturing all subjects requires no-ack to be true",
                    ));
                }
                if subject.starts_with('$') {
                    if overlap(subject, "$JS.API.>") || subject == "$JS.API" {
                        return Err(Error::stream_config(
                            "subjects that overlap with jetstream api require no-ack to be true",
                        ));
                    }
                    if overlap(subject, "$SYS.>") {
                        return Err(Error::stream_config(
                            "subjects that overlap with system api require no-ack to be true",
                        ));
                    }
                }
            }
            for other in self.subjects.iter().skip(index + 1) {
                if overlap(subject, other) {
                    return Err(Error::stream_config(format!(
                        "subject {subject:?} overlaps with {other:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether this may become `new`.
    pub(super) fn check_update(&self, new: &Self) -> Result<(), Error> {
        let refuse = |why: &'static str| Err(Error::stream_config(why));
        if new.storage != self.storage {
            return refuse("stream configuration update can not change storage type");
        }
        if new.retention != self.retention
            && (new.retention == Retention::WorkQueue || self.retention == Retention::WorkQueue)
        {
            return refuse(
                "stream configuration update can not change retention policy to/from workqueue",
            );
        }
        if new.sealed && !self.sealed {
            return refuse("sealing a stream is not supported");
        }
        if self.deny_delete && !new.deny_delete {
            return refuse("stream configuration update can not cancel deny message deletes");
        }
        if self.deny_purge && !new.deny_purge {
            return refuse("stream configuration update can not cancel deny purge");
        }
        if self.allow_msg_ttl && !new.allow_msg_ttl {
            return refuse("message TTL status can not be disabled");
        }
        Ok(())
    }

    pub(super) fn window(&self) -> Duration {
        nanos(self.duplicate_window)
    }

    /// As the server shows it; `dynamic` adds what it says of itself.
    pub(super) fn json(&self, dynamic: bool) -> Value {
        let mut o = Map::new();
        let mut put = |key: &str, value: Value| o.insert(key.to_owned(), value);
        put("name", json!(self.name));
        if !self.description.is_empty() {
            put("description", json!(self.description));
        }
        put("subjects", json!(self.subjects));
        put("retention", json!(self.retention));
        put("max_consumers", json!(self.max_consumers));
        put("max_msgs", json!(self.max_msgs));
        put("max_bytes", json!(self.max_bytes));
        put("max_age", json!(self.max_age));
        put("max_msgs_per_subject", json!(self.max_msgs_per_subject));
        put("max_msg_size", json!(self.max_msg_size));
        put("discard", json!(self.discard));
        put("storage", json!(self.storage));
        put("num_replicas", json!(self.num_replicas));
        put("duplicate_window", json!(self.duplicate_window));
        put("compression", json!(self.compression));
        put("allow_direct", json!(self.allow_direct));
        put("mirror_direct", json!(self.mirror_direct));
        put("sealed", json!(self.sealed));
        put("deny_delete", json!(self.deny_delete));
        put("deny_purge", json!(self.deny_purge));
        put("allow_rollup_hdrs", json!(self.allow_rollup_hdrs));
        put("allow_msg_ttl", json!(self.allow_msg_ttl));
        if self.allow_atomic {
            put("allow_atomic", json!(true));
        }
        let mut limits = Map::new();
        if self.max_inactive != 0 {
            limits.insert("inactive_threshold".into(), json!(self.max_inactive));
        }
        if self.max_ack_pending != 0 {
            limits.insert("max_ack_pending".into(), json!(self.max_ack_pending));
        }
        put("consumer_limits", Value::Object(limits));
        if self.no_ack {
            put("no_ack", json!(true));
        }
        if self.discard_new_per_subject {
            put("discard_new_per_subject", json!(true));
        }
        if let Some(placement) = &self.placement {
            put("placement", placement.clone());
        }
        if self.first_seq != 0 {
            put("first_seq", json!(self.first_seq));
        }
        put("metadata", metadata_json(&self.metadata, dynamic));
        Value::Object(o)
    }
}

/// Bytes of keys and values that metadata may have.
pub(super) const METADATA: usize = 128 << 10;

pub(super) fn metadata_len(metadata: &BTreeMap<String, String>) -> usize {
    metadata
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// Metadata with what the server adds of its own.
pub(super) fn metadata_json(metadata: &BTreeMap<String, String>, dynamic: bool) -> Value {
    let mut shown = metadata.clone();
    if dynamic {
        shown.insert("_nats.level".into(), "5".into());
        shown.insert("_nats.ver".into(), super::VERSION.into());
    }
    json!(shown)
}

/// A duration of the configuration; negative ones count as none.
pub(super) fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.try_into().unwrap_or(0))
}

/// A name of a stream or consumer.
pub(super) fn is_asset_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c == '\0' || ".*>\\/".contains(c))
}

/// The most tokens of a subject or pattern here.
const MAX_TOKENS: usize = 128;

/// A subject or pattern by the server's grammar, and of a length that is routed.
pub(super) fn is_subject(subject: &str) -> bool {
    let mut open = true;
    !subject.is_empty()
        && subject.split('.').count() <= MAX_TOKENS
        && subject.split('.').all(|token| {
            let fine =
                open && !token.is_empty() && !token.contains([' ', '\t', '\n', '\r', '\x0c']);
            open = token != ">";
            fine
        })
}
