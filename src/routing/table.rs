//! The compiled routes and the lookup.

use super::host::{self, HostClass, Hosts};
use super::index::narrow;
use super::path::{self, PathClass, Paths, PathsBuilder, Scope};
use super::rules::{Choice, Rule, Rules, RulesBuilder};
use super::spec::{HostPattern, PathPattern, Predicates, RouteId, RouteSpec};
use super::{Step, Trace, explain, possible};

/// All routes compiled for lookup; immutable.
#[derive(Debug)]
pub struct Table {
    hosts: Hosts,
    paths: Paths,
    rules: Rules,
}

impl Table {
    /// Compiles the routes; the place in `specs` is the [`RouteId`].
    pub fn compile(specs: &[RouteSpec]) -> Self {
        let places: Vec<(HostPattern, PathPattern)> =
            specs.iter().map(|spec| (host::canonical(&spec.host), path::canonical(&spec.path))).collect();
        let mut order: Vec<usize> = (0..specs.len()).collect();
        order.sort_by(|a, b| places[*a].cmp(&places[*b]));

        let (mut rules, mut paths) = (RulesBuilder::default(), PathsBuilder::default());
        let mut scopes: Vec<(&HostPattern, Scope)> = Vec::new();
        for routes in order.chunk_by(|a, b| places[*a] == places[*b]) {
            let (host, path) = &places[routes[0]];
            if scopes.last().is_none_or(|(last, _)| *last != host) {
                scopes.push((host, Scope::new(narrow(scopes.len()))));
            }
            let choice = rules.add(routes.iter().map(|at| Rule::new(RouteId(narrow(*at)), &specs[*at])).collect());
            let (_, scope) = scopes.last_mut().expect("a scope was pushed for this host");
            paths.add(scope, path, choice);
        }
        Self { hosts: Hosts::new(scopes.into_iter()), paths: paths.build(), rules: rules.build() }
    }

    /// The route of a request; `host` without port, in any letter case, `path` without query.
    ///
    /// An absent host is an empty one. The path is compared as it is: whoever forwards it decides about dot
    /// segments and escapes before asking.
    pub fn find(&self, host: &[u8], path: &[u8], predicates: &impl Predicates) -> Option<RouteId> {
        self.try_each(host, path, |_, _, choice| self.rules.pick(choice, predicates))
    }

    /// Whether a route, of whatever path, names the host, exactly or by a wildcard: one for any host names none.
    pub fn names_host(&self, host: &[u8]) -> bool {
        self.hosts.try_each(host, |class, _| (!matches!(class, HostClass::Any)).then_some(())).is_some()
    }

    /// Whether the route of a request names exactly its path.
    pub fn is_exact(&self, host: &[u8], path: &[u8], predicates: &impl Predicates) -> bool {
        let found = self.try_each(host, path, |_, class, choice| {
            self.rules.pick(choice, predicates).map(|_route| matches!(class, PathClass::Exact(_)))
        });
        found == Some(true)
    }

    /// Every route whose host and path fit, in the order of the lookup, with what became of it.
    pub fn explain(&self, host: &[u8], path: &[u8], predicates: &impl Predicates) -> Vec<Step> {
        let (mut steps, mut taken) = (Vec::new(), None);
        let _: Option<()> = self.try_each(host, path, |host, path, choice| {
            let route = if taken.is_none() { self.rules.pick(choice, predicates) } else { None };
            taken = taken.or(route);
            explain::describe(&explain::class(host, path), &self.rules, choice, predicates, taken, &mut steps);
            None
        });
        steps
    }

    /// Puts every route into `found` that a request may take of which only this is known, best first; true when one of
    /// them takes it, whatever is not known.
    pub fn possible(&self, host: &[u8], path: &[u8], request: &impl Trace, found: &mut Vec<RouteId>) -> bool {
        let add = |_, _, choice| possible::add(&self.rules, choice, request, found).then_some(());
        self.try_each(host, path, add).is_some()
    }

    /// Visits the routes whose host and path fit a request, best class first.
    #[inline]
    fn try_each<'a, T>(
        &'a self,
        host: &[u8],
        path: &'a [u8],
        mut visit: impl FnMut(HostClass<'a>, PathClass<'a>, Choice) -> Option<T>,
    ) -> Option<T> {
        self.hosts
            .try_each(host, |host, scope| self.paths.try_each(scope, path, |path, choice| visit(host, path, choice)))
    }
}
