//! Requests about streams.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Answer, check_empty, fields, no_page, page, read_page};
use crate::broker::Broker;
use crate::broker::error::{self, Error};
use crate::broker::json::object;
use crate::broker::stream::{Purge, Stream};
use crate::broker::stream_config::StreamConfig;
use crate::jetstream::api::Storage;
use crate::subject::any_overlap;

/// Subjects that one answer shows at most.
const SUBJECTS: usize = 100_000;

impl Broker {
    pub(super) fn stream_create(&mut self, name: &str, body: &[u8]) -> Answer {
        let config = self.read_config(name, body)?;
        if config.sealed {
            return Err(
                Error::stream_config("stream configuration for create can not be sealed").into(),
            );
        }
        if let Some(stream) = self.streams.get(name) {
            if stream.config != config {
                return Err(error::STREAM_EXISTS.into());
            }
        } else {
            if self.streams.len() >= self.world.config.max_streams {
                return Err(error::MAX_STREAMS.into());
            }
            self.check_subjects(&config)?;
            self.check_reserve(&config, 0)?;
            let stream = Stream::new(&mut self.world, config);
            self.streams.insert(Arc::clone(&stream.name), stream);
            self.advise_stream(name, "CREATED", "create");
        }
        let mut answer = self.stream(name)?.info(&self.world, true);
        answer.insert("did_create".into(), json!(true));
        Ok(answer)
    }

    pub(super) fn stream_update(&mut self, name: &str, body: &[u8]) -> Answer {
        let config = self.read_config(name, body)?;
        let stream = self.stream(name)?;
        stream.config.check_update(&config)?;
        stream.check_limits(&config)?;
        self.check_subjects(&config)?;
        let own = stream.config.max_bytes.max(0).unsigned_abs();
        self.check_reserve(&config, own)?;
        if let Some(stream) = self.streams.get_mut(name) {
            stream.update(&mut self.world, config);
        }
        Ok(self.stream(name)?.info(&self.world, true))
    }

    fn read_config(&self, name: &str, body: &[u8]) -> Result<StreamConfig, Error> {
        let mut config = StreamConfig::read(body)?;
        if config.name != name {
            return Err(error::STREAM_MISMATCH);
        }
        if name.contains(['/', '\\']) {
            return Err(error::STREAM_NAME_PATH);
        }
        config.check()?;
        Ok(config)
    }

    /// No two streams store the same subject.
    fn check_subjects(&self, config: &StreamConfig) -> Result<(), Error> {
        let taken = self.streams.values().any(|stream| {
            *stream.name != *config.name && any_overlap(&stream.config.subjects, &config.subjects)
        });
        if taken {
            return Err(error::SUBJECT_OVERLAP);
        }
        Ok(())
    }

    /// A stream that asks for bytes gets them for sure, or is refused.
    fn check_reserve(&self, config: &StreamConfig, own: u64) -> Result<(), Error> {
        let wanted = config.max_bytes.max(0).unsigned_abs();
        let reserved = self.reserved(config.storage).saturating_sub(own);
        if wanted > 0 && reserved.saturating_add(wanted) > self.world.config.max_bytes {
            return Err(match config.storage {
                Storage::Memory => error::MEMORY_EXCEEDED,
                Storage::File => error::STORAGE_EXCEEDED,
            });
        }
        Ok(())
    }

    pub(super) fn stream_info(&self, name: &str, body: &[u8]) -> Answer {
        let frame = || fields(json!({"total": 0, "offset": 0, "limit": 0}));
        let read = || -> Result<_, Error> {
            let mut o = object(body, "JSApiStreamInfoRequest")?;
            let read = (
                o.bool("deleted_details")?,
                o.string("subjects_filter")?,
                o.int("offset")?,
            );
            o.finish()?;
            Ok(read)
        };
        let (deleted, filter, offset) = read().map_err(|error| (error, frame()))?;
        let stream = self.stream(name).map_err(|error| (error, frame()))?;
        let mut answer = stream.info(&self.world, true);
        answer.extend(frame());
        let leader = self.world.config.server_name.as_str();
        answer.insert("cluster".into(), json!({"leader": leader}));
        let mut state = stream.state();
        if deleted {
            let seqs: Vec<u64> = stream.store.deleted().collect();
            if !seqs.is_empty() {
                state.insert("num_deleted".into(), json!(seqs.len()));
                state.insert("deleted".into(), json!(seqs));
            }
        }
        if !filter.is_empty() {
            let filter = [filter];
            let subjects: Vec<_> = stream.store.matching(&filter).collect();
            if !subjects.is_empty() {
                let (frame, subjects) = page(subjects, offset, SUBJECTS);
                answer.extend(frame);
                let subjects: Map<String, Value> = subjects
                    .into_iter()
                    .map(|(subject, seqs)| (subject.as_str().to_owned(), json!(seqs.len())))
                    .collect();
                if !subjects.is_empty() {
                    state.insert("subjects".into(), Value::Object(subjects));
                }
            }
        }
        answer.insert("state".into(), Value::Object(state));
        Ok(answer)
    }

    fn streams_for(&self, subject: &str) -> Vec<&Stream> {
        self.streams
            .values()
            .filter(|stream| subject.is_empty() || stream.is_for(subject))
            .collect()
    }

    pub(super) fn stream_names(&self, body: &[u8]) -> Answer {
        let (offset, subject) = read_page(body, "JSApiStreamNamesRequest")
            .map_err(|error| (error, no_page("streams", Value::Null)))?;
        let (mut answer, streams) = page(self.streams_for(&subject), offset, 1024);
        let names: Vec<&str> = streams.iter().map(|s| &*s.name).collect();
        let names = if names.is_empty() {
            Value::Null
        } else {
            json!(names)
        };
        answer.insert("streams".into(), names);
        Ok(answer)
    }

    pub(super) fn stream_list(&self, body: &[u8]) -> Answer {
        let (offset, subject) = read_page(body, "JSApiStreamListRequest")
            .map_err(|error| (error, no_page("streams", Value::Null)))?;
        let (mut answer, streams) = page(self.streams_for(&subject), offset, 256);
        let streams: Vec<Value> = streams
            .iter()
            .map(|s| Value::Object(s.info(&self.world, false)))
            .collect();
        answer.insert("streams".into(), json!(streams));
        Ok(answer)
    }

    pub(super) fn stream_delete(&mut self, name: &str, body: &[u8]) -> Answer {
        check_empty(body)?;
        let stream = self.streams.remove(name).ok_or(error::STREAM_NOT_FOUND)?;
        stream.close(&mut self.world);
        self.advise_stream(name, "DELETED", "delete");
        Ok(fields(json!({"success": true})))
    }

    fn advise_stream(&mut self, name: &str, what: &str, action: &str) {
        let told = [("stream", json!(name)), ("action", json!(action))];
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.{what}.{name}");
        self.world.advise(subject, "stream_action", &told);
    }

    pub(super) fn stream_purge(&mut self, name: &str, body: &[u8]) -> Answer {
        self.try_purge(name, body)
            .map(|purged| fields(json!({"success": true, "purged": purged})))
            .map_err(|error| (error, fields(json!({"purged": 0}))))
    }

    fn try_purge(&mut self, name: &str, body: &[u8]) -> Result<u64, Error> {
        let mut o = object(body, "JSApiStreamPurgeRequest")?;
        let purge = Purge {
            filter: o.string("filter")?,
            seq: o.uint64("seq")?,
            keep: o.uint64("keep")?,
        };
        o.finish()?;
        if purge.seq > 0 && purge.keep > 0 {
            return Err(error::BAD_REQUEST);
        }
        let stream = self.streams.get_mut(name).ok_or(error::STREAM_NOT_FOUND)?;
        if stream.config.deny_purge {
            return Err(error::PURGE_FAILED);
        }
        let purged = stream.purge(&mut self.world, &purge);
        stream.arm(&mut self.world);
        Ok(purged)
    }
}
