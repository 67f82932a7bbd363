//! What the gateway decides about a request besides looking up its route (`Exchange::decide`), for commands that tell it from a
//! configuration alone.

use crate::config::{Config, Listener, Route};

/// Is it refused with 405, whatever its host and path?
pub(super) fn is_refused_by_method(method: &[u8]) -> bool {
    matches!(method, b"TRACE" | b"CONNECT")
}

/// Does it ask for the health of the gateway, where it comes by this listener? That is for its route, if that is one of just this path.
pub(super) fn asks_for_health(listener: &Listener, method: &[u8], path: &[u8]) -> bool {
    listener.health_path.as_ref().is_some_and(|health| health.as_bytes() == path) && matches!(method, b"GET" | b"HEAD")
}

/// May scripts of other origins share a route? Then a preflight about a request to it is its own.
pub(super) fn shares(config: &Config, route: &Route) -> bool {
    route.policies.iter().any(|index| config.policies[*index].cors.is_some())
}
