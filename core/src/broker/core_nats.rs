//! Core NATS: connections, subscriptions, queue groups, interest.

use std::collections::{BTreeMap, VecDeque};

use super::{ConnId, Output};
use crate::random::Random;
use crate::shared::router::Table;
use crate::{Message, Subject};

/// The name of a queue group, if it is of one.
type Group = Option<Box<str>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sub {
    conn: ConnId,
    sid: u64,
    group: Group,
}

/// Who hears what.
#[derive(Debug)]
pub(super) struct Router {
    subs: Table<Sub>,
    /// The pattern of each subscription, and its id in `subs`.
    patterns: BTreeMap<(ConnId, u64), (Subject, u64)>,
    conns: BTreeMap<ConnId, usize>,
    next_conn: u64,
    /// Grows whenever interest may have gone.
    losses: u64,
    random: Random,
}

impl Router {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            // Bounded by the subscriptions of each connection.
            subs: Table::new(seed, usize::MAX),
            patterns: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            losses: 0,
            random: Random::new(seed),
        }
    }

    pub(super) fn connect(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(1);
        self.conns.insert(conn, 0);
        conn
    }

    /// Whether the subscription was taken: not for an unknown connection, a sid in
    /// use, a pattern that is none, or beyond `limit` subscriptions of one connection.
    pub(super) fn subscribe(
        &mut self,
        conn: ConnId,
        sid: u64,
        pattern: Subject,
        group: Group,
        limit: usize,
    ) -> bool {
        let Some(count) = self.conns.get_mut(&conn) else {
            return false;
        };
        if *count >= limit || self.patterns.contains_key(&(conn, sid)) {
            return false;
        }
        let Ok(id) = self.subs.insert(pattern.as_str(), Sub { conn, sid, group }) else {
            return false;
        };
        *count += 1;
        self.patterns.insert((conn, sid), (pattern, id));
        true
    }

    pub(super) fn unsubscribe(&mut self, conn: ConnId, sid: u64) {
        let Some((pattern, id)) = self.patterns.remove(&(conn, sid)) else {
            return;
        };
        self.subs.remove(pattern.as_str(), id);
        self.losses += 1;
        if let Some(count) = self.conns.get_mut(&conn) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        let sids: Vec<u64> = self
            .patterns
            .range((conn, 0)..=(conn, u64::MAX))
            .map(|((_, sid), _)| *sid)
            .collect();
        for sid in sids {
            self.unsubscribe(conn, sid);
        }
        self.conns.remove(&conn);
    }

    pub(super) fn disconnect_all(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.disconnect(conn);
        }
    }

    pub(super) fn is_connected(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    pub(super) fn has_interest(&self, subject: &str) -> bool {
        self.subs.covers(subject)
    }

    /// A count that grows whenever somebody stopped listening.
    pub(super) const fn losses(&self) -> u64 {
        self.losses
    }

    /// Hands `message` to everybody who hears `subject`: each plain subscription,
    /// and one of each queue group. Says to how many.
    pub(super) fn deliver(
        &mut self,
        subject: &str,
        message: Message,
        out: &mut VecDeque<Output>,
    ) -> usize {
        let mut first: Option<(ConnId, u64)> = None;
        let mut more: Vec<(ConnId, u64)> = Vec::new();
        let mut groups: BTreeMap<Box<str>, Vec<(ConnId, u64)>> = BTreeMap::new();
        self.subs.visit(subject, |sub| {
            let to = (sub.conn, sub.sid);
            match &sub.group {
                Some(group) => groups.entry(group.clone()).or_default().push(to),
                None if first.is_none() => first = Some(to),
                None => more.push(to),
            }
        });
        for members in groups.values() {
            let index = self.random.below(members.len());
            more.extend(members.get(index));
        }
        let mut count = 0;
        for &(conn, sid) in &more {
            count += 1;
            out.push_back(Output::Deliver {
                conn,
                sid,
                message: message.clone(),
            });
        }
        if let Some((conn, sid)) = first {
            count += 1;
            out.push_back(Output::Deliver { conn, sid, message });
        }
        count
    }
}

/// `len` random characters of 0-9A-Za-z, as the server's ids are.
pub(super) fn id(random: &mut Random, len: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..len)
        .filter_map(|_| DIGITS.get(random.below(62)).map(|&b| char::from(b)))
        .collect()
}
