//! Patterns to values: who wants this subject?

use std::collections::BTreeMap;

use crate::subject::overlap;

/// A tree of tokens. Every value is held at the node of its pattern's last token.
#[derive(Debug)]
pub(super) struct Trie<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    /// Ordered, so that the same inputs give the same outputs.
    exact: BTreeMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    rest: Vec<T>,
    here: Vec<T>,
}

impl<T> Node<T> {
    const fn new() -> Self {
        Self {
            exact: BTreeMap::new(),
            any: None,
            rest: Vec::new(),
            here: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any.is_none() && self.rest.is_empty() && self.here.is_empty()
    }
}

impl<T: PartialEq> Trie<T> {
    pub(super) const fn new() -> Self {
        Self { root: Node::new() }
    }

    pub(super) fn insert(&mut self, pattern: &str, value: T) {
        let mut node = &mut self.root;
        for token in pattern.split('.') {
            match token {
                ">" => {
                    node.rest.push(value);
                    return;
                }
                "*" => node = node.any.get_or_insert_with(|| Box::new(Node::new())),
                token => {
                    if !node.exact.contains_key(token) {
                        node.exact.insert(token.into(), Node::new());
                    }
                    let Some(next) = node.exact.get_mut(token) else {
                        return;
                    };
                    node = next;
                }
            }
        }
        node.here.push(value);
    }

    /// Removes one `value` of `pattern`, and the nodes that nobody needs any more.
    pub(super) fn remove(&mut self, pattern: &str, value: &T) {
        Self::remove_below(&mut self.root, pattern, value);
    }

    fn remove_below(node: &mut Node<T>, pattern: &str, value: &T) {
        let (token, below) = match pattern.split_once('.') {
            Some((token, below)) => (token, Some(below)),
            None => (pattern, None),
        };
        if token == ">" {
            return remove_one(&mut node.rest, value);
        }
        let child = if token == "*" {
            node.any.as_deref_mut()
        } else {
            node.exact.get_mut(token)
        };
        let Some(child) = child else { return };
        match below {
            Some(below) => Self::remove_below(child, below, value),
            None => remove_one(&mut child.here, value),
        }
        if child.is_empty() {
            if token == "*" {
                node.any = None;
            } else {
                node.exact.remove(token);
            }
        }
    }

    /// Visits every value whose pattern covers `subject` until `visit` says stop.
    /// A subject with an empty token is covered by nothing.
    pub(super) fn visit<'a>(&'a self, subject: &str, mut visit: impl FnMut(&'a T) -> bool) {
        if subject.split('.').any(str::is_empty) {
            return;
        }
        Self::visit_below(&self.root, Some(subject), &mut visit);
    }

    /// Whether any pattern covers `subject`.
    pub(super) fn any(&self, subject: &str) -> bool {
        let mut found = false;
        self.visit(subject, |_| {
            found = true;
            false
        });
        found
    }

    /// The first value whose pattern covers `subject`.
    pub(super) fn first(&self, subject: &str) -> Option<&T> {
        let mut found = None;
        self.visit(subject, |value| {
            found = Some(value);
            false
        });
        found
    }

    fn visit_below<'a>(
        node: &'a Node<T>,
        subject: Option<&str>,
        visit: &mut impl FnMut(&'a T) -> bool,
    ) -> bool {
        let Some(subject) = subject else {
            return node.here.iter().all(visit);
        };
        let (token, below) = match subject.split_once('.') {
            Some((token, below)) => (token, Some(below)),
            None => (subject, None),
        };
        if !node.rest.iter().all(&mut *visit) {
            return false;
        }
        if let Some(child) = &node.any
            && !Self::visit_below(child, below, visit)
        {
            return false;
        }
        match node.exact.get(token) {
            Some(child) => Self::visit_below(child, below, visit),
            None => true,
        }
    }
}

fn remove_one<T: PartialEq>(list: &mut Vec<T>, value: &T) {
    if let Some(at) = list.iter().position(|v| v == value) {
        list.remove(at);
    }
}

/// Whether one of `a` and one of `b` cover a common subject.
pub(super) fn any_overlap(a: &[String], b: &[String]) -> bool {
    a.iter().any(|a| b.iter().any(|b| overlap(a, b)))
}
