//! What happens to the servers and the ways between them, drawn from a seed.

use std::fmt;
use std::time::Duration;

use crate::sim::rng::Rng;

/// How many servers there are.
pub(super) const SERVERS: usize = 3;

/// How many buses there are, each with its own ways to the servers.
pub(super) const BUSES: usize = 4;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The one that leads the stream, as far as that can be found out.
    Leader,
    /// This one.
    Server(usize),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("leader"),
            Self::Server(server) => write!(f, "n{server}"),
        }
    }
}

/// How a way does not lead on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Connections break and cannot be made.
    Cut,
    /// Nothing arrives until it is over; then all does whose connection is still there.
    Silent,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Silent => "silent",
        })
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A server dies (SIGKILL), and is started again when it is over.
    Kill(Target),
    /// A server stands still (SIGSTOP).
    Pause(Target),
    /// A server is ended in order, and started again when it is over.
    Restart(Target),
    /// A server does not reach the others.
    Isolate(Target, Break),
    /// Two servers, all but this one, do not reach each other.
    Part(usize, Break),
    /// A bus does not reach some of the servers, which are bits.
    Clients(usize, u8, Break),
    /// Another server leads the stream.
    StreamSteps,
    /// Another server leads the consumer of a group.
    ConsumerSteps(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(target) => write!(f, "kill {target}"),
            Self::Pause(target) => write!(f, "pause {target}"),
            Self::Restart(target) => write!(f, "restart {target}"),
            Self::Isolate(target, how) => write!(f, "isolate {target} ({how})"),
            Self::Part(between, how) => write!(f, "part all but n{between} ({how})"),
            Self::Clients(bus, servers, how) => {
                write!(f, "bus {bus} from")?;
                for server in (0..SERVERS).filter(|server| servers & (1 << server) != 0) {
                    write!(f, " n{server}")?;
                }
                write!(f, " ({how})")
            }
            Self::StreamSteps => f.write_str("stream steps down"),
            Self::ConsumerSteps(group) => write!(f, "consumer {group} steps down"),
        }
    }
}

/// What happens next: first nothing, then all of this at once for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) rest: Duration,
    pub(super) faults: Vec<Fault>,
    pub(super) lasts: Duration,
}

/// Steps without end. All kinds come before one comes again.
#[derive(Debug)]
pub(super) struct Plan {
    rng: Rng,
    deck: Vec<u64>,
    groups: usize,
}

/// How many kinds there are.
const KINDS: u64 = 12;

impl Plan {
    /// The steps of a seed, for consumers of so many groups.
    pub(super) const fn new(seed: u64, groups: usize) -> Self {
        Self {
            rng: Rng::new(seed),
            deck: Vec::new(),
            groups,
        }
    }

    fn target(&mut self) -> Target {
        if self.rng.chance(500) {
            Target::Leader
        } else {
            Target::Server(self.server())
        }
    }

    fn server(&mut self) -> usize {
        self.rng.below(SERVERS as u64) as usize
    }

    fn clients(&mut self, how: Break) -> Fault {
        let bus = self.rng.below(BUSES as u64) as usize;
        let servers = self.rng.between(1, (1 << SERVERS) - 1) as u8;
        Fault::Clients(bus, servers, how)
    }

    fn kind(&mut self) -> u64 {
        if self.deck.is_empty() {
            self.deck = (0..KINDS).collect();
            for last in (1..self.deck.len()).rev() {
                self.deck
                    .swap(last, self.rng.below(last as u64 + 1) as usize);
            }
        }
        self.deck.pop().unwrap_or_default()
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let fault = match self.kind() {
            0 => Fault::Kill(Target::Leader),
            1 => Fault::Kill(self.target()),
            2 => Fault::Pause(Target::Leader),
            3 => Fault::Pause(self.target()),
            4 => Fault::Restart(self.target()),
            5 => Fault::Isolate(self.target(), Break::Cut),
            6 => Fault::Isolate(self.target(), Break::Silent),
            7 => Fault::Part(self.server(), Break::Cut),
            8 => self.clients(Break::Cut),
            9 => self.clients(Break::Silent),
            10 => Fault::StreamSteps,
            _ => Fault::ConsumerSteps(self.rng.below(self.groups as u64) as usize),
        };
        let mut faults = vec![fault];
        if self.rng.chance(250) && !matches!(fault, Fault::Clients(..)) {
            let how = if self.rng.chance(500) {
                Break::Cut
            } else {
                Break::Silent
            };
            faults.push(self.clients(how));
        }
        // An election takes four to nine seconds: some faults outlast it. A step is over
        // at once.
        let most = match faults.as_slice() {
            [Fault::StreamSteps | Fault::ConsumerSteps(_)] => 1_000,
            _ => 10_000,
        };
        Some(Step {
            rest: Duration::from_millis(self.rng.between(500, 2_000)),
            faults,
            lasts: Duration::from_millis(self.rng.between(500, most)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_in_which_all_kinds_come_first() {
        let draw = |seed| Plan::new(seed, 3).take(24).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for seed in 0..50 {
            let kinds = |steps: &[Step]| {
                let kinds = steps
                    .iter()
                    .map(|step| std::mem::discriminant(&step.faults[0]));
                kinds.collect::<std::collections::HashSet<_>>().len()
            };
            let steps = draw(seed);
            assert_eq!((kinds(&steps[..12]), kinds(&steps[12..])), (8, 8));
        }
    }

    #[test]
    fn at_most_one_server_is_hurt_at_a_time() {
        for step in (0..50).flat_map(|seed| Plan::new(seed, 3).take(24)) {
            let of_clients = |fault: &&Fault| matches!(fault, Fault::Clients(..));
            let others = step.faults.iter().filter(|fault| !of_clients(fault));
            assert!(others.count() <= 1, "{step:?}");
        }
    }
}
