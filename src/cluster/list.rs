//! Doubly linked lists whose elements are places of a slab; the links lie in a slice beside it.

/// No element.
pub(super) const NONE: u32 = u32::MAX;

/// The neighbours of one element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) before: u32,
    pub(super) after: u32,
}

impl Link {
    pub(super) const ALONE: Self = Self { before: NONE, after: NONE };
}

/// One list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) len: usize,
}

impl List {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE, len: 0 };

    /// Adds an element, which must be in no list of these links, at the end.
    pub(super) fn push(&mut self, links: &mut [Link], at: u32) {
        links[at as usize] = Link { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = at,
            last => links[last as usize].after = at,
        }
        self.last = at;
        self.len += 1;
    }

    /// Takes an element of this list out.
    pub(super) fn remove(&mut self, links: &mut [Link], at: u32) {
        let Link { before, after } = core::mem::replace(&mut links[at as usize], Link::ALONE);
        match before {
            NONE => self.first = after,
            before => links[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => links[after as usize].before = before,
        }
        self.len -= 1;
    }

    /// Asserts that the links lead through the list both ways in its length; returns its elements.
    pub(super) fn checked(&self, links: &[Link]) -> Vec<u32> {
        let (mut elements, mut before, mut at) = (Vec::new(), NONE, self.first);
        while at != NONE {
            assert!(elements.len() < self.len, "a list is longer than it says");
            assert_eq!(links[at as usize].before, before, "a link leads back elsewhere");
            elements.push(at);
            (before, at) = (at, links[at as usize].after);
        }
        assert_eq!((elements.len(), before), (self.len, self.last), "a list ends early");
        elements
    }
}
