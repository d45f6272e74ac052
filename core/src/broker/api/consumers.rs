//! Requests about consumers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answer, check_empty, fields, no_page, page, read_page};
use crate::broker::Broker;
use crate::broker::consumer_config::{Action, CreateRequest};
use crate::broker::core_nats;
use crate::broker::error::{self, Error};

/// How long an ephemeral consumer that did not say lives unused, in nanoseconds.
const EPHEMERAL_THRESHOLD: i64 = 5_000_000_000;

impl Broker {
    /// `CONSUMER.DURABLE.CREATE`: the way of old clients.
    pub(super) fn durable_create(&mut self, stream: &str, name: &str, body: &[u8]) -> Answer {
        let mut request = read(stream, body)?;
        if request.config.durable.is_empty() {
            return Err(error::CONSUMER_DURABLE_NOT_SET.into());
        }
        if request.config.durable != name {
            return Err(error::CONSUMER_NAME_NOT_MATCH.into());
        }
        name.clone_into(&mut request.config.name);
        self.create(stream, name, request)
    }

    /// `CONSUMER.CREATE` without a name.
    pub(super) fn ephemeral_create(&mut self, stream: &str, body: &[u8]) -> Answer {
        let request = read(stream, body)?;
        if request.config.is_durable() {
            return Err(error::CONSUMER_EPHEMERAL_DURABLE.into());
        }
        let name = if request.config.name.is_empty() {
            core_nats::id(&mut self.world.random, 8)
        } else {
            request.config.name.clone()
        };
        self.create(stream, &name, request)
    }

    /// `CONSUMER.CREATE` with a name, and maybe the filter.
    pub(super) fn named_create(
        &mut self,
        stream: &str,
        name: &str,
        filter: Option<&str>,
        body: &[u8],
    ) -> Answer {
        let mut request = read(stream, body)?;
        let config = &mut request.config;
        if config.is_durable() && config.durable != name {
            return Err(error::CONSUMER_NAME_NOT_MATCH.into());
        }
        if name.contains(['/', '\\']) {
            return Err(error::CONSUMER_NAME_PATH.into());
        }
        if let Some(filter) = filter {
            if config.filter_subjects.len() > 1 {
                return Err(error::MULTIPLE_FILTERS_SUBJECT.into());
            }
            if config.filter_subject != filter {
                return Err(error::CONSUMER_FILTER_MISMATCH.into());
            }
        }
        name.clone_into(&mut config.name);
        self.create(stream, name, request)
    }

    fn create(&mut self, stream_name: &str, name: &str, request: CreateRequest) -> Answer {
        let CreateRequest {
            mut config, action, ..
        } = request;
        let world = &mut self.world;
        let stream = self
            .streams
            .get_mut(stream_name)
            .ok_or(error::STREAM_NOT_FOUND)?;
        config.fill(&stream.config);
        config.check(&stream.config)?;
        if config.inactive_threshold == 0 {
            config.inactive_threshold = match stream.consumers.get(name) {
                Some(old) if !old.config.is_durable() => old.config.inactive_threshold,
                None if !config.is_durable() => EPHEMERAL_THRESHOLD,
                _ => 0,
            };
        }
        match stream.consumers.get_key_value(name) {
            Some((_, old)) if old.config == config => {}
            Some(_) if action == Action::Create => return Err(error::CONSUMER_EXISTS.into()),
            Some((name, old)) => {
                let name = Arc::clone(name);
                stream.check_unique(&config.filters(), Some(&*name))?;
                old.config.check_update(&config)?;
                stream.update_consumer(world, &name, config);
            }
            None if action == Action::Update => {
                return Err(error::CONSUMER_DOES_NOT_EXIST.into());
            }
            None => stream.create_consumer(world, name.into(), config)?,
        }
        let consumer = stream
            .consumers
            .get_mut(name)
            .ok_or(error::CONSUMER_NOT_FOUND)?;
        Ok(consumer.info(world, &stream.store, true))
    }

    pub(super) fn consumer_info(&mut self, stream: &str, name: &str, body: &[u8]) -> Answer {
        check_empty(body)?;
        let stream = self
            .streams
            .get_mut(stream)
            .ok_or(error::STREAM_NOT_FOUND)?;
        let consumer = stream
            .consumers
            .get_mut(name)
            .ok_or(error::CONSUMER_NOT_FOUND)?;
        Ok(consumer.info(&mut self.world, &stream.store, true))
    }

    pub(super) fn consumer_names(&self, stream: &str, body: &[u8]) -> Answer {
        let refuse = |error: Error| (error, no_page("consumers", json!([])));
        let (offset, _) = read_page(body, "JSApiConsumersRequest").map_err(refuse)?;
        let stream = self.stream(stream).map_err(refuse)?;
        let names: Vec<&str> = stream.consumers.keys().map(|name| &**name).collect();
        let (mut answer, names) = page(names, offset, 1024);
        answer.insert("consumers".into(), json!(names));
        Ok(answer)
    }

    pub(super) fn consumer_list(&mut self, stream: &str, body: &[u8]) -> Answer {
        let refuse = |error: Error| (error, no_page("consumers", json!([])));
        let (offset, _) = read_page(body, "JSApiConsumersRequest").map_err(refuse)?;
        let stream = self
            .streams
            .get_mut(stream)
            .ok_or_else(|| refuse(error::STREAM_NOT_FOUND))?;
        let consumers = stream.consumers.values_mut().collect();
        let (mut answer, consumers) = page(consumers, offset, 256);
        let shown: Vec<Value> = consumers
            .into_iter()
            .map(|c| Value::Object(c.info(&mut self.world, &stream.store, false)))
            .collect();
        answer.insert("consumers".into(), json!(shown));
        Ok(answer)
    }

    pub(super) fn consumer_delete(&mut self, stream: &str, name: &str, body: &[u8]) -> Answer {
        check_empty(body)?;
        let stream = self
            .streams
            .get_mut(stream)
            .ok_or(error::STREAM_NOT_FOUND)?;
        if !stream.delete_consumer(&mut self.world, name, true) {
            return Err(error::CONSUMER_NOT_FOUND.into());
        }
        Ok(fields(json!({"success": true})))
    }
}

/// Reads a create request for `stream`.
fn read(stream: &str, body: &[u8]) -> Result<CreateRequest, Error> {
    let request = CreateRequest::read(body)?;
    if request.stream != stream {
        return Err(error::STREAM_MISMATCH);
    }
    Ok(request)
}
