//! Checked policies to their compiled forms, which all routes that name one share.

use std::sync::Arc;

use crate::config;
use crate::policy::{Access, Cors, CorsSpec, Origin, Policies};

/// One policy, compiled.
pub(super) struct Compiled {
    access: Option<Arc<Access>>,
    cors: Option<Arc<Cors>>,
}

pub(super) fn compile(policy: &config::Policy) -> Compiled {
    Compiled {
        access: policy.access.as_ref().map(|access| Arc::new(Access::new(&access.allow, &access.deny))),
        cors: policy.cors.as_ref().map(|cors| Arc::new(Cors::new(&spec(cors)))),
    }
}

/// What the requests of a route must pass; `None` when it is nothing.
pub(super) fn of_route(route: &config::Route, compiled: &[Compiled]) -> Option<Box<Policies>> {
    if route.policies.is_empty() {
        return None;
    }
    let mut policies = Policies::default();
    for named in route.policies.iter().map(|index| &compiled[*index]) {
        policies.access.extend(named.access.clone());
        policies.cors = policies.cors.or_else(|| named.cors.clone());
    }
    Some(Box::new(policies))
}

fn spec(cors: &config::Cors) -> CorsSpec {
    let origins = cors.origins.iter().map(|origin| match origin {
        config::Origin::Any => Origin::Any,
        config::Origin::Exact(exact) => Origin::Exact(exact.clone()),
        config::Origin::Below { scheme, suffix } => Origin::Below(scheme.clone(), suffix.clone()),
    });
    CorsSpec {
        origins: origins.collect(),
        methods: cors.methods.clone(),
        headers: cors.headers.clone(),
        expose: cors.expose.clone(),
        credentials: cors.credentials,
        max_age: cors.max_age,
    }
}
