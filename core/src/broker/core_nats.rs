//! Core NATS: connections, subscriptions, queue groups, interest.

use std::collections::{BTreeMap, VecDeque};

use super::trie::Trie;
use super::{ConnId, Output};
use crate::{Message, Subject};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sub {
    conn: ConnId,
    sid: u64,
    group: Option<Box<str>>,
}

/// Who hears what.
#[derive(Debug)]
pub(super) struct Router {
    subs: Trie<Sub>,
    patterns: BTreeMap<(ConnId, u64), (Subject, Option<Box<str>>)>,
    conns: BTreeMap<ConnId, usize>,
    next_conn: u64,
    /// Grows whenever interest may have gone.
    losses: u64,
    random: Random,
}

impl Router {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            subs: Trie::new(),
            patterns: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            losses: 0,
            random: Random(seed),
        }
    }

    pub(super) fn connect(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(1);
        self.conns.insert(conn, 0);
        conn
    }

    /// Whether the subscription was taken: not for an unknown connection, a sid in
    /// use, or beyond `limit` subscriptions of one connection.
    pub(super) fn subscribe(
        &mut self,
        conn: ConnId,
        sid: u64,
        pattern: Subject,
        group: Option<Box<str>>,
        limit: usize,
    ) -> bool {
        let Some(count) = self.conns.get_mut(&conn) else {
            return false;
        };
        if *count >= limit || self.patterns.contains_key(&(conn, sid)) {
            return false;
        }
        *count += 1;
        let sub = Sub {
            conn,
            sid,
            group: group.clone(),
        };
        self.subs.insert(pattern.as_str(), sub);
        self.patterns.insert((conn, sid), (pattern, group));
        true
    }

    pub(super) fn unsubscribe(&mut self, conn: ConnId, sid: u64) {
        let Some((pattern, group)) = self.patterns.remove(&(conn, sid)) else {
            return;
        };
        self.subs
            .remove(pattern.as_str(), &Sub { conn, sid, group });
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
        self.subs.any(subject)
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
        let mut groups: BTreeMap<&str, Vec<(ConnId, u64)>> = BTreeMap::new();
        self.subs.visit(subject, |sub| {
            let to = (sub.conn, sub.sid);
            match &sub.group {
                Some(group) => groups.entry(group).or_default().push(to),
                None if first.is_none() => first = Some(to),
                None => more.push(to),
            }
            true
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

/// Random numbers from the seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    const fn below(&mut self, bound: usize) -> usize {
        if bound < 2 {
            return 0;
        }
        (self.next() % bound as u64) as usize
    }

    /// `len` random characters of 0-9A-Za-z, as the server's ids are.
    pub(super) fn id(&mut self, len: usize) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..len)
            .filter_map(|_| DIGITS.get(self.below(62)).map(|&b| char::from(b)))
            .collect()
    }
}
