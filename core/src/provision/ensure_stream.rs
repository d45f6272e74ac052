//! Makes a stream ready, one request at a time.

use super::{
    Asset, Difference, Outcome, Output, Policy, ProvisionError, ProvisionEvent, ROUNDS,
    RequestFailed, Strategy, StreamPlan, WantedStream, plan_stream,
};
use crate::Message;
use crate::jetstream::admin::{
    AdminError, Request, answer, create_stream, stream_info, stream_names, update_stream,
};
use crate::jetstream::api::{StreamConfig, StreamInfo, StreamNames, codes};
use crate::names::Api;
use crate::subject::covers;

/// A stream that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamReady {
    /// Its name: the wanted one, or that of an adopted stream.
    pub name: String,
    /// Its configuration as the server has it (with [`Strategy::Skip`], as wanted).
    pub config: StreamConfig,
    /// What is worth telling.
    pub event: Option<ProvisionEvent>,
}

/// Reads a stream, and creates, changes or adopts it as planned.
///
/// Others may do the same at the same time: what changes under its hands is read
/// again, a few times.
#[derive(Debug)]
pub struct EnsureStream {
    api: Api,
    wanted: WantedStream,
    policy: Policy,
    rounds: u8,
    step: Step,
    out: Option<Output<StreamReady>>,
}

/// Which answer is awaited.
#[derive(Debug)]
enum Step {
    /// The stream of the wanted name.
    Read,
    /// Another stream that stores the wanted subjects.
    Adopt(String),
    Create,
    Update(Vec<Difference>),
    /// The streams that store the wanted subject at this place in the list.
    Overlap(usize),
    Done,
}

impl EnsureStream {
    /// Makes `wanted` ready.
    #[must_use]
    pub fn new(api: Api, wanted: WantedStream, policy: Policy) -> Self {
        let mut machine = Self::idle(api, wanted, policy);
        if let Err(error) = machine.wanted.check() {
            machine.done(Err(ProvisionError::Wanted(error)));
        } else if machine.policy.strategy == Strategy::Skip {
            let config = machine.wanted.config();
            machine.ready(config, None);
        } else {
            machine.read();
        }
        machine
    }

    /// Adopts `stream`, which the server named for the subjects of `wanted`; makes
    /// `wanted` ready when it is gone.
    #[must_use]
    pub fn existing(api: Api, stream: &str, wanted: WantedStream, policy: Policy) -> Self {
        if stream == wanted.name || policy.strategy == Strategy::Skip {
            return Self::new(api, wanted, policy);
        }
        let mut machine = Self::idle(api, wanted, policy);
        match machine.wanted.check() {
            Err(error) => machine.done(Err(ProvisionError::Wanted(error))),
            Ok(()) => machine.adopt(stream.into()),
        }
        machine
    }

    const fn idle(api: Api, wanted: WantedStream, policy: Policy) -> Self {
        Self {
            api,
            wanted,
            policy,
            rounds: 0,
            step: Step::Done,
            out: None,
        }
    }

    /// The next request, or the end.
    pub fn poll(&mut self) -> Option<Output<StreamReady>> {
        self.out.take()
    }

    /// Takes the answer to the last request. Anything after the end is ignored.
    pub fn handle(&mut self, reply: Result<&Message, RequestFailed>) {
        let step = std::mem::replace(&mut self.step, Step::Done);
        let message = match (&step, reply) {
            (Step::Done, _) => return,
            (_, Err(failed)) => return self.done(Err(ProvisionError::Request(failed))),
            (_, Ok(message)) => message,
        };
        match step {
            Step::Read => match answer::<StreamInfo>(message) {
                Ok(info) => self.plan(Some(info.config)),
                Err(error) if gone(&error) => self.plan(None),
                Err(error) => self.fail(error),
            },
            Step::Adopt(name) => match answer::<StreamInfo>(message) {
                Ok(info) if self.stores_all(&info.config) => self.plan(Some(info.config)),
                Ok(_) => self.done(Err(ProvisionError::Overlap {
                    name: self.wanted.name.clone(),
                    others: vec![name],
                })),
                Err(error) if gone(&error) => self.read(),
                Err(error) => self.fail(error),
            },
            Step::Create => match answer::<StreamInfo>(message) {
                Ok(info) => self.applied(info, Outcome::Created, Vec::new()),
                Err(error) => match error.err_code() {
                    Some(codes::STREAM_EXISTS) => self.read(),
                    Some(codes::SUBJECT_OVERLAP) => self.find_overlap(0),
                    _ => self.fail(error),
                },
            },
            Step::Update(differences) => match answer::<StreamInfo>(message) {
                Ok(info) => self.applied(info, Outcome::Updated, differences),
                Err(error) if gone(&error) => self.read(),
                Err(error) => self.fail(error),
            },
            Step::Overlap(at) => match answer::<StreamNames>(message) {
                Ok(names) => self.overlap(at, names.streams),
                Err(error) => self.fail(error),
            },
            Step::Done => {}
        }
    }

    fn plan(&mut self, found: Option<StreamConfig>) {
        match plan_stream(&self.wanted, &self.policy, found.as_ref()) {
            StreamPlan::Create(config) => {
                self.ask(Step::Create, create_stream(&self.api, &config));
            }
            StreamPlan::Update(config, differences) => {
                self.ask(Step::Update(differences), update_stream(&self.api, &config));
            }
            StreamPlan::Use(event) => {
                let config = found.unwrap_or_else(|| self.wanted.config());
                self.ready(config, event);
            }
            StreamPlan::Refuse(error) => self.done(Err(error)),
        }
    }

    fn overlap(&mut self, at: usize, mut streams: Vec<String>) {
        streams.retain(|name| *name != self.wanted.name);
        match streams.len() {
            0 => self.find_overlap(at + 1),
            1 => self.adopt(streams.remove(0)),
            _ => self.done(Err(ProvisionError::Overlap {
                name: self.wanted.name.clone(),
                others: streams,
            })),
        }
    }

    fn find_overlap(&mut self, at: usize) {
        match self.wanted.subjects.get(at) {
            // Whatever overlapped is gone again.
            None => self.read(),
            Some(subject) => {
                let request = stream_names(&self.api, Some(subject), 0);
                self.ask(Step::Overlap(at), request);
            }
        }
    }

    fn stores_all(&self, config: &StreamConfig) -> bool {
        let stored = |subject: &String| config.subjects.iter().any(|p| covers(p, subject));
        self.wanted.subjects.iter().all(stored)
    }

    fn adopt(&mut self, name: String) {
        let request = stream_info(&self.api, &name);
        self.ask_again(Step::Adopt(name), request);
    }

    fn read(&mut self) {
        let request = stream_info(&self.api, &self.wanted.name);
        self.ask_again(Step::Read, request);
    }

    fn ask_again(&mut self, step: Step, request: Request) {
        if self.rounds == ROUNDS {
            let name = self.wanted.name.clone();
            return self.done(Err(ProvisionError::Unsettled { name }));
        }
        self.rounds += 1;
        self.ask(step, request);
    }

    fn ask(&mut self, step: Step, request: Request) {
        self.step = step;
        self.out = Some(Output::Request(request));
    }

    fn applied(&mut self, info: StreamInfo, outcome: Outcome, differences: Vec<Difference>) {
        let event = ProvisionEvent {
            asset: Asset::Stream,
            name: info.config.name.clone(),
            outcome,
            differences,
        };
        self.ready(info.config, Some(event));
    }

    fn ready(&mut self, config: StreamConfig, event: Option<ProvisionEvent>) {
        self.done(Ok(StreamReady {
            name: config.name.clone(),
            config,
            event,
        }));
    }

    fn fail(&mut self, error: AdminError) {
        self.done(Err(ProvisionError::Admin(error)));
    }

    fn done(&mut self, result: Result<StreamReady, ProvisionError>) {
        self.step = Step::Done;
        self.out = Some(Output::Done(result));
    }
}

fn gone(error: &AdminError) -> bool {
    error.err_code() == Some(codes::STREAM_NOT_FOUND)
}
