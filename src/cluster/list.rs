//! Doubly linked lists whose elements are places of a slab; the links lie in a slice beside it.

/// No element.
pub const NONE: u32 = u32::MAX;

/// The neighbours of one element.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The one before it, or [`NONE`].
    pub before: u32,
    /// The one after it, or [`NONE`].
    pub after: u32,
}

impl Link {
    /// In no list.
    pub const ALONE: Self = Self { before: NONE, after: NONE };
}

/// One list.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// Its first element, or [`NONE`].
    pub first: u32,
    /// Its last element, or [`NONE`].
    pub last: u32,
    /// How many there are.
    pub len: usize,
}

impl List {
    /// Nothing.
    pub const EMPTY: Self = Self { first: NONE, last: NONE, len: 0 };

    /// Adds an element, which must be in no list of these links, at the end.
    pub fn push(&mut self, links: &mut [Link], at: u32) {
        links[at as usize] = Link { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = at,
            last => links[last as usize].after = at,
        }
        self.last = at;
        self.len += 1;
    }

    /// Takes an element of this list out.
    pub fn remove(&mut self, links: &mut [Link], at: u32) {
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
    pub fn checked(&self, links: &[Link]) -> Vec<u32> {
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
