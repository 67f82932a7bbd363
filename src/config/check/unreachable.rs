//! Routes that can never match, because routes written before them take everything they would.
//!
//! Precedence is host, then path, then the number of predicates, then order (the routing room's rules). So a route is only
//! hidden by one with the same host and path, the same field and query predicates, and the same kind of method
//! predicate, written earlier; or, for methods, by several of those together.

use rustc_hash::FxHashMap;

use super::super::model::{HostMatch, PathMatch, Route};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::{Check, Written};

type Pairs<'a> = Vec<(&'a str, &'a str)>;
type Key<'a> = (&'a HostMatch, &'a PathMatch, Pairs<'a>, Pairs<'a>, bool);

/// Predicates in one order: the order they are written in does not matter.
fn sorted(pairs: &[(String, String)]) -> Pairs<'_> {
    let mut pairs: Pairs<'_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    pairs.sort_unstable();
    pairs
}

/// For each hidden route, the index of one that hides it.
fn hidden(routes: &[Route]) -> Vec<(usize, usize)> {
    let mut earlier: FxHashMap<Key<'_>, FxHashMap<&str, usize>> = FxHashMap::default();
    let mut hidden = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let any_method = route.methods.is_empty();
        let key = (&route.host, &route.path, sorted(&route.headers), sorted(&route.query), any_method);
        let taken = earlier.entry(key).or_default();
        let methods: Vec<&str> = if any_method { vec![""] } else { route.methods.iter().map(String::as_str).collect() };
        if methods.iter().all(|method| taken.contains_key(method)) {
            hidden.push((index, taken[methods[0]]));
        }
        for method in methods {
            taken.entry(method).or_insert(index);
        }
    }
    hidden
}

pub(super) fn warn(check: &mut Check<'_>, files: &[Written], routes: &[Route]) {
    let places = files.iter().flat_map(|written| {
        let count = written.document.routes.as_ref().map_or(0, Vec::len);
        (0..count).map(|index| (written.file, index))
    });
    let places: Vec<(usize, usize)> = places.collect();
    let place = |route: usize| {
        let (file, index) = places[route];
        let root = At::root(file);
        let at = root.key("routes");
        let at = at.index(index);
        at.key("name").place()
    };
    for (route, by) in hidden(routes) {
        let warning = Pending::warning(place(route), "this route never matches: an earlier one takes the same requests");
        check.problems.push(warning.subject(Subject::Nothing).other(place(by)));
    }
    if routes.is_empty() {
        let root = At::root(files[0].file);
        let warning = Pending::warning(root.place(), "no route is defined, so every request is answered with 404");
        check.problems.push(warning.subject(Subject::Nothing));
    }
}
