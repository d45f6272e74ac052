//! What a scenario says to a peer, and the transcript of what was heard.

use std::collections::VecDeque;
use std::time::Duration;

use jetbus_core::{Headers, Message, Outbound};
use jetbus_tests::Peer;
use jetbus_tests::peer::Sid;
use serde_json::{Value, json};

use super::normal;

/// How long an answer that must come may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a server's counts may lag behind what it said.
const SETTLED: Duration = Duration::from_millis(500);

/// A conversation with a peer about a stream of its own.
pub(crate) struct Script<'a> {
    peer: &'a mut dyn Peer,
    name: String,
    transcript: Vec<String>,
    /// What the other peer answered, when it was asked first.
    expected: Vec<String>,
    /// The subscription that all answers to requests come on.
    answers: Sid,
    inboxes: u32,
    /// Heard while waiting for something else.
    early: VecDeque<(Sid, Message)>,
    /// Names that the peer made up, and what the transcript calls them.
    made_up: Vec<String>,
}

/// A subscription of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sid: Sid,
    subject: String,
}

impl<'a> Script<'a> {
    /// A conversation about the stream `name` and the subjects below it.
    pub(crate) fn new(name: &str, peer: &'a mut dyn Peer, expected: Vec<String>) -> Self {
        let answers = peer.subscribe(&format!("_INBOX.{name}.answer.*"));
        Self {
            peer,
            name: name.to_owned(),
            transcript: Vec::new(),
            expected,
            answers,
            inboxes: 0,
            early: VecDeque::new(),
            made_up: Vec::new(),
        }
    }

    /// The name of the scenario's stream.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The subject `tail` of the scenario's stream.
    pub(crate) fn subject(&self, tail: &str) -> String {
        format!("{}.{tail}", self.name)
    }

    /// What was said and heard.
    pub(crate) fn into_transcript(self) -> Vec<String> {
        self.transcript
            .iter()
            .map(|line| self.plain(line))
            .collect()
    }

    /// A line without the names that the peer made up.
    fn plain(&self, line: &str) -> String {
        let names = self.made_up.iter().enumerate();
        names.fold(line.to_owned(), |line, (index, name)| {
            line.replace(name.as_str(), &format!("<made up {index}>"))
        })
    }

    /// How much of the peer's time has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.peer.elapsed()
    }

    // --- requests ---------------------------------------------------------

    /// Sends `$JS.API.<call>` with a body; the answer.
    pub(crate) fn api(&mut self, call: &str, body: Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.api_raw(call, &body)
    }

    /// The same with a body that need not be JSON.
    pub(crate) fn api_raw(&mut self, call: &str, body: &str) -> Value {
        let request = Outbound::new(format!("$JS.API.{call}"), body.to_owned());
        let answer = self.request(request);
        serde_json::from_slice(&answer.payload).unwrap_or(Value::Null)
    }

    /// Makes the scenario's stream: in memory, with all subjects below its name,
    /// and as `config` says.
    pub(crate) fn stream(&mut self, config: Value) -> Value {
        let name = self.name.clone();
        let subjects = format!("{name}.>");
        let config = with(
            json!({"name": name, "subjects": [subjects], "storage": "memory"}),
            config,
        );
        self.api(&format!("STREAM.CREATE.{name}"), config)
    }

    /// Asks for the scenario's stream.
    pub(crate) fn stream_info(&mut self) -> Value {
        self.settled(&format!("STREAM.INFO.{}", self.name))
    }

    /// Makes a durable pull consumer with explicit acknowledgements, and as
    /// `config` says.
    pub(crate) fn consumer(&mut self, name: &str, config: Value) -> Value {
        let config = with(
            json!({"durable_name": name, "ack_policy": "explicit"}),
            config,
        );
        let stream = self.name.clone();
        self.api(
            &format!("CONSUMER.CREATE.{stream}.{name}"),
            json!({"stream_name": stream, "config": config}),
        )
    }

    /// Asks for a consumer.
    pub(crate) fn consumer_info(&mut self, name: &str) -> Value {
        self.settled(&format!("CONSUMER.INFO.{}.{name}", self.name))
    }

    /// Asks until the answer is the expected one, or for long enough: a server
    /// counts behind the answers that it gives.
    fn settled(&mut self, call: &str) -> Value {
        let start = self.transcript.len();
        let deadline = self.elapsed() + SETTLED;
        loop {
            let answer = self.api(call, Value::Null);
            let heard = self.transcript.last().map(|line| self.plain(line));
            let wanted = self.expected.get(self.transcript.len() - 1);
            if wanted.is_none() || wanted == heard.as_ref() || self.elapsed() > deadline {
                return answer;
            }
            self.transcript.truncate(start);
        }
    }

    /// Publishes to the stream and takes the acknowledgement.
    pub(crate) fn store(&mut self, tail: &str, payload: &str) -> Value {
        self.store_with(tail, payload, &[])
    }

    /// The same with headers.
    pub(crate) fn store_with(
        &mut self,
        tail: &str,
        payload: &str,
        headers: &[(&str, &str)],
    ) -> Value {
        let mut message = Outbound::new(self.subject(tail), payload.to_owned());
        message.headers = list(headers);
        let answer = self.request(message);
        serde_json::from_slice(&answer.payload).unwrap_or(Value::Null)
    }

    /// Publishes `message` with a reply of its own; the answer.
    pub(crate) fn request(&mut self, message: Outbound) -> Message {
        self.inboxes += 1;
        let reply = format!("_INBOX.{}.answer.{}", self.name, self.inboxes);
        self.say(&message);
        self.peer.publish(message.with_reply(reply.as_str()));
        let answers = self.answers;
        let answer = self.take(PATIENCE, |sid, message| {
            sid == answers && message.subject == *reply
        });
        let Some(answer) = answer else {
            self.give_up("an answer");
        };
        self.note("<", &answer);
        answer
    }

    /// Publishes a message as it is.
    pub(crate) fn publish(&mut self, message: Outbound) {
        self.say(&message);
        self.peer.publish(message);
    }

    /// Publishes without asking for an answer.
    pub(crate) fn send(&mut self, subject: &str, payload: &str) {
        self.publish(Outbound::new(subject, payload.to_owned()));
    }

    // --- subscriptions ----------------------------------------------------

    /// Subscribes to `pattern`.
    pub(crate) fn subscribe(&mut self, pattern: &str) -> Inbox {
        Inbox {
            sid: self.peer.subscribe(pattern),
            subject: pattern.to_owned(),
        }
    }

    /// Drops a subscription, and what it received.
    pub(crate) fn unsubscribe(&mut self, inbox: Inbox) {
        self.peer.unsubscribe(inbox.sid);
        self.early.retain(|(sid, _)| *sid != inbox.sid);
    }

    /// Pulls from a consumer of the scenario's stream, into an inbox of its own.
    ///
    /// Looks at the consumer first: a server lets it count new messages behind
    /// their acknowledgements, and answers a pull by these counts.
    pub(crate) fn pull(&mut self, consumer: &str, request: Value) -> Inbox {
        self.pull_raw(consumer, &request.to_string())
    }

    /// The same with a request that need not be JSON.
    pub(crate) fn pull_raw(&mut self, consumer: &str, request: &str) -> Inbox {
        self.consumer_info(consumer);
        self.inboxes += 1;
        let inbox = self.subscribe(&format!("_INBOX.{}.pull.{}", self.name, self.inboxes));
        self.pull_into(&inbox, consumer, request);
        inbox
    }

    /// Pulls into an inbox that is there already.
    pub(crate) fn pull_into(&mut self, inbox: &Inbox, consumer: &str, request: &str) {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.name);
        let message = Outbound::new(subject, request.to_owned());
        self.say(&message);
        self.peer
            .publish(message.with_reply(inbox.subject.as_str()));
    }

    /// The next message of a subscription, which must come.
    pub(crate) fn next(&mut self, inbox: &Inbox) -> Message {
        let sid = inbox.sid;
        match self.take(PATIENCE, |of, _| of == sid) {
            Some(message) => {
                self.note("<", &message);
                message
            }
            None => self.give_up(&format!("a message at {}", inbox.subject)),
        }
    }

    /// The next one, which must be a status with this code.
    pub(crate) fn status(&mut self, inbox: &Inbox, code: u16) -> Message {
        let message = self.next(inbox);
        match &message.status {
            Some(status) if status.code == code => message,
            _ => self.give_up(&format!("status {code}")),
        }
    }

    /// The next one, which must be a message with this payload.
    pub(crate) fn delivery(&mut self, inbox: &Inbox, payload: &str) -> Message {
        let message = self.next(inbox);
        if message.status.is_some() || message.payload != payload.as_bytes() {
            self.give_up(&format!("the message {payload:?}"));
        }
        message
    }

    /// Pulls one message, at once or never: `None` is status 404.
    pub(crate) fn fetch(&mut self, consumer: &str) -> Option<Message> {
        let inbox = self.pull(consumer, json!({"batch": 1, "no_wait": true}));
        let message = self.next(&inbox);
        self.unsubscribe(inbox);
        message.status.is_none().then_some(message)
    }

    /// Acknowledges a delivery in words of the protocol and takes the server's
    /// confirmation.
    pub(crate) fn ack(&mut self, delivery: &Message, verb: &str) -> Message {
        let Some(reply) = delivery.reply.clone() else {
            self.give_up("a delivery that can be acknowledged");
        };
        self.request(Outbound::new(reply, verb.to_owned()))
    }

    /// The next message of a subscription, if one comes: in a short while, or in
    /// a long one when the other peer had one here.
    pub(crate) fn heard(&mut self, inbox: &Inbox) -> Option<Message> {
        let sid = inbox.sid;
        let due = self.expected.get(self.transcript.len());
        let within = match due.is_some_and(|line| line.starts_with('<')) {
            true => PATIENCE,
            false => Duration::from_millis(100),
        };
        match self.take(within, |of, _| of == sid) {
            Some(message) => {
                self.note("<", &message);
                Some(message)
            }
            None => {
                self.transcript.push("nothing".to_owned());
                None
            }
        }
    }

    /// Lets `time` pass, in which nothing may come at `inbox`.
    pub(crate) fn quiet(&mut self, inbox: &Inbox, time: Duration) {
        let sid = inbox.sid;
        if let Some(message) = self.take(time, |of, _| of == sid) {
            self.note("<", &message);
            self.give_up("silence");
        }
    }

    /// Calls a name that the peer made up by its number in the transcript.
    pub(crate) fn made_up(&mut self, name: &str) {
        self.made_up.push(name.to_owned());
    }

    /// Runs a part that repeats until time has done something; only its last
    /// round, which returns `true`, is in the transcript.
    pub(crate) fn until(&mut self, mut part: impl FnMut(&mut Self) -> bool) {
        let start = self.transcript.len();
        let deadline = self.elapsed() + PATIENCE;
        loop {
            self.transcript.truncate(start);
            if part(self) {
                return;
            }
            if self.elapsed() > deadline {
                self.give_up("what was waited for");
            }
            // Time of a virtual peer passes only while somebody waits.
            self.peer_pause();
        }
    }

    fn peer_pause(&mut self) {
        let none = Inbox {
            sid: 0,
            subject: String::new(),
        };
        self.quiet(&none, Duration::from_millis(20));
    }

    // --- inside -----------------------------------------------------------

    fn take(
        &mut self,
        within: Duration,
        wanted: impl Fn(Sid, &Message) -> bool,
    ) -> Option<Message> {
        if let Some(index) = self.early.iter().position(|(sid, m)| wanted(*sid, m)) {
            return self.early.remove(index).map(|(_, message)| message);
        }
        let deadline = self.elapsed() + within;
        loop {
            let left = deadline.saturating_sub(self.elapsed());
            let (sid, message) = self.peer.next(left)?;
            if wanted(sid, &message) {
                return Some(message);
            }
            self.early.push_back((sid, message));
        }
    }

    fn say(&mut self, message: &Outbound) {
        let said = Message {
            subject: message.subject.clone(),
            reply: None,
            headers: message.headers.clone(),
            status: None,
            payload: message.payload.clone(),
        };
        self.note(">", &said);
    }

    fn note(&mut self, direction: &str, message: &Message) {
        self.transcript
            .push(format!("{direction} {}", normal::line(message)));
    }

    fn give_up(&self, wanted: &str) -> ! {
        panic!("{wanted} did not come");
    }
}

/// A scenario that fails tells how it came to that.
impl Drop for Script<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.transcript.join("\n"));
        }
    }
}

/// `fields` with those of `more`, a `null` removing one.
pub(crate) fn with(mut fields: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
        fields.retain(|_, value| !value.is_null());
    }
    fields
}

fn list(headers: &[(&str, &str)]) -> Headers {
    let mut list = Headers::new();
    for (name, value) in headers {
        list.append(name, value)
            .expect("scenarios send valid headers");
    }
    list
}

/// The error code of an answer; 0 when it is none.
pub(crate) fn error(answer: &Value) -> u64 {
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}
