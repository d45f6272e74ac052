//! Several servers that replicate for each other.

use std::time::{Duration, Instant};

use super::ports::free_ports;
use super::{Builder, Server, pause};
use crate::failure::Failure;

/// How long a cluster may take until all its servers are well.
const HEALTH: Duration = Duration::from_secs(90);

/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";

/// A cluster of nats-servers of one test, named `n0`, `n1`, ...
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts a cluster of `size` servers and waits until each of them is healthy.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with).
    pub fn start(size: usize) -> Result<Self, Failure> {
        Self::start_with(size, Server::builder())
    }

    /// The same, with the settings of `builder` for every server; clients are not
    /// told of the other servers, so that they stay where a test put them.
    ///
    /// # Errors
    /// When a server does not start, or the cluster finds no leader.
    pub fn start_with(size: usize, builder: Builder) -> Result<Self, Failure> {
        Self::start_routed(size, builder, |_, routes| {
            let urls: Vec<_> = routes.iter().map(|address| route(address)).collect();
            Ok(format!("routes: [{}]", urls.join(", ")))
        })
    }

    /// The same, where server `from` reaches server `to`, which listens at an address, by
    /// the address that `through(from, to, address)` gives, and by no other way: what
    /// servers tell each other of where they are leads nowhere.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with), and when there is no way.
    pub fn start_through(
        size: usize,
        builder: Builder,
        mut through: impl FnMut(usize, usize, &str) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        Self::start_routed(size, builder, |from, routes| {
            let others = routes.iter().enumerate().filter(|(to, _)| *to != from);
            let urls = others
                .map(|(to, address)| Ok(route(&through(from, to, address)?)))
                .collect::<Result<Vec<_>, Failure>>()?;
            Ok(format!(
                "advertise: \"{NOWHERE}\"\nroutes: [{}]",
                urls.join(", ")
            ))
        })
    }

    /// `routes` makes the lines of a server's configuration that say how it reaches the
    /// others, of which it gets the addresses.
    fn start_routed(
        size: usize,
        builder: Builder,
        mut routes: impl FnMut(usize, &[String]) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let ports = free_ports(2 * size)?;
        let (clients, listen) = ports.split_at(size);
        let listen: Vec<_> = listen
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let servers = clients
            .iter()
            .enumerate()
            .map(|(index, &client)| {
                builder
                    .clone()
                    .name(&format!("n{index}"))
                    .port(client)
                    .config(&format!(
                        "cluster {{\nname: test\nlisten: \"{}\"\n\
                         no_advertise: true\npool_size: 1\n{}\n}}",
                        listen[index],
                        routes(index, &listen)?
                    ))
                    .start()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let cluster = Self { servers };
        cluster.wait_until_healthy()?;
        Ok(cluster)
    }

    /// Its servers, in the order of their names.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Where clients find its servers.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// Waits until every server is healthy: after a start, and after one came
    /// back.
    ///
    /// # Errors
    /// When they are not within a minute and a half; an election takes up to nine seconds,
    /// and another one when the votes are split.
    pub fn wait_until_healthy(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + HEALTH;
        for server in &self.servers {
            while !server.healthy() {
                if Instant::now() > deadline {
                    return Err(Failure::new(
                        "waiting for the cluster",
                        format_args!("{} is not healthy after {HEALTH:?}", server.url()),
                    ));
                }
                pause();
            }
        }
        Ok(())
    }
}

fn route(address: &str) -> String {
    format!("\"nats-route://{address}\"")
}
