//! Which routes a request may take of which not everything is known, such as one from a log.

use core::slice;

use super::rules::{Choice, Rule, Rules};
use super::spec::RouteId;

/// What is known of a part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// The request had no such thing.
    Absent,
    /// This is what it had.
    Is(&'a [u8]),
    /// It may have had any.
    Unknown,
}

/// What predicates look at in a request, as far as it is known.
pub trait Trace {
    /// The method token.
    fn method(&self) -> Known<'_>;
    /// The value of the first field of a name; `name` is in lower case.
    fn header(&self, name: &str) -> Known<'_>;
    /// Did the request have no query? What one said is not known.
    fn lacks_query(&self) -> bool;
}

/// Does a condition hold?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    Maybe,
    No,
}

/// Adds the routes of one class that a request may take, best first; true when the last of them takes it for sure.
pub(super) fn add(rules: &Rules, choice: Choice, request: &impl Trace, found: &mut Vec<RouteId>) -> bool {
    if let Choice::Always(route) = choice {
        found.push(route);
        return true;
    }
    rules.list(choice).iter().any(|rule| {
        let holds = holds(rule, request);
        if holds != Holds::No {
            found.push(rule.route);
        }
        holds == Holds::Yes
    })
}

fn is_one_of(wanted: &[Box<str>], known: Known<'_>) -> Holds {
    match known {
        Known::Unknown => Holds::Maybe,
        Known::Is(given) if wanted.iter().any(|wanted| wanted.as_bytes() == given) => Holds::Yes,
        Known::Is(_) | Known::Absent => Holds::No,
    }
}

fn holds(rule: &Rule, request: &impl Trace) -> Holds {
    let method = match &*rule.methods {
        [] => Holds::Yes,
        methods => is_one_of(methods, request.method()),
    };
    let headers = rule.headers.iter().map(|(name, wanted)| is_one_of(slice::from_ref(wanted), request.header(name)));
    let query = match (&*rule.query, request.lacks_query()) {
        ([], _) => Holds::Yes,
        (_, true) => Holds::No,
        (_, false) => Holds::Maybe,
    };
    headers.chain([method, query]).fold(Holds::Yes, |all, one| match (all, one) {
        (Holds::No, _) | (_, Holds::No) => Holds::No,
        (Holds::Maybe, _) | (_, Holds::Maybe) => Holds::Maybe,
        (Holds::Yes, Holds::Yes) => Holds::Yes,
    })
}
