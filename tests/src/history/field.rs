//! Three servers, and all ways to and between them.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use super::faults::{BUSES, Break, Fault, SERVERS, Target};
use crate::Server;
use crate::failure::Failure;
use crate::operator::answer;
use crate::proxy::Proxy;
use crate::server::Cluster;

/// The stream that all is in.
pub(super) const STREAM: &str = "ORDERS";

/// How long servers may take to be well again. An election takes up to nine seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// A cluster of which every connection can be broken.
pub(super) struct Field {
    cluster: Cluster,
    /// From server to server.
    routes: Vec<(usize, usize, Proxy)>,
    /// From each bus to each server.
    doors: Vec<Vec<Proxy>>,
    /// The durables of the groups.
    consumers: Vec<String>,
}

/// A fault that goes on, by what ends it.
pub(super) enum Wound {
    /// It is down.
    Down(usize),
    /// It stands still.
    Paused(usize),
    /// Nothing passes on its ways to the others.
    Ways,
    /// Nothing passes between a bus and servers.
    Doors(usize),
    /// It was over at once.
    None,
}

/// Waits until `holds` says so; whether it did in time.
pub(super) fn until(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

impl Field {
    pub(super) fn start() -> Result<Self, Failure> {
        let mut routes = Vec::new();
        // The servers notice silence before an election is over.
        let settings = Server::builder().config("ping_interval: \"2s\"\nping_max: 2");
        let cluster = Cluster::start_through(SERVERS, settings, |from, to, address| {
            let proxy = Proxy::start(address.to_owned())?;
            let there = proxy.address();
            routes.push((from, to, proxy));
            Ok(there)
        })?;
        let doors = (0..BUSES).map(|_| {
            let servers = cluster.servers().iter();
            servers
                .map(|server| Proxy::start(server.address()))
                .collect()
        });
        let doors = doors.collect::<Result<_, _>>()?;
        let field = Self {
            cluster,
            routes,
            doors,
            consumers: Vec::new(),
        };
        // Healthy servers may still not know of each other what it takes to replicate.
        let probe = r#"{"name":"PROBE","subjects":["probe"],"num_replicas":3}"#;
        let first = field.server(0);
        let made = || answer(first, "STREAM.CREATE.PROBE", probe).is_some();
        if !until(PATIENCE, made) {
            return Err(Failure::new(
                "starting the cluster",
                "it does not replicate",
            ));
        }
        Ok(field)
    }

    /// Where a bus finds the servers.
    pub(super) fn urls(&self, bus: usize) -> Vec<String> {
        self.doors[bus].iter().map(Proxy::url).collect()
    }

    pub(super) fn server(&self, server: usize) -> &Server {
        &self.cluster.servers()[server]
    }

    pub(super) fn logs(&self) -> Vec<String> {
        self.cluster.servers().iter().map(Server::log).collect()
    }

    /// Learns the durables of the groups.
    pub(super) fn know_consumers(&mut self) -> Result<(), Failure> {
        let list = answer(self.server(0), &format!("CONSUMER.NAMES.{STREAM}"), "");
        let names = list.as_ref().and_then(|list| list["consumers"].as_array());
        let names = names.map(Vec::as_slice).unwrap_or_default();
        let names = names.iter().filter_map(|name| name.as_str());
        self.consumers = names.map(str::to_owned).collect();
        if self.consumers.is_empty() {
            return Err(Failure::new("asking for the consumers", "there are none"));
        }
        Ok(())
    }

    /// The server that leads the stream; the first, when nobody says.
    fn found(&self, target: Target) -> usize {
        match target {
            Target::Server(server) => server,
            Target::Leader => {
                let info = answer(self.server(0), &format!("STREAM.INFO.{STREAM}"), "");
                let name = info
                    .as_ref()
                    .and_then(|info| info["cluster"]["leader"].as_str());
                let number = name.and_then(|name| name.strip_prefix('n')?.parse().ok());
                number.unwrap_or(0)
            }
        }
    }

    /// Lets it happen. All servers are healthy before.
    pub(super) fn hurt(&self, fault: Fault) -> Result<Wound, Failure> {
        Ok(match fault {
            Fault::Kill(target) => {
                let server = self.found(target);
                self.server(server).kill();
                Wound::Down(server)
            }
            Fault::Restart(target) => {
                let server = self.found(target);
                self.server(server).terminate()?;
                Wound::Down(server)
            }
            Fault::Pause(target) => {
                let server = self.found(target);
                self.server(server).freeze()?;
                Wound::Paused(server)
            }
            Fault::Isolate(target, how) => {
                let server = self.found(target);
                self.part(how, |from, to| from == server || to == server)?;
                Wound::Ways
            }
            Fault::Part(between, how) => {
                self.part(how, |from, to| from != between && to != between)?;
                Wound::Ways
            }
            Fault::Clients(bus, servers, how) => {
                let doors = self.doors[bus].iter().enumerate();
                for (_, door) in doors.filter(|(server, _)| servers & (1 << server) != 0) {
                    close(door, how);
                }
                Wound::Doors(bus)
            }
            Fault::StreamSteps => {
                let what = format!("STREAM.LEADER.STEPDOWN.{STREAM}");
                let _answer = answer(self.server(0), &what, "");
                Wound::None
            }
            Fault::ConsumerSteps(group) => {
                let consumer = &self.consumers[group % self.consumers.len()];
                let what = format!("CONSUMER.LEADER.STEPDOWN.{STREAM}.{consumer}");
                let _answer = answer(self.server(0), &what, "");
                Wound::None
            }
        })
    }

    /// Closes the ways between servers that `is` takes. Cut ways are seen to be the only
    /// ones.
    fn part(&self, how: Break, is: impl Fn(usize, usize) -> bool) -> Result<(), Failure> {
        let closed = self.routes.iter().filter(|(from, to, _)| is(*from, *to));
        for (_, _, proxy) in closed.clone() {
            close(proxy, how);
        }
        if how == Break::Silent {
            return Ok(());
        }
        for (from, to, _) in closed {
            let names = || self.server(*from).route_names();
            let gone = || names().is_some_and(|names| !names.contains(&format!("n{to}")));
            if !until(Duration::from_secs(20), gone) {
                let why = format!("n{from} still reaches n{to}");
                return Err(Failure::new("cutting the ways between servers", why));
            }
        }
        Ok(())
    }

    /// Ends a fault.
    pub(super) fn heal(&self, wound: &Wound) -> Result<(), Failure> {
        match *wound {
            Wound::Down(server) => self.server(server).start_again(),
            Wound::Paused(server) => self.server(server).thaw(),
            Wound::Ways => {
                self.routes.iter().for_each(|(_, _, proxy)| proxy.open());
                Ok(())
            }
            Wound::Doors(bus) => {
                self.doors[bus].iter().for_each(Proxy::open);
                Ok(())
            }
            Wound::None => Ok(()),
        }
    }

    /// Waits until every server sees the others, has caught up, and the stream and its
    /// consumers have leaders.
    pub(super) fn recover(&self) -> Result<(), Failure> {
        let servers = self.cluster.servers();
        let together = |server: &Server| {
            let names = server.route_names().unwrap_or_default();
            // There may be several routes to one server.
            let names: HashSet<_> = names.into_iter().collect();
            names.len() == SERVERS - 1 && server.healthy()
        };
        let led = || {
            let leads = |what: String| {
                let info = answer(self.server(0), &what, "");
                info.is_some_and(|info| info["cluster"]["leader"].is_string())
            };
            let consumer = |name| leads(format!("CONSUMER.INFO.{STREAM}.{name}"));
            leads(format!("STREAM.INFO.{STREAM}")) && self.consumers.iter().all(consumer)
        };
        if until(PATIENCE, || servers.iter().all(together) && led()) {
            return Ok(());
        }
        let states = servers.iter().map(|server| {
            let healthy = server.healthy();
            format!(
                "{}: healthy {healthy}, {:?}",
                server.url(),
                server.route_names()
            )
        });
        let why = states.collect::<Vec<_>>().join("; ");
        Err(Failure::new("waiting for the cluster to be well", why))
    }
}

fn close(way: &Proxy, how: Break) {
    match how {
        Break::Cut => way.shut(),
        Break::Silent => way.stall(),
    }
}
