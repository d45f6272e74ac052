//! Random conversations: sequences of operations that no clock decides.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use jetbus_core::Message;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::differences;
use super::script::{Script, with};

/// How many conversations a run has, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 800;

/// Where the conversations come from, unless `PROPTEST_RNG_SEED` says otherwise.
const SEED: u64 = 20_261_122;

/// A conversation's longest.
const STEPS: usize = 30;

#[derive(Clone, Debug)]
enum Step {
    CreateStream(StreamOptions),
    UpdateStream(StreamOptions),
    DeleteStream,
    Purge {
        subject: Option<u8>,
        keep: Option<u8>,
        seq: Option<u8>,
    },
    Get {
        seq: u8,
    },
    GetLast {
        subject: u8,
    },
    Remove {
        seq: u8,
    },
    StreamInfo,
    Publish {
        subject: u8,
        id: Option<u8>,
        expect: Option<Expect>,
    },
    CreateConsumer {
        consumer: u8,
        options: ConsumerOptions,
    },
    DeleteConsumer {
        consumer: u8,
    },
    ConsumerInfo {
        consumer: u8,
    },
    ConsumerNames,
    Pull {
        consumer: u8,
        batch: u8,
    },
    Settle {
        delivery: u8,
        verb: &'static str,
    },
}

#[derive(Clone, Debug)]
enum Expect {
    Last(u8),
    LastOfSubject(u8),
    LastId(u8),
}

#[derive(Clone, Debug)]
struct StreamOptions {
    retention: &'static str,
    discard: &'static str,
    max_msgs: i64,
    max_msgs_per_subject: i64,
    max_bytes: i64,
    per_subject: bool,
    narrow: bool,
}

#[derive(Clone, Debug)]
struct ConsumerOptions {
    deliver_policy: &'static str,
    start: u8,
    ack_policy: &'static str,
    filters: Vec<u8>,
    max_deliver: i64,
    max_ack_pending: i64,
}

/// What a conversation remembers: the deliveries that it may settle, and what keeps
/// it from the excused differences.
#[derive(Default)]
struct Memory {
    deliveries: Vec<Message>,
    retention: Option<&'static str>,
    filtered: BTreeSet<u8>,
    last_per_subject: bool,
}

#[test]
fn random_conversations_are_answered_alike() {
    let mut config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/proptest-regressions/protocol.txt"
        )))),
        max_shrink_time: 20_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    // One server for all conversations.
    let _held = super::SERVER.start().unwrap();
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&vec(step(), 1..STEPS), |steps| {
        static CASE: AtomicU32 = AtomicU32::new(0);
        let name = format!("random_{}", CASE.fetch_add(1, Ordering::Relaxed));
        let differences = differences(&name, |s| {
            // Most conversations are about a stream and a consumer.
            let mut memory = Memory::default();
            for step in &steps {
                run(s, &mut memory, step);
            }
            s.api(&format!("STREAM.DELETE.{name}"), Value::Null);
        });
        prop_assert!(differences.is_none(), "{}", differences.unwrap_or_default());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let seq = 0..8_u8;
    prop_oneof![
        3 => stream_options().prop_map(Step::CreateStream),
        1 => stream_options().prop_map(Step::UpdateStream),
        1 => Just(Step::DeleteStream),
        1 => (option::of(0..4_u8), option::of(0..3_u8), option::of(seq.clone()))
            .prop_map(|(subject, keep, seq)| Step::Purge { subject, keep, seq }),
        1 => seq.clone().prop_map(|seq| Step::Get { seq }),
        1 => (0..4_u8).prop_map(|subject| Step::GetLast { subject }),
        1 => seq.prop_map(|seq| Step::Remove { seq }),
        2 => Just(Step::StreamInfo),
        10 => (0..3_u8, option::weighted(0.3, 0..3_u8), option::weighted(0.2, expect()))
            .prop_map(|(subject, id, expect)| Step::Publish { subject, id, expect }),
        5 => (0..2_u8, consumer_options())
            .prop_map(|(consumer, options)| Step::CreateConsumer { consumer, options }),
        1 => (0..2_u8).prop_map(|consumer| Step::DeleteConsumer { consumer }),
        3 => (0..2_u8).prop_map(|consumer| Step::ConsumerInfo { consumer }),
        1 => Just(Step::ConsumerNames),
        8 => (0..2_u8, 1..4_u8).prop_map(|(consumer, batch)| Step::Pull { consumer, batch }),
        8 => (0..8_u8, prop::sample::select(vec!["+ACK", "-NAK", "+TERM", "+WPI"]))
            .prop_map(|(delivery, verb)| Step::Settle { delivery, verb }),
    ]
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        (0..8_u8).prop_map(Expect::Last),
        (0..8_u8).prop_map(Expect::LastOfSubject),
        (0..3_u8).prop_map(Expect::LastId),
    ]
}

fn stream_options() -> impl Strategy<Value = StreamOptions> {
    (
        prop::sample::select(vec!["limits", "limits", "interest", "workqueue"]),
        prop::sample::select(vec!["old", "new"]),
        prop::sample::select(vec![-1, -1, 2, 4]),
        prop::sample::select(vec![-1, -1, 1, 2]),
        prop::sample::select(vec![-1, -1, -1, 100]),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(
                retention,
                discard,
                max_msgs,
                max_msgs_per_subject,
                max_bytes,
                per_subject,
                narrow,
            )| {
                StreamOptions {
                    retention,
                    discard,
                    max_msgs,
                    max_msgs_per_subject,
                    max_bytes,
                    per_subject,
                    narrow,
                }
            },
        )
}

fn consumer_options() -> impl Strategy<Value = ConsumerOptions> {
    (
        prop::sample::select(vec![
            "all",
            "all",
            "new",
            "last",
            "last_per_subject",
            "by_start_sequence",
        ]),
        1..6_u8,
        prop::sample::select(vec!["explicit", "explicit", "explicit", "none", "all"]),
        vec(0..4_u8, 0..3),
        prop::sample::select(vec![-1, -1, 1, 2]),
        prop::sample::select(vec![-1, 1, 2]),
    )
        .prop_map(
            |(deliver_policy, start, ack_policy, filters, max_deliver, max_ack_pending)| {
                ConsumerOptions {
                    deliver_policy,
                    start,
                    ack_policy,
                    filters,
                    max_deliver,
                    max_ack_pending,
                }
            },
        )
}

fn run(s: &mut Script<'_>, memory: &mut Memory, step: &Step) {
    let name = s.name().to_owned();
    match step {
        Step::CreateStream(options) => {
            let config = options.config(s);
            if s.stream(config)["error"].is_null() {
                memory.retention = Some(options.retention);
            }
        }
        Step::UpdateStream(options) => {
            let same = json!({"retention": memory.retention});
            let config = with(options.config(s), same);
            let config = with(json!({"name": name, "storage": "memory"}), config);
            s.api(&format!("STREAM.UPDATE.{name}"), config);
        }
        Step::DeleteStream => {
            s.api(&format!("STREAM.DELETE.{name}"), Value::Null);
        }
        Step::Purge { .. } if memory.last_per_subject => {}
        Step::Purge { subject, keep, seq } => {
            let filter = subject.map(|number| s.subject(tail(number)));
            let purge = with(
                json!({}),
                json!({"filter": filter, "keep": keep, "seq": seq}),
            );
            s.api(&format!("STREAM.PURGE.{name}"), purge);
        }
        Step::Get { seq } => {
            s.api(&format!("STREAM.MSG.GET.{name}"), json!({"seq": seq}));
        }
        Step::GetLast { subject } => {
            let subject = s.subject(tail(*subject));
            s.api(
                &format!("STREAM.MSG.GET.{name}"),
                json!({"last_by_subj": subject}),
            );
        }
        Step::Remove { seq } => {
            s.api(&format!("STREAM.MSG.DELETE.{name}"), json!({"seq": seq}));
        }
        Step::StreamInfo => {
            s.stream_info();
        }
        Step::Publish {
            subject,
            id,
            expect,
        } => {
            let id = id.map(|id| ("Nats-Msg-Id", id.to_string()));
            let expect = expect.as_ref().map(|expect| match expect {
                Expect::Last(seq) => ("Nats-Expected-Last-Sequence", seq.to_string()),
                Expect::LastOfSubject(seq) => {
                    ("Nats-Expected-Last-Subject-Sequence", seq.to_string())
                }
                Expect::LastId(id) => ("Nats-Expected-Last-Msg-Id", id.to_string()),
            });
            let headers: Vec<_> = id
                .iter()
                .chain(&expect)
                .map(|(n, v)| (*n, v.as_str()))
                .collect();
            s.store_with(tail(*subject), "0123456789", &headers);
        }
        Step::CreateConsumer { consumer, options } => {
            let mut options = options.clone();
            if options.filters.is_empty() && memory.filtered.contains(consumer) {
                options.filters.push(3);
            }
            if !options.filters.is_empty() {
                memory.filtered.insert(*consumer);
            }
            memory.last_per_subject |= options.deliver_policy == "last_per_subject";
            let config = options.config(s);
            s.consumer(&consumer_name(*consumer), config);
        }
        Step::DeleteConsumer { consumer } => {
            let consumer = consumer_name(*consumer);
            s.api(&format!("CONSUMER.DELETE.{name}.{consumer}"), Value::Null);
        }
        Step::ConsumerInfo { consumer } => {
            s.consumer_info(&consumer_name(*consumer));
        }
        Step::ConsumerNames => {
            s.api(&format!("CONSUMER.NAMES.{name}"), Value::Null);
        }
        Step::Pull { consumer, batch } => {
            let request = json!({"batch": batch, "no_wait": true});
            let inbox = s.pull(&consumer_name(*consumer), request);
            // At its limit of unsettled deliveries a consumer says nothing.
            for _ in 0..*batch {
                match s.heard(&inbox) {
                    Some(message) if message.status.is_none() => memory.deliveries.push(message),
                    _ => break,
                }
            }
            s.unsubscribe(inbox);
        }
        Step::Settle { delivery, verb } => {
            let index = usize::from(*delivery) % memory.deliveries.len().max(1);
            if let Some(delivery) = memory.deliveries.get(index)
                && delivery.reply.is_some()
            {
                s.ack(&delivery.clone(), verb);
            }
        }
    }
}

/// The last of them is a pattern where one may be given.
fn tail(number: u8) -> &'static str {
    ["a", "b", "c.d", ">"][usize::from(number % 4)]
}

fn consumer_name(number: u8) -> String {
    format!("consumer_{number}")
}

impl StreamOptions {
    fn config(&self, s: &Script<'_>) -> Value {
        let subjects = match self.narrow {
            true => vec![s.subject("a"), s.subject("b")],
            false => vec![s.subject(">")],
        };
        json!({
            "subjects": subjects, "retention": self.retention, "discard": self.discard,
            "max_msgs": self.max_msgs, "max_msgs_per_subject": self.max_msgs_per_subject,
            "max_bytes": self.max_bytes, "discard_new_per_subject": self.per_subject,
        })
    }
}

impl ConsumerOptions {
    fn config(&self, s: &Script<'_>) -> Value {
        let filters: Vec<String> = self.filters.iter().map(|&f| s.subject(tail(f))).collect();
        let start = (self.deliver_policy == "by_start_sequence").then_some(self.start);
        let filter = match filters.as_slice() {
            [] => json!({}),
            [filter] => json!({"filter_subject": filter}),
            filters => json!({"filter_subjects": filters}),
        };
        with(
            json!({
                "deliver_policy": self.deliver_policy, "ack_policy": self.ack_policy,
                "max_deliver": self.max_deliver, "max_ack_pending": self.max_ack_pending,
            }),
            with(filter, json!({"opt_start_seq": start})),
        )
    }
}
