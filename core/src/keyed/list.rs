//! Doubly linked lists through the slots of a slab, so that any member leaves in
//! constant time and membership allocates nothing.

/// Which of a slot's links: the list of its key, or the queue of those ready.
pub(super) const LANE: usize = 0;
pub(super) const QUEUE: usize = 1;

const NONE: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    prev: usize,
    next: usize,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            prev: NONE,
            next: NONE,
        }
    }
}

impl Links {
    pub(super) fn prev(self) -> Option<usize> {
        (self.prev != NONE).then_some(self.prev)
    }

    pub(super) fn next(self) -> Option<usize> {
        (self.next != NONE).then_some(self.next)
    }
}

/// A slot that is a member of lists.
pub(super) trait Node {
    fn links(&mut self, of: usize) -> &mut Links;
}

#[derive(Debug, Default)]
pub(super) struct List {
    ends: Links,
}

impl List {
    pub(super) fn first(&self) -> Option<usize> {
        self.ends.next()
    }

    pub(super) fn last(&self) -> Option<usize> {
        self.ends.prev()
    }

    /// Puts `index` before `place`, or at the end.
    pub(super) fn insert<N: Node>(
        &mut self,
        nodes: &mut [N],
        of: usize,
        index: usize,
        place: Option<usize>,
    ) {
        let next = place.unwrap_or(NONE);
        let prev = match place {
            Some(place) => nodes[place].links(of).prev,
            None => self.ends.prev,
        };
        *nodes[index].links(of) = Links { prev, next };
        self.links(nodes, of, prev).next = index;
        self.links(nodes, of, next).prev = index;
    }

    pub(super) fn unlink<N: Node>(&mut self, nodes: &mut [N], of: usize, index: usize) {
        let Links { prev, next } = std::mem::take(nodes[index].links(of));
        self.links(nodes, of, prev).next = next;
        self.links(nodes, of, next).prev = prev;
    }

    /// Before the first and behind the last stands the list itself.
    fn links<'a, N: Node>(
        &'a mut self,
        nodes: &'a mut [N],
        of: usize,
        index: usize,
    ) -> &'a mut Links {
        if index == NONE {
            &mut self.ends
        } else {
            nodes[index].links(of)
        }
    }
}
