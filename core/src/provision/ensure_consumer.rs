//! Makes a consumer ready, one request at a time.

use super::{
    Asset, ConsumerPlan, Difference, Mark, Outcome, Output, ProvisionError, ProvisionEvent, ROUNDS,
    RequestFailed, WantedConsumer, plan_consumer,
};
use crate::Message;
use crate::jetstream::admin::{
    Action, AdminError, Request, answer, consumer_info, create_consumer,
};
use crate::jetstream::api::{ConsumerInfo, codes};
use crate::names::Api;

/// A consumer that can be pulled from.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerReady {
    /// The consumer as the server has it.
    pub info: ConsumerInfo,
    /// What is worth telling.
    pub event: Option<ProvisionEvent>,
}

/// Reads a consumer, and creates, changes or adopts it as planned.
#[derive(Debug)]
pub struct EnsureConsumer {
    api: Api,
    wanted: WantedConsumer,
    mark: Mark,
    rounds: u8,
    step: Step,
    out: Option<Output<ConsumerReady>>,
}

/// Which answer is awaited.
#[derive(Debug)]
enum Step {
    Read,
    Create,
    Update(Vec<Difference>),
    Done,
}

impl EnsureConsumer {
    /// Makes `wanted` ready. What `mark` does not own is never changed.
    #[must_use]
    pub fn new(api: Api, wanted: WantedConsumer, mark: Mark) -> Self {
        let mut machine = Self {
            api,
            wanted,
            mark,
            rounds: 0,
            step: Step::Done,
            out: None,
        };
        match machine.wanted.check() {
            Err(error) => machine.done(Err(ProvisionError::Wanted(error))),
            Ok(()) => machine.read(),
        }
        machine
    }

    /// The next request, or the end.
    pub fn poll(&mut self) -> Option<Output<ConsumerReady>> {
        self.out.take()
    }

    /// Takes the answer to the last request. Anything after the end is ignored.
    pub fn handle(&mut self, reply: Result<&Message, RequestFailed>) {
        let step = std::mem::replace(&mut self.step, Step::Done);
        if matches!(step, Step::Done) {
            return;
        }
        let info = match reply {
            Err(failed) => return self.done(Err(ProvisionError::Request(failed))),
            Ok(message) => answer::<ConsumerInfo>(message),
        };
        let code = info.as_ref().err().and_then(AdminError::err_code);
        match (step, info) {
            (_, Err(_)) if code == Some(codes::STREAM_NOT_FOUND) => {
                let stream = self.wanted.stream.clone();
                self.done(Err(ProvisionError::Missing { stream }));
            }
            (Step::Read, Ok(info)) => self.plan(Some(info)),
            (Step::Read, Err(_)) if code == Some(codes::CONSUMER_NOT_FOUND) => self.plan(None),
            (Step::Create, Ok(info)) => self.applied(info, Outcome::Created, Vec::new()),
            (Step::Update(differences), Ok(info)) => {
                self.applied(info, Outcome::Updated, differences);
            }
            (Step::Create, Err(_))
                if matches!(
                    code,
                    Some(codes::CONSUMER_EXISTS | codes::CONSUMER_NAME_IN_USE)
                ) =>
            {
                self.read();
            }
            (Step::Update(_), Err(_))
                if matches!(
                    code,
                    Some(codes::CONSUMER_DOES_NOT_EXIST | codes::CONSUMER_NOT_FOUND)
                ) =>
            {
                self.read();
            }
            (_, Err(error)) => self.done(Err(ProvisionError::Admin(error))),
            (Step::Done, Ok(_)) => {}
        }
    }

    fn plan(&mut self, found: Option<ConsumerInfo>) {
        let config = found.as_ref().map(|info| &info.config);
        let plan = plan_consumer(&self.wanted, &self.mark, config);
        match (plan, found) {
            (ConsumerPlan::Use(event), Some(info)) => {
                self.done(Ok(ConsumerReady { info, event }));
            }
            (ConsumerPlan::Update(config, differences), _) => {
                let request =
                    create_consumer(&self.api, &self.wanted.stream, &config, Action::Update);
                self.ask(Step::Update(differences), request);
            }
            (ConsumerPlan::Create(config), _) => {
                let request =
                    create_consumer(&self.api, &self.wanted.stream, &config, Action::Create);
                self.ask(Step::Create, request);
            }
            (ConsumerPlan::Refuse(error), _) => self.done(Err(error)),
            // What is not there is never planned to be used.
            (ConsumerPlan::Use(_), None) => self.read(),
        }
    }

    fn read(&mut self) {
        if self.rounds == ROUNDS {
            let name = self.wanted.name.clone();
            return self.done(Err(ProvisionError::Unsettled { name }));
        }
        self.rounds += 1;
        let request = consumer_info(&self.api, &self.wanted.stream, &self.wanted.name);
        self.ask(Step::Read, request);
    }

    fn ask(&mut self, step: Step, request: Request) {
        self.step = step;
        self.out = Some(Output::Request(request));
    }

    fn applied(&mut self, info: ConsumerInfo, outcome: Outcome, differences: Vec<Difference>) {
        let event = Some(ProvisionEvent {
            asset: Asset::Consumer,
            name: info.name.clone(),
            outcome,
            differences,
        });
        self.done(Ok(ConsumerReady { info, event }));
    }

    fn done(&mut self, result: Result<ConsumerReady, ProvisionError>) {
        self.step = Step::Done;
        self.out = Some(Output::Done(result));
    }
}
