//! Subject to values, for one owner or behind a snapshot.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::Split;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::subject::NameError;

/// The most tokens of a pattern: what 255 bytes can hold.
const MAX_TOKENS: usize = 128;

/// Values by subject: exact ones in a hash table, patterns with wildcards in a trie
/// of tokens.
///
/// A lookup costs one hash for the exact subjects and, for the patterns, at most
/// two steps for each trie node on the way; it allocates nothing. A clone is cheap
/// and shares everything; a change copies only what it touches and others share.
#[derive(Clone, Debug)]
pub struct Table<H> {
    exact: Arc<Exact<H>>,
    patterns: Arc<Node<H>>,
    hasher: FixedState,
    next_id: u64,
    len: usize,
    limit: usize,
}

type Exact<H> = HashMap<Arc<str>, Vec<(u64, H)>, FixedState>;

#[derive(Clone, Debug)]
struct Node<H> {
    /// Patterns that end here.
    here: Vec<(u64, H)>,
    /// Patterns that go on with `>`.
    rest: Vec<(u64, H)>,
    /// Patterns that go on with `*`.
    any: Option<Arc<Self>>,
    /// Patterns that go on with this very token.
    tokens: HashMap<Arc<str>, Arc<Self>, FixedState>,
}

/// Why nothing was inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InsertError {
    /// The pattern is none.
    Pattern(NameError),
    /// The table holds as many values as it may.
    Full {
        /// The most values that the table holds.
        limit: usize,
    },
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(error) => error.fmt(f),
            Self::Full { limit } => write!(f, "the routing table is full: it holds {limit}"),
        }
    }
}

impl std::error::Error for InsertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pattern(error) => Some(error),
            Self::Full { .. } => None,
        }
    }
}

impl<H: Clone> Table<H> {
    /// An empty table for at most `limit` values. `seed` keeps hostile subjects from
    /// choosing their place in the hash tables; no result depends on it.
    #[must_use]
    pub fn new(seed: u64, limit: usize) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            exact: Arc::new(HashMap::with_hasher(hasher.clone())),
            patterns: Arc::new(Node::new(&hasher)),
            hasher,
            next_id: 0,
            len: 0,
            limit,
        }
    }

    /// Adds `value` under `pattern`, next to those that are there. The id is for
    /// [`remove`](Self::remove); none is given twice.
    ///
    /// # Errors
    /// When the pattern has an empty token, `>` before its end or more than 128 tokens,
    /// and when the table is full.
    pub fn insert(&mut self, pattern: &str, value: H) -> Result<u64, InsertError> {
        check(pattern)?;
        if self.len >= self.limit {
            return Err(InsertError::Full { limit: self.limit });
        }
        let id = self.next_id;
        self.next_id += 1;
        self.len += 1;
        if has_wildcard(pattern) {
            Arc::make_mut(&mut self.patterns).insert(pattern, (id, value), &self.hasher);
        } else {
            let exact = Arc::make_mut(&mut self.exact);
            match exact.get_mut(pattern) {
                Some(values) => values.push((id, value)),
                None => drop(exact.insert(pattern.into(), vec![(id, value)])),
            }
        }
        Ok(id)
    }

    /// Takes out the value that [`insert`](Self::insert) put under `pattern` with
    /// this `id`.
    pub fn remove(&mut self, pattern: &str, id: u64) -> Option<H> {
        self.take_out(pattern, &|(other, _)| *other == id)
    }

    /// Takes out the first value put under `pattern` that equals `value`.
    pub fn remove_value(&mut self, pattern: &str, value: &H) -> Option<H>
    where
        H: PartialEq,
    {
        self.take_out(pattern, &|(_, other)| other == value)
    }

    fn take_out(&mut self, pattern: &str, is: &dyn Fn(&(u64, H)) -> bool) -> Option<H> {
        let removed = if has_wildcard(pattern) {
            Arc::make_mut(&mut self.patterns).remove(&mut pattern.split('.'), is)
        } else {
            let exact = Arc::make_mut(&mut self.exact);
            let values = exact.get_mut(pattern)?;
            let removed = take(values, is);
            if values.is_empty() {
                exact.remove(pattern);
            }
            removed
        };
        self.len -= usize::from(removed.is_some());
        removed
    }
}

impl<H> Table<H> {
    /// Calls `visit` with each value whose pattern [covers](crate::subject::covers)
    /// `subject`: those of the subject itself first, in the order they came, then
    /// those of patterns, in an order that depends on the patterns only.
    pub fn visit(&self, subject: &str, mut visit: impl FnMut(&H)) {
        let all = self.find(subject, &mut |value| {
            visit(value);
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(all.is_continue(), "nothing breaks it off");
    }

    /// The first value that [`visit`](Self::visit) would see.
    #[must_use]
    pub fn first(&self, subject: &str) -> Option<&H> {
        self.find(subject, &mut ControlFlow::Break).break_value()
    }

    /// Whether any pattern covers `subject`.
    #[must_use]
    pub fn covers(&self, subject: &str) -> bool {
        self.first(subject).is_some()
    }

    fn find<'a, B>(
        &'a self,
        subject: &str,
        visit: &mut impl FnMut(&'a H) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(values) = self.exact.get(subject) {
            each(values, visit)?;
        }
        // No pattern covers an empty token.
        if self.patterns.is_empty() || subject.split('.').any(str::is_empty) {
            return ControlFlow::Continue(());
        }
        self.patterns.find(Some(subject), visit)
    }

    /// How many values there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<H> Node<H> {
    fn new(hasher: &FixedState) -> Self {
        Self {
            here: Vec::new(),
            rest: Vec::new(),
            any: None,
            tokens: HashMap::with_hasher(hasher.clone()),
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.rest.is_empty() && self.any.is_none() && self.tokens.is_empty()
    }

    /// `left` is what of the subject is below this node; `None` when it ends here.
    /// As deep as the longest pattern, which is bounded.
    fn find<'a, B>(
        &'a self,
        left: Option<&str>,
        visit: &mut impl FnMut(&'a H) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(left) = left else {
            return each(&self.here, visit);
        };
        each(&self.rest, visit)?;
        if self.any.is_none() && self.tokens.is_empty() {
            return ControlFlow::Continue(());
        }
        let (token, left) = match left.split_once('.') {
            Some((token, left)) => (token, Some(left)),
            None => (left, None),
        };
        if let Some(node) = self.tokens.get(token) {
            node.find(left, visit)?;
        }
        // What `>` stands for is more than `*` covers.
        match self.any.as_deref().filter(|_| token != ">") {
            Some(node) => node.find(left, visit),
            None => ControlFlow::Continue(()),
        }
    }
}

fn each<'a, H, B>(
    values: &'a [(u64, H)],
    visit: &mut impl FnMut(&'a H) -> ControlFlow<B>,
) -> ControlFlow<B> {
    values.iter().try_for_each(|(_, value)| visit(value))
}

impl<H: Clone> Node<H> {
    fn insert(&mut self, pattern: &str, value: (u64, H), hasher: &FixedState) {
        let mut node = self;
        for token in pattern.split('.') {
            let new = || Arc::new(Self::new(hasher));
            let next = match token {
                ">" => return node.rest.push(value),
                "*" => node.any.get_or_insert_with(new),
                token => node.tokens.entry(token.into()).or_insert_with(new),
            };
            node = Arc::make_mut(next);
        }
        node.here.push(value);
    }

    /// Removes the value, and the nodes that hold nothing any more. As deep as the
    /// pattern.
    fn remove(
        &mut self,
        pattern: &mut Split<'_, char>,
        is: &dyn Fn(&(u64, H)) -> bool,
    ) -> Option<H> {
        match pattern.next() {
            None => take(&mut self.here, is),
            Some(">") => take(&mut self.rest, is),
            Some("*") => {
                let node = Arc::make_mut(self.any.as_mut()?);
                let removed = node.remove(pattern, is);
                if node.is_empty() {
                    self.any = None;
                }
                removed
            }
            Some(token) => {
                let node = Arc::make_mut(self.tokens.get_mut(token)?);
                let removed = node.remove(pattern, is);
                if node.is_empty() {
                    self.tokens.remove(token);
                }
                removed
            }
        }
    }
}

fn take<H>(values: &mut Vec<(u64, H)>, is: &dyn Fn(&(u64, H)) -> bool) -> Option<H> {
    let at = values.iter().position(is)?;
    Some(values.remove(at).1)
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.split('.').any(|token| token == "*" || token == ">")
}

fn check(pattern: &str) -> Result<(), InsertError> {
    let refuse = |rule| {
        Err(InsertError::Pattern(NameError::new(
            "pattern", pattern, rule,
        )))
    };
    let mut tokens = pattern.split('.');
    let mut count = 0;
    while let Some(token) = tokens.next() {
        count += 1;
        if token.is_empty() {
            return refuse("no token between dots is empty");
        }
        if token == ">" && tokens.clone().next().is_some() {
            return refuse("the wildcard `>` stands only at the end");
        }
        if count > MAX_TOKENS {
            return refuse("it has at most 128 tokens");
        }
    }
    Ok(())
}
