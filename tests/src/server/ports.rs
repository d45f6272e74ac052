//! Ports for servers that keep them over restarts.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::failure::Failure;

/// The first port, and how many there are: below those that the system gives by itself to
/// who connects or listens anywhere, so that nobody gets one of them while its server is
/// away.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// Far enough apart for the servers of a program.
const APART: u32 = 331;

/// One of [them](free_ports).
pub(super) fn free_port() -> Result<u16, Failure> {
    Ok(free_ports(1)?.into_iter().next().unwrap_or_default())
}

/// Ports that nobody listens on, each given once by this program. Programs that run at the
/// same time begin elsewhere.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = process::id().wrapping_mul(APART);
    let mut free = Vec::with_capacity(count);
    for _ in 0..COUNT {
        if free.len() == count {
            return Ok(free);
        }
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(given) % COUNT;
        let port = u16::try_from(port).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            free.push(port);
        }
    }
    Err(Failure::new("looking for free ports", "all are taken"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_given_once_and_only_when_free() {
        let ports = [free_ports(3).unwrap(), free_ports(3).unwrap()].concat();
        let different: BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 6);
        // The next in turn is somebody's.
        let next = ports[5] + 1;
        let _taken = TcpListener::bind(("127.0.0.1", next));
        assert!(!free_ports(3).unwrap().contains(&next));
    }
}
