//! Which route a request takes: (host, path, method, headers, query) to a [`RouteId`].
//!
//! Owns the tables compiled from the routes at load, the order in which routes are preferred, and the
//! answers to "why this route" and "which route can never match". Never does: I/O, allocation in a
//! lookup, regular expressions, percent-decoding of paths, anything a route leads to.
//!
//! Precedence: an exact host before the longest wildcard before any host; then an exact path before the
//! longest prefix; then more predicates before fewer; then the order written. When every route of a
//! class refuses the request by its predicates the next class is tried, over host classes too.
//!
//! Invariants: a lookup costs the same at ten routes and at a hundred thousand, wherever a route is
//! written; it is bounded by the depth of the patterns, not by the request.

mod explain;
mod hash;
mod host;
mod index;
mod path;
mod possible;
mod rules;
mod shadow;
mod spec;
mod table;
#[cfg(test)]
mod tests;

pub use explain::{Outcome, Step};
pub use possible::{Known, Trace};
pub use shadow::{Shadow, shadowed};
pub use spec::{HostPattern, PathPattern, Predicates, RouteId, RouteSpec};
pub use table::Table;
