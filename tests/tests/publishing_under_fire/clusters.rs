//! Three servers of which one leads the stream.

use std::sync::Arc;
use std::time::Duration;

use jetbus::{Builder, Bus, NatsOptions, News, Stream};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::operator::asked;
use jetbus_tests::server::Cluster;
use jetbus_tests::support::news;

use crate::fire::{Fire, goes_on};

const KEYS: u32 = 1_000;

/// More than an election takes, many times over: nothing is given up.
const PATIENCE: Duration = Duration::from_secs(80);

/// A cluster, and a bus on it with a stream that is on all three.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) bus: Bus,
}

impl Ground {
    pub(crate) async fn begin(env: &Env) -> Self {
        let settings =
            Server::builder().config("lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"");
        let cluster = Cluster::start_with(3, settings).unwrap();
        // Healthy servers may still not know of each other what it takes to replicate.
        let probe = r#"{"name":"PROBE","subjects":["probe"],"num_replicas":3}"#;
        asked(env, &cluster.servers()[0], "STREAM.CREATE.PROBE", probe).await;
        let orders = Stream::new("ORDERS", ["orders.*"]).replicas(3);
        let orders = orders.atomic_batches(true).fast_ingest(true);
        let urls = cluster.urls();
        let options = NatsOptions::new(&urls[0])
            .server(&urls[1])
            .server(&urls[2])
            .name("bus")
            .ping_interval(Duration::from_secs(1));
        let bus = Builder::nats(options)
            .runtime(Arc::clone(env.runtime()))
            .stream(orders)
            .window(256)
            .publish_timeout(PATIENCE)
            .open()
            .await
            .unwrap();
        Self { cluster, bus }
    }

    /// Lets somebody else lead the stream.
    pub(crate) async fn steps_down(&self, env: &Env, asked_of: usize) {
        let server = &self.cluster.servers()[asked_of];
        asked(env, server, "STREAM.LEADER.STEPDOWN.ORDERS", "").await;
    }

    /// Who leads the stream, as `server` sees it.
    pub(crate) async fn leader(&self, env: &Env, server: usize) -> usize {
        let server = &self.cluster.servers()[server];
        let info = asked(env, server, "STREAM.INFO.ORDERS", "").await;
        let name = info["cluster"]["leader"].as_str().expect("a leader");
        name[1..].parse().expect("a number")
    }

    pub(crate) async fn goes_on(&self, env: &Env) {
        goes_on(env, &self.bus, 1_000).await;
    }
}

/// Publishers on it.
struct Siege {
    ground: Ground,
    fire: Fire,
}

impl Siege {
    async fn begin(env: &Env) -> Self {
        let ground = Ground::begin(env).await;
        let fire = Fire::at(env, &ground.bus.topic("orders.placed").unwrap(), KEYS);
        ground.goes_on(env).await;
        Self { ground, fire }
    }

    async fn goes_on(&self, env: &Env) {
        self.ground.goes_on(env).await;
    }

    /// Every event was stored, once and in order.
    async fn ends(self, env: &Env) {
        let Ground { cluster, bus } = self.ground;
        let server = &cluster.servers()[0];
        let truth = self.fire.ends(env, server, "ORDERS").await;
        assert!(truth.is_whole(), "{truth:?}");
        let stats = bus.publish_stats();
        let answered = stats.stored + stats.duplicate;
        assert_eq!(answered, truth.stored as u64);
        println!("{} were stored when they were sent again", stats.duplicate);
        bus.close().await;
    }
}

pub(crate) async fn a_leader_that_steps_down_costs_nothing(env: Env) {
    let siege = Siege::begin(&env).await;
    for server in 0..3 {
        siege.ground.steps_down(&env, server).await;
        siege.goes_on(&env).await;
    }
    siege.ends(&env).await;
}

pub(crate) async fn a_leader_that_is_killed_costs_nothing(env: Env) {
    let siege = Siege::begin(&env).await;
    for _ in 0..2 {
        let leader = siege.ground.leader(&env, 0).await;
        siege.ground.cluster.servers()[leader].kill();
        siege.goes_on(&env).await;
        siege.ground.cluster.servers()[leader]
            .start_again()
            .unwrap();
        siege.ground.cluster.wait_until_healthy().unwrap();
    }
    siege.ends(&env).await;
}

pub(crate) async fn a_frozen_leader_costs_nothing(env: Env) {
    let siege = Siege::begin(&env).await;
    let leader = siege.ground.leader(&env, 0).await;
    siege.ground.cluster.servers()[leader].freeze().unwrap();
    siege.goes_on(&env).await;
    // It wakes up believing that it leads, with what was sent to it meanwhile.
    siege.ground.cluster.servers()[leader].thaw().unwrap();
    siege.goes_on(&env).await;
    siege.ground.cluster.wait_until_healthy().unwrap();
    siege.ends(&env).await;
}

pub(crate) async fn a_server_that_says_goodbye_costs_nothing(env: Env) {
    let siege = Siege::begin(&env).await;
    let mut heard = siege.ground.bus.news();
    let servers = siege.ground.cluster.servers();
    let is_ours = |server: &&Server| server.connection_names().contains(&"bus".to_owned());
    let ours = servers.iter().find(is_ours).expect("we are connected");
    ours.lame_duck().unwrap();
    news(&env, "it is told", &mut heard, |news| {
        matches!(news, News::LameDuck).then_some(())
    })
    .await;
    news(&env, "the bus has moved on", &mut heard, |news| {
        matches!(news, News::Connected { .. }).then_some(())
    })
    .await;
    siege.goes_on(&env).await;
    // It ends when its last client has left.
    ours.terminate().unwrap();
    ours.start_again().unwrap();
    siege.ground.cluster.wait_until_healthy().unwrap();
    siege.ends(&env).await;
}
