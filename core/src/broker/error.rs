//! The server's errors (nats-server `errors.json`), as this broker says them.

use std::borrow::Cow;

use serde_json::{Value, json};

/// An error of the API: HTTP-like code, error code, words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) code: u16,
    pub(super) err_code: u32,
    pub(super) description: Cow<'static, str>,
}

impl Error {
    pub(super) const fn new(code: u16, err_code: u32, description: &'static str) -> Self {
        Self {
            code,
            err_code,
            description: Cow::Borrowed(description),
        }
    }

    fn with(code: u16, err_code: u32, description: String) -> Self {
        Self {
            code,
            err_code,
            description: Cow::Owned(description),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({"code": self.code, "err_code": self.err_code, "description": self.description})
    }

    pub(super) fn invalid_json(why: impl std::fmt::Display) -> Self {
        Self::with(400, 10025, format!("invalid JSON: {why}"))
    }

    pub(super) fn stream_config(why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: 500,
            err_code: 10052,
            description: why.into(),
        }
    }

    pub(super) const fn consumer_create(why: &'static str) -> Self {
        Self::new(500, 10012, why)
    }

    pub(super) const fn bad_start(why: &'static str) -> Self {
        Self::new(400, 10094, why)
    }

    pub(super) fn wrong_last_sequence(last: u64) -> Self {
        Self::with(400, 10071, format!("wrong last sequence: {last}"))
    }

    pub(super) fn wrong_last_id(id: &str) -> Self {
        Self::with(400, 10070, format!("wrong last msg ID: {id}"))
    }

    pub(super) fn batch_header(name: &str) -> Self {
        let why = format!("atomic publish unsupported header used: {name}");
        Self::with(400, 10177, why)
    }

    pub(super) fn max_ack_pending(most: i64) -> Self {
        let why = format!("consumer max ack pending exceeds system limit of {most}");
        Self::with(400, 10121, why)
    }

    pub(super) fn inactive_threshold(most: &str) -> Self {
        let why = format!("consumer inactive threshold exceeds system limit of {most}");
        Self::with(400, 10153, why)
    }

    pub(super) fn stream_update(why: String) -> Self {
        Self::with(500, 10069, why)
    }

    pub(super) const fn store_failed(why: &'static str) -> Self {
        Self::new(503, 10077, why)
    }

    pub(super) fn sequence_not_found(seq: u64) -> Self {
        Self::with(400, 10043, format!("sequence {seq} not found"))
    }

    pub(super) const fn delete_failed(why: &'static str) -> Self {
        Self::new(500, 10057, why)
    }

    pub(super) fn rollup_failed(why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: 500,
            err_code: 10111,
            description: why.into(),
        }
    }

    pub(super) fn sampling(value: &str) -> Self {
        Self::with(
            400,
            10095,
            format!(
                "failed to parse consumer sampling configuration: strconv.Atoi: parsing {value:?}: invalid syntax"
            ),
        )
    }
}

macro_rules! errors {
    ($($name:ident = $code:literal, $err_code:literal, $text:literal;)*) => {
        $(pub(super) const $name: Error = Error::new($code, $err_code, $text);)*
    };
}

errors! {
    BAD_REQUEST = 400, 10003, "bad request";
    CLUSTER_REQUIRED = 503, 10010, "JetStream clustering support required";
    CONSUMER_NOT_FOUND = 404, 10014, "consumer not found";
    CONSUMER_NAME_NOT_MATCH = 400, 10017, "consumer name in subject does not match durable name in request";
    CONSUMER_DURABLE_NOT_SET = 400, 10018, "consumer expected to be durable but a durable name was not set";
    CONSUMER_EPHEMERAL_DURABLE = 400, 10020, "consumer expected to be ephemeral but a durable name was set in request";
    INSUFFICIENT_RESOURCES = 503, 10023, "insufficient resources";
    MAX_CONSUMERS = 400, 10026, "maximum consumers limit reached";
    CONSUMER_METADATA = 400, 10135, "consumer metadata exceeds maximum size of 128KB";
    MAX_STREAMS = 400, 10027, "maximum number of streams reached";
    MEMORY_EXCEEDED = 500, 10028, "insufficient memory resources available";
    MESSAGE_NOT_FOUND = 404, 10037, "no message found";
    NOT_EMPTY = 400, 10038, "expected an empty request payload";
    STORAGE_EXCEEDED = 500, 10047, "insufficient storage resources available";
    MESSAGE_TOO_LARGE = 400, 10054, "message size exceeds maximum allowed";
    STREAM_MISMATCH = 400, 10056, "stream name in subject does not match request";
    STREAM_EXISTS = 400, 10058, "stream name already in use with a different configuration";
    STREAM_NOT_FOUND = 404, 10059, "stream not found";
    EXPECTED_STREAM = 400, 10060, "expected stream does not match";
    SUBJECT_OVERLAP = 400, 10065, "subjects overlap with an existing stream";
    REPLICAS = 500, 10074, "replicas > 1 not supported in non-clustered mode";
    PULL_REQUIRES_ACK = 400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream";
    PULL_RATE_LIMIT = 400, 10086, "consumer in pull mode can not have rate limit set";
    HEARTBEAT_REQUIRES_PUSH = 400, 10088, "consumer idle heartbeat requires a push based consumer";
    FLOW_REQUIRES_PUSH = 400, 10089, "consumer flow control requires a push based consumer";
    DIRECT_REQUIRES_PUSH = 400, 10090, "consumer direct requires a push based consumer";
    WORK_QUEUE_EXPLICIT = 400, 10098, "workqueue stream requires explicit ack";
    WORK_QUEUE_UNFILTERED = 400, 10099, "multiple non-filtered consumers not allowed on workqueue stream";
    WORK_QUEUE_OVERLAP = 400, 10100, "filtered consumer not unique on workqueue stream";
    WORK_QUEUE_DELIVER_ALL = 400, 10101, "consumer must be deliver all on workqueue stream";
    CONSUMER_DESCRIPTION = 400, 10107, "consumer description is too long, maximum allowed is 4096";
    PURGE_FAILED = 500, 10110, "stream purge not permitted";
    MAX_EXPIRES_SMALL = 400, 10115, "consumer max request expires needs to be >= 1ms";
    MAX_DELIVER_BACKOFF = 400, 10116, "max deliver is required to be > length of backoff values";
    CONSUMER_NAME_PATH = 400, 10127, "Consumer name can not contain path separators";
    STREAM_NAME_PATH = 400, 10128, "Stream name can not contain path separators";
    CONSUMER_FILTER_MISMATCH = 400, 10131, "Consumer create request did not match filtered subject from create subject";
    REPLICAS_NEGATIVE = 400, 10133, "replicas count cannot be negative";
    DUPLICATE_FILTERS = 400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified";
    MULTIPLE_FILTERS_SUBJECT = 400, 10137, "consumer with multiple subject filters cannot use subject based API";
    FILTERS_OVERLAP = 400, 10138, "consumer subject filters cannot overlap";
    FILTER_EMPTY = 400, 10139, "consumer filter in FilterSubjects cannot be empty";
    CONSUMER_EXISTS = 400, 10148, "consumer already exists";
    CONSUMER_DOES_NOT_EXIST = 400, 10149, "consumer does not exist";
    PRIORITY_WITHOUT_GROUP = 400, 10159, "Setting PriorityPolicy requires at least one PriorityGroup to be set";
    WRONG_LAST_SEQUENCE_BUSY = 400, 10164, "wrong last sequence";
    TTL_INVALID = 400, 10165, "invalid per-message TTL";
    TTL_DISABLED = 400, 10166, "per-message TTL is disabled";
    COUNTER_DISABLED = 400, 10168, "message counters is disabled";
    ATOMIC_DISABLED = 400, 10174, "atomic publish is disabled";
    BATCH_SEQUENCE_MISSING = 400, 10175, "atomic publish sequence is missing";
    BATCH_INCOMPLETE = 400, 10176, "atomic publish batch is incomplete";
    BATCH_ID_INVALID = 400, 10179, "atomic publish batch ID is invalid";
    ACK_WAIT_NEGATIVE = 400, 10183, "consumer ack wait needs to be positive";
    BACKOFF_NEGATIVE = 400, 10184, "consumer backoff needs to be positive";
    SCHEDULES_DISABLED = 400, 10188, "message schedules is disabled";
    EXPECTED_SEQUENCE_MISSING = 400, 10193, "missing sequence for expected last sequence per subject";
    BATCH_TOO_LARGE = 400, 10199, "atomic publish batch is too large: 1000";
    BATCH_COMMIT_INVALID = 400, 10200, "atomic publish batch commit is invalid";
    BATCH_DUPLICATE = 400, 10201, "atomic publish batch contains duplicate message id";
    INGEST_DISABLED = 400, 10205, "batch publish is disabled";
    TOO_MANY_BATCHES = 429, 10210, "atomic publish too many inflight";
    GROUP_WITHOUT_PRIORITY = 400, 10196, "consumer can not have priority groups when policy is none";
}
