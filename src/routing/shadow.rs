//! Routes that can never match.
//!
//! A route is tried before another for every request that both match only when they have the same host and
//! path and look at the same things, so only such routes can hide one another: a more specific one leaves some
//! requests over, a less specific one comes later.

use rustc_hash::FxHashMap;

use super::index::narrow;
use super::rules::{Rule, Term};
use super::spec::{HostPattern, PathPattern, RouteId, RouteSpec};
use super::{host, path};

/// A route that no request can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The route that never matches.
    pub route: RouteId,
    /// The route that takes its requests (the first of several); itself when its own predicates contradict
    /// one another.
    pub by: RouteId,
}

/// All that two routes must share for one to hide the other; the last is a method, if they have any.
type Place = (HostPattern, PathPattern, Box<[Term]>, Box<[Term]>, Option<Box<str>>);

/// The routes that can never match, in the order written.
pub fn shadowed(specs: &[RouteSpec]) -> Vec<Shadow> {
    let mut first: FxHashMap<Place, RouteId> = FxHashMap::default();
    let mut shadows = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let rule = Rule::new(RouteId(narrow(at)), spec);
        let route = rule.route;
        if contradicts(&rule.headers) || contradicts(&rule.query) {
            shadows.push(Shadow { route, by: route });
            continue;
        }
        let methods = rule.methods.iter().map(|method| Some(method.clone()));
        let methods = if rule.methods.is_empty() { vec![None] } else { methods.collect() };
        let (host, path) = (host::canonical(&spec.host), path::canonical(&spec.path));
        let takers = methods.into_iter().map(|method| {
            let place = (host.clone(), path.clone(), rule.headers.clone(), rule.query.clone(), method);
            *first.entry(place).or_insert(route)
        });
        // Every method has to be taken, if by different routes.
        let (by, last) = takers.fold((route, RouteId(0)), |(by, last), taker| (by.min(taker), last.max(taker)));
        if last < route {
            shadows.push(Shadow { route, by });
        }
    }
    shadows
}

/// Whether one name must have two values; the terms are sorted and distinct.
fn contradicts(terms: &[Term]) -> bool {
    terms.windows(2).any(|pair| pair[0].0 == pair[1].0)
}
