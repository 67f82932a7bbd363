//! The choice among routes of one host and path by their predicates.
//!
//! A short list is tried in order. A long one is grouped by what its routes look at (the shape: method or not,
//! which fields, which parameters); a group is one hash table of values, so the cost grows with the number of
//! shapes on one path and not with the number of routes.

use core::cmp::Reverse;
use core::ops::Range;

use rustc_hash::FxHashMap;

use super::hash;
use super::index::{Index, Key, narrow};
use super::spec::{Predicates, RouteId, RouteSpec};

/// Routes tried one after the other rather than by a hash of values.
const LIST_MAX: usize = 8;

/// The routes of one host and path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Choice {
    /// None.
    #[default]
    Nothing,
    /// One without predicates.
    Always(RouteId),
    /// Several, or one with predicates: a list of [`Rules`].
    Among(u32),
}

/// A name and the value it must have.
pub(super) type Term = (Box<str>, Box<str>);

/// The predicates of one route in canonical form.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) route: RouteId,
    /// Sorted; empty: all.
    pub(super) methods: Box<[Box<str>]>,
    /// Sorted, names in lower case.
    pub(super) headers: Box<[Term]>,
    /// Sorted.
    pub(super) query: Box<[Term]>,
}

impl Rule {
    /// The rule of a route as written.
    pub(super) fn new(route: RouteId, spec: &RouteSpec) -> Self {
        let headers = spec.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        Self {
            route,
            methods: sorted(spec.methods.iter().map(|method| method.as_str().into())),
            headers: sorted(headers.map(|(name, value)| (name.into(), value.into()))),
            query: sorted(spec.query.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()))),
        }
    }

    /// How many conditions it has; a list of methods is one.
    pub(super) fn weight(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }

    fn matches(&self, request: &impl Predicates) -> bool {
        let accepts = |method: &str| method.as_bytes() == request.method();
        (self.methods.is_empty() || self.methods.iter().any(|method| accepts(method)))
            && self.headers.iter().all(|(name, value)| request.header(name) == Some(value.as_bytes()))
            && self.query.iter().all(|(name, value)| {
                let given = request.query().and_then(|query| parameter(query, name));
                given.is_some_and(|given| decoded(given).eq(value.bytes()))
            })
    }

    /// What it looks at.
    fn shape(&self) -> Shape {
        let names = |terms: &[Term]| terms.iter().map(|(name, _)| name.clone()).collect();
        (!self.methods.is_empty(), names(&self.headers), names(&self.query))
    }
}

/// With methods or not, names of fields, names of parameters.
type Shape = (bool, Box<[Box<str>]>, Box<[Box<str>]>);

/// Several routes, best first, and where they are many their groups.
#[derive(Debug)]
struct List {
    rules: Range<usize>,
    groups: Range<usize>,
}

/// Routes of one list with one shape; their values are entries of the table under the group's number.
#[derive(Debug)]
struct Group {
    shape: Shape,
    weight: usize,
}

/// The predicates of all routes.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    lists: Vec<List>,
    groups: Vec<Group>,
    /// Routes by their values: those of the fields, of the parameters, then the method, each behind its length.
    values: Index<u32>,
}

/// Collects the predicates of all routes.
#[derive(Default)]
pub(super) struct RulesBuilder {
    rules: Vec<Rule>,
    lists: Vec<List>,
    groups: Vec<Group>,
    values: FxHashMap<(u32, Vec<u8>), u32>,
}

impl RulesBuilder {
    /// Adds the routes of one host and path.
    pub(super) fn add(&mut self, mut rules: Vec<Rule>) -> Choice {
        if let [only] = &*rules
            && only.weight() == 0
        {
            return Choice::Always(only.route);
        }
        rules.sort_by_key(|rule| (Reverse(rule.weight()), rule.route));
        let groups = if rules.len() > LIST_MAX { self.group(&rules) } else { 0..0 };
        let first = self.rules.len();
        self.rules.append(&mut rules);
        self.lists.push(List { rules: first..self.rules.len(), groups });
        Choice::Among(narrow(self.lists.len() - 1))
    }

    /// Groups the rules of a list; groups come out heaviest first as the rules are.
    fn group(&mut self, rules: &[Rule]) -> Range<usize> {
        let first = self.groups.len();
        let mut known: FxHashMap<Shape, u32> = FxHashMap::default();
        for rule in rules {
            let group = *known.entry(rule.shape()).or_insert_with_key(|shape| {
                self.groups.push(Group { shape: shape.clone(), weight: rule.weight() });
                narrow(self.groups.len() - 1)
            });
            let pieces = rule.headers.iter().chain(&rule.query);
            let values = pieces.fold(Vec::new(), |values, (_, value)| append(values, value));
            // Of routes with the same values the first written takes all requests.
            if rule.methods.is_empty() {
                self.values.entry((group, values)).or_insert(rule.route.0);
                continue;
            }
            for method in &rule.methods {
                self.values.entry((group, append(values.clone(), method))).or_insert(rule.route.0);
            }
        }
        first..self.groups.len()
    }

    /// The finished rules.
    pub(super) fn build(self) -> Rules {
        let entries = self.values.iter();
        let mut keys: Vec<Key<'_, u32>> =
            entries.map(|((scope, text), route)| Key { scope: *scope, text, value: *route }).collect();
        // A map has no order, a table should be the same in every process.
        keys.sort_unstable_by_key(|key| (key.scope, key.text));
        let values = Index::new(&keys, print_values);
        Rules { rules: self.rules, lists: self.lists, groups: self.groups, values }
    }
}

impl Rules {
    /// The best of the routes that accepts a request.
    #[inline]
    pub(super) fn pick(&self, choice: Choice, request: &impl Predicates) -> Option<RouteId> {
        match choice {
            Choice::Nothing => None,
            Choice::Always(route) => Some(route),
            Choice::Among(list) => self.pick_among(&self.lists[list as usize], request),
        }
    }

    fn pick_among(&self, list: &List, request: &impl Predicates) -> Option<RouteId> {
        if list.groups.is_empty() {
            let mut rules = self.rules[list.rules.clone()].iter();
            return rules.find(|rule| rule.matches(request)).map(|rule| rule.route);
        }
        let mut best: Option<(usize, RouteId)> = None;
        for number in list.groups.clone() {
            let group = &self.groups[number];
            if best.is_some_and(|(weight, _)| weight > group.weight) {
                break;
            }
            if let Some(route) = self.pick_in(narrow(number), &group.shape, request)
                && best.is_none_or(|(_, earlier)| route < earlier)
            {
                best = Some((group.weight, route));
            }
        }
        best.map(|(_, route)| route)
    }

    fn pick_in(&self, group: u32, shape: &Shape, request: &impl Predicates) -> Option<RouteId> {
        let (with_method, headers, query) = shape;
        let mut state = hash::begin(self.values.seed(), group);
        for name in headers {
            state = hash::mix(state, request.header(name)?);
        }
        for name in query {
            state = hash::mix_each(state, decoded(parameter(request.query()?, name)?));
        }
        if *with_method {
            state = hash::mix(state, request.method());
        }
        let slot = self.values.probe(state, group)?;
        let mut wanted = pieces(self.values.text(slot));
        let found = headers.iter().all(|name| request.header(name) == wanted.next())
            && query.iter().all(|name| {
                let given = request.query().and_then(|query| parameter(query, name));
                given.zip(wanted.next()).is_some_and(|(given, wanted)| decoded(given).eq(wanted.iter().copied()))
            })
            && (!with_method || wanted.next() == Some(request.method()));
        found.then(|| RouteId(*self.values.value(slot)))
    }

    /// The routes of a choice that have predicates or company, best first.
    pub(super) fn list(&self, choice: Choice) -> &[Rule] {
        match choice {
            Choice::Nothing | Choice::Always(_) => &[],
            Choice::Among(list) => &self.rules[self.lists[list as usize].rules.clone()],
        }
    }
}

fn append(mut values: Vec<u8>, value: &str) -> Vec<u8> {
    values.extend_from_slice(&narrow(value.len()).to_le_bytes());
    values.extend_from_slice(value.as_bytes());
    values
}

/// What `append` put together.
fn pieces(mut values: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let len = u32::from_le_bytes(*values.split_off(..4)?.first_chunk()?);
        values.split_off(..len as usize)
    })
}

fn print_values(seed: u64, group: u32, values: &[u8]) -> u64 {
    pieces(values).fold(hash::begin(seed, group), hash::mix)
}

/// The first value of a parameter in a query, undecoded; a parameter without `=` is empty.
pub(super) fn parameter<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let cut = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let value = pair.get(cut + 1..).unwrap_or_default();
        decoded(&pair[..cut]).eq(name.bytes()).then_some(value)
    })
}

/// The bytes of a query's name or value: `+` is a space, `%41` an `A`, a broken escape stands for itself.
pub(super) fn decoded(mut raw: &[u8]) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        let (first, rest) = raw.split_first()?;
        if let (b'%', Some([high, low])) = (first, rest.first_chunk())
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            raw = &rest[2..];
            return Some(high << 4 | low);
        }
        raw = rest;
        Some(if *first == b'+' { b' ' } else { *first })
    })
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Box<[T]> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items.into_boxed_slice()
}
