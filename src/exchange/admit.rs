//! What a request must pass before it goes to an endpoint: the policies of its route, asked in their order.

use super::failure::Failure;
use super::held::Exchange;
use super::local::Local;
use crate::http1::Method;
use crate::net::Env;
use crate::policy::{Cors, LivePolicy};
use crate::snapshot::Route;

/// What a preflight asks for (<https://fetch.spec.whatwg.org/#cors-preflight-request>).
pub(super) struct Preflight<'a> {
    origin: &'a [u8],
    pub(super) method: &'a [u8],
    headers: Option<&'a [u8]>,
}

impl<'a, E: Env> Exchange<'a, E> {
    /// Asks the live policy whether anything passes, and the policies of the route: access, cross-origin sharing (whose
    /// preflights are answered here, and whose fields scripts need to read a refusal), who the client is, then rate limits,
    /// the last of which is that of the live policy.
    pub(super) async fn admit(&self, route: &'a Route, live: Option<&LivePolicy>) -> Result<(), Local<'a>> {
        if live.is_some_and(|live| !live.enabled) {
            return Err(Local::Failed(Failure::PolicyEnforced));
        }
        let Some(policies) = &route.policies else { return self.limit(&[], live).await };
        if !policies.access.is_empty() {
            let client = self.client_ip();
            if !policies.access.iter().all(|access| access.passes(client)) {
                return Err(Local::Failed(Failure::AccessDenied));
            }
        }
        if let Some(cors) = &policies.cors {
            self.share(cors)?;
        }
        self.authenticate(policies).await.map_err(|why| Local::Failed(Failure::Unproven(why)))?;
        if let Some(external) = &policies.external {
            self.ask_service(external).await?;
        }
        self.limit(&policies.limits, live).await
    }

    /// Answers a preflight, and tells browsers with every other answer whose scripts may read it.
    fn share(&self, cors: &Cors) -> Result<(), Local<'a>> {
        let mut added = self.added.response.borrow_mut();
        let lines = added.get_or_insert_with(|| self.shard.buffers.lend()).sink();
        match self.preflight() {
            Some(preflight) if cors.shares_with(preflight.origin) => {
                cors.push_preflight(lines, preflight.origin, preflight.method, preflight.headers);
                Err(Local::Preflight)
            }
            Some(_) => Err(Local::Failed(Failure::OriginRefused)),
            None => {
                cors.push_answer(lines, self.head.field(self.bytes, "origin"));
                Ok(())
            }
        }
    }

    /// What this request asks for, if it is a preflight.
    pub(super) fn preflight(&self) -> Option<Preflight<'a>> {
        if self.head.method() != Method::Options {
            return None;
        }
        Some(Preflight {
            origin: self.head.field(self.bytes, "origin")?,
            method: self.head.field(self.bytes, "access-control-request-method")?,
            headers: self.head.field(self.bytes, "access-control-request-headers"),
        })
    }
}
