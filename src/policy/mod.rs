//! Policy: may this request pass, and what is said with its answer.
//!
//! Owns: the compiled policies of a route and what each of them decides: access by address, cross-origin sharing,
//! authentication (`auth`), rate limits; and whether there is memory for any request.
//! Never: waits, reads a clock or a socket, knows which cluster a request goes to.
//! Invariants: policies are asked in the order of [`Policies`]; an absent one costs nothing but its branch.

mod access;
mod admission;
pub mod auth;
mod cors;
mod headroom;
pub mod limit;
mod live;

use std::sync::Arc;

pub use access::Access;
pub use admission::{Admission, AdmissionPolicy, Permit, Priority};
use auth::{Bearers, External, Holders, Users};
pub use cors::{Cors, CorsSpec, Origin};
pub use headroom::{Change, Headroom, Judge, Load, Look, Shortage};
use limit::{Decision, Limiter};
pub use live::{LivePolicy, Pace};

/// The policies of one route, in the order in which they are asked.
#[derive(Default)]
pub struct Policies {
    /// Who may come; every one of them must let an address pass.
    pub access: Vec<Arc<Access>>,
    /// How many requests may pass, each of which counts in every one of them.
    pub limits: Vec<Arc<Limiter>>,
    /// What scripts of other origins may do.
    pub cors: Option<Arc<Cors>>,
    /// Which bearer tokens pass.
    pub bearers: Option<Arc<Bearers>>,
    /// Which API keys pass.
    pub holders: Option<Arc<Holders>>,
    /// Which users with their passwords pass.
    pub users: Option<Arc<Users>>,
    /// Which service is asked.
    pub external: Option<Arc<External>>,
}

impl Policies {
    /// Fields of a request that are written by these policies or are theirs alone: what a client sends in them is removed.
    #[must_use]
    pub fn request_fields(&self) -> Vec<&str> {
        let bearers = self.bearers.iter().flat_map(|bearers| bearers.fields());
        let holders = self.holders.iter().flat_map(|holders| holders.fields());
        let users = self.users.iter().flat_map(|users| users.fields());
        let external = self.external.iter().flat_map(|external| external.fields());
        bearers.chain(holders).chain(users).chain(external).collect()
    }

    /// Fields of a response that these policies write: what an endpoint says in them is removed.
    pub fn response_fields(&self) -> impl Iterator<Item = &'static str> {
        let cors = self.cors.iter().flat_map(|_| Cors::FIELDS);
        cors.chain(self.limits.first().into_iter().flat_map(|_| Decision::FIELDS))
    }
}
