//! The harness itself: servers start, stop, come back, and never outlive a test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use jetbus_tests::Server;
use jetbus_tests::raw::Raw;
use jetbus_tests::server::{Cluster, OLDEST_VERSION, ServerBinary};
use serde_json::json;

/// For a server that does not answer.
const SOON: Duration = Duration::from_millis(300);

/// For one that does, on however busy a machine.
const LONG: Duration = Duration::from_secs(30);

/// Whether a server answers a PING within `patience`.
fn answers(server: &Server, patience: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect(server.address()) else {
        return false;
    };
    stream.set_read_timeout(Some(patience)).unwrap();
    let _ = stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n");
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
        if said.ends_with(b"PONG\r\n") {
            return true;
        }
    }
    false
}

#[test]
fn a_server_keeps_its_address_over_every_way_of_stopping() {
    let server = Server::start().unwrap();
    let url = server.url();
    assert!(answers(&server, LONG));

    server.kill();
    assert!(!answers(&server, SOON));
    assert_eq!(server.pid(), None);
    server.start_again().unwrap();
    assert!(answers(&server, LONG));

    let pid = server.pid();
    server.restart().unwrap();
    assert!(answers(&server, LONG));
    assert_ne!(server.pid(), pid);

    server.freeze().unwrap();
    assert!(!answers(&server, SOON));
    server.thaw().unwrap();
    assert!(answers(&server, LONG));

    assert_eq!(server.url(), url);
}

#[test]
fn users_are_let_in_by_their_passwords() {
    let server = Server::builder()
        .config("authorization { users = [ {user: a, password: secret} ] }")
        .start()
        .unwrap();
    let connect = |options| Raw::connect_as(&server.address(), &options);
    assert!(connect(json!({"user": "a", "pass": "secret"})).is_ok());
    let refused = connect(json!({"user": "a", "pass": "wrong"})).unwrap_err();
    assert!(refused.to_string().contains("Authorization"), "{refused}");
    assert!(connect(json!({})).is_err());
}

#[test]
fn tests_that_share_a_server_get_the_same_one() {
    let first = Server::shared().unwrap();
    let second = Server::shared().unwrap();
    assert_eq!(first.pid(), second.pid());
}

#[test]
fn a_configuration_that_the_server_refuses_is_told_with_its_log() {
    let failure = Server::builder().config("no sense {").start().unwrap_err();
    assert!(failure.to_string().contains("its log"), "{failure}");
}

#[test]
fn the_oldest_version_starts_too() {
    let server = Server::builder().version(OLDEST_VERSION).start().unwrap();
    assert_eq!(server.version().unwrap(), OLDEST_VERSION);
    assert!(answers(&server, LONG));
}

#[test]
fn a_version_that_does_not_exist_is_a_clear_failure() {
    let failure = ServerBinary::of_version("0.0.0").unwrap_err().to_string();
    assert!(failure.contains("nats-server 0.0.0"), "{failure}");
}

#[test]
fn a_cluster_gets_healthy_and_survives_the_loss_of_one() {
    let cluster = Cluster::start(3).unwrap();
    assert_eq!(cluster.urls().len(), 3);
    let victim = &cluster.servers()[1];
    victim.kill();
    victim.start_again().unwrap();
    cluster.wait_until_healthy().unwrap();
}
