//! A small blocking NATS client, so that tests see the server's own bytes.
//!
//! Protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
//! It reconnects never, buffers without a limit and panics when the server
//! complains: good for tests only.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetbus_core::{Headers, Message, Outbound, Status, Subject};

use crate::failure::{Doing as _, Failure};
use crate::peer::{Peer, Sid};

/// A connection to a server, without TLS.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Received and not yet parsed.
    received: Vec<u8>,
    subscriptions: Sid,
    since: Instant,
}

/// One thing that a server says.
enum Said {
    Message(Sid, Message),
    Ping,
    Pong,
    Info,
    Complaint(String),
}

impl Raw {
    /// Connects to `address` without credentials.
    ///
    /// # Errors
    /// As [`connect_as`](Self::connect_as).
    pub fn connect(address: &str) -> Result<Self, Failure> {
        Self::connect_as(address, &serde_json::json!({}))
    }

    /// Connects with further fields of `CONNECT`: `user` and `pass`, ...
    ///
    /// # Errors
    /// When the server is not there, or refuses.
    pub fn connect_as(address: &str, options: &serde_json::Value) -> Result<Self, Failure> {
        let what = format!("connecting to {address}");
        let stream = TcpStream::connect(address).doing(&what)?;
        stream.set_nodelay(true).doing(&what)?;
        let mut raw = Self {
            stream,
            received: Vec::new(),
            subscriptions: 0,
            since: Instant::now(),
        };
        let mut connect = serde_json::json!({
            "verbose": false, "pedantic": false, "lang": "rust", "version": "0",
            "headers": true, "no_responders": true, "protocol": 1,
        });
        if let (Some(all), Some(more)) = (connect.as_object_mut(), options.as_object()) {
            all.extend(more.clone());
        }
        write!(raw.stream, "CONNECT {connect}\r\nPING\r\n").doing(&what)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match raw.hear(deadline) {
                Some(Said::Pong) => return Ok(raw),
                Some(Said::Complaint(why)) => return Err(Failure::new(what, why)),
                Some(_) => {}
                None => return Err(Failure::new(what, "the server does not answer")),
            }
        }
    }

    /// The next thing the server says; `None` when `deadline` passes first.
    fn hear(&mut self, deadline: Instant) -> Option<Said> {
        loop {
            if let Some((said, len)) = parse(&self.received) {
                self.received.drain(..len);
                return Some(said);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // Refused only for a zero, which `left` is not.
            let _ = self.stream.set_read_timeout(Some(left));
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed the connection"),
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(why) if is_timeout(why.kind()) => {}
                Err(why) => panic!("reading from the server: {why}"),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Err(why) = self.stream.write_all(bytes) {
            panic!("writing to the server: {why}");
        }
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

impl Peer for Raw {
    fn subscribe(&mut self, pattern: &str) -> Sid {
        self.subscriptions += 1;
        let sid = self.subscriptions;
        self.send(format!("SUB {pattern} {sid}\r\n").as_bytes());
        sid
    }

    fn unsubscribe(&mut self, sid: Sid) {
        self.send(format!("UNSUB {sid}\r\n").as_bytes());
    }

    fn publish(&mut self, message: Outbound) {
        let subject = message.subject.as_str();
        let reply = message.reply.as_ref().map_or("", Subject::as_str);
        let mut head = String::new();
        if !message.headers.is_empty() {
            head.push_str("NATS/1.0\r\n");
            for (name, value) in message.headers.iter() {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
        }
        let total = head.len() + message.payload.len();
        let line = match head.len() {
            0 => format!("PUB {subject} {reply} {total}\r\n"),
            len => format!("HPUB {subject} {reply} {len} {total}\r\n"),
        };
        let bytes = [line.as_bytes(), head.as_bytes(), &message.payload, b"\r\n"].concat();
        self.send(&bytes);
    }

    fn next(&mut self, within: Duration) -> Option<(Sid, Message)> {
        let deadline = Instant::now() + within;
        loop {
            match self.hear(deadline)? {
                Said::Message(sid, message) => return Some((sid, message)),
                Said::Ping => self.send(b"PONG\r\n"),
                Said::Pong | Said::Info => {}
                Said::Complaint(text) => panic!("the server complains: {text}"),
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

/// The first thing in `bytes` and its length; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Option<(Said, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = text(&bytes[..end]);
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let body = end + 2;
    match verb {
        "PING" => Some((Said::Ping, body)),
        "PONG" => Some((Said::Pong, body)),
        "INFO" => Some((Said::Info, body)),
        "-ERR" => Some((Said::Complaint(rest.to_owned()), body)),
        "MSG" | "HMSG" => {
            let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
            let counts = if verb == "HMSG" { 2 } else { 1 };
            let (names, counts) = fields.split_at(fields.len() - counts);
            let number = |text: &str| text.parse::<usize>().expect("a number");
            let total = number(counts[counts.len() - 1]);
            let head = if counts.len() == 2 {
                number(counts[0])
            } else {
                0
            };
            let whole = bytes.get(body..body + total + 2)?;
            let (headers, status) = parse_head(text(&whole[..head]));
            let message = Message {
                subject: Subject::from(names[0]),
                reply: names.get(2).map(|&reply| Subject::from(reply)),
                headers,
                status,
                payload: Bytes::copy_from_slice(&whole[head..total]),
            };
            let sid = number(names[1]) as Sid;
            Some((Said::Message(sid, message), body + total + 2))
        }
        other => panic!("the server says {other:?}"),
    }
}

/// `NATS/1.0 404 No Messages`, then `name: value` lines, then an empty line.
fn parse_head(head: &str) -> (Headers, Option<Status>) {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("NATS/1.0").unwrap_or_default().trim();
    let (code, description) = status.split_once(' ').unwrap_or((status, ""));
    let status = code.parse().ok().map(|code| Status {
        code,
        description: description.into(),
    });
    let mut headers = Headers::new();
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            headers
                .append(name, value.trim_start())
                .expect("a server sends headers by the rules");
        }
    }
    (headers, status)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a server speaks UTF-8")
}
