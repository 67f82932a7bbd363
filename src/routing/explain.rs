//! Why a request takes its route, in words.

use super::host::HostClass;
use super::path::PathClass;
use super::rules::{self, Choice, Rule, Rules};
use super::spec::{Predicates, RouteId};

/// What became of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request takes this route.
    Taken,
    /// A predicate refused the request.
    Refused,
    /// It would match, but a route before it did.
    Outranked,
}

/// One candidate of a lookup: its host and path fit the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The candidate.
    pub route: RouteId,
    /// What became of it.
    pub outcome: Outcome,
    /// Which class it was found in, such as `host *.example.com, path prefix /orders`.
    pub class: String,
    /// Why, such as `header x-version is "1", the route wants "2"`.
    pub reason: String,
}

/// The words for a class.
pub(super) fn class(host: HostClass<'_>, path: PathClass<'_>) -> String {
    let text = String::from_utf8_lossy;
    let host = match host {
        HostClass::Exact(name) => format!("host {}", text(name)),
        HostClass::Wildcard(suffix) => format!("host *{}", text(suffix)),
        HostClass::Any => "any host".to_owned(),
    };
    match path {
        PathClass::Exact(path) => format!("{host}, path {}", text(path)),
        PathClass::Prefix(b"/") => format!("{host}, any path"),
        PathClass::Prefix(prefix) => format!("{host}, path prefix {}", text(prefix)),
    }
}

/// Adds the candidates of one class; `taken` is the route of the request if it is known by now.
pub(super) fn describe(
    class: &str,
    rules: &Rules,
    choice: Choice,
    request: &impl Predicates,
    taken: Option<RouteId>,
    steps: &mut Vec<Step>,
) {
    let mut add = |route: RouteId, refusal: Option<String>| {
        let (outcome, reason) = match refusal {
            Some(reason) => (Outcome::Refused, reason),
            None if taken == Some(route) => (Outcome::Taken, "every predicate holds".to_owned()),
            None => (Outcome::Outranked, "a route before it matches".to_owned()),
        };
        steps.push(Step { route, outcome, class: class.to_owned(), reason });
    };
    if let Choice::Always(route) = choice {
        add(route, None);
    }
    for rule in rules.list(choice) {
        add(rule.route, refusal(rule, request));
    }
}

/// The first predicate that refuses a request.
fn refusal(rule: &Rule, request: &impl Predicates) -> Option<String> {
    let method = String::from_utf8_lossy(request.method());
    if !rule.methods.is_empty() && !rule.methods.iter().any(|wanted| **wanted == *method) {
        return Some(format!("the method is {method}, the route wants {}", rule.methods.join(" or ")));
    }
    let headers = rule.headers.iter().find_map(|(name, wanted)| {
        let given = request.header(name).map(<[u8]>::to_vec);
        difference("header", name, wanted, given)
    });
    headers.or_else(|| {
        rule.query.iter().find_map(|(name, wanted)| {
            let given = request.query().and_then(|query| rules::parameter(query, name));
            difference("query parameter", name, wanted, given.map(|raw| rules::decoded(raw).collect()))
        })
    })
}

fn difference(kind: &str, name: &str, wanted: &str, given: Option<Vec<u8>>) -> Option<String> {
    match given {
        None => Some(format!("{kind} {name} is absent, the route wants {wanted:?}")),
        Some(given) if given == wanted.as_bytes() => None,
        Some(given) => {
            let given = String::from_utf8_lossy(&given);
            Some(format!("{kind} {name} is {given:?}, the route wants {wanted:?}"))
        }
    }
}
